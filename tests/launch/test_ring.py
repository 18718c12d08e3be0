"""The alpha-beta model against numbers worked out by hand."""

import pytest

from launch import ring

SLOW = ring.Link(latency=1e-3, bandwidth=1e6)
FAST = ring.Link(latency=0.0, bandwidth=1e9)
CLUSTER = ring.Cluster(per_host=4, network=SLOW, interconnect=FAST)


@pytest.mark.parametrize(
    ("members", "size", "seconds"),
    [
        (1, 1e6, 0.0),
        # Two messages of half the size.
        (2, 1e6, 0.002 + 1.0),
        # Six messages of a quarter.
        (4, 1e6, 0.006 + 1.5),
        (4, 0, 0.006),
    ],
)
def test_a_ring(members: int, size: float, seconds: float) -> None:
    assert ring.ring_seconds(members, size, SLOW) == pytest.approx(seconds)


def test_a_long_ring_moves_every_byte_twice() -> None:
    link = ring.Link(0.0, 1e6)
    assert ring.ring_seconds(1000, 1e6, link) == pytest.approx(2.0, rel=2e-3)


@pytest.mark.parametrize(
    ("accelerators", "seconds"),
    [
        (1, 0.0),
        # Inside a host: 6 messages of a quarter at 1 GB/s.
        (4, 1.5e-3),
        # And between two hosts: 2 messages of half at 1 MB/s.
        (8, 1.5e-3 + 0.002 + 1.0),
        (16, 1.5e-3 + 0.006 + 1.5),
    ],
)
def test_a_hierarchy_of_rings(accelerators: int, seconds: float) -> None:
    found = ring.all_reduce_seconds(accelerators, 1e6, CLUSTER)
    assert found == pytest.approx(seconds)


def test_a_hierarchy_of_single_accelerators_is_a_ring() -> None:
    single = ring.Cluster(per_host=1, network=SLOW, interconnect=FAST)
    for count in (1, 2, 7):
        assert ring.all_reduce_seconds(count, 1e6, single) == pytest.approx(
            ring.ring_seconds(count, 1e6, SLOW)
        )


@pytest.mark.parametrize(
    ("compression", "overlap", "exposed"),
    [
        ("none", 0.0, 1.002),
        ("float16", 0.0, 0.502),
        ("bfloat16", 0.0, 0.502),
        # Two thirds of 0.9 s are the backward pass.
        ("none", 1.0, 0.402),
        ("none", 0.5, 0.702),
        ("float16", 1.0, 0.0),
    ],
)
def test_a_step(
    compression: ring.Compression, overlap: float, exposed: float
) -> None:
    cluster = ring.Cluster(per_host=1, network=SLOW, interconnect=FAST)
    work = ring.Work(
        compute=0.9,
        gradient_bytes=1e6,
        compression=compression,
        overlap=overlap,
    )
    step = ring.predict(2, work, cluster)
    assert step.exposed == pytest.approx(exposed)
    assert step.seconds == pytest.approx(0.9 + exposed)
    assert step.efficiency == pytest.approx(0.9 / (0.9 + exposed))
    alone = ring.predict(1, work, cluster)
    assert (alone.all_reduce, alone.efficiency) == (0.0, 1.0)


def test_resnet_50_on_two_hosts_at_25_gigabits() -> None:
    """102.2 MB through 3.125 GB/s, once in and once out: 32.7 ms."""
    cluster = ring.Cluster(1, ring.Link(0.0, 25e9 / 8), FAST)
    found = ring.all_reduce_seconds(2, 4 * 25_557_032, cluster)
    assert found == pytest.approx(0.0327, rel=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ring.Link(-1.0, 1.0), r"latency=-1.0 s must be at least 0"),
        (lambda: ring.Link(0.0, 0.0), r"bandwidth=0.0 bytes/s must be above"),
        (lambda: ring.Cluster(0, SLOW, FAST), r"per_host=0 must be at least"),
        (lambda: CLUSTER.hosts(0), r"0 accelerators: at least 1"),
        (lambda: CLUSTER.hosts(6), r"6 accelerators do not fill hosts of 4"),
        (lambda: ring.ring_seconds(0, 1, SLOW), r"members=0 must be at least"),
        (
            lambda: ring.Work(compute=0.0, gradient_bytes=1),
            r"compute=0.0 s must be above 0",
        ),
        (
            lambda: ring.Work(compute=1.0, gradient_bytes=1, overlap=1.5),
            r"overlap=1.5 must be in \[0, 1\]",
        ),
    ],
)
def test_refuses_what_makes_no_sense(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
