"""What to change where a training waits for its input."""

import dataclasses

from input import cache, memory, pipeline, probe, spec

# Below this share of what is needed, a stage is what holds all up.
_ENOUGH = 1.1


@dataclasses.dataclass(frozen=True)
class Starved:
    """A training that waits for its input.

    Attributes:
        wait: Share of the time that it waits, in (0, 1].
        delivered: Images a second that this host gets.
        needed: Images a second that it would take without waiting.
    """

    wait: float
    delivered: float
    needed: float


def give(
    data: pipeline.TrainData,
    host: spec.HostShare,
    starved: Starved,
    rates: probe.Rates,
) -> str:
    """Returns one line: what is too slow, by measured rates, and the remedies.

    Args:
        data: What is read.
        host: Who reads.
        starved: What was seen.
        rates: What `probe.measure` found.
    """
    if data.service is None:
        # The step takes part of the cores while this is measured: what has
        # come in is certain.
        certain = starved.delivered / rates.cores
        rates = dataclasses.replace(rates, decode=max(rates.decode, certain))
    decoding = rates.decode * rates.cores
    facts = (
        f"Input is too slow: waiting {starved.wait:.0%} of the time, "
        f"{starved.delivered:,.0f} images/s of the {starved.needed:,.0f} that "
        f"the step could take. Measured here: reading {_said(rates.read)} "
        f"records/s with one reader, decoding {rates.decode:,.0f} images/s a "
        f"core on {rates.cores:g} core{'s' * (rates.cores != 1)}."
    )
    if data.service is not None:
        return (
            f"{facts} train_data.service is in use: start more data servers "
            "(launch.local --data_service=N), on hosts with free cores."
        )
    return f"{facts} {_remedy(data, host, starved.needed, rates, decoding)}"


def _said(rate: float) -> str:
    return "unlimited" if rate == float("inf") else f"{rate:,.0f}"


def _remedy(
    data: pipeline.TrainData,
    host: spec.HostShare,
    needed: float,
    rates: probe.Rates,
    decoding: float,
) -> str:
    # Where batches are divided by records, each host reads those of all.
    by_all = len(data.files(host)) == len(data.files(spec.HostShare(0, 1, 1)))
    reading = needed * (host.count if by_all else 1)
    others: list[str] = []
    if decoding < needed * _ENOUGH:
        problem = "Decoding is the limit"
        if _fits(data, host, "decoded"):
            others.append('train_data.cache = "decoded"')
        if _larger_than_needed(data):
            others.append("smaller records (input.convert --max_side)")
        others.append("more cores a process")
        others.append("data servers on other cores (train_data.service)")
    elif rates.read < reading * _ENOUGH:
        problem = "Reading is the limit"
        if _fits(data, host, "encoded"):
            others.append('train_data.cache = "encoded"')
        others.append("a faster disk")
        others.append("smaller records (input.convert --max_side)")
        if host.count > 1 and by_all:
            others.append('train_data.shard_by = "file"')
    else:
        problem = (
            "Each stage is fast enough alone: they share their cores with the "
            "step, or with other processes"
        )
        if _fits(data, host, "decoded"):
            others.append('train_data.cache = "decoded"')
        others.append("data servers on other hosts (train_data.service)")
        others.append("fewer processes beside this one")
    return f"{problem}. Try, the best first: {'; '.join(others)}."


def _fits(
    data: pipeline.TrainData, host: spec.HostShare, policy: cache.Policy
) -> bool:
    """Returns whether a cache that is not in use could be."""
    if data.cache in (policy, "decoded"):
        return False
    try:
        wanted = dataclasses.replace(data, cache=policy)
        wanted.check_memory(data.files(host), memory.free_bytes())
    except (ValueError, OSError):
        return False
    return True


def _larger_than_needed(data: pipeline.TrainData) -> bool:
    """Returns whether stored images are larger than what is made of them."""
    largest = data.source.info.largest_image
    return largest is not None and max(largest) > 2 * max(data.image_shape[:2])
