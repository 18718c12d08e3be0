"""TFRecord files read frame by frame, so that damage has a place.

A frame is the record's length (uint64) and its checksum (uint32), the record
and its checksum (uint32), all little-endian. Checksums are masked crc32c. A
length that cannot be trusted makes the rest of the file unreadable: nothing in
it says where the next frame begins.

Format: https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

import contextlib
import os
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import google_crc32c
import tensorflow as tf

from input import errors, gcs

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER = _LENGTH.size + _CHECKSUM.size
_MASK_DELTA = 0xA282EAD8
_ANY_LENGTH = 1 << 64


class Frame(NamedTuple):
    """One record where it lies.

    Attributes:
        offset: First byte of the frame in the file.
        record: The bytes; None where they do not match their checksum.
    """

    offset: int
    record: bytes | None


class Stretch(NamedTuple):
    """Frames in a row.

    Attributes:
        frames: As many as were asked for, or fewer and a `problem`.
        end: Offset of the byte after the last of them.
        problem: Why no frame can be read from `end` on, or "".
    """

    frames: list[Frame]
    end: int
    problem: str


def read(
    path: str,
    *,
    size: int,
    offset: int,
    count: int,
    max_bytes: int | None = None,
) -> Stretch:
    """Reads frames of a file.

    Args:
        path: May be on gs://; may be missing.
        size: Bytes that the file should have. No frame goes beyond.
        offset: Where a frame begins.
        count: Frames to read.
        max_bytes: No further frame is read once they have this many.

    Raises:
        errors.DataError: Whether the file is damaged cannot be told: it may
            not be read, or the disk does not answer.
    """
    found: list[Frame] = []
    end = size if max_bytes is None else offset + max_bytes
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            file.seek(offset)
            while len(found) < count and (offset < end or not found):
                header = file.read(_HEADER)
                problem = _problem(header, size - offset)
                if problem:
                    return Stretch(found, offset, problem)
                (length,) = _LENGTH.unpack_from(header)
                record = file.read(length)
                checksum = file.read(_CHECKSUM.size)
                if len(record) + len(checksum) < length + _CHECKSUM.size:
                    return Stretch(found, offset, "the file is truncated here")
                intact = checksum == _masked_crc(record)
                found.append(Frame(offset, record if intact else None))
                offset += _HEADER + length + _CHECKSUM.size
    except tf.errors.NotFoundError:
        return Stretch(found, offset, "the file is missing")
    except tf.errors.OutOfRangeError:
        return Stretch(found, offset, "the file has become shorter")
    except tf.errors.OpError as error:
        if tf.io.gfile.isdir(path):
            return Stretch(found, offset, "it is a folder, not a file")
        raise errors.DataError(
            f"{path} cannot be read: {str(error).splitlines()[0]}. Mend the "
            "disk, the network or the permissions, then run again."
        ) from error
    return Stretch(found, offset, "")


class Extent(NamedTuple):
    """How far the frames of a file go.

    Attributes:
        frames: How many there are, whether their records are whole or not.
        end: Offset of the byte after the last of them.
        problem: Why no frame can be read from `end` on, or "" where that is
            the end of the file.
    """

    frames: int
    end: int
    problem: str


def count(path: str, *, size: int) -> Extent:
    """Counts the frames of a file by their lengths; reads no record.

    Of a local file 12 bytes a record are read.

    Args:
        path: May be on gs://, where the whole file is read.
        size: Bytes of the file.

    Raises:
        OSError: A local file cannot be read.
        tf.errors.OpError: A remote file cannot be read.
    """
    frames = offset = 0
    with _random_access(path) as read_at:
        while offset < size:
            header = read_at(offset, _HEADER)
            # A right length that goes beyond the end: what follows is missing.
            problem = _problem(header, _ANY_LENGTH)
            if problem:
                return Extent(frames, offset, problem)
            (length,) = _LENGTH.unpack_from(header)
            end = offset + _HEADER + length + _CHECKSUM.size
            if end > size:
                return Extent(frames, offset, "the file is truncated here")
            frames, offset = frames + 1, end
    return Extent(frames, offset, "" if frames else "the file is empty")


@contextlib.contextmanager
def _random_access(path: str) -> Iterator[Callable[[int, int], bytes]]:
    """Yields a function that reads some bytes at an offset."""
    if gcs.is_remote(path):
        with tf.io.gfile.GFile(path, "rb") as remote:

            def read_at(offset: int, length: int) -> bytes:
                remote.seek(offset)
                return remote.read(length)

            yield read_at
        return
    # GFile would read half a megabyte at each offset.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield lambda offset, length: os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)


def _problem(header: bytes, room: int) -> str:
    """Returns why a frame with this header cannot be read, or "".

    Args:
        header: What was read of its 12 bytes.
        room: Bytes from its beginning to the end of the file.
    """
    if not header:
        return "the file ends here"
    if len(header) < _HEADER:
        return "the file is truncated here"
    length, checksum = header[: _LENGTH.size], header[_LENGTH.size :]
    (value,) = _LENGTH.unpack(length)
    if checksum != _masked_crc(length) or value > room:
        return "the length of a record is damaged"
    return ""


def _masked_crc(data: bytes) -> bytes:
    """Returns the 4 bytes that TFRecord files keep as a checksum."""
    crc = google_crc32c.value(data)
    rotated = (crc >> 15 | crc << 17) + _MASK_DELTA
    return _CHECKSUM.pack(rotated & 0xFFFFFFFF)
