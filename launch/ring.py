"""What a training step costs on many accelerators: an alpha-beta model.

A message of s bytes takes alpha + s / beta seconds: alpha is the latency of a
link, beta its bandwidth. A ring all-reduce of S bytes among n accelerators is a
reduce-scatter and an all-gather of n - 1 messages of S / n bytes each:

    2 (n - 1) alpha + 2 (n - 1) / n * S / beta

(Thakur, Rabenseifner and Gropp 2005, "Optimization of Collective Communication
Operations in MPICH", IJHPCA 19(1):49-66; Patarasuk and Yuan 2009, "Bandwidth
optimal all-reduce algorithms for clusters of workstations", J. Parallel and
Distributed Computing 69(2):117-124, doi:10.1016/j.jpdc.2008.09.002). Thakur et
al. count the additions too, (n - 1) / n * S * gamma: the same function of n and
S as the transfer, so that a fitted beta contains them.

docs/scaling.md says what was measured against it and what it leaves out.
"""

import dataclasses
from typing import Literal

Compression = Literal["none", "float16", "bfloat16"]

# Bytes on the wire for a byte of float32 gradient.
COMPRESSIONS: dict[Compression, float] = {
    "none": 1.0,
    "float16": 0.5,
    "bfloat16": 0.5,
}

# The gradient needs two products, by the weights and by the activations, where
# the forward pass needs one.
BACKWARD_SHARE = 2 / 3


@dataclasses.dataclass(frozen=True)
class Link:
    """The way from a member of a ring to the next.

    Attributes:
        latency: Seconds before the first byte arrives (alpha), at least 0.
        bandwidth: Bytes a second in one direction (beta), above 0.
    """

    latency: float
    bandwidth: float

    def __post_init__(self) -> None:
        if self.latency < 0:
            raise ValueError(f"latency={self.latency} s must be at least 0.")
        if self.bandwidth <= 0:
            raise ValueError(
                f"bandwidth={self.bandwidth} bytes/s must be above 0."
            )


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Hosts of accelerators.

    Attributes:
        per_host: Accelerators in a host, at least 1.
        network: Between hosts; its bandwidth is that of a host, which its
            accelerators share.
        interconnect: Between the accelerators of a host.
    """

    per_host: int
    network: Link
    interconnect: Link

    def __post_init__(self) -> None:
        if self.per_host < 1:
            raise ValueError(f"per_host={self.per_host} must be at least 1.")

    def hosts(self, accelerators: int) -> int:
        """Returns how many hosts hold the accelerators, all of them full.

        Raises:
            ValueError: They fit neither in one host nor fill several.
        """
        if accelerators < 1:
            raise ValueError(f"{accelerators} accelerators: at least 1.")
        if accelerators <= self.per_host:
            return 1
        if accelerators % self.per_host:
            raise ValueError(
                f"{accelerators} accelerators do not fill hosts of "
                f"{self.per_host}. Choose a multiple of {self.per_host}, or "
                f"at most {self.per_host}."
            )
        return accelerators // self.per_host


def ring_seconds(members: int, size: float, link: Link) -> float:
    """Returns the time of a ring all-reduce.

    Args:
        members: Length of the ring, at least 1.
        size: Bytes that each member contributes.
        link: Between neighbours.
    """
    if members < 1:
        raise ValueError(f"members={members} must be at least 1.")
    hops = 2 * (members - 1)
    return hops * link.latency + hops / members * size / link.bandwidth


def all_reduce_seconds(
    accelerators: int, size: float, cluster: Cluster
) -> float:
    """Returns the time of a hierarchical ring all-reduce.

    Reduce-scatter in each host; for each of its g shares a ring between the
    hosts, all at once over the host's network; all-gather in each host. The g
    rings of S / g bytes share the bandwidth, so that together they take as
    long as one ring of S bytes.

    Args:
        accelerators: In all; see `Cluster.hosts`.
        size: Bytes that each accelerator contributes.
        cluster: Where they are.
    """
    hosts = cluster.hosts(accelerators)
    inside = ring_seconds(accelerators // hosts, size, cluster.interconnect)
    return inside + ring_seconds(hosts, size, cluster.network)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """A training step as one accelerator sees it.

    Attributes:
        compute: Seconds without communication, above 0.
        gradient_bytes: Of all gradients, as float32.
        compression: Number format of gradients on the wire.
        overlap: Share of the backward pass that the all-reduce may run beside,
            in [0, 1]. 0 for Lockstep, whose engines make one grouped call
            when the last gradient is there; 1 is the bound for calls that are
            issued tensor by tensor while the backward pass goes on.
    """

    compute: float
    gradient_bytes: float
    compression: Compression = "none"
    overlap: float = 0.0

    def __post_init__(self) -> None:
        if self.compute <= 0:
            raise ValueError(f"compute={self.compute} s must be above 0.")
        if not 0 <= self.overlap <= 1:
            raise ValueError(f"overlap={self.overlap} must be in [0, 1].")

    @property
    def wire_bytes(self) -> float:
        """Bytes that the all-reduce adds up."""
        return self.gradient_bytes * COMPRESSIONS[self.compression]

    @property
    def hideable(self) -> float:
        """Seconds of communication that cost nothing."""
        return self.overlap * BACKWARD_SHARE * self.compute


@dataclasses.dataclass(frozen=True)
class Step:
    """A predicted training step.

    Attributes:
        compute: Seconds without communication.
        all_reduce: Seconds of communication.
        exposed: Seconds of it that the accelerators wait for.
    """

    compute: float
    all_reduce: float
    exposed: float

    @property
    def seconds(self) -> float:
        """Length of the step."""
        return self.compute + self.exposed

    @property
    def efficiency(self) -> float:
        """Share of linear speed-up (weak scaling), in (0, 1]."""
        return self.compute / self.seconds


def predict(accelerators: int, work: Work, cluster: Cluster) -> Step:
    """Returns the step on a number of accelerators, rows on each the same."""
    all_reduce = all_reduce_seconds(accelerators, work.wire_bytes, cluster)
    exposed = max(0.0, all_reduce - work.hideable)
    return Step(work.compute, all_reduce, exposed)
