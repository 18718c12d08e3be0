"""Serves an exported model over HTTP.

    python -m trainer.serve --model=DIR

DIR is the --output of trainer.export, its folder saved_model/NAME, or one
version in it. Answers TensorFlow Serving's REST API (POST
/v1/models/NAME:predict), POST /classify with a picture, and has a page to drop
a picture on. The highest version that works is served; a newer one is loaded
when it appears. Ends with exit code 0 on SIGTERM or Ctrl-C, when what has been
asked is answered; 2: wrong use; 3: no version can be loaded. docs/serving.md
has more.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import logging as python_logging
import os
import signal
import sys
from collections.abc import Sequence

from absl import logging

from input import command, errors, transcode
from trainer.serving.limits import MEBIBYTE, Limits

_EXTRA = ("starlette", "uvicorn", "prometheus_client", "python_multipart")
_FLAGS = command.define_flags(
    {
        "model": "The --output of trainer.export, its folder saved_model/NAME, "
        "or the folder of one version, which is then the only one served.",
        "name": "What to call the model in URLs. Default: the name of its "
        "folder.",
        "host": "Address to listen at; 0.0.0.0 is all of this machine's. Who "
        "can reach it can use it: there is no password.",
        "batch_sizes": "Sizes of the batches that are computed, rising. What "
        "waits is filled up to one of them.",
    },
    {
        "port": (8501, 0, 65535, "Port; 0 for one that is free."),
        "batch_wait_ms": (
            2,
            0,
            10_000,
            "Milliseconds that the first picture of a batch waits for others "
            "while the model is idle.",
        ),
        "max_body_mb": (32, 1, 1024, "Bytes of a request, in 2**20."),
        "max_pictures": (128, 1, 100_000, "Pictures in a request."),
        "max_pixels": (
            50_000_000,
            1,
            transcode.MAX_PIXELS,
            "Width times height of a picture, read before it is decoded.",
        ),
        "max_queue": (
            512,
            1,
            1_000_000,
            "Pictures of all requests that are checked, wait or are computed; "
            "above it the answer is 503.",
        ),
        "max_connections": (512, 1, 100_000, "Connections at a time."),
        "read_timeout": (
            30,
            1,
            3600,
            "Seconds for a request to arrive, its head and its body each.",
        ),
        "timeout": (
            30,
            1,
            3600,
            "Seconds from a request that has arrived to its answer; above it "
            "the answer is 504. As long, at the end, for what is under way.",
        ),
        "poll_seconds": (2, 1, 3600, "Between two looks for new versions."),
    },
    {"help": "Show this text."},
    {"host": "127.0.0.1", "batch_sizes": "1,2,4,8,16,32"},
)


def main(arguments: Sequence[str]) -> int:
    """Serves until a signal; returns the exit code."""
    return command.run("trainer.serve", __doc__ or "", _FLAGS, _main, arguments)


def _main(rest: list[str]) -> int:
    if rest:
        raise errors.UsageError(f"{rest[0]!r} is not a flag: see --help.")
    if not _FLAGS.model:
        raise errors.UsageError(
            "--model is missing. Give the --output of trainer.export."
        )
    missing = [n for n in _EXTRA if importlib.util.find_spec(n) is None]
    if missing:
        raise errors.UsageError(
            f"{', '.join(missing)} is not installed: run `pip install "
            "'.[serve]'` in Lockstep's folder."
        )
    # Its parts need the extra.
    from trainer.serving import running

    sizes = _sizes(_FLAGS.batch_sizes)
    limits = Limits(
        max_body_bytes=_FLAGS.max_body_mb * MEBIBYTE,
        max_pictures=_FLAGS.max_pictures,
        max_pixels=_FLAGS.max_pixels,
        max_queue=_FLAGS.max_queue,
        read_seconds=_FLAGS.read_timeout,
        timeout_seconds=_FLAGS.timeout,
    )
    logging.set_verbosity(logging.INFO)
    logging.use_absl_handler()
    # One line for each client that does not speak HTTP would be many.
    python_logging.getLogger("uvicorn").setLevel(python_logging.ERROR)
    with transcode.quiet_pillow():
        server = running.Server(
            running.Settings(
                model=_FLAGS.model,
                name=_FLAGS.name or None,
                host=_FLAGS.host,
                port=_FLAGS.port,
                limits=limits,
                batch_sizes=sizes,
                batch_wait_seconds=_FLAGS.batch_wait_ms / 1000,
                max_connections=_FLAGS.max_connections,
                poll_seconds=_FLAGS.poll_seconds,
            )
        )
        # Uvicorn raises a signal again when it has ended: the default action
        # would make an orderly end a death by signal.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: server.stop())
        asyncio.run(server.run(functools.partial(print, flush=True)))
    return 0


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(size) for size in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or sizes[0] < 1 or list(sizes) != sorted(set(sizes)):
        raise errors.UsageError(
            f"--batch_sizes={text} must be rising numbers from 1 on, such as "
            "1,2,4,8."
        )
    return sizes


def _leave(code: int) -> None:
    """Ends the process at once.

    A thread that computes an answer which nobody waits for any more would be
    waited for, and TensorFlow taken apart piece by piece.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(main(sys.argv))
