"""Tests of input/convert_sources.py: the idx files."""

import gzip
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from input import convert_sources, dataset
from tests.input.conftest import (
    idx_pixels,
    read_records,
    run_convert,
    write_idx,
)

FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")
IMAGES = "train-images-idx3-ubyte.gz"
LABELS = "t10k-labels-idx1-ubyte.gz"


def run(folder, output, *flags):
    return run_convert(
        "--source=idx", f"--input={folder}", f"--output={output}", *flags
    )


def test_idx(idx, tmp_path):
    output = tmp_path / "out"
    assert run(idx, output) == 0
    info = dataset.load(str(output))
    assert info.image_shape == (5, 6, 1)
    assert info.label_counts == {"train": (4,) * 10, "test": (1,) * 10}
    pixels = idx_pixels()
    records = read_records(output)
    assert len(records) == 50
    for name, (split, label, encoded) in records.items():
        index = int(name.removeprefix(f"{split}/").removesuffix(".png"))
        image = tf.io.decode_png(encoded).numpy()[..., 0]
        offset = {"train": 0, "test": 40}[split]
        np.testing.assert_array_equal(image, pixels[offset + index])
        assert label == index % 10
    assert info.channel_mean == pytest.approx((pixels[:40].mean(),))
    assert info.channel_std == pytest.approx((pixels[:40].std(),))


def test_idx_unpacked_with_split_and_class_names(idx, tmp_path):
    for path in idx.iterdir():
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    names = [f"Ärmel {i}" for i in range(10)]
    split = "--split=train:0.75,validation:0.25"
    flag = "--class_names=" + ",".join(names)
    assert run(idx, tmp_path / "out", split, flag) == 0
    info = dataset.load(str(tmp_path / "out"))
    assert info.class_names == tuple(names)
    assert info.label_counts == {
        "train": (3,) * 10,
        "validation": (1,) * 10,
        "test": (1,) * 10,
    }


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (IMAGES, None, "has no train-images-idx3-ubyte.gz. --source=idx needs"),
        (LABELS, None, "has no t10k-labels-idx1-ubyte.gz"),
        (IMAGES, lambda d: b"\0\0\x08\1" + d[4:], "begins with 00 00 08 01"),
        (IMAGES, lambda d: b"", "begins with nothing"),
        (IMAGES, lambda d: d[:-1], "40 x 5 x 6, 1,200 bytes, but 1,199 bytes"),
        (IMAGES, lambda d: d + b"1", "but 1,201 bytes follow"),
        (LABELS, lambda d: d[:7] + b"\x09" + d[8:-1], "10 images but"),
        (LABELS, lambda d: d[:-1] + b"\x0a", "label 10 has no name"),
    ],
)
def test_idx_damaged(idx, tmp_path, capsys, name, change, message):
    data = gzip.decompress((idx / name).read_bytes())
    (idx / name).unlink()
    if change:
        (idx / name).write_bytes(gzip.compress(change(data)))
    code = run(idx, tmp_path / "out")
    assert code == 3
    error = capsys.readouterr().err
    assert message in error
    assert str(idx) in error
    assert os.listdir(tmp_path) == ["idx"]


@pytest.mark.parametrize("cut", [5, 200])
def test_idx_damaged_gzip(idx, tmp_path, capsys, cut):
    data = (idx / IMAGES).read_bytes()
    (idx / IMAGES).write_bytes(data[:cut])
    code = run(idx, tmp_path / "out")
    assert code == 3
    assert f"{IMAGES}: cannot be read" in capsys.readouterr().err


def test_idx_empty_split(idx, tmp_path, capsys):
    empty = np.zeros([0, 5, 6], np.uint8)
    write_idx(idx, "t10k", empty, np.zeros([0], np.uint8))
    code = run(idx, tmp_path / "out")
    assert code == 3
    assert "split='test' would be empty: there are 40 images in all" in (
        capsys.readouterr().err
    )


@pytest.mark.skipif(
    not FASHION_MNIST.is_dir(), reason="needs Debian's dataset-fashion-mnist"
)
def test_idx_reads_the_real_fashion_mnist():
    source = convert_sources.read_idx(str(FASHION_MNIST))
    assert {s: len(p) for s, p in source.splits.items()} == {
        "train": 60_000,
        "test": 10_000,
    }
    first = source.splits["train"][0]
    assert first.label == 9  # an ankle boot
    assert first.origin.shape == (28, 28, 1)
    assert first.origin.dtype == np.uint8
    assert np.bincount([p.label for p in source.splits["test"]]).tolist() == (
        [1000] * 10
    )
