"""Tests of input/staging.py, and of interrupted runs of input/convert.py."""

import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

from input import convert, record_writer, staging
from input.errors import UsageError

HOST = socket.gethostname()
ROOT = pathlib.Path(__file__).parents[2]
SHARD = "train-00000-of-00001.tfrecord"


def stage(output, content=b"new", overwrite=False):
    with staging.staged(str(output), overwrite=overwrite) as place:
        pathlib.Path(place, SHARD).write_bytes(content)


def tree(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def dead_pid():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_output_appears_when_complete(tmp_path):
    output = tmp_path / "new" / "parent" / "out"
    with staging.staged(str(output), overwrite=False) as place:
        assert os.listdir(place) == []
        assert os.path.dirname(place) == str(output.parent)
        assert f"out.tmp-{os.getpid()}-" in place
        assert not output.exists()
    assert tree(tmp_path) == ["new", "new/parent", "new/parent/out"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_nothing_behind(tmp_path, error):
    output = tmp_path / "new" / "parent" / "out"
    with (
        pytest.raises(error),
        staging.staged(str(output), overwrite=False) as p,
    ):
        pathlib.Path(p, SHARD).touch()
        raise error
    assert tree(tmp_path) == []


def test_the_old_data_set_stays_until_the_new_one_is_complete(tmp_path):
    output = tmp_path / "out"
    stage(output, b"old")
    with pytest.raises(UsageError, match="is not empty"):
        stage(output)
    with (
        pytest.raises(RuntimeError),
        staging.staged(str(output), overwrite=True) as place,
    ):
        pathlib.Path(place, SHARD).write_bytes(b"new")
        assert (output / SHARD).read_bytes() == b"old"
        raise RuntimeError
    assert (output / SHARD).read_bytes() == b"old"
    stage(output, b"new", overwrite=True)
    assert (output / SHARD).read_bytes() == b"new"
    assert tree(tmp_path) == ["out", f"out/{SHARD}"]


def test_a_failed_rename_brings_the_old_data_set_back(tmp_path, monkeypatch):
    output = tmp_path / "out"
    stage(output, b"old")
    rename = os.rename

    def fail_on_new(source, target):
        if target == str(output) and not source.endswith(".old"):
            raise OSError("disk on fire")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_on_new)
    with pytest.raises(OSError, match="disk on fire"):
        stage(output, b"new", overwrite=True)
    assert (output / SHARD).read_bytes() == b"old"
    assert tree(tmp_path) == ["out", f"out/{SHARD}"]


def test_foreign_files_are_never_deleted(tmp_path, caplog):
    output = tmp_path / "out"
    for _ in range(2):
        output.mkdir(exist_ok=True)
        (output / "thesis.doc").write_text("years of work")
        stage(output, overwrite=True)
    assert tree(tmp_path) == [
        "out",
        "out.replaced",
        "out.replaced-1",
        "out.replaced-1/thesis.doc",
        f"out.replaced-1/{SHARD}",
        "out.replaced/thesis.doc",
        f"out/{SHARD}",
    ]
    assert "such as thesis.doc: they are kept in" in caplog.text


def test_output_filled_by_another_run_meanwhile(tmp_path):
    output = tmp_path / "out"
    with (
        pytest.raises(UsageError, match="is not empty"),
        staging.staged(str(output), overwrite=False),
    ):
        output.mkdir()
        (output / "x").touch()
    assert tree(tmp_path) == ["out", "out/x"]


def test_leftovers_of_a_killed_run_are_removed(tmp_path, caplog):
    output = tmp_path / "out"
    pid = dead_pid()
    names = {
        f"out.tmp-{pid}-{HOST}": False,
        f"out.tmp-{pid}-{HOST}.old": False,
        f"out.tmp-{os.getpid()}-{HOST}": False,  # of another, earlier process
        f"out.tmp-{os.getppid()}-{HOST}": True,  # alive
        f"out.tmp-{pid}-elsewhere": True,  # who knows
        f"other.tmp-{pid}-{HOST}": True,
        "out.tmp-x": True,
    }
    output.mkdir()
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / SHARD).touch()
    stage(output)
    kept = [name for name, stays in names.items() if stays]
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "out"])
    assert f"Removing {tmp_path}/out.tmp-{pid}-{HOST}, left" in caplog.text
    assert f"process {pid} on elsewhere. If that is not runn" in caplog.text


def test_a_run_killed_between_the_renames_is_mended(tmp_path, caplog):
    """The old data set lies aside then, and the output is gone."""
    output = tmp_path / "out"
    old = tmp_path / f"out.tmp-{dead_pid()}-{HOST}.old"
    old.mkdir()
    (old / SHARD).write_bytes(b"old")
    with pytest.raises(UsageError, match="is not empty"):
        stage(output)
    assert (output / SHARD).read_bytes() == b"old"
    assert f"Putting {old} back" in caplog.text


@pytest.fixture
def hang_up_not_ignored():
    """Under nohup, and in some CI, SIGHUP is ignored from the start."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hang_up_not_ignored")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_during_the_conversion(tmp_path, capsys, monkeypatch, name):
    """The others that follow, of an impatient user, do no harm."""
    before = [signal.getsignal(s) for s in staging._SIGNALS]
    write = record_writer._record

    def interrupt(*arguments):
        for each in (name, "SIGINT", "SIGTERM"):
            os.kill(os.getpid(), getattr(signal, each))
            time.sleep(0.01)
        return write(*arguments)

    monkeypatch.setattr(record_writer, "_record", interrupt)
    output = tmp_path / "new" / "out"
    code = convert.main(["x", "--source=digits", f"--output={output}"])
    assert code == 1
    assert re.search(f"interrupted by {name}. Not", capsys.readouterr().err)
    assert tree(tmp_path) == []
    assert [signal.getsignal(s) for s in staging._SIGNALS] == before


def test_a_signal_that_had_arrived_already_does_not_interrupt_again():
    with staging.interruptible():
        handler = signal.getsignal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt, match="SIGINT"):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        assert handler(signal.SIGTERM, None) is None


def test_a_signal_ignored_before_stays_ignored(monkeypatch):
    """Nohup ignores SIGHUP, so that a log-out does not end the run."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with staging.interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_of_a_worker_leaves_nothing_behind(
    tmp_path, capsys, monkeypatch
):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record_writer, "_record", fail)
    code = convert.main(
        ["x", "--source=digits", f"--output={tmp_path / 'out'}"]
    )
    assert code == 1
    assert "No space left on device" in capsys.readouterr().err
    assert tree(tmp_path) == []


def test_the_real_process_ended_by_sigterm(tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    count = 30_000  # some 10 seconds of work
    for prefix in ("train", "t10k"):
        images = struct.pack(">IIII", 0x803, count, 2, 2) + bytes(4 * count)
        labels = struct.pack(">II", 0x801, count) + bytes(count)
        (source / f"{prefix}-images-idx3-ubyte").write_bytes(images)
        (source / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "input.convert", "--source=idx"),
            *(f"--input={source}", f"--output={output}"),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(tmp_path, f"out.tmp-{process.pid}-{HOST}/*.tfrecord")
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "input.convert: interrupted by SIGTERM. Nothing is left" in error
    assert os.listdir(tmp_path) == ["in"]


def wait_for(folder, pattern):
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{folder} has {os.listdir(folder)}")
        time.sleep(0.02)
