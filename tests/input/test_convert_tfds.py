"""Tests of input/convert_tfds.py: data sets that TFDS itself has written."""

import io
import json
import os
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from input import convert_tfds, dataset
from tests.input.conftest import read_records, run_convert
from tests.input.prepared import FEATURES, LABEL, examples, picture, write

COUNTS = {"train": 20, "validation": 6, "test": 5}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A folder with the prepared data set tiny."""
    place = tmp_path_factory.mktemp("tfds")
    parts = {split: examples(split, count) for split, count in COUNTS.items()}
    write(place, "tiny", FEATURES, parts | {"extra": examples("extra", 2)})
    return place


def run(output, *flags):
    return run_convert("--source=tfds", f"--output={output}", *flags)


def check(output):
    info = dataset.load(str(output))
    assert info.class_names == ("cat", "dog")
    assert {s: info.examples(s) for s in info.splits} == COUNTS
    records = read_records(output)
    assert len(records) == sum(COUNTS.values())
    for name, (split, label, data) in records.items():
        folder, number = name.split("/")
        assert (folder, int(number) % 2) == (split, label)
        assert data == picture(split, int(number))  # as found, to the byte
    assert all(f.endswith((".json", ".tfrecord")) for f in os.listdir(output))


@pytest.mark.parametrize("name", ["tiny", "tiny:1.2.0", "tiny:1.*.*"])
def test_by_name(data_dir, tmp_path, name, caplog):
    output = tmp_path / "out"
    assert run(output, f"--input={name}", f"--data_dir={data_dir}") == 0
    check(output)
    assert "split 'extra' (2 examples): not one of train, vali" in caplog.text


def test_a_prepared_folder(data_dir, tmp_path, monkeypatch):
    version = data_dir / "tiny" / "1.2.0"
    assert run(tmp_path / "a", f"--input={version}") == 0
    check(tmp_path / "a")
    monkeypatch.chdir(data_dir)
    assert run(tmp_path / "b", "--input=tiny/1.2.0") == 0
    check(tmp_path / "b")


def test_only_train_is_split(tmp_path):
    folder = write(tmp_path, "one", FEATURES, {"train": examples("train", 20)})
    assert run(tmp_path / "out", f"--input={folder}") == 0
    assert dataset.load(f"{tmp_path}/out").label_counts == {
        "train": (8, 8),
        "validation": (1, 1),
        "test": (1, 1),
    }
    assert run(tmp_path / "f", f"--input={folder}", "--folds=5") == 0
    assert list(dataset.load(f"{tmp_path}/f").splits) == [
        f"fold_{i}" for i in range(5)
    ]


def test_names_of_files(tmp_path, caplog):
    features = FEATURES | {"file_name": tfds.features.Text()}
    parts = {
        "train": examples("train", 9, file_name=lambda i: f"{i}.jpg"),
        "test": examples("test", 3, file_name=lambda i: f"{i // 2}.jpg"),
    }
    folder = write(tmp_path, "named", features, parts)
    assert run(tmp_path / "out", f"--input={folder}") == 0
    assert sorted(read_records(tmp_path / "out")) == [
        "test/0.jpg#0",
        "test/0.jpg#1",
        "test/1.jpg#2",
        *(f"train/{i}.jpg" for i in range(9)),
    ]
    assert "split='test' has 1 examples with the name of another" in caplog.text


def test_png_of_numbers(tmp_path):
    features = {
        "image": tfds.features.Image(shape=(4, 5, 1)),
        "label": tfds.features.ClassLabel(num_classes=3),
    }
    pixels = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5, 1)
    part = [{"image": p, "label": i} for i, p in enumerate(pixels)]
    folder = write(tmp_path, "numbers", features, {"train": part})
    assert run(tmp_path / "out", f"--input={folder}", "--split=train:1") == 0
    info = dataset.load(f"{tmp_path}/out")
    assert info.class_names == ("0", "1", "2")
    assert info.image_shape == (4, 5, 1)
    for _, label, data in read_records(tmp_path / "out").values():
        found = np.asarray(Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(found, pixels[label, ..., 0])


def test_a_split_without_labels_is_left_out(tmp_path, caplog):
    hidden = [e | {"label": -1} for e in examples("test", 4)]
    parts = {"train": examples("train", 9), "test": hidden}
    folder = write(tmp_path, "hidden", FEATURES, parts)
    assert run(tmp_path / "out", f"--input={folder}", "--split=train:1") == 0
    assert list(dataset.load(f"{tmp_path}/out").splits) == ["train"]
    assert "split 'test' (4 examples): no labels" in caplog.text


def test_one_label_outside_the_range(tmp_path, capsys):
    part = examples("train", 9)
    part[4]["label"] = -1
    folder = write(tmp_path, "wrong", FEATURES, {"train": part})
    assert run(tmp_path / "out", f"--input={folder}") == 3
    assert (
        "1 labels are outside of 0 .. 1, the first is -1 of train/00000004"
        in (capsys.readouterr().err)
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"label": LABEL}, "has 0 images in an example (label)"),
        (
            {"image": FEATURES["image"], "mask": FEATURES["image"]},
            "has 2 images in an example (image, mask)",
        ),
        ({"image": FEATURES["image"]}, "has 0 labels in an example (image)"),
    ],
)
def test_no_pictures_with_labels(tmp_path, capsys, features, message):
    image = {"image": io.BytesIO(picture("train", 0)), "label": 0}
    image["mask"] = io.BytesIO(picture("train", 1))
    part = [{key: image[key] for key in features}]
    folder = write(tmp_path, "other", features, {"train": part})
    assert run(tmp_path / "out", f"--input={folder}") == 3
    assert message in capsys.readouterr().err


def test_of_two_labels_the_supervised_one(tmp_path, capsys):
    features = FEATURES | {
        "coarse": tfds.features.ClassLabel(names=["x", "y", "z"])
    }
    part = examples("train", 6, coarse=lambda i: i % 3)
    folder = write(tmp_path, "two", features, {"train": part})
    flags = (f"--input={folder}", "--split=train:1")
    assert run(tmp_path / "out", *flags) == 3
    assert "has 2 labels in an example (" in capsys.readouterr().err
    path = folder / "dataset_info.json"
    keys = [{"featureKey": key} for key in ("image", "coarse")]
    path.write_text(
        json.dumps(
            json.loads(path.read_text())
            | {"supervisedKeys": {"tuple": {"items": keys}}}
        )
    )
    assert run(tmp_path / "out", *flags) == 0
    assert dataset.load(f"{tmp_path}/out").class_names == ("x", "y", "z")


def test_no_test_names_a_split_train(tmp_path, capsys):
    folder = write(tmp_path, "no", FEATURES, {"test": examples("test", 4)})
    assert run(tmp_path / "out", f"--input={folder}") == 3
    assert "has no labelled split 'train'. It has: test." in (
        capsys.readouterr().err
    )


def test_what_cannot_be_found(data_dir, tmp_path, capsys):
    output = tmp_path / "out"
    flags = ("--input=tinny", f"--data_dir={data_dir}")
    assert run(output, *flags) == 2
    assert (
        "--input=tinny: tensorflow-datasets says: " in capsys.readouterr().err
    )
    assert run(output, f"--input={data_dir}") == 3
    assert (
        f"{data_dir} has no dataset_info.json. Give the folder of one version "
        f"of one data set, such as {data_dir}/tiny/1.2.0."
    ) in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_a_flipped_byte(tmp_path, capsys):
    folder = write(tmp_path, "bad", FEATURES, {"train": examples("train", 9)})
    path = next(folder.glob("*.tfrecord*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert run(tmp_path / "out", f"--input={folder}") == 3
    assert (
        f"input.convert: {path}: cannot be read beyond example 4 of split "
        "'train': corrupted record at "
    ) in capsys.readouterr().err


def test_which_file_an_example_is_in():
    info = types.SimpleNamespace(shard_lengths=[3, 2], filepaths=["a", "b"])
    files = [convert_tfds._file_of(info, i) for i in range(5)]
    assert files == list("aaabb")


def test_a_disk_too_small_is_found_before_copying(
    data_dir, tmp_path, capsys, monkeypatch
):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert run(tmp_path / "o", "--input=tiny", f"--data_dir={data_dir}") == 2
    assert "0.0 MB free" in capsys.readouterr().err


def test_an_unknown_name_is_one_line(tmp_path, capsys):
    code = run_convert(
        *("--source=tfds", "--input=mnistt", f"--output={tmp_path / 'out'}"),
        f"--data_dir={tmp_path}",
    )
    assert code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "there is no such data set" in message
    assert "mnist" in message.replace("mnistt", "")
    assert len(message) < 500
