"""A directory that appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType

from absl import logging

from input.errors import UsageError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DATASET_FILE = re.compile(
    r"dataset\.json|[a-z][a-z0-9_]*-\d{5,}-of-\d{5,}\.tfrecord"
)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does.

    Only the first signal does: those that follow would disturb the clean-up,
    and are ignored. So is what was ignored before: SIGHUP under nohup. Must
    run in the main thread.
    """
    heard = [s for s in _SIGNALS if signal.getsignal(s) != signal.SIG_IGN]

    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            return  # had arrived before it could be ignored
        interrupted = True
        for each in heard:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {each: signal.signal(each, interrupt) for each in heard}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def check_room(size: int, place: str, flag: str = "output") -> None:
    """Finds a disk that is too small before hours of work, not after.

    Args:
        size: Bytes to be written, or about so many.
        place: A folder on the disk.
        flag: That gave the folder.

    Raises:
        UsageError: It has less.
    """
    free = shutil.disk_usage(place).free
    if size > free:
        raise UsageError(
            f"--{flag}: the disk of {os.path.dirname(place)} has "
            f"{free / 1e6:,.1f} MB free, but the images take "
            f"{size / 1e6:,.1f} MB. Make room, or give a folder elsewhere; "
            "what is uploaded to gs:// is first written to TMPDIR."
        )


@contextlib.contextmanager
def staged(output: str, *, overwrite: bool) -> Iterator[str]:
    """Yields an empty directory that becomes `output` when the block ends.

    It lies beside `output` and is removed if the block raises. With
    `overwrite`, an existing data set stays as it is until then; files in
    `output` that are not of a data set are never deleted, but kept in a
    folder beside it. Left-overs of runs that were killed are removed first.

    Args:
        output: An absolute path without symbolic links.
        overwrite: Whether `output` may exist and hold something.

    Raises:
        UsageError: `output` is a file, holds something and may not, or cannot
            be made.
    """
    _remove_leftovers(output)
    _check_free(output, overwrite)
    parent = os.path.dirname(output)
    made = _missing_parents(parent)
    place = f"{output}.tmp-{os.getpid()}-{socket.gethostname()}"
    try:
        try:
            os.makedirs(parent, exist_ok=True)
            os.mkdir(place)
        except OSError as error:
            raise UsageError(
                f"{output} cannot be made: {error.strerror}. Name a folder "
                "where you may write."
            ) from error
        yield place
        _check_free(output, overwrite)
        with _undisturbed():
            _move(place, output)
    except BaseException:
        with _undisturbed():
            shutil.rmtree(place, ignore_errors=True)
            with contextlib.suppress(OSError):
                for folder in made:
                    os.rmdir(folder)
        raise


def is_of_dataset(name: str) -> bool:
    """Returns whether a file is named like one of a data set."""
    return _DATASET_FILE.fullmatch(name) is not None


def _check_free(output: str, overwrite: bool) -> None:
    if os.path.lexists(output) and not os.path.isdir(output):
        raise UsageError(
            f"--output={output} is a file. Give the name of a new folder."
        )
    if os.path.ismount(output):
        raise UsageError(
            f"--output={output} is a mount point, which cannot be replaced as "
            f"a whole. Give a folder in it: --output={output}/dataset"
        )
    if os.path.isdir(output) and os.listdir(output) and not overwrite:
        raise UsageError(
            f"--output={output} is not empty. Give another folder, or "
            "--overwrite to replace it."
        )


def _move(place: str, output: str) -> None:
    """Renames `place` to `output`, and then deletes what was there."""
    if not os.path.isdir(output) or not os.listdir(output):
        os.rename(place, output)  # replaces an empty directory
        return
    old = f"{place}.old"
    os.rename(output, old)
    try:
        os.rename(place, output)
    except OSError:
        os.rename(old, output)
        raise
    foreign = [n for n in os.listdir(old) if not is_of_dataset(n)]
    if not foreign:
        shutil.rmtree(old, ignore_errors=True)
        return
    kept = _unused(f"{output}.replaced")
    os.rename(old, kept)
    logging.warning(
        "%s held files that are not of a data set, such as %s: they are kept "
        "in %s, together with all that was there.",
        output,
        sorted(foreign)[0],
        kept,
    )


def _remove_leftovers(output: str) -> None:
    """Deletes what killed runs on this host have left beside `output`."""
    parent, name = os.path.split(output)
    if not os.path.isdir(parent):
        return
    pattern = re.compile(re.escape(name) + r"\.tmp-(\d+)-(.+?)(\.old)?")
    for entry in sorted(os.listdir(parent)):
        match = pattern.fullmatch(entry)
        if not match:
            continue
        path = os.path.join(parent, entry)
        pid, host, old = int(match[1]), match[2], match[3]
        if host != socket.gethostname() or _is_alive(pid):
            logging.warning(
                "%s belongs to a conversion to the same place, process %d on "
                "%s. If that is not running any more, delete it.",
                path,
                pid,
                host,
            )
        elif old and not os.path.exists(output):
            # Killed between the two renames of _move.
            logging.warning("Putting %s back to %s.", path, output)
            os.rename(path, output)
        else:
            logging.warning("Removing %s, left by a killed run.", path)
            shutil.rmtree(path)


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # of an earlier process with our number
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True


def _missing_parents(path: str) -> list[str]:
    """Folders to be made for `path` to exist, innermost first."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing


def _unused(path: str) -> str:
    number, free = 1, path
    while os.path.lexists(free):
        number, free = number + 1, f"{path}-{number}"
    return free


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignores signals for the moment of a clean-up or rename."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, signal.SIG_IGN) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
