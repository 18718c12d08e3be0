import pytest
import tensorflow as tf

from input import rows, spec


def positions(stream: tf.data.Dataset) -> list[int]:
    return [int(position) for position, _ in stream]


def stream(count: int) -> tf.data.Dataset:
    return tf.data.Dataset.range(count).map(lambda i: (i, b"record"))


@pytest.mark.parametrize(
    ("index", "expected"),
    [(0, [0, 1, 2, 3, 8, 9, 10, 11]), (1, [4, 5, 6, 7, 12, 13, 14, 15])],
)
def test_a_host_has_its_part_of_each_batch(
    index: int, expected: list[int]
) -> None:
    host = spec.HostShare(index, count=2, replicas=2)
    assert positions(rows.of_host(stream(16), host, 8)) == expected


def test_one_host_has_all_rows() -> None:
    host = spec.HostShare(0, count=1, replicas=4)
    assert positions(rows.of_host(stream(8), host, 8)) == list(range(8))


def test_a_batch_must_divide() -> None:
    host = spec.HostShare(0, count=2, replicas=2)
    with pytest.raises(ValueError, match="6"):
        rows.of_host(stream(6), host, 6)


@pytest.mark.parametrize(
    ("micro_batches", "expected"),
    [
        (1, [0, 1, 2, 3, 4, 5, 6, 7]),
        # Replica 0 has the first half of each micro-batch.
        (2, [0, 1, 4, 5, 2, 3, 6, 7]),
        (4, [0, 2, 4, 6, 1, 3, 5, 7]),
    ],
)
def test_rows_of_a_replica_come_together(
    micro_batches: int, expected: list[int]
) -> None:
    host = spec.HostShare(0, count=1, replicas=2)
    dealt = rows.by_replica(stream(16), host, 4, micro_batches)
    assert positions(dealt) == expected + [8 + i for i in expected]
