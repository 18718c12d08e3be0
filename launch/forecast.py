"""A training on clusters of growing size, as Markdown tables."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from launch import ring, usage

_HEADER = (
    "accelerators",
    "global batch",
    "compute, ms",
    "all-reduce, ms",
    "of it exposed, ms",
    "efficiency",
    "images/s",
    "steps",
    "hours",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """A training, and how fast one accelerator is at it.

    Attributes:
        facts: Of `trainer.plan.facts`.
        rows: Images in a step on one accelerator, however many there are
            (weak scaling).
        compute: Seconds of that step without communication.
        compute_source: Where that number comes from, for people.
        compression: See `ring.Work`.
        overlap: See `ring.Work`.
    """

    facts: Mapping[str, Any]
    rows: int
    compute: float
    compute_source: str
    compression: ring.Compression = "none"
    overlap: float = 0.0

    @property
    def images(self) -> int:
        """Images that the whole run sees, on any number of accelerators."""
        return self.facts["total_steps"] * self.facts["global_batch_size"]

    @property
    def work(self) -> ring.Work:
        """A step of it."""
        return ring.Work(
            compute=self.compute,
            gradient_bytes=self.facts["gradient_bytes"],
            compression=self.compression,
            overlap=self.overlap,
        )


@dataclasses.dataclass(frozen=True)
class Peak:
    """How fast an accelerator computes.

    Attributes:
        tflops: Its peak, in 1e12 floating-point operations a second.
        utilisation: Share of it that the network's layers reach, in (0, 1].
    """

    tflops: float
    utilisation: float


def make_training(
    facts: Mapping[str, Any],
    *,
    fewest: int,
    rows: int | None,
    speed: float | Peak,
    compression: ring.Compression | None,
    overlap: float,
) -> Training:
    """Returns a training with the speed of one accelerator.

    Args:
        facts: Of `trainer.plan.facts`.
        fewest: The smallest number of accelerators to plan for.
        rows: Images in a step on one accelerator; None divides the global
            batch of the facts among the fewest.
        speed: Seconds of a step of these rows, or the accelerator's peak.
        compression: See `ring.Work`; None: that of the facts.
        overlap: See `ring.Work`.

    Raises:
        usage.UsageError: The batch cannot be divided, or the operations of
            the network are not known.
    """
    if rows is None:
        rows, left = divmod(facts["global_batch_size"], fewest)
        if left or not rows:
            raise usage.UsageError(
                f"train.global_batch_size={facts['global_batch_size']} cannot "
                f"be divided among {fewest} accelerators. Set "
                "--rows_per_accelerator, or choose a divisor of it."
            )
    if not isinstance(speed, Peak):
        seconds, source = speed, f"{speed:g} s a step, as given"
    elif not facts["flops_per_image_step"]:
        raise usage.UsageError(
            f"The layers of {facts['model']!r} are not known to the count of "
            "operations. Measure a step and give --seconds_per_step instead "
            "of --tflops."
        )
    else:
        operations = rows * facts["flops_per_image_step"]
        seconds = operations / (1e12 * speed.tflops * speed.utilisation)
        source = f"{speed.utilisation:g} of {speed.tflops:g} TFLOPS"
    return Training(
        facts=facts,
        rows=rows,
        compute=seconds,
        compute_source=source,
        compression=compression or facts["gradient_compression"],
        overlap=overlap,
    )


def describe(training: Training) -> str:
    """Returns what is known of the training, as a Markdown list."""
    facts = training.facts
    epochs = training.images / facts["train_examples"]
    return "\n".join(
        [
            f"- {facts['model']}, {facts['parameters']:,} parameters: "
            f"{facts['gradient_bytes'] / 1e6:,.1f} MB of gradients a step; "
            f"{facts['flops_per_image_step'] / 1e9:,.2f} GFLOPs an image",
            f"- {training.images:,} images in all, {epochs:,.1f} epochs; "
            f"{training.rows:,} a step on each accelerator. The gin file's "
            f"global batch is {facts['global_batch_size']:,}: another one "
            "needs another learning rate",
            f"- compute: {training.compute_source}",
            f"- gradients on the wire: compression {training.compression}; "
            f"overlap with the backward pass {training.overlap:g}",
            "- not counted: reading and decoding images, checkpoints, "
            "evaluations, slower members",
        ]
    )


def describe_cluster(cluster: ring.Cluster) -> str:
    """Returns the cluster in one line."""
    return (
        f"{cluster.per_host} accelerators a host, "
        f"{_gigabits(cluster.interconnect)} between them, "
        f"{_gigabits(cluster.network)} and "
        f"{1e6 * cluster.network.latency:g} us between hosts."
    )


def _gigabits(link: ring.Link) -> str:
    return f"{link.bandwidth * 8 / 1e9:g} Gbit/s"


def table(
    training: Training, accelerators: Iterable[int], cluster: ring.Cluster
) -> str:
    """Returns a table of predictions, one row a number of accelerators."""
    rows = [_HEADER, ("---:",) * len(_HEADER)]
    for count in accelerators:
        step = ring.predict(count, training.work, cluster)
        batch = count * training.rows
        steps = math.ceil(training.images / batch)
        rows.append(
            (
                f"{count:,}",
                f"{batch:,}",
                f"{1000 * step.compute:,.1f}",
                f"{1000 * step.all_reduce:,.1f}",
                f"{1000 * step.exposed:,.1f}",
                f"{100 * step.efficiency:.1f} %",
                f"{batch / step.seconds:,.0f}",
                f"{steps:,}",
                f"{steps * step.seconds / 3600:,.3f}",
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
