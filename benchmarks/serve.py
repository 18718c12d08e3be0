"""Measures `trainer.serve` against its model called in a loop.

    python -m benchmarks.serve
    python -m benchmarks.serve --case=resnet20
    python -m benchmarks.serve --soak_minutes=10

Serves a ResNet (made-up weights) in a process of its own and asks for one JPEG
of 500x375 a request, from 1, 8 and 32 clients in this process, each with its
own connection. The peer is the SavedModel without a server: one encoded picture
a call, and 32 a call. With --soak_minutes: good and bad requests and clients
that leave, in any order; errors of ours are what is neither an answer, nor the
request's fault, nor a limit. Prints Markdown. Close other programs first.
"""

import pathlib
import tempfile
from collections.abc import Sequence

from absl import app, flags

from benchmarks import (
    cases,
    serve_clients,
    serve_model,
    serve_soak,
    serve_turns,
    tables,
    turns,
)

_CASE = flags.DEFINE_enum(
    "case", "resnet18", list(cases.CASES), "What to serve."
)
_REQUESTS = flags.DEFINE_integer(
    "requests", 400, "Of one picture each, in a turn.", lower_bound=1
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 3, "Turns of each contender; medians are shown.", lower_bound=1
)
_SOAK = flags.DEFINE_float(
    "soak_minutes",
    0.0,
    "Instead of the speed: how long to send good and bad requests.",
    lower_bound=0.0,
)


def main(arguments: Sequence[str]) -> None:
    """Measures and prints the tables."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    conditions = tables.conditions()
    with tempfile.TemporaryDirectory() as folder:
        case = cases.CASES[_CASE.value]
        version = serve_model.export(pathlib.Path(folder), case)
        pictures = serve_turns.jpegs()
        turns.say("starting the server")
        with serve_clients.running(str(version)) as server:
            if _SOAK.value:
                print(conditions)
                print(f"- {case.builder}, depth {case.depth}")
                print(serve_soak.soak(server, pictures, 60 * _SOAK.value))
                return
            measured = serve_turns.measure(
                server, str(version), pictures, _ROUNDS.value, _REQUESTS.value
            )
    print(conditions)
    print(f"- {case.builder}, depth {case.depth}, {case.pixels} px")
    print(serve_turns.report(measured))


if __name__ == "__main__":
    app.run(main)
