import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from input import (
    crops,
    damage,
    diagnosis,
    errors,
    eval_pipeline,
    imagenet_records,
    pipeline,
    record_index,
    spec,
)
from tests.input import damaged, foreign

HOST = spec.HostShare(index=0, count=1, replicas=1)
CROP = crops.ResizeCenterCrop(size=8)


@pytest.fixture
def classic(tmp_path: pathlib.Path) -> pathlib.Path:
    foreign.write_classic(tmp_path / "data")
    foreign.write_classic(tmp_path / "data", "validation", (3, 4), first=100)
    return tmp_path / "data"


def source(directory: pathlib.Path, **arguments):
    arguments = {"num_classes": 3} | arguments
    return imagenet_records.ImagenetRecords(str(directory), **arguments)


def batches(data) -> list[dict[str, np.ndarray]]:
    found = data.dataset(HOST, global_batch_size=4)
    return list(found.as_numpy_iterator())


def test_info(classic: pathlib.Path) -> None:
    info = source(classic).info
    found = {
        split: [(shard.file, shard.examples) for shard in shards]
        for split, shards in info.splits.items()
    }
    assert found == {
        "train": [
            ("train-00000-of-00003", 6),
            ("train-00001-of-00003", 8),
            ("train-00002-of-00003", 5),
        ],
        "validation": [
            ("validation-00000-of-00002", 3),
            ("validation-00001-of-00002", 4),
        ],
    }
    assert info.shards("train")[1].bytes == os.path.getsize(
        classic / "train-00001-of-00003"
    )
    assert info.class_names == ("0", "1", "2")
    assert info.label_counts == {}
    assert info.image_shape is None
    assert info.channel_mean == (123.675, 116.28, 103.53)
    assert info.channel_std == (58.395, 57.12, 57.375)
    default = imagenet_records.ImagenetRecords(str(classic)).info
    assert default.num_classes == 1000


def test_examples(classic: pathlib.Path) -> None:
    """Every record once; labels from 0; names and pixels where they belong."""
    data = eval_pipeline.EvalData(source=source(classic), decode=CROP)
    data.source.check("validation")
    rows = [
        (index, label, image)
        for batch in batches(data)
        for index, label, image, mask in zip(
            batch["index"],
            batch["label"],
            batch["image"],
            batch["mask"],
            strict=True,
        )
        if mask
    ]
    assert sorted(index for index, *_ in rows) == list(range(7))
    for index, label, image in rows:
        assert label == (100 + index) % 3
        encoded = tf.io.encode_jpeg(foreign.picture(100 + index))
        expected = CROP(encoded, tf.constant([0, 0]), (8, 8, 3))
        np.testing.assert_array_equal(image, expected)
    assert data.source.names("validation", [0, 6]) == [
        "n00000002_100.JPEG",
        "n00000002_106.JPEG",
    ]


def test_training_seeks(classic: pathlib.Path) -> None:
    data = pipeline.TrainData(source=source(classic), decode=CROP)

    def indices(start: int, steps: int) -> list[list[int]]:
        found = data.dataset(
            HOST, global_batch_size=4, seed=1, start_step=start
        )
        return [list(b["index"]) for b in found.take(steps).as_numpy_iterator()]

    stream = indices(0, 12)
    assert sorted(sum(stream, [])[:19]) == list(range(19))
    assert indices(7, 5) == stream[7:]


@pytest.mark.parametrize(
    ("offset", "labels", "message"),
    [
        (0, {1, 2}, "not below the 3 classes"),
        (1, {0, 1, 2}, ""),
        (2, {0, 1}, "label below 0"),
    ],
)
def test_label_offset(classic, offset, labels, message) -> None:
    data = eval_pipeline.EvalData(
        source=source(classic, label_offset=offset), decode=CROP
    )
    if message:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            batches(data)
        with (
            pytest.raises(errors.DataError) as told,
            diagnosis.explained(data),
        ):
            batches(data)
        wrong, there = {0: (3, 3), 2: (-1, 1)}[offset]
        assert (
            f"label {wrong} is not in [0, 3): {there} in the record; see "
            f"label_offset={offset} and num_classes=3"
        ) in str(told.value)
        return
    assert {label for b in batches(data) for label in b["label"]} == labels


def test_class_names_and_fingerprint(classic, tmp_path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("Katze\nHund\nKuh\n")
    first = source(classic).info
    named = source(classic, class_names_file=str(names)).info
    assert named.class_names == ("Katze", "Hund", "Kuh")
    others = [named, source(classic, label_offset=0).info]
    foreign.write_classic(classic, "validation", (3, 5), first=100)
    others.append(source(classic).info)
    prints = {info.fingerprint for info in [first, *others]}
    assert len(prints) == 4
    # Neither the place nor the time of change matters.
    foreign.write_classic(classic, "validation", (3, 4), first=100)
    os.rename(classic, tmp_path / "elsewhere")
    assert source(tmp_path / "elsewhere").info.fingerprint == first.fingerprint


@pytest.mark.parametrize("case", ["data", "length", "truncated", "emptied"])
def test_damage(classic: pathlib.Path, case: str) -> None:
    """One lost record keeps its place; what is not countable is assumed."""
    path = classic / "train-00001-of-00003"
    data = path.read_bytes()
    offsets = damaged.offsets_of(data)
    path.write_bytes(damaged.CASES[case].harm(bytearray(data), offsets))
    train = pipeline.TrainData(
        source=source(classic),
        decode=CROP,
        on_corrupt="skip_record",
        max_corrupt_fraction=0.5,
    )
    lost = {"data": 1, "length": 5, "truncated": 1, "emptied": 1}[case]
    whole = {"data": 18, "length": 14, "truncated": 14, "emptied": 11}[case]
    assert train.examples == whole + lost
    train.check()
    found = train.dataset(HOST, global_batch_size=1, seed=1).take(whole + lost)
    masks = [batch["mask"][0] for batch in found.as_numpy_iterator()]
    assert sum(masks) == whole
    (report,) = train.ledger.unreported()
    assert report.file == "train-00001-of-00003"
    assert report.offset == offsets[damaged.CASES[case].at]
    assert report.records == lost
    # Evaluation, and training that must not skip, want the whole split.
    strict = pipeline.TrainData(source=source(classic), decode=CROP)
    if case == "data":
        strict.check()  # found by its checksum when it is read
        return
    with pytest.raises(errors.DataError) as error:
        strict.check()
    assert f"train-00001-of-00003 at byte {report.offset:,}: " in str(
        error.value
    )


def test_damage_policies_use_the_ledger(classic: pathlib.Path) -> None:
    (classic / "train-00001-of-00003").write_bytes(b"no TFRecord at all" * 9)
    train = pipeline.TrainData(
        source=source(classic), decode=CROP, on_corrupt="skip_file"
    )
    shard = train.source.info.shards("train")[1]
    found = damage.scan(shard, train.source.paths("train")[1])
    assert [(d.offset, d.reason) for d in found] == [
        (0, "the length of a record is damaged")
    ]


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (
            lambda d: (d / "train-00001-of-00003").unlink(),
            {},
            "1 of the 3 files of split 'train' are missing, such as "
            "train-00001-of-00003",
        ),
        (
            lambda d: foreign.write_classic(d, sizes=(1, 1)),
            {},
            r"2 different sets, of \[2, 3\] files",
        ),
        (
            lambda d: [path.unlink() for path in d.iterdir()],
            {},
            "no file is named like train-00000-of-01024",
        ),
        (lambda d: None, {"num_classes": 1}, "num_classes=1 must be"),
        (lambda d: None, {"label_offset": -1}, "label_offset=-1 must be"),
        (lambda d: None, {"channel_std": (1.0,)}, "must both have 1 value"),
        (
            lambda d: None,
            {"class_names_file": "nowhere.txt"},
            "class_names_file='nowhere.txt'.*Give a text file",
        ),
    ],
)
def test_errors(classic, change, arguments, message) -> None:
    change(classic)
    with pytest.raises(ValueError, match=message):
        source(classic, **arguments)


def test_no_folder(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.DataError, match="data_dir=.*No such file"):
        source(tmp_path / "nowhere")


def test_unreadable_file_is_named(classic: pathlib.Path) -> None:
    (classic / "train-00001-of-00003").unlink()
    (classic / "train-00001-of-00003").mkdir()
    with pytest.raises(
        errors.DataError, match="train-00001-of-00003: cannot be read"
    ):
        source(classic)


def test_index_is_kept_and_follows_changes(classic, monkeypatch) -> None:
    counted = []
    count = record_index.frames.count

    def spy(path: str, *, size: int):
        counted.append(os.path.basename(path))
        return count(path, size=size)

    monkeypatch.setattr(record_index.frames, "count", spy)
    source(classic)
    assert len(counted) == 5
    assert (classic / record_index.FILE_NAME).exists()
    source(classic)
    assert len(counted) == 5
    changed = classic / "train-00002-of-00003"
    status = changed.stat()
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    source(classic)
    assert counted[5:] == ["train-00002-of-00003"]
    (classic / record_index.FILE_NAME).write_text('{"version": 1, "files": 3}')
    assert source(classic).info.examples("train") == 19
    assert len(counted) == 11


def test_index_in_the_cache(classic, tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Root may write to a folder without permission; nobody replaces a folder.
    (classic / record_index.FILE_NAME / "in the way").mkdir(parents=True)
    first = source(classic).info
    (kept,) = (tmp_path / "cache" / "lockstep").iterdir()
    monkeypatch.setattr(record_index, "_scan", None)  # not called again
    assert source(classic).info == first
    kept.unlink()
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert source(classic).info == first
    assert "scanned again at each start" in caplog.text
