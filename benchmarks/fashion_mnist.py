"""Fashion-MNIST with fewer training pictures: some of each class."""

import dataclasses
import gzip
import pathlib
from collections.abc import Sequence

import numpy as np

from input import convert_sources

FOLDER = "/usr/share/datasets/fashion-mnist"


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The data set, read.

    Attributes:
        images: By split, `train` and `test`: uint8 [examples, 28, 28].
        labels: By split: uint8 [examples].
    """

    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]

    @property
    def sizes(self) -> np.ndarray:
        """Training pictures of each class, int64 [classes]."""
        return np.bincount(self.labels["train"])


def read(folder: str) -> Pictures:
    """Reads the four idx files of a data set of the MNIST family."""
    images, labels = {}, {}
    for split, pictures in convert_sources.read_idx(folder).splits.items():
        images[split] = np.stack(
            [np.asarray(p.origin)[..., 0] for p in pictures]
        )
        labels[split] = np.array([p.label for p in pictures], np.uint8)
    return Pictures(images, labels)


def write(
    pictures: Pictures, sizes: Sequence[int], folder: pathlib.Path
) -> None:
    """Writes idx files with the first training pictures of each class.

    Args:
        pictures: All there are; the test split stays whole.
        sizes: Of each class, how many to keep.
        folder: Written; it must not be there.
    """
    labels = pictures.labels["train"]
    # How many of its class come before each picture.
    before = np.zeros(len(labels), int)
    for label in range(len(sizes)):
        mine = labels == label
        before[mine] = np.arange(mine.sum())
    kept = {"train": before < np.asarray(sizes)[labels], "test": slice(None)}
    folder.mkdir()
    for split, prefix in (("train", "train"), ("test", "t10k")):
        _write_idx(
            folder / f"{prefix}-images-idx3-ubyte.gz",
            pictures.images[split][kept[split]],
        )
        _write_idx(
            folder / f"{prefix}-labels-idx1-ubyte.gz",
            pictures.labels[split][kept[split]],
        )


def _write_idx(path: pathlib.Path, values: np.ndarray) -> None:
    """Writes values of 0 to 255 as a gzipped idx file."""
    header = np.array([0x0800 + values.ndim, *values.shape], ">u4")
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.tobytes() + values.astype(np.uint8).tobytes())
