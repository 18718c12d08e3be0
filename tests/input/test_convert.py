"""Tests of input/convert.py: the binary, with the sources digits and idx."""

import gzip
import json
import os
import pathlib
import struct
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from input import convert, convert_sources, dataset

FEATURES = ["image/class/label", "image/encoded", "image/filename"]
FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")


def run(*arguments):
    return convert.main(["input.convert", *arguments])


def read_records(directory, split):
    """Returns (encoded, label, filename) of each record, in order."""
    records = []
    for shard in dataset.load(str(directory)).shards(split):
        for data in tf.data.TFRecordDataset(str(directory / shard.file)):
            example = tf.train.Example.FromString(data.numpy())
            feature = example.features.feature
            assert sorted(feature) == FEATURES
            # In this order, or the bytes could differ from run to run.
            places = [data.numpy().index(name.encode()) for name in FEATURES]
            assert places == sorted(places)
            records.append(
                (
                    feature["image/encoded"].bytes_list.value[0],
                    feature["image/class/label"].int64_list.value[0],
                    feature["image/filename"].bytes_list.value[0].decode(),
                )
            )
    return records


def contents(directory):
    return {p.name: p.read_bytes() for p in sorted(directory.iterdir())}


def write_idx(folder, prefix, images, labels):
    """Writes uint8 [N, H, W] and [N] as two idx.gz files."""
    folder.mkdir(exist_ok=True)
    header = struct.pack(">IIII", 0x803, *images.shape)
    with gzip.open(folder / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
        file.write(header + images.tobytes())
    header = struct.pack(">II", 0x801, len(labels))
    with gzip.open(folder / f"{prefix}-labels-idx1-ubyte.gz", "wb") as file:
        file.write(header + labels.tobytes())


@pytest.fixture
def idx(tmp_path):
    """Writes 40 train and 10 test images, 5x6, of 10 classes."""
    pixels = np.random.default_rng(0).integers(0, 256, [50, 5, 6], np.uint8)
    labels = np.arange(50, dtype=np.uint8) % 10
    write_idx(tmp_path / "idx", "train", pixels[:40], labels[:40])
    write_idx(tmp_path / "idx", "t10k", pixels[40:], labels[40:])
    return tmp_path / "idx"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    output = tmp_path_factory.mktemp("digits") / "out"
    assert run("--source=digits", f"--output={output}") == 0
    return output


def test_digits_numbers(digits):
    info = dataset.load(str(digits))
    sizes = {split: info.examples(split) for split in info.splits}
    assert sizes == {"train": 1438, "validation": 180, "test": 179}
    assert info.image_shape == (8, 8, 1)
    assert info.image_format == "png"
    assert info.class_names == tuple("0123456789")
    totals = np.sum([info.label_counts[s] for s in info.splits], axis=0)
    assert totals.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    for split, fraction in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        dataset.verify(info, str(digits), split)
        assert len(info.splits[split]) == 8
        assert np.abs(info.label_counts[split] - totals * fraction).max() < 1.0
        in_shards = [shard.examples for shard in info.splits[split]]
        assert max(in_shards) - min(in_shards) <= 1
    assert len(list(digits.iterdir())) == 25


def test_digits_records_hold_the_pixels_of_scikit_learn(digits):
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    source = sklearn_datasets.load_digits()
    seen = set()
    train_pixels = []
    for split in ("train", "validation", "test"):
        for encoded, label, name in read_records(digits, split):
            image = tf.io.decode_png(encoded).numpy()
            index = int(name.removeprefix("digits/").removesuffix(".png"))
            expected = np.rint(source.images[index] * 255 / 16)
            assert image.dtype == np.uint8
            np.testing.assert_array_equal(image[..., 0], expected)
            assert label == source.target[index]
            seen.add(index)
            if split == "train":
                train_pixels.append(image)
    assert seen == set(range(1797))
    info = dataset.load(str(digits))
    assert info.channel_mean == pytest.approx((np.mean(train_pixels),))
    assert info.channel_std == pytest.approx((np.std(train_pixels),))


def test_shards_are_fair_samples(digits):
    """A shard in the order of the source would hold few classes."""
    for shard in dataset.load(str(digits)).shards("train"):
        labels = [
            tf.train.Example.FromString(data.numpy())
            .features.feature["image/class/label"]
            .int64_list.value[0]
            for data in tf.data.TFRecordDataset(str(digits / shard.file))
        ]
        counts = np.bincount(labels, minlength=10)
        assert counts.min() >= 8  # of about 18 each
        assert np.abs(np.diff(labels)).sum() > len(labels)  # not sorted


def test_same_seed_same_bytes_whatever_the_workers(digits, tmp_path):
    output = tmp_path / "again"
    flags = ["--source=digits", f"--output={output}", "--workers=5"]
    assert run(*flags) == 0
    assert contents(output) == contents(digits)
    assert run(*flags, "--seed=1", "--overwrite") == 0
    before, after = (dataset.load(str(d)) for d in (digits, output))
    assert before.fingerprint != after.fingerprint
    first, second = (read_records(d, "test") for d in (digits, output))
    assert {name for *_, name in first} != {name for *_, name in second}


def test_shards_and_split_flags(tmp_path, capsys):
    output = tmp_path / "out"
    split = "--split=train:0.995,tiny:0.005"
    code = run("--source=digits", f"--output={output}", "--shards=20", split)
    assert code == 0
    info = dataset.load(str(output))
    assert {s: info.examples(s) for s in info.splits} == {
        "train": 1788,
        "tiny": 9,
    }
    assert [s.file for s in info.splits["tiny"]][-1] == (
        "tiny-00008-of-00009.tfrecord"  # never more shards than examples
    )
    assert len(info.splits["train"]) == 20


def test_warnings(tmp_path, caplog):
    output = tmp_path / "out"
    split = "--split=train:0.995,tiny:0.005"
    arguments = [f"--output={output}", "--shards=20", split, "--input=unused"]
    assert run("--source=digits", *arguments) == 0
    assert "--input=unused is not used" in caplog.text
    assert "9 images, hence 9 shards instead of 20" in caplog.text
    assert "split='tiny' has no image of 1 of the 10 classes" in caplog.text


def test_summary(digits, tmp_path, capsys):
    output = tmp_path / "di gits"
    assert run("--source=digits", f"--output={output}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Wrote {output}"
    assert lines[1].split() == "train 1,438 images in 8 shards".split()
    assert lines[4] == "  10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert lines[5] == "  grey PNG, width x height 8x8, 0.4 MB"
    assert "seconds" in lines[6] and "images/s" in lines[6]
    assert lines[-2:] == [
        "  python -m trainer.main --gin_file=gin/digits.gin \\",
        f"    --gin_param='DATA_DIR=\"{output}\"' --model_dir='runs/di gits'",
    ]


def test_scikit_learn_is_absent(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert run("--source=digits", f"--output={tmp_path / 'out'}") == 2
    assert "pip install scikit-learn" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--source is missing. Give one of: digits, idx, folder."),
        (["--source=tfds"], "--source='tfds' is unknown. Give one of: digits"),
        (["--source=digits"], "--output is missing."),
        (["--source=folder"], "--input is missing."),
        (["--source=idx", "--input=gs://a/b"], "only local folders"),
        (["--source=digits", "--output=gs://a/b"], "only local folders"),
        (["--source=idx", "--input={tmp}/x"], "/x: not found. Give"),
        (["--source=idx", "--input={tmp}/file"], "/file: is not a folder."),
        (["--source=folder", "--input={tmp}"], "one lies in the other"),
        (["--source=digits", "--output={tmp}/file"], "file is a file."),
        (["--source=digits", "--output=/proc"], "is a mount point"),
        (["--source=digits", "--class_names=a,b"], "for --source=idx only"),
        (["--source=idx", "--class_names=a,a", "--input={idx}"], "one twice"),
        (["--source=idx", "--class_names=a,,b", "--input={idx}"], "an empty"),
        (["--source=digits", "--split=train:1,x"], "'x' is not NAME:FRACTION"),
        (["--source=digits", "--shards=0"], "shards"),
        (["--source=digits", "--seed=x"], "seed=x"),
        (["--source=digits", "--workers=-1"], "workers"),
        (["--source=digits", "--sedd=1"], "Did you mean: seed"),
        (["digits"], "'digits' is not a flag"),
        (
            ["--source=idx", "--input={idx}", "--split=train:0.5,test:0.5"],
            "the source has a split 'test' of its own, with 10 pictures",
        ),
    ],
)
def test_wrong_flags_end_with_2(tmp_path, idx, capsys, arguments, message):
    (tmp_path / "file").touch()
    filled = [a.format(tmp=tmp_path, idx=idx) for a in arguments]
    if (
        not any("--output" in a for a in arguments)
        and message[:8] != "--output"
    ):
        filled.append(f"--output={tmp_path / 'new' / 'out'}")
    assert run(*filled) == 2
    assert message in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["file", "idx"]


def test_a_disk_too_small_is_found_at_once(idx, tmp_path, capsys, monkeypatch):
    usage = types.SimpleNamespace(free=100)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert run("--source=idx", f"--input={idx}", f"--output={tmp_path}/o") == 2
    assert "0.0 GB free" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["idx"]


def test_help_explains_every_flag(capsys):
    assert run("--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "python -m input.convert --source=folder --input=PHOTOS",
        "train:0.8,validation:0.1,test:0.1",
        "one per 150 MB and at least 8",
        "Default: one per CPU",
        "--seed: Seed, an integer",
        "(default: '0')",
    ):
        assert words in text


def test_output_that_is_not_empty_needs_overwrite(digits, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()  # empty: may be used
    assert run("--source=digits", f"--output={output}") == 0
    before = contents(output)
    assert run("--source=digits", f"--output={output}", "--seed=1") == 2
    assert "is not empty. Give another folder, or --overwrite" in (
        capsys.readouterr().err
    )
    assert contents(output) == before == contents(digits)
    arguments = ["--source=digits", f"--output={output}", "--shards=2"]
    assert run(*arguments, "--overwrite") == 0
    assert len(contents(output)) == 7  # none of the old shards is left
    assert os.listdir(tmp_path) == ["out"]


def test_idx(idx, tmp_path):
    output = tmp_path / "out"
    assert run("--source=idx", f"--input={idx}", f"--output={output}") == 0
    info = dataset.load(str(output))
    assert info.image_shape == (5, 6, 1)
    assert info.label_counts == {"train": (4,) * 10, "test": (1,) * 10}
    pixels = np.random.default_rng(0).integers(0, 256, [50, 5, 6], np.uint8)
    for split, offset in (("train", 0), ("test", 40)):
        for encoded, label, name in read_records(output, split):
            index = int(name.removeprefix(f"{split}/").removesuffix(".png"))
            image = tf.io.decode_png(encoded).numpy()
            np.testing.assert_array_equal(image[..., 0], pixels[index + offset])
            assert label == index % 10
    assert info.channel_mean == pytest.approx((pixels[:40].mean(),))
    assert info.channel_std == pytest.approx((pixels[:40].std(),))


def test_idx_unpacked_with_split_and_class_names(idx, tmp_path):
    for path in idx.iterdir():
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    names = [f"Ärmel {i}" for i in range(10)]
    arguments = [
        f"--input={idx}",
        f"--output={tmp_path / 'out'}",
        "--split=train:0.75,validation:0.25",
        "--class_names=" + ",".join(names),
    ]
    assert run("--source=idx", *arguments) == 0
    info = dataset.load(str(tmp_path / "out"))
    assert info.class_names == tuple(names)
    assert info.label_counts == {
        "train": (3,) * 10,
        "validation": (1,) * 10,
        "test": (1,) * 10,
    }


IMAGES = "train-images-idx3-ubyte.gz"
LABELS = "t10k-labels-idx1-ubyte.gz"


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
    code = run("--source=idx", f"--input={idx}", f"--output={tmp_path}/out")
    assert code == 3
    error = capsys.readouterr().err
    assert message in error
    assert str(idx) in error
    assert os.listdir(tmp_path) == ["idx"]


@pytest.mark.parametrize("cut", [5, 200])
def test_idx_damaged_gzip(idx, tmp_path, capsys, cut):
    data = (idx / IMAGES).read_bytes()
    (idx / IMAGES).write_bytes(data[:cut])
    code = run("--source=idx", f"--input={idx}", f"--output={tmp_path}/out")
    assert code == 3
    assert f"{IMAGES}: cannot be read" in capsys.readouterr().err


def test_idx_empty_split(idx, tmp_path, capsys):
    empty = np.zeros([0, 5, 6], np.uint8)
    write_idx(idx, "t10k", empty, np.zeros([0], np.uint8))
    code = run("--source=idx", f"--input={idx}", f"--output={tmp_path}/out")
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


def test_dataset_json_holds_no_time_and_no_path(digits):
    content = json.loads((digits / "dataset.json").read_text())
    assert sorted(content) == [
        "channel_mean",
        "channel_std",
        "class_names",
        "fingerprint",
        "format_version",
        "image_format",
        "image_shape",
        "label_counts",
        "largest_image",
        "smallest_image",
        "splits",
    ]
    assert str(digits) not in json.dumps(content)
