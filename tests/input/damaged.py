"""Ways in which a file of records gets damaged, for tests of several packages.

`write` makes three files; the second is the one to damage. Its records are
numbers 6 to 13 of the split, and the damage is at the fourth of them.
"""

import dataclasses
import pathlib
import struct
from collections.abc import Callable

from tests.conftest import write_dataset

SIZES = (6, 8, 5)
EXAMPLES = sum(SIZES)
FILE = "train-00001-of-00003.tfrecord"
FIRST, AT = 6, 3
_FRAME = 12 + 4


@dataclasses.dataclass(frozen=True)
class Case:
    """A kind of damage.

    Attributes:
        harm: Makes the damaged file from the bytes and the offsets of its
            frames; None deletes it.
        lost: Numbers of the records that cannot be read.
        at: Which frame of the file the damage is reported at.
        reason: What the report says.
    """

    harm: Callable[[bytearray, list[int]], bytes | None]
    lost: tuple[int, ...]
    at: int
    reason: str


def flip(position: int) -> Callable[[bytearray, list[int]], bytes]:
    """Flips a byte, counted from the beginning of the damaged frame."""

    def harm(data: bytearray, offsets: list[int]) -> bytes:
        data[offsets[AT] + position] ^= 0xFF
        return bytes(data)

    return harm


REST = tuple(range(FIRST + AT, FIRST + SIZES[1]))
ALL = tuple(range(FIRST, FIRST + SIZES[1]))
CASES = {
    "data": Case(
        flip(30), REST[:1], AT, "the data do not match their checksum"
    ),
    "length": Case(flip(1), REST, AT, "the length of a record is damaged"),
    "length's checksum": Case(
        flip(9), REST, AT, "the length of a record is damaged"
    ),
    "truncated": Case(
        lambda data, offsets: bytes(data[: offsets[AT] + 20]),
        REST,
        AT,
        "the file is truncated here",
    ),
    "truncated in a header": Case(
        lambda data, offsets: bytes(data[: offsets[AT] + 5]),
        REST,
        AT,
        "the file is truncated here",
    ),
    "truncated between records": Case(
        lambda data, offsets: bytes(data[: offsets[AT]]),
        REST,
        AT,
        "the file ends here",
    ),
    "emptied": Case(lambda data, offsets: b"", ALL, 0, "the file ends here"),
    "deleted": Case(lambda data, offsets: None, ALL, 0, "the file is missing"),
}


def write(directory: pathlib.Path) -> None:
    """Writes the data set, whole."""
    write_dataset(directory, SIZES)


def offsets_of(data: bytes) -> list[int]:
    """Where the frames of an intact file begin."""
    offsets = [0]
    while offsets[-1] < len(data):
        (length,) = struct.unpack_from("<Q", data, offsets[-1])
        offsets.append(offsets[-1] + length + _FRAME)
    return offsets[:-1]


def damage(directory: pathlib.Path, case: str) -> int:
    """Damages the second file; returns the offset to be reported."""
    path = directory / FILE
    data = path.read_bytes()
    offsets = offsets_of(data)
    harmed = CASES[case].harm(bytearray(data), offsets)
    if harmed is None:
        path.unlink()
    else:
        path.write_bytes(harmed)
    return offsets[CASES[case].at]
