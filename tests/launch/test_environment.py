"""The variables of worker processes."""

import os

import pytest
from horovod.runner import gloo_run
from horovod.runner.common.util import hosts

from launch import environment

PLACE = {
    "rank": 2,
    "size": 3,
    "local_rank": 0,
    "local_size": 1,
    "cross_rank": 1,
    "cross_size": 2,
    "hostname": "b",
    "rendezvous_host": "10.0.0.1",
    "rendezvous_port": 1234,
    "interface": "eth0",
}


def test_multi_worker() -> None:
    assert environment.multi_worker(["a:1", "b:65535"], 1) == {
        "LOCKSTEP_WORKERS": "a:1,b:65535",
        "LOCKSTEP_INDEX": "1",
    }


@pytest.mark.parametrize(
    ("addresses", "index", "message"),
    [
        (["a"], 0, "'a'.*must be host:port"),
        (["a:0"], 0, "'a:0'.*1 to 65535"),
        (["a:65536"], 0, "'a:65536'.*1 to 65535"),
        ([":5"], 0, "':5'.*must be host:port"),
        (["a:x"], 0, "'a:x'.*must be host:port"),
        (["a:5", "a:5"], 0, "same one twice.*port of its own"),
        (["a:5"], 1, "index=1 must be from 0 to 0.*is 1"),
        (["a:5"], -1, "index=-1 must be from 0"),
    ],
)
def test_wrong_addresses(addresses, index: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        environment.multi_worker(addresses, index)


def test_horovod_is_as_horovodrun_has_it() -> None:
    plan = hosts.get_host_assignments(
        [hosts.HostInfo("a", 2), hosts.HostInfo("b", 1)], 3
    )
    theirs = gloo_run.create_slot_env_vars(plan[2])
    line = gloo_run.get_run_command([], "10.0.0.1", ["eth0"], 1234)
    theirs |= dict(word.split("=") for word in line.split())
    assert environment.horovod(**PLACE) == theirs


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rank", 3, "rank=3 must be from 0 to 2, as size is 3"),
        ("local_rank", 1, "local_rank=1 .*local_size is 1"),
        ("cross_rank", -1, "cross_rank=-1 .*cross_size is 2"),
        ("rendezvous_port", 0, "rendezvous_port=0 must be from 1"),
    ],
)
def test_wrong_places(name: str, value: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        environment.horovod(**(PLACE | {name: value}))


def test_the_place_in_an_outer_job_is_forgotten() -> None:
    outer = environment.horovod(**PLACE)
    outer |= environment.multi_worker(["a:1"], 0) | {"TF_CONFIG": "{}"}
    kept = {"PATH": os.environ["PATH"], "HOROVOD_CYCLE_TIME": "1"}
    left = environment.without_places(outer | kept)
    assert {k: left[k] for k in kept} == kept
    assert not any("RANK" in name or "LOCKSTEP" in name for name in left)
    assert "TF_CONFIG" not in left
