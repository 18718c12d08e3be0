"""Training on records that others have written, end to end."""

import json
import pathlib

import pytest

from tests.input import foreign
from tests.trainer.test_main import call, lines, tiny
from trainer import evaluate, main

DECODE = (
    'train.evaluate_every = "2 steps"',
    "train_data.decode = @random_resized_crop()",
    "random_resized_crop.size = 8",
    "eval_data.decode = @resize_center_crop()",
    "resize_center_crop.size = 8",
    'train.duration = "2 steps"',
)


def classic(tmp_path: pathlib.Path) -> list[str]:
    foreign.write_classic(tmp_path, "train", (10, 12))
    foreign.write_classic(tmp_path, "validation", (3, 4), first=100)
    return [
        "SOURCE = @imagenet_records()",
        f'imagenet_records.data_dir = "{tmp_path}"',
        "imagenet_records.num_classes = 3",
    ]


def tfds(tmp_path: pathlib.Path) -> list[str]:
    folder = foreign.write_tfds(tmp_path, sizes={"train": 22, "validation": 7})
    return ["SOURCE = @tfds()", f'tfds.name_or_directory = "{folder}"']


@pytest.mark.parametrize("make", [classic, tfds])
def test_two_steps_and_evaluation(make, tmp_path: pathlib.Path) -> None:
    bindings = [*make(tmp_path / "data"), *DECODE]
    run = tmp_path / "run"
    assert call(main, *tiny(run, *bindings)) == 0
    trained = lines(run, "eval")[-1]
    assert (trained["step"], trained["examples"]) == (2, 7)
    facts = json.loads((run / "run.json").read_text())
    assert facts["train_examples"] == 22
    assert facts["label_counts"] == {}
    assert len(facts["data_fingerprint"]) == 64
    assert (run / "report.html").stat().st_size > 10_000
    assert call(evaluate, "--once", *tiny(run, *bindings)) == 0
    again = lines(run, "eval")[-1]
    assert again["loss"] == trained["loss"]


@pytest.mark.parametrize("make", [classic, tfds])
@pytest.mark.parametrize(
    "binding",
    [
        "train.class_weights = @balanced_weights()",
        "train_data.resample = @oversample()",
    ],
)
def test_classes_that_were_not_counted(
    make, binding: str, tmp_path: pathlib.Path, capsys
) -> None:
    bindings = [*make(tmp_path / "data"), *DECODE, binding]
    capsys.readouterr()
    assert call(main, "--dry_run", *tiny(tmp_path / "run", *bindings)) == 3
    plan, message = capsys.readouterr()
    assert plan == ""
    assert "Nothing says how many examples of each class split 'train'" in (
        message
    )
    assert "input.doctor --source=... FOLDER --fix=NEW_FOLDER" in message
