"""Cores for each process."""

import pytest

from launch import cores

# Two packages of two physical cores with two threads each, numbered as Linux
# does: first all first threads, then all second ones.
HYPERTHREADS = {i: (i % 4 // 2, i % 2) for i in range(8)}


@pytest.mark.parametrize(
    ("where", "workers", "expected"),
    [
        ({0: (0, 0), 1: (0, 1)}, 2, [(0,), (1,)]),
        ({0: (0, 0), 1: (0, 1)}, 1, [(0, 1)]),
        ({3: (0, 3), 5: (0, 5), 7: (0, 7)}, 2, [(3,), (5, 7)]),
        (HYPERTHREADS, 1, [tuple(range(8))]),
        (HYPERTHREADS, 2, [(0, 1, 4, 5), (2, 3, 6, 7)]),
        (HYPERTHREADS, 4, [(0, 4), (1, 5), (2, 6), (3, 7)]),
        (HYPERTHREADS, 8, [(0,), (4,), (1,), (5,), (2,), (6,), (3,), (7,)]),
    ],
)
def test_split(where, workers: int, expected) -> None:
    assert cores.split(where, workers) == expected


@pytest.mark.parametrize("workers", range(1, 9))
def test_every_core_has_one_owner(workers: int) -> None:
    parts = cores.split(HYPERTHREADS, workers)
    assert sorted(core for part in parts for core in part) == list(range(8))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_this_host() -> None:
    here = cores.available()
    where = cores.places(here)
    assert list(where) == here
    assert len(set(where.values())) >= 1


def test_a_host_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_TOPOLOGY", "/nowhere/{}/{}")
    assert cores.places([2, 4]) == {2: (0, 2), 4: (0, 4)}
