"""The turns of benchmarks.serve: the model alone, and a server with clients."""

import collections
import dataclasses
import pathlib
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from benchmarks import (
    photos,
    serve_clients,
    tables,
    turns,
)

_CLIENTS = (1, 8, 32)
_LARGE = 32
_PICTURES = 16


@dataclasses.dataclass(frozen=True)
class Turn:
    """What was measured in one turn.

    Attributes:
        pictures: Answered in a second.
        p50: Median of the seconds of a request.
        p99: Of the seconds of a request.
        batch: Mean number of pictures in a batch.
    """

    pictures: float
    p50: float
    p99: float
    batch: float


def measure(
    server: serve_clients.Server,
    version: str,
    pictures: Sequence[bytes],
    rounds: int,
    requests: int,
) -> dict[str, list[Turn]]:
    """Lets the model alone and the server take turns.

    Args:
        server: Serves the model.
        version: Folder of the model.
        pictures: To classify, encoded.
        rounds: Turns of each contender.
        requests: In a turn.

    Returns:
        By contender, its turns.
    """
    call = tf.saved_model.load(version).signatures["serving_default"]
    measured: dict[str, list[Turn]] = collections.defaultdict(list)
    for size in (1, _LARGE):
        _bare(call, pictures, size, 3 * size)  # to warm it up
    for number in range(rounds):
        turns.say(f"round {number + 1} of {rounds}")
        for size in (1, _LARGE):
            turn = _bare(call, pictures, size, requests)
            measured[bare(size)].append(turn)
        for clients in _CLIENTS:
            turn = _served(server, pictures, clients, requests)
            measured[served(clients)].append(turn)
    return measured


def _bare(
    call: tf.types.experimental.ConcreteFunction,
    pictures: Sequence[bytes],
    size: int,
    total: int,
) -> Turn:
    seconds = []
    for start in range(0, max(total, size), size):
        batch = [pictures[(start + i) % len(pictures)] for i in range(size)]
        began = time.perf_counter()
        np.asarray(call(image_bytes=tf.constant(batch))["probabilities"])
        seconds.append(time.perf_counter() - began)
    return _turn(seconds, size * len(seconds), sum(seconds), size)


def _served(
    server: serve_clients.Server,
    pictures: Sequence[bytes],
    clients: int,
    total: int,
) -> Turn:
    requests = [
        server.predict(pictures[i % len(pictures)]) for i in range(total)
    ]
    before = server.metrics()
    began = time.perf_counter()
    seconds = serve_clients.ask(server, requests, clients)
    wall = time.perf_counter() - began
    after = server.metrics()
    count, pictures_ = (
        after[f"lockstep_batch_pictures_{what}"]
        - before[f"lockstep_batch_pictures_{what}"]
        for what in ("count", "sum")
    )
    return _turn(seconds, total, wall, pictures_ / count)


def _turn(
    seconds: Sequence[float], pictures: int, wall: float, batch: float
) -> Turn:
    p50, p99 = np.percentile(seconds, [50, 99])
    return Turn(pictures / wall, float(p50), float(p99), batch)


def bare(size: int) -> str:
    """Returns what the peer is called in the tables."""
    return f"model alone, {size} a call"


def served(clients: int) -> str:
    """Returns what the server is called in the tables."""
    return f"served, clients: {clients}"


def report(measured: Mapping[str, Sequence[Turn]]) -> str:
    """Returns the tables: medians of the rounds, and ratios by round."""
    rows = []
    for name, found in measured.items():
        medians = [
            statistics.median(getattr(turn, field.name) for turn in found)
            for field in dataclasses.fields(Turn)
        ]
        pictures, p50, p99, batch = medians
        rows.append(
            [
                name,
                f"{pictures:,.1f}",
                f"{1000 * p50:,.1f}",
                f"{1000 * p99:,.1f}",
                f"{batch:.1f}",
            ]
        )
    speeds = tables.markdown(
        ["", "pictures/s", "p50, ms", "p99, ms", "mean batch"], rows
    )
    pairs = [(served(1), bare(1))]
    pairs += [(served(n), bare(_LARGE)) for n in _CLIENTS[1:]]
    ratios = []
    for ours, theirs in pairs:
        both = zip(measured[ours], measured[theirs], strict=True)
        found_ratios = [a.pictures / b.pictures for a, b in both]
        ratios.append(
            [
                f"{ours} / {theirs}",
                f"{statistics.median(found_ratios):.3f}",
                f"{min(found_ratios):.3f}..{max(found_ratios):.3f}",
            ]
        )
    compared = tables.markdown(
        ["ratio of pictures/s", "median", "min..max of rounds"], ratios
    )
    return f"\n{speeds}\n\n{compared}"


def jpegs() -> list[bytes]:
    """Returns photos of 500x375, encoded."""
    made = photos.Photos(
        width=500,
        height=375,
        quality=90,
        pictures=_PICTURES,
        shards=1,
        records=_PICTURES,
    )
    with tempfile.TemporaryDirectory() as folder:
        to = pathlib.Path(folder) / "photos"
        made.write(to)
        return [
            path.read_bytes()
            for path in sorted((to / "files" / "a").glob("*.jpg"))
        ]
