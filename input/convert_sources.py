"""What `input.convert` reads: pictures with a name, a label and an origin.

A source gives every picture of a data set as a `Picture`, which knows where
its bytes are but does not hold them: a million photos cost a few hundred
megabytes of names, and no pixels. Two sources are here, scikit-learn's digits
and the MNIST family's idx files; `input.convert_folder`, `input.convert_csv`
and `input.convert_tfds` have the others.
"""

from __future__ import annotations

import dataclasses
import gzip
import math
import os
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from input.errors import DataError, UsageError

DEFAULT_SPLIT = "train:0.8,validation:0.1,test:0.1"

_DIGIT_NAMES = tuple("0123456789")

# The magic number of an idx file: two zero bytes, 8 for unsigned bytes, and
# the number of dimensions. http://yann.lecun.com/exdb/mnist describes it.
_IDX_IMAGES = 0x00000803
_IDX_LABELS = 0x00000801
_IDX_FILES = {"train": "train", "test": "t10k"}


@dataclasses.dataclass(frozen=True, slots=True)
class Extent:
    """Bytes inside a file that holds many pictures."""

    path: str
    start: int
    length: int


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """One picture to be converted.

    Attributes:
        name: Path relative to the source, with `/`; unique in the source.
        label: Class, from 0; of multi-label data the classes, ascending.
        size: Bytes it takes, about; shards are planned with it.
        origin: The folder that `name` is relative to, or where else the file
            is, or the pixels, uint8 [H, W, 1].
        slices: Values of the source's `slice_columns`.
    """

    name: str
    label: int | tuple[int, ...]
    size: int
    origin: str | Extent | np.ndarray
    slices: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[int, ...]:
        """Its class, or all that it has."""
        return self.label if isinstance(self.label, tuple) else (self.label,)

    def read(self) -> bytes:
        """Returns the file as found, or the pixels as PNG.

        Raises:
            OSError: The file cannot be read.
        """
        if isinstance(self.origin, str):
            with open(os.path.join(self.origin, self.name), "rb") as file:
                return file.read()
        if isinstance(self.origin, Extent):
            with open(self.origin.path, "rb") as file:
                file.seek(self.origin.start)
                return file.read(self.origin.length)
        return bytes(tf.io.encode_png(self.origin).numpy())


@dataclasses.dataclass(frozen=True)
class Source:
    """All pictures of a source, and what was left out.

    Attributes:
        splits: Pictures of each split. A source without splits of its own has
            everything in `train`.
        class_names: Name of each label.
        default_split: The value of --split if the user gives none; empty if
            the source has splits of its own.
        skipped: Files that are no pictures, each as "path: reason".
        scratch: Files to be removed once all pictures are read.
        multi_label: Whether a picture has any number of classes, 0 too.
        slice_columns: Columns that pictures are told apart by, with their
            values.
    """

    splits: Mapping[str, Sequence[Picture]]
    class_names: tuple[str, ...]
    default_split: str = ""
    skipped: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    multi_label: bool = False
    slice_columns: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict
    )


def read_digits() -> Source:
    """Reads scikit-learn's 1,797 handwritten digits, 8x8 grey.

    Its pixel values 0..16 become 0..255.

    Raises:
        UsageError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as e:
        raise UsageError(
            "--source=digits reads the digits that come with scikit-learn, "
            "which is not installed. Install it: pip install scikit-learn"
        ) from e
    digits = datasets.load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return Source(
        splits={"train": _pictures("digits", pixels, digits.target)},
        class_names=_DIGIT_NAMES,
        default_split=DEFAULT_SPLIT,
    )


def read_idx(directory: str, class_names: Sequence[str] = ()) -> Source:
    """Reads the four idx files of the MNIST family.

    They are `train-images-idx3-ubyte.gz`, `train-labels-idx1-ubyte.gz` and the
    same with `t10k`; they may be unpacked (without `.gz`).

    Args:
        directory: The folder that holds them.
        class_names: Name of each label; the digits 0..9 if empty.

    Raises:
        DataError: A file is missing, truncated or not what its name says, or
            a label has no class name.
    """
    names = tuple(class_names) or _DIGIT_NAMES
    splits = {}
    for split, prefix in _IDX_FILES.items():
        images_path = _find(directory, f"{prefix}-images-idx3-ubyte")
        labels_path = _find(directory, f"{prefix}-labels-idx1-ubyte")
        images = _read_idx_file(images_path, _IDX_IMAGES)
        labels = _read_idx_file(labels_path, _IDX_LABELS)
        if len(images) != len(labels):
            raise DataError(
                f"{images_path} holds {len(images):,} images but "
                f"{labels_path} holds {len(labels):,} labels. Download both "
                "again, from the same place."
            )
        if len(labels) and labels.max() >= len(names):
            raise DataError(
                f"{labels_path}: label {labels.max()} has no name, there are "
                f"{len(names)} classes. Name all classes with "
                "--class_names=NAME,NAME,..."
            )
        splits[split] = _pictures(split, images, labels)
    return Source(splits=splits, class_names=names)


def _pictures(
    folder: str, pixels: np.ndarray, labels: np.ndarray
) -> list[Picture]:
    """Makes pictures from uint8 [N, H, W] and their labels [N]."""
    return [
        Picture(f"{folder}/{i:05d}.png", int(label), image.size, image)
        for i, (image, label) in enumerate(
            zip(pixels[..., np.newaxis], labels, strict=True)
        )
    ]


def _find(directory: str, name: str) -> str:
    for candidate in (f"{name}.gz", name):
        path = os.path.join(directory, candidate)
        if os.path.isfile(path):
            return path
    raise DataError(
        f"{directory} has no {name}.gz. --source=idx needs the four files "
        "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, "
        "t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz in the "
        "folder given with --input."
    )


def _read_idx_file(path: str, magic: int) -> np.ndarray:
    """Returns uint8 of the shape that the header gives.

    Raises:
        DataError: Damaged gzip, wrong magic number, or a length that does not
            fit the header.
    """
    try:
        opened = gzip.open(path) if path.endswith(".gz") else open(path, "rb")
        with opened as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as e:
        raise DataError(
            f"{path}: cannot be read ({e}). Download it again."
        ) from e
    dimensions = magic & 0xFF
    header = 4 * (1 + dimensions)
    found = int.from_bytes(data[:4], "big")
    if len(data) < header or found != magic:
        raise DataError(
            f"{path}: begins with {data[:4].hex(' ') or 'nothing'}, but an "
            f"idx file of {dimensions} dimension(s) begins with "
            f"{magic.to_bytes(4, 'big').hex(' ')}. Is it another file?"
        )
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    expected = math.prod(shape)
    if len(data) - header != expected or 0 in shape[1:]:
        raise DataError(
            f"{path}: its header gives the dimensions "
            f"{' x '.join(map(str, shape))}, {expected:,} bytes, but "
            f"{len(data) - header:,} bytes follow. Download it again."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
