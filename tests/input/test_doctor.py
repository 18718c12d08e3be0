"""The binary as a user meets it: every defect is named, and nothing else."""

import json
import pathlib
import re
import shutil
import struct
import zlib

import pytest
import tensorflow as tf

from input import command, dataset, doctor, eval_pipeline, frames, sources, spec
from tests.input import damaged, foreign
from tests.input.conftest import contents, run_convert
from tests.input.test_duplicates import photo

CLASSES = ("cat", "cow", "dog")


def run(*arguments: object) -> int:
    """Runs the binary in this process; returns its exit code."""
    return doctor.main(["input.doctor", *map(str, arguments)])


def write_photos(folder: pathlib.Path, splits: dict[str, int]) -> None:
    """JPEGs by split and class, no two alike."""
    number = 0
    for split, size in splits.items():
        for i in range(size):
            place = folder / split / CLASSES[i % 3]
            place.mkdir(parents=True, exist_ok=True)
            pixels = photo(number, 40 + number % 5, 50)
            data = tf.io.encode_jpeg(pixels, quality=95).numpy()
            (place / f"{number:03d}.jpg").write_bytes(data)
            number += 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> pathlib.Path:
    """A data set with nothing wrong: 36 train, 12 validation, 12 test."""
    place = tmp_path_factory.mktemp("doctor")
    write_photos(place / "photos", {"train": 36, "validation": 12, "test": 12})
    code = run_convert(
        "--source=folder",
        f"--input={place / 'photos'}",
        f"--output={place / 'data'}",
        "--shards=3",
    )
    assert code == 0
    return place / "data"


@pytest.fixture
def data(whole: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of it, to be spoilt."""
    shutil.copytree(whole, tmp_path / "data")
    return tmp_path / "data"


def examined(data: pathlib.Path, *flags: str) -> tuple[int, dict]:
    """Returns the exit code, and the JSON with findings by their kind."""
    file = data.parent / "found.json"
    code = run(data, f"--json={file}", *flags)
    found = json.loads(file.read_text())
    assert found["wrong"] == (code == 3)
    found["findings"] = {f["kind"]: f for f in found["findings"]}
    return code, found


def shard(data: pathlib.Path, split: str = "train", number: int = 1):
    return data / dataset.shard_name(split, number, 3)


def records(path: pathlib.Path) -> list[bytes]:
    size = path.stat().st_size
    found = frames.read(
        str(path), size=size, offset=0, count=size, max_bytes=size
    )
    assert found.end == size
    return [frame.record for frame in found.frames]


def rewrite(data: pathlib.Path, path: pathlib.Path, kept: list[bytes]) -> None:
    """Puts other records into a shard, and tells dataset.json of it."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in kept:
            writer.write(record)
    file = data / "dataset.json"
    content = json.loads(file.read_text())
    for split, shards in content["splits"].items():
        counts = [0] * len(CLASSES)
        for entry in shards:
            found = records(data / entry["file"])
            entry |= {"examples": len(found), "sha256": ""}
            entry["bytes"] = (data / entry["file"]).stat().st_size
            for record in found:
                label = label_of(record)
                counts[label if 0 <= label < 3 else 0] += 1
        content["label_counts"][split] = counts
    info = dataset._from_json(content)
    content["fingerprint"] = dataset.fingerprint(info.splits, info.class_names)
    file.write_text(json.dumps(content))


def changed(record: bytes, image: bytes | None = None, label=None) -> bytes:
    example = tf.train.Example.FromString(record)
    feature = example.features.feature
    if image is not None:
        feature["image/encoded"].bytes_list.value[0] = image
    if label is not None:
        feature["image/class/label"].int64_list.value[0] = label
    return example.SerializeToString()


def image_of(record: bytes) -> bytes:
    feature = tf.train.Example.FromString(record).features.feature
    return feature["image/encoded"].bytes_list.value[0]


def label_of(record: bytes) -> int:
    feature = tf.train.Example.FromString(record).features.feature
    return feature["image/class/label"].int64_list.value[0]


def test_nothing_is_wrong(whole, tmp_path, capsys) -> None:
    code = run(whole, f"--json={tmp_path / 'found.json'}", "--workers=1")
    text = capsys.readouterr().out
    assert code == 0
    assert "60 records in 9 files" in text
    assert "Nothing is wrong." in text
    found = json.loads((tmp_path / "found.json").read_text())
    info = dataset.load(str(whole))
    assert found["findings"] == []
    assert found["examples"] == found["records"] == 60
    train = found["splits"]["train"]
    assert train["label_counts"] == {"cat": 12, "cow": 12, "dog": 12}
    assert tuple(train["channel_mean"]) == info.channel_mean
    assert tuple(train["channel_std"]) == info.channel_std
    assert train["formats"] == ["jpeg"]
    assert found["splits"]["test"]["smallest_image"] == [40, 50]
    # The same at any number of threads.
    assert run(whole, f"--json={tmp_path / 'two.json'}", "--workers=3") == 0
    assert (tmp_path / "two.json").read_text() == (
        tmp_path / "found.json"
    ).read_text()


def flipped(path: pathlib.Path, at: int, position: int) -> int:
    data = bytearray(path.read_bytes())
    offset = damaged.offsets_of(bytes(data))[at]
    data[offset + position] ^= 0xFF
    path.write_bytes(bytes(data))
    return offset


def cut(path: pathlib.Path, at: int, position: int) -> int:
    data = path.read_bytes()
    offset = damaged.offsets_of(data)[at]
    path.write_bytes(data[: offset + position])
    return offset


@pytest.mark.parametrize(
    ("harm", "line", "others"),
    [
        (
            lambda path: flipped(path, 5, 40),
            "at byte {offset:,}: the data do not match their checksum",
            {"its sha256 is not the recorded one"},
        ),
        (
            lambda path: flipped(path, 5, 1),
            "at byte {offset:,}: the length of a record is damaged; 7 records "
            "are lost",
            {
                "its sha256 is not the recorded one",
                "5 records can be reached, recorded are 12",
            },
        ),
        (
            lambda path: cut(path, 5, 100),
            "at byte {offset:,}: the file is truncated here; 7 records are "
            "lost",
            {
                "bytes, recorded are",
                "5 records can be reached, recorded are 12",
            },
        ),
        (
            lambda path: path.write_bytes(b"") and 0 or 0,
            "at byte 0: the file is empty",
            {
                "0 bytes, recorded are",
                "0 records can be reached, recorded are 12",
            },
        ),
        (
            lambda path: path.write_bytes(b"I am a text.\n" * 20) and 0,
            "at byte 0: the length of a record is damaged; 12 records are lost",
            {
                "260 bytes, recorded are",
                "0 records can be reached, recorded are 12",
            },
        ),
    ],
    ids=["data", "length", "truncated", "empty", "text"],
)
def test_damaged_files(data, harm, line, others) -> None:
    path = shard(data)
    offset = harm(path)
    code, found = examined(data)
    assert code == 3
    kinds = set(found["findings"])
    (damage,) = kinds - {"files that are not as recorded"}
    assert damage in (
        "places with corrupt records",
        "files that cannot be read",
    )
    (told,) = found["findings"][damage]["lines"]
    assert told == f"{path.name} " + line.format(offset=offset)
    changes = found["findings"]["files that are not as recorded"]["lines"]
    assert len(changes) == len(others)
    for other in others:
        assert any(path.name in c and other in c for c in changes)


def test_missing_surplus_and_unreadable_files(data) -> None:
    shard(data).unlink()
    shard(data, "test").unlink()
    shard(data, "test").symlink_to("/proc/self/mem")  # reading it fails
    shard(data, number=2).unlink()
    shard(data, number=2).mkdir()
    shutil.copy(shard(data, number=0), data / "old-00000-of-00001.tfrecord")
    code, found = examined(data)
    assert code == 3
    kinds = found["findings"]
    assert kinds["missing files"]["lines"] == [shard(data).name]
    surplus = kinds["files that belong to no split"]
    assert (surplus["lines"], surplus["wrong"]) == (
        ["old-00000-of-00001.tfrecord"],
        False,
    )
    (line,) = kinds["files that cannot be read"]["lines"]
    assert line.startswith(f"{shard(data, 'test').name} at byte 0: ")
    (line,) = kinds["places with corrupt records"]["lines"]
    assert line.startswith(f"{shard(data, number=2).name} at byte 0: it is a")
    assert found["examples"] == 60 - 12 - 12 - 4


def huge_png() -> bytes:
    """A PNG of 30,000 x 30,000 pixels: 2.7 GB if it were decoded."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(90_001) * 10)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    )


def test_a_report_that_cannot_be_written(whole, monkeypatch, capsys) -> None:
    def full(path: str, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command.files, "write_atomically", full)
    assert run(whole, "--json=found.json") == 2
    error = capsys.readouterr().err
    assert "--json=found.json cannot be written: [Errno 28] No space" in error
    assert "name a file in a folder of yours" in error


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (
            lambda r: changed(r, image=image_of(r)[:400]),
            "images that cannot be decoded",
            "truncated or corrupt JPEG (400 bytes)",
        ),
        (
            lambda r: changed(r, image=b""),
            "images that cannot be decoded",
            "empty",
        ),
        (
            lambda r: changed(r, image=b"a text file named .jpg"),
            "images that cannot be decoded",
            "not an image",
        ),
        (
            lambda r: changed(r, image=b"II*\0" + bytes(100)),
            "images that cannot be decoded",
            "TIFF is not read in training",
        ),
        (
            lambda r: changed(
                r, image=b"GIF89a" + struct.pack("<HH", 30_000, 30_000)
            ),
            "images that are too large to decode",
            "30,000 x 30,000 pixels; --max_pixels allows 100,000,000",
        ),
        (
            lambda r: changed(
                r,
                image=b"BM" + bytes(16) + struct.pack("<ii", 30_000, -30_000),
            ),
            "images that are too large to decode",
            "30,000 x 30,000 pixels; --max_pixels allows 100,000,000",
        ),
        (
            lambda r: changed(r, image=huge_png()),
            "images that are too large to decode",
            "30,000 x 30,000 pixels; --max_pixels allows 100,000,000",
        ),
        (
            lambda r: changed(r, label=3),
            "labels out of range",
            "label 3 is not in [0, 3)",
        ),
        (
            lambda r: changed(r, label=-1),
            "labels out of range",
            "label -1 is not in [0, 3)",
        ),
        (
            lambda r: tf.train.Example().SerializeToString(),
            "records that are no examples",
            "no tf.train.Example with one 'image/encoded' (bytes)",
        ),
        (
            lambda r: b"\xff" * 50,
            "records that are no examples",
            "no tf.train.Example",
        ),
    ],
    ids=[
        "truncated image",
        "empty image",
        "text",
        "TIFF",
        "huge GIF",
        "huge BMP",
        "huge",
        "label 3",
        "label -1",
        "empty example",
        "no example",
    ],
)
def test_records_that_cannot_be_used(data, spoil, kind, message) -> None:
    path = shard(data)
    kept = records(path)
    original = kept[4]
    kept[4] = changed(original, label=0)
    rewrite(data, path, kept)  # so that dataset.json counts it as a class
    info = json.loads((data / "dataset.json").read_text())
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i, record in enumerate(kept):
            writer.write(spoil(original) if i == 4 else record)
    for entry in info["splits"]["train"]:
        if entry["file"] == path.name:
            entry["bytes"] = path.stat().st_size
    reread = dataset._from_json(info)
    info["fingerprint"] = dataset.fingerprint(reread.splits, reread.class_names)
    (data / "dataset.json").write_text(json.dumps(info))
    code, found = examined(data, f"--fix={data.parent / 'clean'}")
    assert code == 3
    assert set(found["findings"]) == {kind}
    (line,) = found["findings"][kind]["lines"]
    offset = damaged.offsets_of(path.read_bytes())[4]
    assert line.startswith(f"{path.name} at byte {offset:,}: ")
    assert message in line
    clean_code, clean = examined(data.parent / "clean")
    assert (clean_code, clean["findings"]) == (0, {})
    assert clean["examples"] == 59


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda c: c | {"fingerprint": "0" * 64},
            ["fingerprint is 0000"],
        ),
        (
            lambda c: (
                c | {"label_counts": c["label_counts"] | {"test": [5, 3, 4]}}
            ),
            [
                "label_counts of split 'test', class 0 (cat): 5, found are 4",
                "label_counts of split 'test', class 1 (cow): 3, found are 4",
            ],
        ),
        (
            lambda c: c | {"channel_mean": [1.0, 2.0, 3.0]},
            ["channel_mean is (1.0, 2.0, 3.0), found is ("],
        ),
        (
            lambda c: c | {"largest_image": [99, 99]},
            ["largest_image is (99, 99), found is (44, 50)"],
        ),
        (
            lambda c: c | {"image_shape": [40, 50, 3]},
            ["image_shape is (40, 50, 3), found is None"],
        ),
    ],
    ids=["fingerprint", "label counts", "mean", "largest", "shape"],
)
def test_untrue_statements(data, change, told) -> None:
    file = data / "dataset.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    code, found = examined(data)
    assert code == 3
    (finding,) = found["findings"].values()
    assert finding["kind"] == "statements of dataset.json that are not true"
    assert len(finding["lines"]) == len(told)
    for line, start in zip(finding["lines"], told, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize("text", [None, "{", '{"format_version": 1}'])
def test_without_dataset_json(data, text) -> None:
    """All else is examined; the clean copy numbers the classes."""
    if text is None:
        (data / "dataset.json").unlink()
    else:
        (data / "dataset.json").write_text(text)
    code, found = examined(data, f"--fix={data.parent / 'clean'}")
    assert code == 3
    (finding,) = found["findings"].values()
    assert finding["kind"] == "dataset.json"
    assert str(data / "dataset.json") in finding["lines"][0]
    assert found["examples"] == 60
    assert dataset.load(str(data.parent / "clean")).class_names == (
        "0",
        "1",
        "2",
    )


def test_copies(data, tmp_path, capsys) -> None:
    """Inside and across splits, by bytes and by pixels, and what stays."""
    train = [records(shard(data, number=i)) for i in range(3)]
    test = records(shard(data, "test", 0))
    as_png = tf.io.encode_png(tf.io.decode_jpeg(image_of(train[1][1]))).numpy()
    train[0] += [
        train[1][0],  # the same record again
        changed(train[1][1], image=as_png),  # the same pixels
        test[2],  # leakage
        changed(train[2][3], label=(label_of(train[2][3]) + 1) % 3),
    ]
    rewrite(data, shard(data, number=0), train[0])
    clean = tmp_path / "clean"
    page = tmp_path / "page.html"
    code, found = examined(data, f"--fix={clean}", f"--html={page}")
    assert code == 3
    kinds = found["findings"]
    inside = kinds.pop("copies inside a split")
    assert inside["count"] == 3
    assert sum("(not byte for byte)" in line for line in inside["lines"]) == 1
    (leak,) = kinds.pop("copies across splits (leakage)")["lines"]
    assert re.fullmatch(
        r"train-00000-of-00003.tfrecord@[\d,]+ \[\S+, (cat|cow|dog)\] = "
        r"test-00000-of-00003.tfrecord@[\d,]+ \[\S+, \1\]",
        leak,
    )
    (labels,) = kinds.pop("copies with different labels")["lines"]
    assert labels in inside["lines"]
    moved = kinds.pop("statements of dataset.json that are not true")
    assert all("channel_" in line for line in moved["lines"])
    assert not kinds
    assert page.read_text().count("<figure>") == 8
    assert "Wrote " in capsys.readouterr().out

    # Four copies, and the one that another contradicts.
    assert examined(clean)[0] == 0
    before, after = dataset.load(str(data)), dataset.load(str(clean))
    assert after.examples("train") == before.examples("train") - 5 == 35
    assert after.examples("test") == 12
    for i in range(3):
        name = shard(data, "test", i).name
        assert (clean / name).read_bytes() == (data / name).read_bytes()
    assert (test[2] in records(shard(clean, number=0))) is False


def test_pictures_that_look_alike(data, capsys) -> None:
    train = records(shard(data, number=0))
    test = records(shard(data, "test", 0))
    again = tf.io.encode_jpeg(tf.io.decode_jpeg(image_of(test[0])), quality=60)
    train[3] = changed(test[0], image=again.numpy(), label=label_of(train[3]))
    rewrite(data, shard(data, number=0), train)
    file = data / "dataset.json"
    _, found = examined(data)
    kind = "sets of pictures that look alike, across splits"
    assert found["findings"][kind]["count"] == 1
    assert not found["findings"][kind]["wrong"]
    assert "Worth a look" in capsys.readouterr().out
    content = json.loads(file.read_text())
    for name in ("channel_mean", "channel_std"):
        content[name] = found["splits"]["train"][name]
    file.write_text(json.dumps(content))
    assert examined(data)[0] == 0  # a hint, not an error
    assert kind not in examined(data, "--near_distance=0")[1]["findings"]


def test_absent_class(data) -> None:
    for i in range(3):
        path = shard(data, "validation", i)
        rewrite(data, path, [r for r in records(path) if label_of(r) != 1])
    code, found = examined(data)
    assert code == 0
    (finding,) = found["findings"].values()
    assert finding["lines"] == ["validation: cow"]


def test_clean_copy_of_a_clean_data_set_is_the_same(data) -> None:
    assert run(data, f"--fix={data.parent / 'clean'}") == 0
    assert contents(data.parent / "clean") == contents(data)


def test_clean_copy_is_whole_or_not_there(data, tmp_path, capsys) -> None:
    for i in range(3):
        path = shard(data, "test", i)
        rewrite(data, path, [changed(r, image=b"") for r in records(path)])
    assert run(data, f"--fix={tmp_path / 'clean'}") == 3
    assert "split 'test' would be empty" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize("source", ["imagenet_records", "tfds"])
def test_foreign_layouts(source: str, tmp_path: pathlib.Path) -> None:
    """Read as they are; --fix makes a data set of ours."""
    if source == "tfds":
        folder = foreign.write_tfds(tmp_path, sizes={"train": 12, "test": 6})
        path = folder / "pets-train.tfrecord-00000-of-00001"
        counts = dict(zip(foreign.CLASSES, (4, 4, 3), strict=True))
    else:
        folder = tmp_path / "classic"
        foreign.write_classic(folder, "train", (12,))
        foreign.write_classic(folder, "test", (6,), first=100)
        path = folder / "train-00000-of-00001"
        counts = {"0": 4, "1": 4, "2": 3}
    flags = [f"--source={source}"]
    flags += ["--num_classes=3"] if source == "imagenet_records" else []
    flags += [f"--fix={tmp_path / 'clean'}", "--workers=2"]
    flipped(path, 11, 50)
    code, found = examined(folder, *flags)
    assert code == 3
    assert set(found["findings"]) == {"places with corrupt records"}
    assert found["splits"]["train"]["label_counts"] == counts
    info = dataset.load(str(tmp_path / "clean"))
    assert info.examples("train") == 11
    assert info.label_counts["train"] == tuple(counts.values())
    source_ = sources.TFRecords(str(tmp_path / "clean"))
    names = source_.names("test", [0])
    assert names == [{"tfds": "100.png"}.get(source, "n00000002_100.JPEG")]
    data = eval_pipeline.EvalData(source=source_, split="test")
    host = spec.HostShare(index=0, count=1, replicas=1)
    (batch,) = data.dataset(host, global_batch_size=6).as_numpy_iterator()
    assert batch["label"].tolist() == [i % 3 for i in range(100, 106)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "0 folders are given"),
        (["one", "two"], "2 folders are given"),
        (["nowhere"], "nowhere: No such file or directory. Give the folder"),
        (["--source=csv", "."], "--source='csv' is unknown. Give one of"),
        (["--near_distance=17", "."], "near_distance"),
        (["--max_pixels=0", "."], "max_pixels"),
        (["--colour=red", "."], "colour"),
        (["--json=no/folder/x.json", "."], "--json=no/folder/x.json: there"),
        (["--num_classes=3", "."], "is for --source=imagenet_records"),
        (["--label=x", "."], "--label is for --source=tfds, not --source=tfr"),
        (
            [
                "--source=imagenet_records",
                *("--num_classes=3", "--class_names_file=names.txt", "."),
            ],
            "both say how many classes",
        ),
        (["--overwrite", "."], "--overwrite is for the folder of --fix"),
        (["--fix=data/clean", "data"], "one lies in the other"),
        (["--fix=full", "data"], "--fix=full is not empty"),
    ],
)
def test_flags(arguments, message, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


def test_no_data_set(tmp_path: pathlib.Path, capsys) -> None:
    assert run(tmp_path) == 3
    assert "the folder has no dataset.json" in capsys.readouterr().err
    assert run("--source=imagenet_records", tmp_path) == 3
    assert "no file is named like" in capsys.readouterr().err


def test_nothing_can_be_read(data: pathlib.Path) -> None:
    for path in data.glob("*.tfrecord"):
        path.write_bytes(b"")
    code, found = examined(data)
    assert (code, found["examples"]) == (3, 0)
    assert found["findings"]["files that cannot be read"]["count"] == 9
    assert run(data, f"--fix={data.parent / 'clean'}") == 3
    assert not (data.parent / "clean").exists()


def test_help(capsys) -> None:
    assert run("--help") == 0
    assert "--[no]overwrite" in capsys.readouterr().out


def test_overwrite(data, tmp_path) -> None:
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "mine").write_text("kept")
    assert run(data, f"--fix={tmp_path / 'clean'}", "--overwrite") == 0
    assert dataset.load(str(tmp_path / "clean")).examples("train") == 36
    kept = tmp_path / "clean.replaced" / "mine"
    assert kept.read_text() == "kept"


def test_labels_are_bounded_without_dataset_json(data) -> None:
    """A wild label must not cost the memory of as many classes."""
    (data / "dataset.json").unlink()
    path = shard(data)
    kept = records(path)
    kept[0] = changed(kept[0], label=1 << 40)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in kept:
            writer.write(record)
    code, found = examined(data)
    assert code == 3
    (line,) = found["findings"]["labels out of range"]["lines"]
    assert "label 1099511627776" in line


def test_places_that_cannot_be_written(data, tmp_path, capsys) -> None:
    assert run(data, f"--html={tmp_path}") == 2
    assert f"--html={tmp_path} is a folder" in capsys.readouterr().err
    assert run(data, "--fix=/proc/copy") == 2
    assert "/proc/copy cannot be made" in capsys.readouterr().err


def test_a_clean_copy_says_how_many_records_it_lacks(data, capsys) -> None:
    path = shard(data)
    kept = records(path)
    kept[0] = changed(kept[0], image=b"")
    # One that cannot be decoded, and one that has gone with its bytes.
    rewrite(data, path, kept)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 20])
    clean = data.parent / "clean"
    run(data, f"--fix={clean}")
    examples = sum(map(dataset.load(str(clean)).examples, ("train", "test")))
    examples += dataset.load(str(clean)).examples("validation")
    there = sum(map(dataset.load(str(data)).examples, ("train", "test")))
    there += dataset.load(str(data)).examples("validation")
    assert there - examples == 2
    assert "2 records were left out or are lost" in capsys.readouterr().out
