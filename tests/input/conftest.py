"""What the tests of the conversion share."""

import gzip
import os
import pathlib
import struct
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from input import convert, dataset

FEATURES = ["image/class/label", "image/encoded", "image/filename"]


def run_convert(*arguments: str) -> int:
    """Runs the binary in this process; returns its exit code."""
    return convert.main(["input.convert", *arguments])


def read_records(
    directory: pathlib.Path,
) -> dict[str, tuple[str, int, bytes]]:
    """Returns (split, label, encoded) of each file name in a data set."""
    records = {}
    for split, shards in dataset.load(str(directory)).splits.items():
        for shard in shards:
            path = str(directory / shard.file)
            for record in tf.data.TFRecordDataset(path):
                data = record.numpy()
                feature = tf.train.Example.FromString(data).features.feature
                assert sorted(feature) == FEATURES
                # In this order, or the bytes could differ from run to run.
                places = [data.index(name.encode()) for name in FEATURES]
                assert places == sorted(places)
                label, encoded, name = (feature[name] for name in FEATURES)
                records[os.fsdecode(name.bytes_list.value[0])] = (
                    split,
                    label.int64_list.value[0],
                    encoded.bytes_list.value[0],
                )
    return records


def contents(directory: pathlib.Path) -> dict[str, bytes]:
    """Returns the bytes of each file in a folder."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def image_bytes(
    name: str, seed: int, shape: tuple[int, int, int] = (6, 7, 3)
) -> bytes:
    """Returns an image of random pixels, PNG or JPEG by its name."""
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    encode = tf.io.encode_png if name.endswith("png") else tf.io.encode_jpeg
    return encode(pixels).numpy()


def make_folder(
    root: pathlib.Path,
    names: list[str],
    shape: tuple[int, int, int] = (6, 7, 3),
) -> pathlib.Path:
    """Writes an image to each name that looks like one, else text."""
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            path.write_bytes(image_bytes(name.lower(), seed, shape))
        else:
            path.write_bytes(b"text")
    return root


def write_idx(
    folder: pathlib.Path, prefix: str, images: np.ndarray, labels: np.ndarray
) -> None:
    """Writes uint8 [N, H, W] and [N] as two idx.gz files."""
    folder.mkdir(exist_ok=True)
    header = struct.pack(">IIII", 0x803, *images.shape)
    with gzip.open(folder / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
        file.write(header + images.tobytes())
    header = struct.pack(">II", 0x801, len(labels))
    with gzip.open(folder / f"{prefix}-labels-idx1-ubyte.gz", "wb") as file:
        file.write(header + labels.tobytes())


def idx_pixels() -> np.ndarray:
    """The images of `idx`, first train and then test: uint8 [50, 5, 6]."""
    return np.random.default_rng(0).integers(0, 256, [50, 5, 6], np.uint8)


@pytest.fixture
def eager() -> Iterator[None]:
    """Runs tf.functions op by op: XLA compiles for seconds at a time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def idx(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with 40 train and 10 test images; labels 0, 1, ... 9, 0 ..."""
    labels = np.arange(50, dtype=np.uint8) % 10
    write_idx(tmp_path / "idx", "train", idx_pixels()[:40], labels[:40])
    write_idx(tmp_path / "idx", "t10k", idx_pixels()[40:], labels[40:])
    return tmp_path / "idx"
