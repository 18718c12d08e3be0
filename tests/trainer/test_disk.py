"""Disks that are full, read-only or slow while a checkpoint is written."""

import os
import pathlib
import subprocess
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from input import files
from tests.trainer import restarts
from tests.trainer.test_main import call, tiny
from trainer import (
    archive,
    early,
    errors,
    loop,
    main,
    report,
    results,
    rundir,
    writer,
)

SAVED = ('train.checkpoint_every="10 steps"', "train.eval_data=None")
# Goes on from what has been trained with SAVED, and saves again.
LONGER = (*SAVED, 'train.duration="40 steps"')


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[pathlib.Path]:
    """A run whose checkpoints are on a disk of their own, of 2 MiB."""
    if os.geteuid():
        pytest.skip("mounting a disk takes root")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder))
    try:
        assert call(main, *tiny(tmp_path, *SAVED)) == 0
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: pathlib.Path) -> pathlib.Path:
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def longer(model_dir: pathlib.Path) -> int:
    flags = tiny(model_dir, *LONGER)
    return call(main, "--allow_config_change", *flags)


def test_a_full_disk(small_disk, capsys) -> None:
    folder = small_disk / "checkpoints"
    before = restarts.arrays(small_disk)
    filler = fill(folder)
    assert longer(small_disk) == 1
    err = capsys.readouterr().err
    assert "The checkpoint of step 30 cannot be written to" in err
    assert "No space left" in err
    assert "That of step 20 is still good. Make room" in err
    assert "Traceback" not in err
    assert not (small_disk / "DONE").exists()
    assert not list(folder.glob("*.tmp"))
    after = restarts.arrays(small_disk)
    assert all(after[n].tobytes() == a.tobytes() for n, a in before.items())
    filler.unlink()
    assert longer(small_disk) == 0
    assert restarts.committed(small_disk)[-1] == 40


def test_a_read_only_disk(small_disk, capsys) -> None:
    folder = str(small_disk / "checkpoints")
    mount("-o", "remount,ro", folder)
    assert longer(small_disk) == 1
    err = capsys.readouterr().err
    assert "The checkpoint of step 30 cannot be written to" in err
    assert "Read-only" in err
    assert "That of step 20 is still good" in err
    mount("-o", "remount,rw", folder)
    assert longer(small_disk) == 0


def _finish(model_dir: str) -> None:
    rundir.finish(model_dir, 5)


def _ask(model_dir: str) -> None:
    early.ask(model_dir, 5, "it is time")


def _save_result(model_dir: str) -> None:
    found = results.EvaluationResult(
        "test", 5, {"loss": 0.5}, ("a", "b"), np.eye(2, dtype=np.int64)
    )
    found.save(f"{model_dir}/evaluation/test.npz")


def _report(model_dir: str) -> None:
    report.write_report(model_dir)


def _log(model_dir: str) -> None:
    writer.Writer(model_dir).write("run", 5, {})


def _board(model_dir: str) -> None:
    out = writer.Writer(model_dir)
    # As if there were room for one more line, but no more.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "append", lambda *rest: None)
        out.write("eval", 5, {"split": "test", "text": "x", "loss": 0.5})


@pytest.mark.parametrize(
    "write", [_finish, _ask, _save_result, _report, _log, _board]
)
def test_a_full_model_dir(tmp_path, write) -> None:
    """Whatever is written next, the error says what to do."""
    if os.geteuid():
        pytest.skip("mounting a disk takes root")
    mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path))
    try:
        fill(tmp_path)
        with pytest.raises(errors.OutputError, match="Make room"):
            write(str(tmp_path))
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_slow_disk_does_not_hold_up_training(tmp_path, monkeypatch) -> None:
    """The first save ends only once training is ten steps further on."""
    write, further, seen = archive._write_arrays, threading.Event(), []

    def slow(path: str, arrays: archive.Arrays) -> tuple[int, str]:
        if not seen:
            seen.append(further.wait(60))
        return write(path, arrays)

    progress = loop._progress

    def watched(values, done: int, *rest):
        if done >= 20:
            further.set()
        return progress(values, done, *rest)

    monkeypatch.setattr(archive, "_write_arrays", slow)
    monkeypatch.setattr(loop, "_progress", watched)
    assert longer(tmp_path) == 0
    assert seen == [True]
    assert restarts.committed(tmp_path) == [20, 30, 40]
