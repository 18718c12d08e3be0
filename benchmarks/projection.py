"""Prints the predictions of docs/scaling.md, and draws its picture.

    python -m benchmarks.projection --picture=docs/scaling.svg

Nothing is measured here: launch/ring.py is fed with published speeds of single
accelerators. A test holds the tables against the document.
"""

import dataclasses
from collections.abc import Sequence

from absl import app, flags

from benchmarks import tables
from launch import ring

_PICTURE = flags.DEFINE_string(
    "picture", None, "SVG file to draw; none by default."
)

COUNTS = (8, 16, 64, 256, 1024)
SPEEDS = (25, 100, 400)
_GIGABIT_BYTES = 1e9 / 8
_LATENCY = 10e-6
_LOCAL_LATENCY = 1e-6
_FLOAT_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to communicate.

    Attributes:
        title: For people.
        compression: See `ring.Work`.
        overlap: See `ring.Work`.
    """

    title: str
    compression: ring.Compression = "none"
    overlap: float = 0.0


VARIANTS = (
    Variant("as is"),
    Variant("bfloat16", compression="bfloat16"),
    Variant("full overlap", overlap=1.0),
)


@dataclasses.dataclass(frozen=True)
class Job:
    """A network on one accelerator, as published.

    Attributes:
        title: For people.
        parameters: Of the network, trainable.
        rows: Images in a step on one accelerator.
        images_per_second: Of one accelerator.
    """

    title: str
    parameters: float
    rows: int
    images_per_second: float

    def work(self, variant: Variant) -> ring.Work:
        """Returns its step."""
        return ring.Work(
            compute=self.rows / self.images_per_second,
            gradient_bytes=_FLOAT_BYTES * self.parameters,
            compression=variant.compression,
            overlap=variant.overlap,
        )


# tests/models/test_summary.py counts the same.
_RESNET_50 = 25_557_032
# NVIDIA DeepLearningExamples, ResNet-50 v1.5 for TensorFlow, DGX A100, XLA.
TF32 = Job("A100, TF32", _RESNET_50, 256, 909)
MIXED = Job("A100, mixed precision", _RESNET_50, 256, 2375)


@dataclasses.dataclass(frozen=True)
class Published:
    """A published scaling.

    Attributes:
        title: For people.
        job: What was trained.
        cluster: Where.
        count: On how many accelerators.
        base: Compared with how many.
        efficiency: What was found.
    """

    title: str
    job: Job
    cluster: ring.Cluster
    count: int
    base: int
    efficiency: float

    def predicted(self, variant: Variant) -> float:
        """Returns the same number by the model."""
        work = self.job.work(variant)
        large = ring.predict(self.count, work, self.cluster)
        small = ring.predict(self.base, work, self.cluster)
        return large.efficiency / small.efficiency


def cluster(per_host: int, network: float, interconnect: float) -> ring.Cluster:
    """Returns a cluster, its speeds given in Gbit/s."""
    return ring.Cluster(
        per_host=per_host,
        network=ring.Link(_LATENCY, network * _GIGABIT_BYTES),
        interconnect=ring.Link(_LOCAL_LATENCY, interconnect * _GIGABIT_BYTES),
    )


# NVLink in one direction: 300 GB/s of an A100, 80 GB/s of a P100. Horovod's
# hosts: PCIe is assumed. The network inside one host does not matter.
_DGX_A100 = cluster(8, 100, 2400)
_UBER = cluster(4, 25, 100)
_BIG_BASIN = cluster(8, 50, 640)

# docs/scaling.md names the sources.
PUBLISHED = (
    Published(
        "ResNet-50, TF32, 8 A100 (NVIDIA, TensorFlow)",
        TF32,
        _DGX_A100,
        8,
        1,
        7.70 / 8,
    ),
    Published(
        "ResNet-50, mixed precision, 8 A100 (NVIDIA, TensorFlow)",
        MIXED,
        _DGX_A100,
        8,
        1,
        7.32 / 8,
    ),
    Published(
        "Inception V3, 512 Pascal GPUs, 25 Gbit/s (Horovod)",
        Job("Inception V3, P100", 23.9e6, 64, 142),
        _UBER,
        512,
        1,
        0.90,
    ),
    Published(
        "ResNet-101, 512 Pascal GPUs, 25 Gbit/s (Horovod)",
        Job("ResNet-101, Pascal", 44.7e6, 64, 1656.82 / 16),
        _UBER,
        512,
        1,
        0.90,
    ),
    Published(
        "VGG-16, 512 Pascal GPUs, 25 Gbit/s (Horovod)",
        Job("VGG-16, P100", 138.4e6, 64, 154),
        _UBER,
        512,
        1,
        0.68,
    ),
    Published(
        "ResNet-50, 256 P100 against 8, 50 Gbit/s (Goyal et al.)",
        Job("ResNet-50, P100", _RESNET_50, 32, 195),
        _BIG_BASIN,
        256,
        8,
        0.90,
    ),
)


def scaling(job: Job) -> str:
    """Returns a table of efficiencies on hosts of 8 A100."""
    rows = []
    for count in COUNTS:
        cells = [
            f"{efficiency(job, count, speed, variant):.3f}"
            for speed in SPEEDS
            for variant in VARIANTS
        ]
        rows.append([f"{count:,}", *cells])
    header = [
        "accelerators",
        *(
            f"{speed} Gbit/s, {variant.title}"
            for speed in SPEEDS
            for variant in VARIANTS
        ),
    ]
    return tables.markdown(header, rows)


def efficiency(job: Job, count: int, speed: float, variant: Variant) -> float:
    """Returns the predicted efficiency on hosts of 8 A100."""
    where = cluster(8, speed, 2400)
    return ring.predict(count, job.work(variant), where).efficiency


def comparison() -> str:
    """Returns a table of published efficiencies beside the model's."""
    rows = [
        [
            known.title,
            f"{known.efficiency:.3f}",
            f"{known.predicted(VARIANTS[0]):.3f}",
            f"{known.predicted(VARIANTS[-1]):.3f}",
        ]
        for known in PUBLISHED
    ]
    header = [
        "efficiency",
        "published",
        "model, no overlap",
        "model, full overlap",
    ]
    return tables.markdown(header, rows)


def draw(path: str) -> None:
    """Draws the efficiency of the mixed-precision job as an SVG file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # The same picture gives the same bytes, and few of them.
    mpl.rcParams |= {"svg.hashsalt": "lockstep", "svg.fonttype": "none"}
    counts = [8 * 2**i for i in range(8)]
    styles = dict(zip(VARIANTS, ("-", "--", ":"), strict=True))
    colours = dict(
        zip(SPEEDS, ("tab:red", "tab:orange", "tab:blue"), strict=True)
    )
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(
        title="ResNet-50 on A100, mixed precision, 256 images each: model",
        xlabel="accelerators, 8 a host",
        ylabel="efficiency, weak scaling",
        ylim=(0.5, 1.02),
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.grid(alpha=0.3)
    for speed, colour in colours.items():
        for variant, style in styles.items():
            axes.plot(
                counts,
                [efficiency(MIXED, n, speed, variant) for n in counts],
                style,
                color=colour,
                label=f"{speed} Gbit/s, {variant.title}",
            )
    axes.legend(ncols=3, fontsize=8, loc="lower left")
    figure.savefig(path, metadata={"Date": None})


def main(arguments: Sequence[str]) -> None:
    """Prints the tables and draws."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    for job in (MIXED, TF32):
        print(f"### {job.title}\n\n{scaling(job)}\n")
    print(f"### Published\n\n{comparison()}")
    if _PICTURE.value:
        draw(_PICTURE.value)


if __name__ == "__main__":
    app.run(main)
