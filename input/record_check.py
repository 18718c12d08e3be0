"""Can training use this record? Found out by decoding it in full."""

from __future__ import annotations

import dataclasses
import struct
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf import message

from input import duplicates, image_check, slice_columns, sources
from input.tally import Tally

NOT_AN_EXAMPLE = "records that are no examples"
OUT_OF_RANGE = "labels out of range"
UNDECODABLE = "images that cannot be decoded"
TOO_LARGE = "images that are too large to decode"

# Where the number of classes is not known: a label that was damaged in memory
# must not make a histogram of 16 GB.
_MOST_CLASSES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a record must hold.

    Attributes:
        fields: Where in a record things are.
        num_classes: Labels are below it; None where that is not known.
        max_pixels: Height times width of the largest image to be decoded.
    """

    fields: sources.Fields
    num_classes: int | None
    max_pixels: int


class DefectError(Exception):
    """A record cannot be used; says why."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Parsed(NamedTuple):
    """A record taken apart.

    Attributes:
        encoded: The encoded image.
        labels: Its class, or all that it has, from 0.
        name: What people call it; b"" if it has no name.
        slices: Its values of the slice columns.
    """

    encoded: bytes
    labels: tuple[int, ...]
    name: bytes
    slices: tuple[str, ...]


def parse(record: bytes, fields: sources.Fields) -> Parsed | None:
    """Returns what is in a record; None if it is no example."""
    try:
        features = tf.train.Example.FromString(record).features.feature
    except message.DecodeError:
        return None
    images = features[fields.image].bytes_list.value
    labels = features[fields.label].int64_list.value
    if len(images) != 1 or (len(labels) != 1 and not fields.multi_label):
        return None

    def text(name: str) -> bytes:
        values = features[name].bytes_list.value
        return values[0] if values else b""

    return Parsed(
        images[0],
        tuple(label - fields.label_offset for label in labels),
        text(fields.name),
        tuple(
            text(slice_columns.PREFIX + column).decode(errors="replace")
            for column in fields.slice_columns
        ),
    )


def row(record: bytes, rules: Rules, tally: Tally) -> tuple[object, ...]:
    """Returns the columns of `examine.Table` from `label` on.

    Args:
        record: A serialised tf.train.Example.
        rules: What it must hold.
        tally: The image is added to it, as one of class 0.

    Raises:
        DefectError: It does not hold that.
    """
    parsed = parse(record, rules.fields)
    if parsed is None:
        raise DefectError(
            NOT_AN_EXAMPLE,
            f"no tf.train.Example with one {rules.fields.image!r} (bytes) and "
            f"{'any' if rules.fields.multi_label else 'one'} "
            f"{rules.fields.label!r} (int64)",
        )
    encoded = parsed.encoded
    classes = rules.num_classes or _MOST_CLASSES
    for each in parsed.labels:
        if problem := rules.fields.wrong_label(each, classes):
            raise DefectError(OUT_OF_RANGE, problem)
    try:
        height, width = image_size(encoded)
        if height * width > rules.max_pixels:
            raise DefectError(
                TOO_LARGE,
                f"{width:,} x {height:,} pixels; --max_pixels allows "
                f"{rules.max_pixels:,}",
            )
        image_format = image_check.kind(encoded)
        image = image_check.decode(encoded)
    except image_check.UnreadableImageError as e:
        raise DefectError(UNDECODABLE, str(e)) from e
    except tf.errors.OpError as e:
        raise DefectError(UNDECODABLE, e.message.splitlines()[0]) from e
    tally.add(image, image_format.lower(), 0, pixels=True)
    looks, comparable = duplicates.look(image)
    return (
        _label(parsed.labels, rules),
        np.frombuffer(duplicates.digest(encoded), np.uint64),
        np.frombuffer(duplicates.digest(image), np.uint64),
        looks,
        comparable,
    )


def _label(labels: tuple[int, ...], rules: Rules) -> int | np.ndarray:
    """Returns the class; of multi-label data bool [C], those that it has."""
    if not rules.fields.multi_label:
        return labels[0]
    has = np.zeros([rules.num_classes or 0], bool)
    has[list(labels)] = True
    return has


def image_size(encoded: bytes) -> tuple[int, int]:
    """Returns height and width that the header of an image gives.

    Zeros where there is no such header: decoding it says what is wrong. A WebP
    has 16,383 pixels a side at most, and is not asked.
    """
    if encoded.startswith(b"\x89PNG\r\n\x1a\n") and len(encoded) >= 24:
        width, height = struct.unpack(">II", encoded[16:24])
        return height, width
    if encoded.startswith(b"\xff\xd8\xff"):
        try:
            height, width, _ = tf.io.extract_jpeg_shape(encoded).numpy()
        except tf.errors.InvalidArgumentError:
            return 0, 0
        return int(height), int(width)
    if encoded.startswith((b"GIF87a", b"GIF89a")) and len(encoded) >= 10:
        width, height = struct.unpack("<HH", encoded[6:10])
        return height, width
    if encoded.startswith(b"BM") and len(encoded) >= 26:
        # Of a negative height the rows go from top to bottom.
        width, height = struct.unpack("<ii", encoded[18:26])
        return abs(height), abs(width)
    return 0, 0
