"""Tests of input/convert_folder.py: layouts, and what is no picture."""

import os
import pathlib

import pytest

from input import convert_folder
from input.errors import DataError
from tests.input.conftest import make_folder


def names_of(source):
    return {s: [p.name for p in pics] for s, pics in source.splits.items()}


def test_split_layout(tmp_path):
    names = ["train/b/1.jpg", "train/a/1.jpg", "Val/a/1.jpg", "test/b/1.jpg"]
    root = make_folder(tmp_path, names)
    source = convert_folder.read_folder(str(root))
    assert names_of(source) == {
        "train": ["train/a/1.jpg", "train/b/1.jpg"],
        "validation": ["Val/a/1.jpg"],
        "test": ["test/b/1.jpg"],
    }
    assert [p.label for p in source.splits["train"]] == [0, 1]
    assert source.splits["test"][0].label == 1
    assert source.class_names == ("a", "b")
    assert source.default_split == ""


def test_nested_folders_links_and_odd_names(tmp_path):
    root = tmp_path / "in"
    names = ["a/x/y/1.JPEG", "a/2.jpg", "b/ü ß.png", "b/x.y.png"]
    make_folder(root, names)
    (root / "b" / "no_extension").write_bytes((root / names[1]).read_bytes())
    os.symlink(root / "a" / "x", root / "b" / "link")
    os.symlink(root / "b", root / "b" / "loop")
    os.mkfifo(root / "b" / "pipe.jpg")  # would be read for ever
    source = convert_folder.read_folder(str(root))
    assert names_of(source)["train"] == [
        "a/2.jpg",
        "a/x/y/1.JPEG",
        "b/link/y/1.JPEG",
        "b/no_extension",
        "b/x.y.png",
        "b/ü ß.png",
    ]
    assert source.skipped == (
        "b/loop: a link to a folder it lies in",
        "b/pipe.jpg: not an image file",
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "has no folders. --source=folder needs one folder per class"),
        (["1.jpg", "2.jpg"], "has no folders."),
        (["a/1.jpg"], r"found 1 class\(es\) in the split train \(a\), but at"),
        (["train/1.jpg"], r"found 0 class\(es\) in the split train, but at"),
        (["a/1.jpg", "b/"], "/b: class folder without images. Put"),
        (
            ["a/1.jpg", "b/Thumbs.db"],
            r"/b: class folder without images \(b/Thumbs\.db: not an image "
            r"file\)\. Put images",
        ),
        (["train/a/1.jpg", "train/b/"], "/train/b: class folder without"),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/c/1.jpg"],
            "the split 'test' has classes that are missing in train: c. Add",
        ),
        (["test/a/1.jpg", "val/a/1.jpg"], "test, validation but no folder tr"),
        (
            ["train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"],
            "two folders for the split 'validation': train, val, valid",
        ),
        (
            ["train/a/1.jpg", "test/a/1.jpg", "masks/1.jpg"],
            r"like splits \(test, train\) beside others \(masks\). If they",
        ),
        (["train/1.jpg", "car/1.jpg"], r"splits \(train\) beside others \(car"),
    ],
)
def test_layouts_that_are_refused(tmp_path, names, message):
    for name in names:
        if name.endswith("/"):
            (tmp_path / name).mkdir(parents=True)
        else:
            make_folder(tmp_path, [name])
    with pytest.raises(DataError, match=message) as e:
        convert_folder.read_folder(str(tmp_path))
    assert str(tmp_path) in str(e.value)


def test_a_class_named_train_needs_split(tmp_path):
    root = make_folder(tmp_path, ["train/1.jpg", "car/1.jpg"])
    source = convert_folder.read_folder(str(root), split_given=True)
    assert source.class_names == ("car", "train")


def test_a_class_name_that_is_not_utf8(tmp_path):
    for name in (b"a", b"\xff"):
        folder = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        make_folder(folder, ["1.jpg"])
    with pytest.raises(DataError, match="is not UTF-8"):
        convert_folder.read_folder(str(tmp_path))
