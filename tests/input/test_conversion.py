"""Tests of input/conversion.py: folders from beginning to end."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from input import conversion, convert_request, dataset
from tests.input.conftest import (
    contents,
    image_bytes,
    make_folder,
    read_records,
    run_convert,
)
from tests.input.pictures import encoded, noise, opened, oriented, photo

CLASSES = [
    f"{c}/{i}.{e}" for c in "ab" for i in range(10) for e in ("jpg", "png")
]


def run(root, output, *flags):
    return run_convert(
        "--source=folder", f"--input={root}", f"--output={output}", *flags
    )


def split_names(count):
    """Names of `count` images of each of two classes in train and test."""
    classes = ("train/a", "train/b", "test/a", "test/b")
    return [f"{c}/{i}.png" for c in classes for i in range(count)]


def test_class_layout_is_split_by_default(tmp_path):
    root = make_folder(tmp_path / "in", CLASSES)
    output = tmp_path / "out"
    assert run(root, output) == 0
    info = dataset.load(str(output))
    assert info.class_names == ("a", "b")
    assert info.label_counts == {
        "train": (16, 16),
        "validation": (2, 2),
        "test": (2, 2),
    }
    assert info.image_shape == (6, 7, 3)
    assert info.image_format == "mixed"
    records = read_records(output)
    assert sorted(records) == sorted(CLASSES)
    for name, (_, label, data) in records.items():
        assert label == "ab".index(name[0])
        assert data == (root / name).read_bytes()  # as found, to the byte


def test_mean_and_std_are_of_the_train_split_alone(tmp_path):
    names = split_names(3)
    root = make_folder(tmp_path / "in", names)
    assert run(root, tmp_path / "out") == 0
    pixels = np.concatenate(
        [
            tf.io.decode_png((root / name).read_bytes()).numpy().reshape(-1, 3)
            for name in names
            if name.startswith("train")
        ]
    )
    info = dataset.load(str(tmp_path / "out"))
    assert info.channel_mean == pytest.approx(pixels.mean(axis=0), rel=1e-12)
    assert info.channel_std == pytest.approx(pixels.std(axis=0), rel=1e-12)


def test_split_layout_with_split_divides_train(tmp_path):
    names = split_names(4)
    root = make_folder(tmp_path / "in", names)
    split = "--split=train:0.75,validation:0.25"
    assert run(root, tmp_path / "out", split) == 0
    assert dataset.load(str(tmp_path / "out")).label_counts == {
        "train": (3, 3),
        "validation": (1, 1),
        "test": (4, 4),
    }


def test_a_class_absent_from_test_is_warned_of(tmp_path, caplog):
    names = ["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg"]
    root = make_folder(tmp_path / "in", names)
    assert run(root, tmp_path / "out") == 0
    assert "split='test' has no image of 1 of the 2 classes: b." in caplog.text


def test_file_names_that_are_not_utf8(tmp_path):
    root = make_folder(tmp_path / "in", ["a/1.png", "b/2.png"])
    odd = os.fsencode(root / "a") + b"/\xff.png"
    pathlib.Path(os.fsdecode(odd)).write_bytes(image_bytes("1.png", 5))
    split = "--split=train:1"
    assert run(root, tmp_path / "out", split) == 0
    assert os.fsdecode(b"a/\xff.png") in read_records(tmp_path / "out")


def test_what_is_no_image_is_listed_and_counted(tmp_path, caplog, capsys):
    root = make_folder(
        tmp_path / "in",
        [
            *CLASSES,
            "a/Thumbs.db",
            "a/notes.txt",
            "b/.hidden.jpg",
            ".git/x.png",
            "__MACOSX/a/1.png",
            "stray.jpg",
        ],
    )
    assert run(root, tmp_path / "out") == 0
    assert "6 files or folders are left out" in caplog.text
    for line in (
        "a/Thumbs.db: not an image file",
        "a/notes.txt: not an image file",
        "b/.hidden.jpg: hidden",
        ".git: hidden",
        "__MACOSX: hidden",
        "stray.jpg: not inside a class folder",
    ):
        assert line in caplog.text
    assert "6 files or folders that are no images" in capsys.readouterr().out
    assert sorted(read_records(tmp_path / "out")) == sorted(CLASSES)


@pytest.fixture
def spoilt(tmp_path):
    """40 good images and 4 unreadable ones."""
    root = make_folder(tmp_path / "in", CLASSES)
    whole = image_bytes("x.jpg", 0)
    (root / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "a" / "empty.png").touch()
    (root / "b" / "new.webp").write_bytes(b"RIFF\0\0\0\0WEBPVP8 ")
    os.symlink(tmp_path / "absent", root / "b" / "broken.jpg")
    return root


def test_unreadable_images_fail_the_run(spoilt, tmp_path, capsys):
    assert run(spoilt, tmp_path / "new" / "out") == 3
    error = capsys.readouterr().err
    assert "4 of 44 images cannot be read:\n" in error
    size = (spoilt / "a" / "cut.jpg").stat().st_size
    for line in (
        f"  a/cut.jpg: truncated or corrupt JPEG ({size} bytes): ",
        "  a/empty.png: the file is empty\n",
        "  b/broken.jpg: No such file or directory\n",
        "  b/new.webp: truncated or corrupt WebP (16 bytes): ",
    ):
        assert line in error
    assert "leave them out with --allow_unreadable=4." in error
    assert os.listdir(tmp_path) == ["in"]
    assert run(spoilt, tmp_path / "out", "--allow_unreadable=3") == 3
    assert os.listdir(tmp_path) == ["in"]


def test_unreadable_images_that_are_allowed(spoilt, tmp_path, caplog, capsys):
    assert run(spoilt, tmp_path / "out", "--allow_unreadable=4") == 0
    assert "a/empty.png: the file is empty" in caplog.text
    assert "4 unreadable images" in capsys.readouterr().out
    assert sorted(read_records(tmp_path / "out")) == sorted(CLASSES)
    info = dataset.load(str(tmp_path / "out"))
    assert sum(info.examples(split) for split in info.splits) == 40


def test_a_shard_of_unreadable_images_leaves_no_gap(tmp_path):
    root = make_folder(tmp_path / "in", ["a/1.jpg", "b/1.jpg"])
    for i in range(2, 12):
        (root / "a" / f"{i}.jpg").touch()
    output = tmp_path / "out"
    arguments = [f"--output={output}", "--split=train:1", "--shards=12"]
    assert run(root, output, *arguments, "--allow_unreadable=10") == 0
    info = dataset.load(str(output))
    assert sorted(os.listdir(output)) == [
        "dataset.json",
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
    ]
    assert [s.examples for s in info.splits["train"]] == [1, 1]
    dataset.verify(info, str(output), "train")


def test_a_split_of_unreadable_images_is_an_error(tmp_path, capsys):
    root = make_folder(tmp_path / "in", ["train/a/1.jpg", "train/b/1.jpg"])
    (root / "test" / "a").mkdir(parents=True)
    (root / "test" / "a" / "1.jpg").touch()
    assert run(root, tmp_path / "out", "--allow_unreadable=5") == 3
    assert "split='test': all images are unreadable" in capsys.readouterr().err


def test_sizes_and_channels_that_differ(tmp_path, capsys):
    root = make_folder(tmp_path / "in", ["a/1.jpg", "b/1.jpg"], (8, 5, 1))
    make_folder(root, ["a/2.jpg"], (4, 9, 1))
    output = tmp_path / "out"
    arguments = ["--split=train:1", "--overwrite"]
    assert run(root, output, *arguments) == 0
    info = dataset.load(str(output))
    assert info.image_shape is None
    assert (info.smallest_image, info.largest_image) == ((4, 5), (8, 9))
    assert info.image_format == "jpeg"
    assert info.channels == 1
    assert "width x height 5x4 to 9x8" in capsys.readouterr().out
    make_folder(root, ["b/2.jpg"], (8, 5, 3))
    assert run(root, output, *arguments) == 0
    assert dataset.load(str(output)).channels == 3


def test_what_is_stored_otherwise_than_found_is_said(tmp_path, capsys):
    root = make_folder(tmp_path / "in", CLASSES)
    found = {
        "a/x.gif": encoded(noise().quantize(9), "GIF"),
        "a/y.gif": encoded(noise(40, 3).quantize(9), "GIF"),
        "a/z.jpg": oriented(photo(), "JPEG", 6),
        "b/clear.png": encoded(noise(channels=4), "PNG"),
        "b/bitmap": encoded(noise(), "BMP"),  # without an extension
    }
    for name, data in found.items():
        (root / name).write_bytes(data)
    assert run(root, tmp_path / "out") == 0
    records = read_records(tmp_path / "out")
    for name, (_, _, data) in records.items():
        assert (data == (root / name).read_bytes()) == (name not in found)
    assert opened(records["a/z.jpg"][2]).size == (20, 30)
    lines = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("  re-encoded")
    ]
    assert [line.split(";")[0].split(None, 1)[1] for line in lines] == [
        "2 images, GIF to PNG",
        "1 images, BMP to PNG",
        "1 images, JPEG to PNG: turned upright",
        "1 images, PNG to PNG: laid over white",
    ]
    assert run(root, tmp_path / "small", "--max_side=5") == 0
    assert dataset.load(str(tmp_path / "small")).largest_image == (5, 5)
    output = capsys.readouterr().out
    assert "20 images, JPEG to JPEG: shrunk to 5 pixels" in output
    records = read_records(tmp_path / "small")
    sizes = {opened(data).size for _, _, data in records.values()}
    assert sizes == {(5, 4), (5, 1), (5, 3), (3, 5)}


def test_growth_is_exact(tmp_path):
    root = make_folder(tmp_path / "in", ["a/1.png", "b/1.png"])
    names = [f"a/{i}.gif" for i in range(5)]
    for name in names:
        (root / name).write_bytes(encoded(noise().quantize(9), "GIF"))
    request = convert_request.Request(
        "folder", str(tmp_path / "out"), str(root), split="train:1"
    )
    result = conversion.convert(request)
    records = read_records(tmp_path / "out")
    assert result.changes == {
        "GIF to PNG": (
            5,
            sum((root / name).stat().st_size for name in names),
            sum(len(records[name][2]) for name in names),
        )
    }


def test_max_pixels(tmp_path, capsys):
    root = make_folder(tmp_path / "in", CLASSES)
    (root / "a" / "big.png").write_bytes(
        encoded(Image.new("1", (30_000, 30_000)), "PNG")
    )
    assert run(root, tmp_path / "out") == 3
    assert (
        "a/big.png: 30,000 x 30,000 pixels are more than --max_pixels=178956970"
    ) in capsys.readouterr().err
    assert run(root, tmp_path / "out", "--max_pixels=41") == 3
    assert "41 of 41 images cannot be read" in capsys.readouterr().err


def test_workers_change_nothing(spoilt, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for output, workers in ((first, 1), (second, 4)):
        flags = [f"--workers={workers}", "--allow_unreadable=4"]
        assert run(spoilt, output, *flags) == 0
    assert contents(first) == contents(second)
    assert len(contents(first)) == 1 + 8 + 4 + 4


def test_a_class_folder_without_images_ends_with_3(tmp_path, capsys):
    root = make_folder(tmp_path / "in", ["a/1.jpg", "b/notes.txt"])
    assert run(root, tmp_path / "out") == 3
    assert f"{root}/b: class folder without images" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in"]
