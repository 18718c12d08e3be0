"""Tests of input/convert_folder.py, and of folders through the binary."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from input import convert, convert_folder, dataset
from input.errors import DataError


def run(root, *arguments):
    return convert.main(
        ["input.convert", "--source=folder", f"--input={root}", *arguments]
    )


def image_bytes(name, seed, shape=(6, 7, 3)):
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    encode = tf.io.encode_png if name.endswith("png") else tf.io.encode_jpeg
    return encode(pixels).numpy()


def make_folder(root, names, shape=(6, 7, 3)):
    """Writes an image to each name that looks like one, else text."""
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        is_image = path.suffix.lower() in (".jpg", ".jpeg", ".png")
        path.write_bytes(
            image_bytes(name.lower(), seed, shape) if is_image else b"text"
        )
    return root


def read_records(directory):
    """Returns {filename: (split, label, encoded)} of a data set."""
    info = dataset.load(str(directory))
    records = {}
    for split, shards in info.splits.items():
        for shard in shards:
            path = str(directory / shard.file)
            for data in tf.data.TFRecordDataset(path):
                feature = tf.train.Example.FromString(
                    data.numpy()
                ).features.feature
                name = os.fsdecode(
                    feature["image/filename"].bytes_list.value[0]
                )
                records[name] = (
                    split,
                    feature["image/class/label"].int64_list.value[0],
                    feature["image/encoded"].bytes_list.value[0],
                )
    return records


def names_of(source):
    return {s: [p.name for p in pics] for s, pics in source.splits.items()}


CLASSES = [
    f"{c}/{i}.{e}" for c in "ab" for i in range(10) for e in ("jpg", "png")
]


def test_class_layout_is_split_by_default(tmp_path):
    root = make_folder(tmp_path / "in", CLASSES)
    output = tmp_path / "out"
    assert run(root, f"--output={output}") == 0
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
    for name, (_, label, encoded) in records.items():
        assert label == "ab".index(name[0])
        assert encoded == (root / name).read_bytes()  # as found, to the byte


def test_mean_and_std_are_of_the_train_split_alone(tmp_path):
    names = [f"{s}/{c}/{i}.png" for s in ("train", "test") for c in "ab"
             for i in range(3)]  # fmt: skip
    root = make_folder(tmp_path / "in", names)
    assert run(root, f"--output={tmp_path / 'out'}") == 0
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


def test_split_layout_with_split_divides_train(tmp_path):
    names = [f"{s}/{c}/{i}.png" for s in ("train", "test") for c in "ab"
             for i in range(4)]  # fmt: skip
    root = make_folder(tmp_path / "in", names)
    split = "--split=train:0.75,validation:0.25"
    assert run(root, f"--output={tmp_path / 'out'}", split) == 0
    assert dataset.load(str(tmp_path / "out")).label_counts == {
        "train": (3, 3),
        "validation": (1, 1),
        "test": (4, 4),
    }


def test_a_class_absent_from_test_is_warned_of(tmp_path, caplog):
    names = ["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg"]
    root = make_folder(tmp_path / "in", names)
    assert run(root, f"--output={tmp_path / 'out'}") == 0
    assert "split='test' has no image of 1 of the 2 classes: b." in caplog.text


def test_nested_folders_links_and_odd_names(tmp_path):
    root = tmp_path / "in"
    names = ["a/x/y/1.JPEG", "a/2.jpg", "b/ü ß.png", "b/x.y.png"]
    make_folder(root, names)
    (root / "b" / "no_extension").write_bytes((root / names[1]).read_bytes())
    os.symlink(root / "a" / "x", root / "b" / "link")
    os.symlink(root / "b", root / "b" / "loop")
    source = convert_folder.read_folder(str(root))
    assert names_of(source)["train"] == [
        "a/2.jpg",
        "a/x/y/1.JPEG",
        "b/link/y/1.JPEG",
        "b/no_extension",
        "b/x.y.png",
        "b/ü ß.png",
    ]
    assert source.skipped == ("b/loop: a link to a folder it lies in",)


def test_file_names_that_are_not_utf8(tmp_path):
    root = make_folder(tmp_path / "in", ["a/1.png", "b/2.png"])
    odd = os.fsencode(root / "a") + b"/\xff.png"
    pathlib.Path(os.fsdecode(odd)).write_bytes(image_bytes("1.png", 5))
    split = "--split=train:1"
    assert run(root, f"--output={tmp_path / 'out'}", split) == 0
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
    assert run(root, f"--output={tmp_path / 'out'}") == 0
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
    assert run(spoilt, f"--output={tmp_path / 'new' / 'out'}") == 3
    error = capsys.readouterr().err
    assert "4 of 44 images cannot be read:\n" in error
    size = (spoilt / "a" / "cut.jpg").stat().st_size
    for line in (
        f"  a/cut.jpg: truncated or corrupt JPEG ({size} bytes)\n",
        "  a/empty.png: the file is empty\n",
        "  b/broken.jpg: No such file or directory\n",
        "  b/new.webp: WebP is not supported, convert it to JPEG or PNG\n",
    ):
        assert line in error
    assert "leave them out with --allow_unreadable=4." in error
    assert os.listdir(tmp_path) == ["in"]
    arguments = [f"--output={tmp_path / 'out'}", "--allow_unreadable=3"]
    assert run(spoilt, *arguments) == 3
    assert os.listdir(tmp_path) == ["in"]


def test_unreadable_images_that_are_allowed(spoilt, tmp_path, caplog, capsys):
    arguments = [f"--output={tmp_path / 'out'}", "--allow_unreadable=4"]
    assert run(spoilt, *arguments) == 0
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
    assert run(root, *arguments, "--allow_unreadable=10") == 0
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
    arguments = [f"--output={tmp_path / 'out'}", "--allow_unreadable=5"]
    assert run(root, *arguments) == 3
    assert "split='test': all images are unreadable" in capsys.readouterr().err


def test_sizes_and_channels_that_differ(tmp_path, capsys):
    root = make_folder(tmp_path / "in", ["a/1.jpg", "b/1.jpg"], (8, 5, 1))
    make_folder(root, ["a/2.jpg"], (4, 9, 1))
    output = tmp_path / "out"
    arguments = [f"--output={output}", "--split=train:1", "--overwrite"]
    assert run(root, *arguments) == 0
    info = dataset.load(str(output))
    assert info.image_shape is None
    assert (info.smallest_image, info.largest_image) == ((4, 5), (8, 9))
    assert info.image_format == "jpeg"
    assert info.channels == 1
    assert "width x height 5x4 to 9x8" in capsys.readouterr().out
    make_folder(root, ["b/2.jpg"], (8, 5, 3))
    assert run(root, *arguments) == 0
    assert dataset.load(str(output)).channels == 3


def test_workers_change_nothing(spoilt, tmp_path):
    contents = []
    for workers in (1, 4):
        output = tmp_path / str(workers)
        arguments = [f"--workers={workers}", "--allow_unreadable=4"]
        assert run(spoilt, f"--output={output}", *arguments) == 0
        contents.append({p.name: p.read_bytes() for p in output.iterdir()})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 1 + 8 + 4 + 4


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
            r"/b: class folder without images \(1 other files, such as "
            r"Thumbs\.db: not an image file\)",
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


def test_a_class_folder_without_images_ends_with_3(tmp_path, capsys):
    root = make_folder(tmp_path / "in", ["a/1.jpg", "b/notes.txt"])
    assert run(root, f"--output={tmp_path / 'out'}") == 3
    assert f"{root}/b: class folder without images" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in"]


def test_a_class_name_that_is_not_utf8(tmp_path):
    for name in (b"a", b"\xff"):
        folder = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        make_folder(folder, ["1.jpg"])
    with pytest.raises(DataError, match="is not UTF-8"):
        convert_folder.read_folder(str(tmp_path))
