"""Tests of trainer/owner.py and lease.py on gs://, against the emulator."""

import dataclasses
import json
import threading

import pytest

from input import gcs
from tests.gcs.conftest import start
from trainer import errors, holder, lease, owner

NEVER = 1e6


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every owner look like one on another machine."""
    monkeypatch.setattr(holder, "_where", lambda: "")


def wait_for_renewal(folder: str, before: int) -> None:
    """Returns once OWNER has another generation."""
    while gcs.read(f"{folder}/OWNER").generation == before:
        pass


def test_an_owner_says_who_it_is_and_leaves_nothing(folder: str) -> None:
    with owner.own(folder):
        said = json.loads(gcs.read(f"{folder}/OWNER").content)
        assert said["pid"] == holder.myself().pid
    assert not gcs.exists(f"{folder}/OWNER")


def test_a_live_owner_is_found_alive(folder: str, elsewhere) -> None:
    first = lease.Lease(folder, renew_seconds=0.1)
    second = lease.Lease(folder, renew_seconds=0.1, stale_seconds=NEVER)
    with (
        first.held(),
        pytest.raises(errors.ConfigError, match=r"in use by process \d+ on "),
        second.held(),
    ):
        raise AssertionError("held twice")


def test_an_owner_that_is_silent_is_followed(
    folder: str, elsewhere, caplog
) -> None:
    gcs.write(f"{folder}/OWNER", holder.myself().encode())
    held = lease.Lease(folder, renew_seconds=0.1, stale_seconds=0.5)
    with held.held():
        content = gcs.read(f"{folder}/OWNER").content
        assert content == held._myself.encode()
    assert "has not been heard of for 0 s: taking over" in caplog.text


def test_an_owner_that_has_left_is_followed_at_once(
    folder: str, elsewhere
) -> None:
    first = lease.Lease(folder, renew_seconds=NEVER)
    second = lease.Lease(folder, renew_seconds=0.1, stale_seconds=NEVER)
    with first.held():
        threading.Timer(0.3, gcs.remove, [f"{folder}/OWNER"]).start()
        with second.held():
            pass


def test_a_dead_process_of_this_machine_is_followed_at_once(
    folder: str, caplog
) -> None:
    process = start("-c", "")
    process.wait()
    dead = dataclasses.replace(holder.myself(), pid=process.pid)
    gcs.write(f"{folder}/OWNER", dead.encode())
    with lease.Lease(folder, stale_seconds=NEVER).held():
        pass
    assert f"The former owner (process {process.pid} on" in caplog.text


def test_who_loses_its_hold_is_told(folder: str, caplog) -> None:
    lost = threading.Event()
    held = lease.Lease(folder, renew_seconds=0.05, on_loss=lost.set)
    with held.held():
        gcs.write(f"{folder}/OWNER", b"another's")
        assert lost.wait(60)
    assert "has been taken over by another process" in caplog.text
    assert gcs.read(f"{folder}/OWNER").content == b"another's"


def test_a_trainer_that_loses_its_hold_ends(folder: str) -> None:
    code = (
        "import time; from trainer import lease\n"
        f"with lease.Lease('{folder}', renew_seconds=0.05).held():\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)"
    )
    process = start("-c", code)
    while process.stdout.readline() != "held\n":
        assert process.poll() is None
    gcs.write(f"{folder}/OWNER", b"another's")
    output = process.communicate()[0]
    assert process.returncode == 1
    assert "Ending, so as not to write over the other's files" in output


def test_a_renewal_whose_answer_is_lost(folder: str, monkeypatch) -> None:
    write, refused = gcs.write, threading.Event()
    lost = threading.Event()

    def write_and_be_refused(*arguments: object) -> int:
        if refused.is_set():
            return write(*arguments)
        write(*arguments)
        refused.set()
        raise gcs.ChangedError

    held = lease.Lease(folder, renew_seconds=0.05, on_loss=lost.set)
    with held.held():
        before = gcs.read(f"{folder}/OWNER").generation
        monkeypatch.setattr(gcs, "write", write_and_be_refused)
        assert refused.wait(60)
        monkeypatch.setattr(gcs, "write", write)
        # Renewals go on from what the lost answer has made.
        wait_for_renewal(folder, before)
    assert not lost.is_set()
    assert not gcs.exists(f"{folder}/OWNER")


def test_a_storage_that_is_away_for_a_while(
    folder: str, monkeypatch, caplog
) -> None:
    write, failed = gcs.write, threading.Event()

    def fail(*arguments: object) -> int:
        failed.set()
        raise gcs.StorageError("down")

    held = lease.Lease(folder, renew_seconds=0.05)
    with held.held():
        before = gcs.read(f"{folder}/OWNER").generation
        monkeypatch.setattr(gcs, "write", fail)
        assert failed.wait(60)
        monkeypatch.setattr(gcs, "write", write)
        wait_for_renewal(folder, before)
    assert "was not renewed: down" in caplog.text
