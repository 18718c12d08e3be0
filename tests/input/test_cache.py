"""A split in memory gives the batches of one that is not."""

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from input import (
    cache,
    crops,
    damage,
    errors,
    eval_pipeline,
    memory,
    pipeline,
    sources,
    spec,
)
from tests.conftest import write_dataset

HOST = spec.HostShare(0, 1, 1)
CACHES = ("encoded", "decoded")


def train_data(directory: pathlib.Path, **kwargs) -> pipeline.TrainData:
    return pipeline.TrainData(
        source=sources.TFRecords(str(directory)), **kwargs
    )


def first(batches: tf.data.Dataset, count: int = 7) -> list[dict]:
    return list(batches.take(count).as_numpy_iterator())


def assert_same(found: list[dict], expected: list[dict]) -> None:
    assert len(found) == len(expected)
    for mine, other in zip(found, expected, strict=True):
        assert mine.keys() == other.keys()
        for key in other:
            assert mine[key].dtype == other[key].dtype
            np.testing.assert_array_equal(mine[key], other[key], key)


@pytest.mark.parametrize("policy", CACHES)
@pytest.mark.parametrize("shuffle_bytes", [1, 1 << 30])
@pytest.mark.parametrize("start", [0, 1, 5])
def test_the_same_batches(
    tiny_data: pathlib.Path, policy: str, shuffle_bytes: int, start: int
) -> None:
    plain, held = (
        train_data(tiny_data, shuffle_bytes=shuffle_bytes, cache=c).dataset(
            HOST, global_batch_size=5, seed=3, start_step=start
        )
        for c in ("none", policy)
    )
    assert held.element_spec == plain.element_spec
    assert_same(first(held), first(plain))


@pytest.mark.parametrize("policy", CACHES)
@pytest.mark.parametrize("shard_by", ["file", "record"])
def test_the_same_batches_for_each_host_and_replica(
    tiny_data: pathlib.Path, policy: str, shard_by: str
) -> None:
    for index in range(2):
        share = spec.HostShare(index, 2, 2)
        plain, held = (
            train_data(tiny_data, shard_by=shard_by, cache=c).dataset(
                share, global_batch_size=8, seed=1, micro_batches=2
            )
            for c in ("none", policy)
        )
        assert_same(first(held), first(plain))


def test_random_crops_are_the_same_from_records_in_memory(
    tiny_data: pathlib.Path,
) -> None:
    crop = crops.RandomResizedCrop(3)
    plain, held = (
        train_data(tiny_data, decode=crop, cache=c).dataset(
            HOST, global_batch_size=5, seed=3, start_step=2
        )
        for c in ("none", "encoded")
    )
    assert_same(first(held), first(plain))


@pytest.mark.parametrize("policy", CACHES)
@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_evaluation_is_the_same(
    tiny_data: pathlib.Path, policy: str, batch_size: int
) -> None:
    plain, held = (
        eval_pipeline.EvalData(
            source=sources.TFRecords(str(tiny_data)), split="train", cache=c
        )
        for c in ("none", policy)
    )
    expected = first(plain.dataset(HOST, global_batch_size=batch_size), -1)
    for _ in range(2):
        found = first(held.dataset(HOST, global_batch_size=batch_size), -1)
        assert_same(found, expected)


@pytest.mark.parametrize("policy", CACHES)
@pytest.mark.parametrize("skip", ["skip_record", "skip_file"])
def test_damage_costs_the_same_rows(
    tiny_data: pathlib.Path, policy: str, skip: damage.OnCorrupt
) -> None:
    path = tiny_data / "train-00000-of-00003.tfrecord"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    plain, held = (
        train_data(tiny_data, on_corrupt=skip, cache=c)
        for c in ("none", policy)
    )
    expected, found = (
        first(data.dataset(HOST, global_batch_size=6, seed=0), 4)
        for data in (plain, held)
    )
    assert_same(found, expected)
    assert min(batch["mask"].min() for batch in found) == 0
    assert held.ledger.unreported() == plain.ledger.unreported() != []


@pytest.mark.parametrize("policy", CACHES)
def test_files_are_read_once(tiny_data: pathlib.Path, policy: str) -> None:
    data = train_data(tiny_data, cache=policy)
    expected = first(data.dataset(HOST, global_batch_size=6, seed=0))
    for path in tiny_data.glob("*.tfrecord"):
        path.unlink()
    again = data.dataset(HOST, global_batch_size=6, seed=0)
    assert_same(first(again), expected)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"cache_bytes": 0}, "cache_bytes=0 must be at least 1 byte"),
        (
            {"cache": "decoded", "decode": crops.RandomResizedCrop(3)},
            "RandomResizedCrop.* makes others of an image each time",
        ),
    ],
)
def test_wrong_values(
    tiny_data: pathlib.Path, kwargs: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train_data(tiny_data, **kwargs)


def test_pixels_of_a_central_crop_may_be_held(tiny_data: pathlib.Path) -> None:
    crop = crops.ResizeCenterCrop(2)
    plain, held = (
        train_data(tiny_data, decode=crop, cache=c).dataset(
            HOST, global_batch_size=5, seed=3
        )
        for c in ("none", "decoded")
    )
    assert_same(first(held), first(plain))


def large(tmp_path: pathlib.Path, **kwargs) -> pipeline.TrainData:
    """A million examples, 1 GiB of records, 2.9 GiB of pixels; not there."""
    info = write_dataset(tmp_path, sizes=(1,))
    shard = dataclasses.replace(
        info.splits["train"][0], examples=10**6, bytes=2**30
    )
    data = train_data(tmp_path, **kwargs)
    data.source.__dict__["info"] = dataclasses.replace(
        info, splits={"train": (shard,)}, image_shape=(32, 32, 3)
    )
    return data


@pytest.mark.parametrize(
    ("kwargs", "free", "message"),
    [
        (
            {"cache": "decoded"},
            4 * 2**30,
            r"takes 2.9 GiB for 1,000,000 examples, but 2.0 GiB is the most it "
            r'may take \(half of the 4.0 GiB .*"encoded" takes 1.0 GiB and '
            'fits: choose it, or "none"',
        ),
        (
            {"cache": "decoded", "cache_bytes": 2**30},
            2**40,
            r'1.0 GiB is the most it may take \(cache_bytes\). Choose "none"',
        ),
        (
            {"cache": "encoded", "cache_bytes": 2**40},
            2**29,
            r"0.5 GiB is the most .*\(the memory that is free here\).* Choose",
        ),
    ],
)
def test_what_does_not_fit(
    tmp_path: pathlib.Path, kwargs: dict, free: int, message: str
) -> None:
    data = large(tmp_path, **kwargs)
    with pytest.raises(errors.UsageError, match=message):
        data.check_memory([0], free)


def test_what_fits(tmp_path: pathlib.Path, monkeypatch) -> None:
    assert large(tmp_path).check_memory([0], 0) == 0
    data = large(tmp_path, cache="decoded")
    assert data.check_memory([0], 6 * 2**30) == 10**6 * (32 * 32 * 3 + 16)
    monkeypatch.setattr(memory, "free_bytes", lambda: 2**20)
    with pytest.raises(errors.UsageError, match="half of the 1.0 MiB"):
        data.dataset(HOST, global_batch_size=4, seed=0)


def test_memory_is_that_of_the_host_s_own_files(
    tiny_data: pathlib.Path,
) -> None:
    data = train_data(tiny_data, shard_by="file", cache="decoded")
    files = [data.files(spec.HostShare(i, 2, 1)) for i in range(2)]
    assert files == [[0, 2], [1]]
    assert [data.check_memory(f, 2**30) for f in files] == [288, 96]


def test_numbers_of_rows_follow_the_order_of_the_shards() -> None:
    rows = tf.constant([10, 11, 20, -1])
    stored = cache.Stored((2, 1), rows)
    assert list(stored.numbers(tf.constant(1, tf.int64))) == [2]
    assert stored.take(stored.padding).numpy() == -1
    assert stored.take(tf.constant([1, 0])).numpy().tolist() == [11, 10]
