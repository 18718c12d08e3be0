"""Tests of input/convert.py: its flags and messages, with digits."""

import json
import os
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from input import dataset
from tests.input.conftest import contents, read_records, run_convert


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    output = tmp_path_factory.mktemp("digits") / "out"
    assert run_convert("--source=digits", f"--output={output}") == 0
    return output


def test_digits_numbers(digits):
    info = dataset.load(str(digits))
    sizes = {split: info.examples(split) for split in info.splits}
    assert sizes == {"train": 1438, "validation": 180, "test": 179}
    assert info.image_shape == (8, 8, 1)
    assert info.image_format == "png"
    assert info.class_names == tuple("0123456789")
    totals = np.sum([info.label_counts[s] for s in info.splits], axis=0)
    assert totals.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    for split, fraction in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        dataset.verify(info, str(digits), split)
        assert len(info.splits[split]) == 8
        assert np.abs(info.label_counts[split] - totals * fraction).max() < 1.0
        in_shards = [shard.examples for shard in info.splits[split]]
        assert max(in_shards) - min(in_shards) <= 1
    assert len(list(digits.iterdir())) == 25


def test_digits_records_hold_the_pixels_of_scikit_learn(digits):
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    source = sklearn_datasets.load_digits()
    seen = set()
    train_pixels = []
    for name, (split, label, encoded) in read_records(digits).items():
        image = tf.io.decode_png(encoded).numpy()
        index = int(name.removeprefix("digits/").removesuffix(".png"))
        expected = np.rint(source.images[index] * 255 / 16)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image[..., 0], expected)
        assert label == source.target[index]
        seen.add(index)
        if split == "train":
            train_pixels.append(image)
    assert seen == set(range(1797))
    info = dataset.load(str(digits))
    assert info.channel_mean == pytest.approx((np.mean(train_pixels),))
    assert info.channel_std == pytest.approx((np.std(train_pixels),))


def test_shards_are_fair_samples(digits):
    """A shard in the order of the source would hold few classes."""
    for shard in dataset.load(str(digits)).shards("train"):
        labels = [
            tf.train.Example.FromString(data.numpy())
            .features.feature["image/class/label"]
            .int64_list.value[0]
            for data in tf.data.TFRecordDataset(str(digits / shard.file))
        ]
        counts = np.bincount(labels, minlength=10)
        assert counts.min() >= 8  # of about 18 each
        assert np.abs(np.diff(labels)).sum() > len(labels)  # not sorted


def test_same_seed_same_bytes_whatever_the_workers(digits, tmp_path):
    output = tmp_path / "again"
    flags = ["--source=digits", f"--output={output}", "--workers=5"]
    assert run_convert(*flags) == 0
    assert contents(output) == contents(digits)
    assert run_convert(*flags, "--seed=1", "--overwrite") == 0
    before, after = (dataset.load(str(d)) for d in (digits, output))
    assert before.fingerprint != after.fingerprint
    first, second = (
        {n for n, (split, *_) in read_records(d).items() if split == "test"}
        for d in (digits, output)
    )
    assert len(first & second) < 50  # of 179


def test_shards_and_split_flags(tmp_path, capsys):
    output = tmp_path / "out"
    split = "--split=train:0.995,tiny:0.005"
    code = run_convert(
        "--source=digits", f"--output={output}", "--shards=20", split
    )
    assert code == 0
    info = dataset.load(str(output))
    assert {s: info.examples(s) for s in info.splits} == {
        "train": 1788,
        "tiny": 9,
    }
    assert [s.file for s in info.splits["tiny"]][-1] == (
        "tiny-00008-of-00009.tfrecord"  # never more shards than examples
    )
    assert len(info.splits["train"]) == 20


def test_warnings(tmp_path, caplog):
    output = tmp_path / "out"
    split = "--split=train:0.995,tiny:0.005"
    arguments = [f"--output={output}", "--shards=20", split, "--input=unused"]
    assert run_convert("--source=digits", *arguments) == 0
    assert "--input=unused is not used" in caplog.text
    assert "9 images, hence 9 shards instead of 20" in caplog.text
    assert "split='tiny' has no image of 1 of the 10 classes" in caplog.text


def test_summary(digits, tmp_path, capsys):
    output = tmp_path / "di gits"
    assert run_convert("--source=digits", f"--output={output}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Wrote {output}"
    assert lines[1].split() == "train 1,438 images in 8 shards".split()
    assert lines[4] == "  10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert lines[5] == "  grey PNG, width x height 8x8, 0.4 MB"
    assert "seconds" in lines[6] and "images/s" in lines[6]
    assert lines[-2:] == [
        "  python -m trainer.main --gin_file=gin/digits.gin \\",
        f"    --gin_param='DATA_DIR=\"{output}\"' --model_dir='runs/di gits'",
    ]


def test_scikit_learn_is_absent(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert run_convert("--source=digits", f"--output={tmp_path / 'out'}") == 2
    assert "pip install scikit-learn" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--source is missing. Give one of: digits, idx, folder, csv"),
        (["--source=json"], "--source='json' is unknown. Give one of: digits"),
        (["--source=csv"], "--input is missing. Give the manifest, a csv"),
        (["--source=tfds"], "--input is missing. Give the name of a data set"),
        (["--source=csv", "--input={tmp}/x"], "/x: not found. Give an exis"),
        (["--source=csv", "--input={tmp}"], " is a folder. Give the csv"),
        (["--source=tfds", "--input={tmp}/x"], "/x: not found. Give"),
        (["--source=tfds", "--input=s3://x"], "only local folders and gs://"),
        (["--source=digits", "--root=x"], "--root is for --source=csv only"),
        (["--source=csv", "--data_dir=x"], "--data_dir is for --source=tfds"),
        (
            ["--source=csv", "--input={tmp}/file", "--root={tmp}/x"],
            "--root={tmp}/x: not found.",
        ),
        (
            ["--source=csv", "--input={tmp}/file", "--output={tmp}"],
            "--output={tmp} holds the pictures or the manifest.",
        ),
        (["--source=digits"], "--output is missing."),
        (["--source=folder"], "--input is missing."),
        (["--source=idx", "--input=s3://a/b"], "only local folders and gs://"),
        (["--source=digits", "--output=s3://a/b"], "only local folders and"),
        (["--source=idx", "--input={tmp}/x"], "/x: not found. Give"),
        (["--source=idx", "--input={tmp}/file"], "/file: is not a folder."),
        (["--source=folder", "--input={tmp}"], "one lies in the other"),
        (["--source=digits", "--output={tmp}/file"], "file is a file."),
        (["--source=digits", "--output=/proc"], "is a mount point"),
        (["--source=digits", "--class_names=a,b"], "for --source=idx and csv"),
        (["--source=idx", "--class_names=a,a", "--input={idx}"], "one twice"),
        (["--source=idx", "--class_names=a,,b", "--input={idx}"], "an empty"),
        (["--source=digits", "--split=train:1,x"], "'x' is not NAME:FRACTION"),
        (["--source=digits", "--shards=0"], "shards"),
        (["--source=digits", "--folds=1"], "folds"),
        (["--source=digits", "--max_side=0"], "max_side"),
        (["--source=digits", "--max_pixels=0"], "max_pixels"),
        (["--source=digits", "--seed=x"], "seed=x"),
        (["--source=digits", "--workers=-1"], "workers"),
        (["--source=digits", "--sedd=1"], "Did you mean: seed"),
        (["digits"], "'digits' is not a flag"),
        (
            ["--source=idx", "--input={idx}", "--split=train:0.5,test:0.5"],
            "the source has a split 'test' of its own, with 10 pictures",
        ),
    ],
)
def test_wrong_flags_end_with_2(tmp_path, idx, capsys, arguments, message):
    (tmp_path / "file").touch()
    filled = [a.format(tmp=tmp_path, idx=idx) for a in arguments]
    if (
        not any("--output" in a for a in arguments)
        and message[:8] != "--output"
    ):
        filled.append(f"--output={tmp_path / 'new' / 'out'}")
    assert run_convert(*filled) == 2
    assert message.format(tmp=tmp_path) in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["file", "idx"]


def test_a_disk_too_small_is_found_at_once(idx, tmp_path, capsys, monkeypatch):
    usage = types.SimpleNamespace(free=100)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert (
        run_convert("--source=idx", f"--input={idx}", f"--output={tmp_path}/o")
        == 2
    )
    assert "0.0 MB free" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["idx"]


def test_help_explains_every_flag(capsys):
    assert run_convert("--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "python -m input.convert --source=folder --input=PHOTOS",
        "train:0.8,validation:0.1,test:0.1",
        "Pixels of the longer side: larger images are shrunk to it",
        "one per 150 MB and at least 8",
        "Default: one per CPU",
        "--seed: Seed, an integer",
        "(default: '0')",
    ):
        assert words in text


def test_output_that_is_not_empty_needs_overwrite(digits, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()  # empty: may be used
    assert run_convert("--source=digits", f"--output={output}") == 0
    before = contents(output)
    assert run_convert("--source=digits", f"--output={output}", "--seed=1") == 2
    assert "is not empty. Give another folder, or --overwrite" in (
        capsys.readouterr().err
    )
    assert contents(output) == before == contents(digits)
    arguments = ["--source=digits", f"--output={output}", "--shards=2"]
    assert run_convert(*arguments, "--overwrite") == 0
    assert len(contents(output)) == 7  # none of the old shards is left
    assert os.listdir(tmp_path) == ["out"]


def test_dataset_json_holds_no_time_and_no_path(digits):
    content = json.loads((digits / "dataset.json").read_text())
    assert sorted(content) == [
        "channel_mean",
        "channel_std",
        "class_names",
        "fingerprint",
        "format_version",
        "image_format",
        "image_shape",
        "label_counts",
        "largest_image",
        "smallest_image",
        "splits",
    ]
    assert str(digits) not in json.dumps(content)


def test_an_output_that_cannot_be_made(capsys):
    assert run_convert("--source=digits", "--output=/proc/digits") == 2
    assert "/proc/digits cannot be made" in capsys.readouterr().err
