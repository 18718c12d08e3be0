import time

import numpy as np
import pytest
import tensorflow as tf

from input import order, threads

SIZES = (5, 3, 4, 7, 1)


def stream(reading: order.Order, position: int, count: int) -> list[int]:
    """The numbers of the records, 100 * shard + place in the shard."""
    sizes = tf.constant(SIZES, tf.int64)
    records = reading.records(
        lambda _, shard: tf.data.Dataset.range(sizes[shard]).map(
            lambda place: 100 * shard + place
        ),
        position,
    )
    return [int(r) for r in records.take(count)]


@pytest.mark.parametrize("group_size", [1, 2, 5])
def test_every_record_once_an_epoch(group_size: int) -> None:
    reading = order.Order(SIZES, group_size, seed=1)
    numbers = stream(reading, 0, 60)
    expected = sorted(
        100 * s + i for s, n in enumerate(SIZES) for i in range(n)
    )
    for epoch in range(3):
        assert sorted(numbers[20 * epoch : 20 * epoch + 20]) == expected
    assert numbers[:20] != numbers[20:40]


@pytest.mark.parametrize("group_size", [1, 2, 5])
def test_any_position_continues_the_same_stream(group_size: int) -> None:
    reading = order.Order(SIZES, group_size, seed=7)
    whole = stream(reading, 0, 50)
    for position in (1, 4, 13, 19, 20, 21, 39, 40):
        assert stream(reading, position, 8) == whole[position : position + 8]


@pytest.mark.parametrize("group_size", [1, 2, 5])
def test_shards_are_those_that_the_records_come_from(group_size: int) -> None:
    reading = order.Order(SIZES, group_size, seed=7)
    for start, stop in ((0, 1), (3, 9), (18, 23), (40, 60)):
        numbers = stream(reading, start, stop - start)
        expected = sorted({number // 100 for number in numbers})
        assert reading.shards(start, stop) == expected


def test_one_group_is_read_ahead() -> None:
    """What is in memory is that one and the one in use, no more."""
    opened = []

    def read(epoch: tf.Tensor, shard: tf.Tensor) -> tf.data.Dataset:
        def note(number: tf.Tensor) -> tf.Tensor:
            opened.append(int(number))
            return number

        return tf.data.Dataset.from_tensors(shard).map(
            lambda s: tf.py_function(note, [s], tf.int64)
        )

    reading = order.Order((1,) * 6, 2, seed=1)
    records = iter(reading.records(read).with_options(threads.options()))
    for used in range(1, 7):
        next(records)
        groups = (used + 1) // 2 + 1
        deadline = time.monotonic() + 60
        while len(opened) < 2 * groups and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)  # What reads on nevertheless has time to.
        assert len(opened) == 2 * groups


def test_seek_leaves_out_whole_groups() -> None:
    reading = order.Order(SIZES, group_size=2, seed=3)
    shards = reading.groups(2).numpy()
    sizes = [sum(SIZES[s] for s in group if s >= 0) for group in shards]
    assert reading.seek(40 + sizes[0] + 1) == (2, 1, 1)
    assert reading.seek(40) == (2, 0, 0)
    assert reading.seek(59) == (2, 2, sizes[2] - 1)


def test_order_is_a_function_of_the_seed_alone() -> None:
    first = stream(order.Order(SIZES, 5, seed=1), 0, 40)
    tf.random.set_seed(99)
    assert stream(order.Order(SIZES, 5, seed=1), 0, 40) == first
    assert stream(order.Order(SIZES, 5, seed=2), 0, 40) != first


def test_groups_are_a_permutation() -> None:
    groups = order.Order(SIZES, group_size=2, seed=0).groups(5).numpy()
    assert groups.shape == (3, 2)
    assert sorted(groups.ravel()) == [-1, 0, 1, 2, 3, 4]


def test_shuffle_is_fair() -> None:
    """A record's mean place over many epochs is the middle."""
    reading = order.Order((10, 10), group_size=2, seed=0)
    records = reading.records(
        lambda _, shard: tf.data.Dataset.range(10).map(lambda i: 10 * shard + i)
    )
    epochs = np.array([int(r) for r in records.take(20 * 200)]).reshape(200, 20)
    places = np.argsort(epochs, axis=1).mean(axis=0)
    # The mean of 200 uniform places has a standard deviation of 0.41.
    assert np.abs(places - 9.5).max() < 2.0


@pytest.mark.parametrize(
    ("sizes", "budget", "expected"),
    [((10, 10), 5, 1), ((10, 10, 10), 20, 2), ((10,), 1000, 1), ((0, 0), 9, 2)],
)
def test_group_size(sizes, budget: int, expected: int) -> None:
    assert order.group_size(sizes, budget) == expected
