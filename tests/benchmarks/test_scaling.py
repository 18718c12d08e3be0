"""The scaling benchmark: known times, its flags, and small runs."""

import contextlib
import json
import re
import subprocess
import sys

import pytest

from benchmarks import groups, scaling_worker, turns
from benchmarks import scaling_report as report
from launch import fit, ring
from tests.conftest import REPO

PHASE = report.Phase(
    processes=2,
    engines=["horovod"],
    seconds={
        report.ONE: [0.09, 0.10, 0.11],
        report.CONTROL.format(n=2): [0.10, 0.10, 0.10],
        "horovod": [0.10, 0.125, 0.11],
        report.no_reduce("horovod"): [0.09, 0.10, 0.088],
        report.reduce("horovod"): [0.01, 0.01, 0.011],
    },
    busy=0.99,
)


def cells(table: str, start: str) -> list[str]:
    """The cells of the one row that begins so."""
    (row,) = [x for x in table.splitlines() if x.startswith(f"| {start}")]
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def test_times() -> None:
    assert cells(report.times(PHASE), "horovod |") == ["110.0", "100.0..125.0"]


def test_shares_are_medians_of_rounds() -> None:
    table = report.shares(PHASE)
    assert cells(table, report.ONE) == ["1.000", "0.900..1.100", ""]
    assert cells(table, "horovod: efficiency") == (
        ["0.900", "0.800..1.000", "0.90"]
    )
    assert cells(table, "horovod: 2 processes") == (
        ["0.909", "0.800..1.000", ""]
    )
    assert cells(table, "horovod: share of all-reduce") == (
        ["0.200", "0.100..0.200", ""]
    )
    assert cells(table, "horovod: all-reduce only") == (
        ["0.100", "0.080..0.100", ""]
    )


def test_more_processes_than_cores_have_no_aim_and_no_share() -> None:
    four = report.Phase(
        4,
        PHASE.engines,
        {
            name.replace("2 p", "4 p"): seconds
            for name, seconds in PHASE.seconds.items()
            if name != report.no_reduce("horovod")
        },
        busy=0.5,
    )
    table = report.shares(four)
    assert cells(table, "horovod: efficiency")[2] == ""
    assert "share of all-reduce" not in table
    assert "99 % of its time." in report.quiet(PHASE)
    assert "50 % of its time: OTHER PROGRAMS RAN" in report.quiet(four)


def measurements() -> list[fit.Measurement]:
    """All-reduces of 1 ms a hop at 100 MB/s, each size twice."""
    model = fit.Fit(ring.Link(1e-3, 1e8), 0.0)
    return [
        fit.Measurement("horovod", n, size, model.seconds(n, size))
        for n in (2, 3)
        for size in (1 << 12, 1 << 20, 1 << 24)
    ] * 2


def test_all_reduces_by_size() -> None:
    table = report.all_reduces(measurements())
    # 2 hops of 1 ms, and 1 MiB at 100 MB/s; 4 hops, and 4/3 MiB.
    assert cells(table, "horovod, 1,024 KiB") == ["12.49", "17.98"]


def test_prediction_is_compute_and_the_model() -> None:
    table = report.predictions([PHASE], measurements(), gradient_bytes=800_000)
    assert cells(table, "horovod, 2 processes") == (
        ["100.0", "10.00", "10.00", "110.0", "110.0", "+0.0 %"]
    )


def test_topology_names_the_first_core() -> None:
    assert re.search(r"says Linux: 0|no topology", report.topology())


class Fake:
    """A contender whose steps take 0.1 s each."""

    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def run(self, steps: int) -> float:
        self.log.append(self.name)
        return 0.1 * steps

    def close(self) -> None:
        pass


def test_turns_change_direction() -> None:
    log: list[str] = []
    crowd = {name: Fake(log, name) for name in "ab"}
    seconds = turns.take(crowd, rounds=3, steps=5, title="test")
    assert log == ["a", "b", "b", "a", "a", "b"]
    assert seconds["a"] == pytest.approx([0.1] * 3)
    assert turns.steps_for(crowd["a"], 1.0) == 10
    assert turns.steps_for(crowd["a"], 0.0) == turns.MIN_STEPS


def test_steps_made_in_advance_do_not_count() -> None:
    """A pipeline has its next batches ready."""

    class Prefetching(Fake):
        ready = 6

        def run(self, steps: int) -> float:
            free, self.ready = self.ready, max(0, self.ready - steps)
            return super().run(max(0, steps - free))

    assert turns.steps_for(Prefetching([], "a"), 8.0) == 80


def test_contenders_must_train_the_same() -> None:
    assert turns.same_parameters([5, 5]) == 5
    with pytest.raises(RuntimeError, match=r"\[5, 6\] parameters"):
        turns.same_parameters([5, 6])


def test_a_group_runs_at_once_on_cores_of_its_own() -> None:
    with contextlib.closing(
        groups.start("reduce", "multi_worker", 2, "smoke")
    ) as group:
        group.wait_ready()
        assert group.parameters > 0
        assert group.run(3) > 0
        assert all(member.cpu_seconds() > 0 for member in group.members)
        group.members[1].signal(9)
        with pytest.raises(RuntimeError, match="scaling_worker"):
            group.run(3)


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPO,
    )


@pytest.mark.long
def test_measures_fits_and_predicts(tmp_path) -> None:
    output = tmp_path / "times.json"
    done = run(
        "--case=smoke",
        "--engines=horovod",
        "--rounds=1",
        "--seconds=0",
        "--allreduce",
        "--sweeps=1",
        f"--output={output}",
    )
    assert done.returncode == 0, done.stderr
    assert "### 2 processes" in done.stdout
    for start in ("horovod: efficiency", "horovod: share of all-reduce"):
        assert float(cells(done.stdout, start)[0])
    assert len(cells(done.stdout, "horovod, 2 processes")) == 6
    measured = fit.read(str(output))
    assert [m.bytes for m in measured] == scaling_worker.SIZES
    assert {m.processes for m in measured} == {2}
    assert json.loads(output.read_text())[0]["engine"] == "horovod"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--engines=mpi", "must be some of horovod, multi_worker"),
        ("--processes=1", "one of them at least 2"),
        ("--processes=2,x", "must be whole numbers"),
        ("--case=resnet50", "case"),
        ("--rounds=0", "rounds"),
    ],
)
def test_refuses_what_it_does_not_know(flag: str, message: str) -> None:
    done = run(flag)
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.long
def test_exactness_prints_a_ratio() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.exactness"]
        + ["--case=smoke", "--rounds=1", "--seconds=0"],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPO,
    )
    assert done.returncode == 0, done.stderr
    assert float(cells(done.stdout, "Lockstep, mirrored, 2 CPU devices /")[0])
