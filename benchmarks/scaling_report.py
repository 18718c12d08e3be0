"""What benchmarks.scaling makes of its times."""

import dataclasses
import pathlib
import statistics
from collections.abc import Mapping, Sequence

from benchmarks import tables
from launch import fit

AIM = 0.9
ONE = "one process alone"
CONTROL = "{n} processes, each alone"
_QUIET = 0.95
_SIBLINGS = pathlib.Path("/sys/devices/system/cpu/cpu0/topology")


@dataclasses.dataclass(frozen=True)
class Phase:
    """Times with one number of processes.

    Attributes:
        processes: How many, at least 2.
        engines: Those that were measured.
        seconds: By contender, the seconds of a step in each round.
        busy: Share of its time that the one process was on its core.
    """

    processes: int
    engines: Sequence[str]
    seconds: Mapping[str, Sequence[float]]
    busy: float

    @property
    def control(self) -> str:
        """The contender that does not communicate."""
        return CONTROL.format(n=self.processes)

    def shares(self, whole: str, part: str) -> list[float]:
        """Returns, for each round, the time of `part` as a share of `whole`."""
        return tables.ratios(self.seconds, whole, part)

    def median(self, name: str) -> float:
        """Returns the median of the seconds of a step."""
        return statistics.median(self.seconds[name])


def no_reduce(engine: str) -> str:
    """Returns the name of an engine's training without all-reduce."""
    return f"{engine}, all-reduce switched off"


def reduce(engine: str) -> str:
    """Returns the name of an engine's all-reduce without training."""
    return f"{engine}, all-reduce only"


def times(phase: Phase) -> str:
    """Returns a table of the contenders' times."""
    rows = [
        [
            name,
            f"{1000 * phase.median(name):,.1f}",
            _range([1000 * s for s in seconds], ",.1f"),
        ]
        for name, seconds in phase.seconds.items()
    ]
    return tables.markdown(["contender", "ms a step", "min..max"], rows)


def quiet(phase: Phase) -> str:
    """Returns how much of its core the one process got, as a sentence."""
    text = f"The one process was on its core for {100 * phase.busy:.0f} % of"
    if phase.busy < _QUIET:
        return f"{text} its time: OTHER PROGRAMS RAN, do not use these numbers."
    return f"{text} its time."


def shares(phase: Phase) -> str:
    """Returns a table of efficiencies and of the all-reduce's share."""
    limit = phase.shares(phase.control, ONE)
    rows = [_row(f"{ONE} / {phase.control}: the machine", limit)]
    for engine in phase.engines:
        rows += [
            _row(
                f"{engine}: efficiency, {ONE} / {engine}",
                phase.shares(engine, ONE),
                f"{AIM:.2f}" if phase.processes == 2 else "",
            ),
            _row(
                f"{engine}: {phase.control} / {engine}",
                phase.shares(engine, phase.control),
            ),
            _row(
                f"{engine}: all-reduce only / step",
                phase.shares(engine, reduce(engine)),
            ),
        ]
        if no_reduce(engine) in phase.seconds:
            off = phase.shares(engine, no_reduce(engine))
            rows.append(
                _row(
                    f"{engine}: share of all-reduce and of waiting for it",
                    [1 - share for share in off],
                )
            )
    header = ["ratio of times", "median", "min..max of rounds", "aim"]
    return tables.markdown(header, rows)


def _row(title: str, values: Sequence[float], aim: str = "") -> list[str]:
    median = statistics.median(values)
    return [title, f"{median:.3f}", _range(values, ".3f"), aim]


def all_reduces(measurements: Sequence[fit.Measurement]) -> str:
    """Returns a table of median times, one row an engine and size."""
    counts = sorted({m.processes for m in measurements})
    kinds = sorted({(m.engine, m.bytes) for m in measurements})
    rows = []
    for engine, size in kinds:
        cells = []
        for n in counts:
            found = [
                1000 * m.seconds
                for m in measurements
                if (m.engine, m.bytes, m.processes) == (engine, size, n)
            ]
            median = statistics.median(found) if found else None
            cells.append("" if median is None else f"{median:,.2f}")
        rows.append([f"{engine}, {size / 1024:,.0f} KiB", *cells])
    header = ["ms of an all-reduce", *(f"{n} processes" for n in counts)]
    return tables.markdown(header, rows)


def predictions(
    phases: Sequence[Phase],
    measurements: Sequence[fit.Measurement],
    gradient_bytes: int,
) -> str:
    """Returns a table of predicted and measured steps.

    The prediction is the step of as many processes that do not communicate,
    on as few cores, plus the all-reduce of the gradients by the model. The
    model is fitted to the sweep, which has no message of that size.
    """
    rows = []
    for phase in phases:
        for engine in phase.engines:
            model = fit.fit([m for m in measurements if m.engine == engine])
            compute = phase.median(phase.control)
            all_reduce = model.seconds(phase.processes, gradient_bytes)
            predicted, measured = compute + all_reduce, phase.median(engine)
            rows.append(
                [
                    f"{engine}, {phase.processes} processes",
                    f"{1000 * compute:,.1f}",
                    f"{1000 * all_reduce:,.2f}",
                    f"{1000 * phase.median(reduce(engine)):,.2f}",
                    f"{1000 * predicted:,.1f}",
                    f"{1000 * measured:,.1f}",
                    f"{100 * (predicted / measured - 1):+.1f} %",
                ]
            )
    header = [
        "ms",
        "compute, measured",
        "all-reduce, model",
        "all-reduce, measured",
        "step, model",
        "step, measured",
        "difference",
    ]
    return tables.markdown(header, rows)


def topology() -> str:
    """Returns which hardware threads share a core with CPU 0."""
    try:
        siblings = (_SIBLINGS / "thread_siblings_list").read_text().strip()
    except OSError:
        return "no topology of the cores to be seen"
    return f"hardware threads of the first core, says Linux: {siblings}"


def _range(values: Sequence[float], style: str) -> str:
    return f"{min(values):{style}}..{max(values):{style}}"
