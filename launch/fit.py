"""Latency and bandwidth of an all-reduce, from measurements of it.

    python -m launch.fit --measurements=allreduce.json

The file holds a list of objects with the keys `engine`, `processes`, `bytes`
and `seconds`; `python -m benchmarks.scaling --allreduce` writes it. Prints a
Markdown table. Exit codes: 0 done; 2 bad flag or file.
"""

import dataclasses
import itertools
import json
import sys
from collections.abc import Sequence

import numpy as np
from absl import flags

from launch import ring, usage

_FLAGS = flags.FlagValues()
_MEASUREMENTS = flags.DEFINE_string(
    "measurements",
    None,
    "JSON file of measured all-reduces, see above.",
    flag_values=_FLAGS,
)


# Less is rounding: no reason for another term.
_NOISE = 1e-12


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One all-reduce, timed.

    Attributes:
        engine: Who made it, such as "horovod".
        processes: Members of the ring, at least 2.
        bytes: Size that each member contributed.
        seconds: Duration of a call.
    """

    engine: str
    processes: int
    bytes: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Fit:
    """An all-reduce as the alpha-beta model describes it.

    Attributes:
        link: Latency and bandwidth of a hop.
        overhead: Seconds of a call whatever n and S, such as the wait for a
            background thread's next cycle.
        errors: Of each measurement: predicted / measured - 1.
    """

    link: ring.Link
    overhead: float
    errors: tuple[float, ...] = ()

    def seconds(self, processes: int, size: float) -> float:
        """Returns the predicted time of a call; none for one process."""
        if processes == 1:
            return 0.0
        return self.overhead + ring.ring_seconds(processes, size, self.link)


def fit(measurements: Sequence[Measurement]) -> Fit:
    """Returns the model whose relative errors have the least sum of squares.

    Relative, since times range over four orders of magnitude and small
    messages would otherwise not count. No term is negative: what comes out
    below 0 is left out.

    Args:
        measurements: At least two sizes or two numbers of processes.

    Raises:
        usage.UsageError: The measurements do not determine a bandwidth.
    """
    n = np.array([m.processes for m in measurements], np.float64)
    size = np.array([m.bytes for m in measurements], np.float64)
    seconds = np.array([m.seconds for m in measurements], np.float64)
    if len(seconds) < 2 or (n < 2).any() or (seconds <= 0).any():
        raise usage.UsageError(
            f"{len(seconds)} measurement(s): a fit needs at least two, each "
            "of 2 or more processes and of more than 0 seconds."
        )
    hops = 2 * (n - 1)
    terms = np.stack([hops / n * size, hops, np.ones_like(n)])
    best = _least_squares((terms / seconds).T)
    if best[0] <= 0:
        raise usage.UsageError(
            "The measured times do not grow with the size: no bandwidth can "
            "be fitted. Measure larger messages."
        )
    errors = terms.T @ best / seconds - 1
    return Fit(
        link=ring.Link(latency=float(best[1]), bandwidth=float(1 / best[0])),
        overhead=float(best[2]),
        errors=tuple(map(float, errors)),
    )


def _least_squares(terms: np.ndarray) -> np.ndarray:
    """Returns x >= 0 for which terms @ x is nearest to 1.

    Three unknowns: trying every set of terms that are not 0 is exact. Of sets
    that fit equally well, as where all rings have one length, the first with
    the fewest terms is taken.

    Args:
        terms: [measurements, 3].
    """
    # Bytes are large numbers, calls are not: make their columns comparable.
    scale = np.linalg.norm(terms, axis=0)
    scale[scale == 0] = 1
    terms, ones = terms / scale, np.ones(len(terms))
    best, least = np.zeros(len(scale)), float(len(terms))
    for count in range(1, len(scale) + 1):
        for used in itertools.combinations(range(len(scale)), count):
            columns = terms[:, used]
            found, _, rank, _ = np.linalg.lstsq(columns, ones, rcond=1e-9)
            left = float(np.sum((columns @ found - ones) ** 2))
            better = left < least - _NOISE
            if rank == count and (found >= 0).all() and better:
                best, least = np.zeros(len(scale)), left
                best[list(used)] = found
    return best / scale


def read(path: str) -> list[Measurement]:
    """Returns what a file of measurements holds.

    Raises:
        usage.UsageError: It cannot be read as such.
    """
    try:
        with open(path) as file:
            return [Measurement(**item) for item in json.load(file)]
    except (OSError, ValueError, TypeError) as error:
        raise usage.UsageError(
            f"--measurements={path}: {error}. It must be a list of objects "
            "with the keys engine, processes, bytes and seconds, as "
            "`python -m benchmarks.scaling --allreduce` writes it."
        ) from error


def describe(measurements: Sequence[Measurement]) -> str:
    """Returns a Markdown table of fits, one an engine."""
    lines = [
        "| engine | measurements | overhead of a call, us | alpha, us | "
        "beta, GB/s | relative error, median | largest |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for engine in sorted({m.engine for m in measurements}):
        own = [m for m in measurements if m.engine == engine]
        found = fit(own)
        errors = np.abs(found.errors)
        lines.append(
            f"| {engine} | {len(own)} | {1e6 * found.overhead:,.0f} | "
            f"{1e6 * found.link.latency:,.0f} | "
            f"{found.link.bandwidth / 1e9:,.3f} | "
            f"{100 * np.median(errors):.0f} % | {100 * errors.max():.0f} % |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Prints the fits; returns the exit code."""
    return usage.run("launch.fit", __doc__ or "", _FLAGS, _main, arguments)


def _main(rest: list[str]) -> int:
    if rest:
        raise usage.UsageError(f"{rest[0]!r} is not a flag. See --help.")
    if not _MEASUREMENTS.value:
        raise usage.UsageError(
            "--measurements is missing. Name a file that `python -m "
            "benchmarks.scaling --allreduce --output=FILE` has written."
        )
    measurements = read(_MEASUREMENTS.value)
    if not measurements:
        raise usage.UsageError(
            f"No measurements in --measurements={_MEASUREMENTS.value}. Take "
            "some: `python -m benchmarks.scaling --allreduce`."
        )
    print(describe(measurements))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
