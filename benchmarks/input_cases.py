"""What benchmarks.input reads, with whom it is compared, and the aims."""

import dataclasses
from collections.abc import Mapping

from benchmarks import photos


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """Something to read.

    Attributes:
        title: For people.
        photos: The data set.
        batch: Pictures in a batch.
        ours: The contender that is compared with the others.
        peers: Those others, in the order of the table.
        aims: Least ratio to a peer's speed, by its name.
    """

    title: str
    photos: photos.Photos
    batch: int
    ours: str
    peers: tuple[str, ...]
    aims: Mapping[str, float]


TITLES = {
    "lockstep": "Lockstep, training",
    "records": "Lockstep, training order",
    "evaluation": "Lockstep, evaluation",
    "full": "libjpeg-turbo, full decode alone",
    "reduced": "libjpeg-turbo, decode at 1/8 alone",
    "torchvision": "torchvision DataLoader, PIL",
    "dali": "DALI on the CPU",
    "cat": "cat",
}

# Quality 97 makes 105 kB of a picture, as many bytes a pixel as ImageNet has.
_SMALL = photos.Photos(
    width=500, height=375, quality=97, pictures=64, shards=8, records=128
)
_LARGE = photos.Photos(
    width=4000, height=3000, quality=90, pictures=6, shards=4, records=12
)
_TINY = photos.Photos(
    width=64, height=48, quality=90, pictures=2, shards=2, records=8
)
_DECODERS = ("full", "torchvision", "dali", "evaluation")

CASES = {
    "small": Case(
        title="500x375 photos",
        photos=_SMALL,
        batch=32,
        ours="lockstep",
        peers=_DECODERS,
        aims={"full": 1.0, "torchvision": 2.0},
    ),
    "light": Case(
        title="500x375 photos, half the bytes",
        photos=dataclasses.replace(_SMALL, quality=90),
        batch=32,
        ours="lockstep",
        peers=_DECODERS,
        aims={"full": 1.0, "torchvision": 2.0},
    ),
    "large": Case(
        title="12-megapixel photos",
        photos=_LARGE,
        batch=4,
        ours="lockstep",
        peers=("reduced", *_DECODERS),
        aims={"full": 4.0},
    ),
    "records": Case(
        title="records without decoding",
        photos=dataclasses.replace(_SMALL, shards=16, records=256),
        batch=64,
        ours="records",
        peers=("cat",),
        aims={"cat": 0.8},
    ),
    "smoke": Case(
        title="64x48 pictures: a test of the benchmark itself",
        photos=_TINY,
        batch=4,
        ours="lockstep",
        peers=_DECODERS,
        aims={"full": 1.0},
    ),
    "smoke_records": Case(
        title="64x48 records: a test of the benchmark itself",
        photos=_TINY,
        batch=4,
        ours="records",
        peers=("cat",),
        aims={"cat": 0.8},
    ),
}
