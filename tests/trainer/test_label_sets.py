"""Multi-label data and slices, from the manifest to the report."""

import dataclasses
import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
from sklearn import metrics as sklearn

from input import (
    contact_sheet,
    convert,
    dataset,
    doctor,
    eval_pipeline,
    slice_columns,
    spec,
)
from input.errors import DataError, UsageError
from tests.conftest import REPO, make_engine, make_recipe
from tests.test_docs import commands
from tests.trainer import label_sets
from trainer import actions as actions_lib
from trainer import errors, losses, report, scoring, session, writer


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return label_sets.write_pictures(tmp_path_factory.mktemp("sets") / "in")


@pytest.fixture(scope="module")
def data(manifest):
    label_sets.convert(manifest, manifest.parents[1] / "data")
    return manifest.parents[1] / "data"


@pytest.fixture(scope="module")
def trained(data):
    """A session after some steps, and its evaluation."""
    parts = session.build(
        label_sets.make_label_set_recipe(data), make_engine(1)
    )
    values = parts.take_steps(0)(12)
    result = parts.evaluator(parts.recipe.eval_data)(40, iter)
    return parts, values, result


def expected_label(index: int) -> list[int]:
    return [index >> bit & 1 for bit in range(3)]


def test_dataset_json(data) -> None:
    info = dataset.load(str(data))
    assert info.multi_label
    assert info.class_names == label_sets.CLASSES
    assert info.slice_columns == {
        "camera": ("indoor", "outdoor"),
        "site": ("site 0", "site 1"),
    }
    assert info.examples("train") == 40
    counts = np.sum([expected_label(n) for n in range(60) if n % 3 != 2], 0)
    assert info.label_counts["train"] == tuple(counts)


@pytest.mark.parametrize("cache", ["none", "encoded", "decoded"])
def test_batches(data, cache: str) -> None:
    chosen = label_sets.make_label_set_recipe(data)
    host = spec.HostShare(index=0, count=1, replicas=1)
    for split in (chosen.train_data, chosen.eval_data):
        split = dataclasses.replace(split, cache=cache)
        settings = {"global_batch_size": 16}
        if split.split == "train":
            settings["seed"] = 1
        seen = 0
        for batch in split.dataset(host, **settings).take(2):
            assert batch["label"].dtype == np.float32
            real = batch["mask"].numpy() > 0
            assert not batch["label"].numpy()[~real].any()
            names = split.source.names(
                split.split, batch["index"].numpy()[real]
            )
            for name, label in zip(
                names, batch["label"].numpy()[real], strict=True
            ):
                wanted = expected_label(int(name.removesuffix(".png")))
                assert label.tolist() == wanted
                seen += 1
        assert seen == (32 if split.split == "train" else 20)


def test_training_learns_and_counts_what_is_right(trained) -> None:
    _, values, result = trained
    assert 0 < values["correct"] / values["examples"] <= 1
    assert result.metrics["average_precision_macro"] > 0.9
    assert result.metrics["loss"] < 3 * np.log(2)


def test_metrics_agree_with_scikit_learn(trained) -> None:
    parts, _, result = trained
    host = spec.HostShare(index=0, count=1, replicas=1)
    data = parts.recipe.eval_data
    batch = next(iter(data.dataset(host, global_batch_size=20)))
    images = parts.preprocess(batch["image"])
    logits = parts.state.model(images).numpy()
    probabilities = 1 / (1 + np.exp(-logits))
    hot = batch["label"].numpy() > 0.5
    said = probabilities >= 0.5
    assert result.examples == 20
    for name, value in {
        "subset_accuracy": sklearn.accuracy_score(hot, said),
        "hamming_loss": sklearn.hamming_loss(hot, said),
        "average_precision_macro": sklearn.average_precision_score(
            hot, probabilities
        ),
        "f1_micro": sklearn.f1_score(hot, said, average="micro"),
    }.items():
        assert result.metrics[name] == pytest.approx(value, rel=1e-6)
    assert result.correct == (hot == said).all(axis=1).sum()
    np.testing.assert_array_equal(
        result.confusion_matrix,
        sklearn.multilabel_confusion_matrix(hot, said),
    )
    for mistake in result.mistakes:
        wanted = expected_label(int(mistake.name.removesuffix(".png")))
        assert mistake.label == np.flatnonzero(wanted).tolist()
        assert mistake.predicted != mistake.label


@pytest.mark.parametrize(("replicas", "batch"), [(2, 8), (4, 12)])
def test_every_engine_finds_the_same(trained, replicas, batch) -> None:
    """The untrained weights, which are the same on every engine."""
    parts, _, _ = trained
    chosen = dataclasses.replace(parts.recipe, global_batch_size=batch)

    def evaluate(engine):
        built = session.build(chosen, engine)
        return built.evaluator(chosen.eval_data)(0, iter)

    one, many = evaluate(make_engine(1)), evaluate(make_engine(replicas))
    assert many.metrics.keys() == one.metrics.keys()
    for name, value in one.metrics.items():
        if name != "seconds":
            assert many.metrics[name] == pytest.approx(value, rel=1e-4), name
    np.testing.assert_array_equal(many.confusion_matrix, one.confusion_matrix)


@pytest.mark.long
@pytest.mark.parametrize("engine", ["multi_worker", "horovod"])
def test_processes_find_the_same(data, tmp_path, engine: str) -> None:
    """To the bit in both of them, and what one device finds."""
    if engine == "horovod":
        pytest.importorskip("horovod")
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "launch.local"),
            *("--workers=2", f"--engine={engine}", "--"),
            *(sys.executable, "-m", "tests.trainer.label_sets"),
            *(engine, str(data), str(tmp_path / "found")),
        ],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr[-5000:]
    first, second = (
        (tmp_path / f"found-{i}.json").read_text() for i in range(2)
    )
    assert first == second
    found = json.loads(first)
    chosen = label_sets.make_label_set_recipe(data)
    parts = session.build(chosen, make_engine(1))
    result = parts.evaluator(chosen.eval_data)(0, iter)
    assert found.pop("matrix") == result.confusion_matrix.tolist()
    assert found.pop("worst") == [m.name for m in result.mistakes]
    for name, value in found.items():
        assert value == pytest.approx(result.metrics[name], rel=1e-4), name


def test_slices(trained) -> None:
    _, _, result = trained
    numbers = [n for n in range(60) if n % 3 == 2]
    found = {(s.column, s.value): s for s in result.slices}
    assert found.keys() == {
        ("camera", "indoor"),
        ("camera", "outdoor"),
        ("site", "site 0"),
        ("site", "site 1"),
    }
    outdoor = found["camera", "outdoor"]
    assert outdoor.examples == sum(n % 4 == 0 for n in numbers)
    assert outdoor.small
    assert outdoor.metrics.keys() >= {"f1_macro", "subset_accuracy"}
    assert sum(s.correct for s in result.slices) == 2 * result.correct
    values = result.metrics
    both = [found["camera", v].accuracy for v in ("indoor", "outdoor")]
    assert values["slice/camera/indoor/accuracy"] == both[0]
    low, high = outdoor.interval
    assert values["slice/camera/outdoor/accuracy_low"] == low
    assert values["slice/camera/outdoor/accuracy_high"] == high
    assert values["slice/camera/outdoor/examples"] == outdoor.examples
    assert values["slice/camera/worst_accuracy"] == min(both)
    gap = pytest.approx(max(both) - min(both))
    assert values["slice/camera/accuracy_gap"] == gap


def test_slices_are_chosen(data) -> None:
    chosen = label_sets.make_label_set_recipe(data).eval_data
    only = dataclasses.replace(chosen, slices=["site"])
    parts = session.build(
        label_sets.make_label_set_recipe(
            data, eval_data=only, best_metric="slice/site/worst_accuracy"
        ),
        make_engine(1),
    )
    result = parts.evaluator(only)(0, iter)
    assert {s.column for s in result.slices} == {"site"}
    with pytest.raises(ValueError, match="Did you mean 'camera'"):
        dataclasses.replace(chosen, slices=["camra"])


def test_result_survives_the_disk(trained, tmp_path) -> None:
    _, _, result = trained
    path = str(tmp_path / "validation.npz")
    result.save(path)
    again = type(result).load(path)
    np.testing.assert_equal(again.metrics, result.metrics)
    assert again.intervals == result.intervals
    assert again.activation == "sigmoid"
    for ours, theirs in zip(again.slices, result.slices, strict=True):
        np.testing.assert_equal(
            dataclasses.asdict(ours), dataclasses.asdict(theirs)
        )
    for part in ("reliability", "scaled", "ranking"):
        ours, theirs = getattr(result, part), getattr(again, part)
        for field in dataclasses.fields(ours):
            np.testing.assert_array_equal(
                getattr(ours, field.name), getattr(theirs, field.name)
            )
    assert [m.label for m in again.mistakes] == [
        m.label for m in result.mistakes
    ]


def test_report_and_log_speak_of_label_sets(trained, tmp_path, caplog) -> None:
    parts, _, _ = trained
    run = str(tmp_path)
    out = writer.Writer(run)
    out.write("run", 0, {"engine": "one_device"})
    evaluate = actions_lib.Evaluate(
        parts.evaluator(parts.recipe.eval_data), run, out
    )
    with caplog.at_level("INFO", "absl"):
        evaluate.at(40)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    line = json.loads(lines[1])
    assert line["subset_accuracy"] == evaluate.at(40).metrics["subset_accuracy"]
    assert "slice/camera/accuracy_gap" in line
    with open(report.write_report(run)) as page:
        text = page.read()
    assert "Mean average precision" in text
    assert "By camera:" in text and "few examples" in text
    assert "Precision and recall" in text and "Reliability" in text
    for said in (text, caplog.text, json.dumps(line)):
        assert "top-1" not in said.lower() and "top_1" not in said


def test_preview_names_all_classes(data) -> None:
    chosen = label_sets.make_label_set_recipe(data)
    shown = contact_sheet.make(
        chosen.train_data, [], 0, examples=12, variants=1
    )
    names = {example.name for example in shown}
    assert names & {"cat, dog", "cat, fox", "dog, fox", "cat, dog, fox"}
    assert all(
        set(name.split(", ")) <= {*label_sets.CLASSES, "none"} for name in names
    )


def test_doctor_finds_nothing_and_copies_all(data, tmp_path, capsys) -> None:
    clean = tmp_path / "clean"
    code = doctor.main(["doctor", str(data), f"--fix={clean}"])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "Nothing is wrong." in said
    info, copy = dataset.load(str(data)), dataset.load(str(clean))
    assert copy.multi_label and copy.slice_columns == info.slice_columns
    assert copy.label_counts == info.label_counts
    assert copy.examples("validation") == 20
    assert f"cat {info.label_counts['train'][0]:>10}" in said


def test_doctor_looks_at_all_labels(data, tmp_path, capsys) -> None:
    """A class that dataset.json does not know, behind one that it does."""
    info = dataset.load(str(data))
    fewer = dataclasses.replace(
        info,
        class_names=info.class_names[:2],
        label_counts={s: c[:2] for s, c in info.label_counts.items()},
    )
    folder = tmp_path / "fewer"
    folder.mkdir()
    for shards in info.splits.values():
        for shard in shards:
            (folder / shard.file).symlink_to(data / shard.file)
    dataset.save(fewer, str(folder))
    assert doctor.main(["doctor", str(folder)]) == 3
    assert "label 2 is not in [0, 2)" in capsys.readouterr().out


def test_manifest_mistakes(manifest, tmp_path) -> None:
    text = manifest.read_text().splitlines()
    text[3] = "2.png,cat||dog,train,indoor,a"
    other = manifest.parent / "bad.csv"
    other.write_text("\n".join(text))
    with pytest.raises(DataError, match="line 4: .*has an empty class in it"):
        label_sets.convert(other, tmp_path / "out")
    with pytest.raises(DataError, match="'kamera' .* Did you mean 'camera'"):
        label_sets.convert(
            manifest, tmp_path / "out", slice_columns=("kamera",)
        )
    with pytest.raises(DataError, match="'label' .* has a meaning of its own"):
        label_sets.convert(manifest, tmp_path / "out", slice_columns=("label",))
    # Without the flag, an empty label is a mistake.
    with pytest.raises(DataError, match="the label is empty"):
        label_sets.convert(manifest, tmp_path / "out", multi_label=False)
    with pytest.raises(UsageError, match="--multi_label is for --source=csv"):
        dataclasses.replace(
            label_sets.convert_request.Request(source="csv", output="x"),
            source="digits",
            multi_label=True,
        )


def test_a_column_of_names_is_no_slice() -> None:
    rows = [(str(n), "a") for n in range(201)]
    with pytest.raises(DataError, match="'who' has 201 values .* at most 200"):
        slice_columns.values(["who", "where"], rows)
    assert slice_columns.values(["where"], [("b",), ("",), ("b",)]) == {
        "where": ("", "b")
    }


def test_splits_divide_combinations(manifest, tmp_path) -> None:
    """Every class is in train, and validation is not left empty."""
    lines = manifest.read_text().splitlines()
    cells = [line.split(",") for line in lines]
    other = manifest.parent / "whole.csv"
    other.write_text("\n".join(f"{c[0]},{c[1]}" for c in cells))
    made = label_sets.convert(
        other,
        tmp_path / "out",
        slice_columns=(),
        split="train:0.5,validation:0.5",
    )
    counts = made.info.label_counts
    assert made.info.examples("train") == 30
    assert np.abs(np.subtract(*counts.values())).max() <= 4
    assert min(counts["train"]) > 0


def test_what_does_not_fit_is_refused(data) -> None:
    make = label_sets.make_label_set_recipe
    with pytest.raises(errors.ConfigError, match="probabilities of this loss"):
        softmax = losses.softmax_cross_entropy()
        session.build(make(data, loss=softmax), make_engine(1))
    with pytest.raises(errors.ConfigError, match="'top_1_accuracy' is not"):
        make(data, best_metric="top_1_accuracy")
    with pytest.raises(errors.ConfigError, match="need 240 bytes"):
        make(data, metrics=scoring.Scoring(max_bytes=100))
    with pytest.raises(errors.ConfigError, match="num_classes=5, but multi"):
        make(data, num_classes=5)
    chosen = make(data)
    assert chosen.kept_metric == "average_precision_macro"
    with pytest.raises(ValueError, match="resample does not go together"):
        dataclasses.replace(chosen.train_data, resample=lambda counts: counts)
    other = eval_pipeline.EvalData(source=make_recipe().eval_data.source)
    with pytest.raises(errors.ConfigError):
        make(data, eval_data=other)


def test_the_command_of_the_document(
    manifest, tmp_path, monkeypatch, capsys
) -> None:
    """docs/evaluation.md, in the folder of the pictures."""
    shown = [c for c in commands("docs/evaluation.md") if "convert" in c]
    monkeypatch.chdir(manifest.parent)
    output = tmp_path / "scenes"
    (arguments,) = (
        shlex.split(c.replace("data/scenes", str(output)))[2:] for c in shown
    )
    assert convert.main(arguments) == 0
    said = capsys.readouterr().out
    assert "3 classes: cat, dog, fox; an image has any number" in said
    assert "slices by camera: indoor, outdoor" in said
    assert "--gin_param='train.loss=@binary_cross_entropy()'" in said
    info = dataset.load(str(output))
    assert info.multi_label and [*info.slice_columns] == ["camera", "site"]
    (evaluate,) = (
        c for c in commands("docs/evaluation.md") if "trainer.evaluate" in c
    )
    # It is run as one of README.md.
    assert evaluate in commands("README.md")
