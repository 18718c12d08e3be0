"""Tests of input/dataset.py."""

import dataclasses
import json
import os

import pytest

from input import dataset
from input.errors import DataError


def make_info(**changes):
    splits = {
        "train": tuple(
            dataset.Shard(dataset.shard_name("train", i, 2), 3, 30 + i, "ab")
            for i in range(2)
        ),
        "test": (dataset.Shard("test-00000-of-00001.tfrecord", 1, 10, "cd"),),
    }
    info = dataset.DatasetInfo(
        splits=splits,
        class_names=("cat", "Müll"),
        image_shape=(8, 9, 3),
        channel_mean=(1.5, 100.25, 1 / 3),
        channel_std=(0.5, 60.0, 2.0),
        fingerprint=dataset.fingerprint(splits, ("cat", "Müll")),
        label_counts={"train": (4, 2), "test": (0, 1)},
        image_format="jpeg",
        smallest_image=(8, 9),
        largest_image=(8, 9),
    )
    return dataclasses.replace(info, **changes)


def write_shards(directory, info):
    for shards in info.splits.values():
        for shard in shards:
            (directory / shard.file).write_bytes(bytes(shard.bytes))


def test_save_and_load_round_trip(tmp_path):
    for info in (
        make_info(),
        make_info(image_shape=None, smallest_image=None, largest_image=None),
    ):
        dataset.save(info, str(tmp_path))
        assert dataset.load(str(tmp_path)) == info


def test_saved_bytes_depend_on_the_info_alone(tmp_path):
    places = [tmp_path / "a", tmp_path / "b"]
    for place in places:
        place.mkdir()
        dataset.save(make_info(), str(place))
    first, second = ((p / "dataset.json").read_bytes() for p in places)
    assert first == second
    assert json.loads(first)["format_version"] == 1
    assert json.loads(first)["splits"]["train"][1] == {
        "file": "train-00001-of-00002.tfrecord",
        "examples": 3,
        "bytes": 31,
        "sha256": "ab",
    }


def test_derived_values():
    info = make_info()
    assert info.examples("train") == 6
    assert info.examples("test") == 1
    assert info.channels == 3
    assert info.num_classes == 2


def test_shard_name():
    name = dataset.shard_name("train", 3, 64)
    assert name == "train-00003-of-00064.tfrecord"


def test_fingerprint_depends_on_shards_splits_and_class_names():
    shard = dataset.Shard("x", 3, 30, "ab")
    base = dataset.fingerprint({"train": [shard]}, ["a", "b"])
    others = [
        dataset.fingerprint({"test": [shard]}, ["a", "b"]),
        dataset.fingerprint({"train": [shard]}, ["b", "a"]),
        dataset.fingerprint(
            {"train": [dataclasses.replace(shard, sha256="cd")]}, ["a", "b"]
        ),
    ]
    assert len(base) == 64
    assert len({base, *others}) == 4
    assert base == dataset.fingerprint({"train": (shard,)}, ("a", "b"))


def test_load_says_what_is_missing(tmp_path):
    absent = tmp_path / "absent"
    with pytest.raises(DataError, match="no such folder") as e:
        dataset.load(str(absent))
    assert str(absent / "dataset.json") in str(e.value)
    assert f"--output={absent}" in str(e.value)
    with pytest.raises(DataError, match=r"the folder has no dataset\.json"):
        dataset.load(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": 1}}'])
def test_load_rejects_what_is_not_json(tmp_path, content):
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(DataError, match="not valid JSON.*convert"):
        dataset.load(str(tmp_path))


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"format_version": 2}'])
def test_load_rejects_other_versions(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DataError, match="format_version=.*reads 1"):
        dataset.load(str(tmp_path))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("class_names", None, "lacks the field 'class_names'"),
        ("fingerprint", None, "lacks the field 'fingerprint'"),
        ("class_names", ["cat"], "has 2 values for 1 class_names"),
        ("channel_mean", [1.0, 2.0], "must both have 1 or 3 values, got 2"),
        ("channel_std", [1.0], "got 3 and 1"),
        ("image_shape", [8, 9, 1], r"must be \[height, width, 3\]"),
        ("image_shape", [8, 9], r"got \[8, 9\]"),
        ("image_shape", ["a", 9, 3], "invalid literal"),
        ("label_counts", {"train": [4, 2]}, "name different splits"),
        (
            "label_counts",
            {"train": [4, 1], "test": [0, 1]},
            "add up to 5 but its shards hold 6",
        ),
        ("splits", [1], "no attribute 'items'"),
        ("splits", {"train": [{"name": "x"}]}, "unexpected keyword"),
    ],
)
def test_load_rejects_damaged_fields(tmp_path, field, value, message):
    dataset.save(make_info(), str(tmp_path))
    path = tmp_path / "dataset.json"
    content = json.loads(path.read_text())
    content[field] = value
    if value is None:
        del content[field]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as e:
        dataset.load(str(tmp_path))
    assert str(path) in str(e.value)
    assert "convert the data set again" in str(e.value)


def test_verify_accepts_whole_shards(tmp_path):
    info = make_info()
    write_shards(tmp_path, info)
    dataset.verify(info, str(tmp_path), "train")
    dataset.verify(info, str(tmp_path), "test")


def test_verify_names_a_missing_shard(tmp_path):
    info = make_info()
    write_shards(tmp_path, info)
    os.remove(tmp_path / "train-00001-of-00002.tfrecord")
    with pytest.raises(
        DataError,
        match="1 of the 2 shards of split='train' is missing: "
        r"train-00001-of-00002\.tfrecord\. Copy",
    ):
        dataset.verify(info, str(tmp_path), "train")
    dataset.verify(info, str(tmp_path), "test")


def test_verify_names_a_truncated_shard(tmp_path):
    info = make_info()
    write_shards(tmp_path, info)
    (tmp_path / "train-00000-of-00002.tfrecord").write_bytes(bytes(12))
    with pytest.raises(
        DataError,
        match=r"train-00000-of-00002\.tfrecord has 12 bytes, not 30",
    ):
        dataset.verify(info, str(tmp_path), "train")


def test_verify_shortens_a_long_list(tmp_path):
    shards = tuple(
        dataset.Shard(dataset.shard_name("train", i, 9), 1, 5) for i in range(9)
    )
    info = make_info(splits={"train": shards})
    with pytest.raises(DataError, match="9 of the 9 .* are missing") as e:
        dataset.verify(info, str(tmp_path), "train")
    assert "train-00004-of-00009.tfrecord and 4 more." in str(e.value)


def test_verify_rejects_unknown_and_empty_splits(tmp_path):
    info = make_info(splits={"train": make_info().splits["train"], "test": ()})
    with pytest.raises(
        DataError, match="split='eval' is not .* It has: train, test"
    ):
        dataset.verify(info, str(tmp_path), "eval")
    with pytest.raises(DataError, match="split='test' of .* is empty"):
        dataset.verify(info, str(tmp_path), "test")
