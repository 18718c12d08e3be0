"""A whole run with recipe, data and model_dir on gs://, in the emulator."""

import json
import os
import pathlib
import shlex
import signal
import sys
import time

import pytest

from input import gcs
from tests import gcs_emulator
from tests.conftest import REPO
from tests.gcs.conftest import run, start
from tests.test_docs import commands
from tests.trainer.test_main import final_arrays

RECIPE = """
SOURCE = @tfrecords()
tfrecords.data_dir = %DATA_DIR
make_engine.name = "one_device"
train.duration = "120 steps"
train.log_every = "10 steps"
train.checkpoint_every = "20 steps"
train.evaluate_every = "60 steps"
train.augment = [@random_crop(), @random_flip()]
train.deterministic = True
simple_cnn.dropout = 0.5
"""


def training(data: str, recipe: str, model_dir: str) -> list[str]:
    return [
        *("-m", "trainer.main", f"--gin_file={recipe}"),
        *(f"--gin_param=DATA_DIR='{data}'", f"--model_dir={model_dir}"),
    ]


def logged(model_dir: str, kind: str) -> list[dict]:
    try:
        text = gcs.read(f"{model_dir}/metrics.jsonl").content.decode()
    except FileNotFoundError:
        return []
    lines = [json.loads(line) for line in text.splitlines()]
    return [line for line in lines if line["kind"] == kind]


def test_train_kill_resume_evaluate(
    folder: str, tmp_path: pathlib.Path
) -> None:
    for place in (folder, tmp_path):
        run("-m", "input.convert", "--source=digits", f"--output={place}/data")
    text = f"DATA_DIR = ''\n{(REPO / 'tests' / 'tiny.gin').read_text()}{RECIPE}"
    gcs.write(f"{folder}/recipe.gin", text.encode())
    (tmp_path / "recipe.gin").write_text(text)
    whole = tmp_path / "whole"
    run(*training(f"{tmp_path}/data", f"{tmp_path}/recipe.gin", str(whole)))

    model_dir = f"{folder}/run"
    command = training(f"{folder}/data", f"{folder}/recipe.gin", model_dir)
    killed = start(*command)
    deadline = time.monotonic() + 300
    # It is saved beside training, which may be two checkpoints ahead.
    saved = f"{model_dir}/checkpoints/step-000000040/manifest.json"
    while not (
        any(line["step"] >= 60 for line in logged(model_dir, "train"))
        and gcs.exists(saved)
    ):
        assert killed.poll() is None, killed.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not gcs.exists(f"{model_dir}/DONE")

    output = run(*command)
    assert f"The former owner (process {killed.pid} on" in output
    assert f"report: {model_dir}/report.html" in output
    starts = [line["step"] for line in logged(model_dir, "run")]
    assert starts[0] == 0 and 40 <= starts[1] < 120
    evaluated = run(
        *("-m", "trainer.evaluate", "--once", *command[2:]),
    )
    assert "step 120, validation: top-1 accuracy" in evaluated

    copy = tmp_path / "copy"
    names = list(gcs.sizes(model_dir))
    gcs.download(model_dir, names, str(copy))
    expected, found = final_arrays(whole), final_arrays(copy)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert value.tobytes() == found[name].tobytes(), name
    scores = [
        [
            line["loss"]
            for line in map(json.loads, (place / "metrics.jsonl").open())
            if line["kind"] == "eval" and line["step"] == 120
        ]
        for place in (whole, copy)
    ]
    assert scores[1] == scores[0] * 2  # The trainer, then the evaluation.
    assert json.loads((copy / "DONE").read_text()) == {"step": 120}
    assert not (copy / "OWNER").exists()
    page = (copy / "report.html").read_text()
    assert "Top-1" in page and page.rstrip().endswith("</html>")
    assert any(n.startswith("tensorboard/") for n in names)
    assert "evaluation/validation.npz" in names
    assert not [n for n in names if n.endswith(".tmp")]


def test_a_gin_file_that_is_not_there(folder: str, tmp_path) -> None:
    for path, message in (
        (f"{folder}/none.gin", f"--gin_file={folder}/none.gin: no such object"),
        ("gs://none/x.gin", "--gin_file: gs://none/x.gin: there is no bucket"),
    ):
        flags = (f"--gin_file={path}", f"--model_dir={tmp_path}/run")
        output = run("-m", "trainer.main", *flags, code=2)
        assert message in output
        assert "Traceback" not in output


def test_a_model_dir_in_no_bucket(folder: str) -> None:
    flags = ("--gin_file=tests/tiny.gin", "--model_dir=gs://none/run")
    output = run("-m", "trainer.main", *flags, code=2)
    assert "--model_dir=gs://none/run cannot be written to" in output
    assert "there is no bucket 'none'" in output
    assert "Traceback" not in output


@pytest.mark.long
def test_the_commands_of_the_page_on_gs(monkeypatch) -> None:
    shown = [shlex.split(line) for line in commands("docs/gcs.md")]
    assert len(shown) == 4
    with gcs_emulator.serve("BUCKET") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        # One of the commands is given another to run.
        folder = os.path.dirname(sys.executable)
        monkeypatch.setenv("PATH", folder, prepend=os.pathsep)
        for python, *arguments in shown:
            assert python == "python"
            short = ["--gin_param=train.duration='3 steps'"]
            run(*arguments, *short * any("--gin_file" in a for a in arguments))
