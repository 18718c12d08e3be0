"""input.convert from and to gs://, against the emulator."""

import pathlib

import numpy as np
import pytest

from input import dataset, gcs
from input.errors import DataError
from tests.input.conftest import (
    contents,
    idx_pixels,
    make_folder,
    run_convert,
    write_idx,
)
from tests.input.prepared import FEATURES, examples, write


def objects(folder: str) -> dict[str, bytes]:
    """The content of each object below a folder."""
    return {n: gcs.read(f"{folder}/{n}").content for n in gcs.sizes(folder)}


def put(local: pathlib.Path, folder: str) -> None:
    """Uploads all files of a local folder."""
    files = [p for p in local.rglob("*") if p.is_file()]
    gcs.upload(str(local), [str(p.relative_to(local)) for p in files], folder)


def test_to_gs_gives_the_bytes_of_a_local_conversion(
    folder: str, tmp_path: pathlib.Path, capsys
) -> None:
    assert run_convert("--source=digits", f"--output={tmp_path}/digits") == 0
    assert run_convert("--source=digits", f"--output={folder}/digits") == 0
    assert objects(f"{folder}/digits") == contents(tmp_path / "digits")
    out = capsys.readouterr().out
    assert f"Wrote {folder}/digits" in out
    assert f"""--gin_param='DATA_DIR="{folder}/digits"'""" in out
    info = dataset.load(f"{folder}/digits")
    assert info.examples("train") == 1438
    dataset.verify(info, f"{folder}/digits", "train")


def test_a_shard_on_gs_that_is_missing_or_damaged(
    folder: str, tmp_path: pathlib.Path
) -> None:
    assert run_convert("--source=digits", f"--output={folder}") == 0
    info = dataset.load(folder)
    names = [shard.file for shard in info.shards("train")]
    gcs.remove(f"{folder}/{names[1]}")
    with pytest.raises(DataError, match=f"1 of the 8.*missing: {names[1]}"):
        dataset.verify(info, folder, "train")
    gcs.write(f"{folder}/{names[1]}", b"short")
    with pytest.raises(DataError, match=f"{names[1]} has 5 bytes, not "):
        dataset.verify(info, folder, "train")
    gcs.remove(f"{folder}/dataset.json")
    with pytest.raises(DataError, match="the folder has no dataset.json"):
        dataset.load(folder)
    with pytest.raises(DataError, match="no such folder"):
        dataset.load(f"{folder}/nowhere")
    with pytest.raises(DataError, match="there is no bucket 'none'"):
        dataset.load("gs://none/digits")


def test_from_gs_gives_the_bytes_of_a_local_conversion(
    folder: str, tmp_path: pathlib.Path
) -> None:
    names = [f"{c}/{i}.png" for c in ("cat", "dog") for i in range(10)]
    local = make_folder(tmp_path / "photos", [*names, "cat/notes.txt"])
    put(local, f"{folder}/photos")
    gcs.write(f"{folder}/photos/cat/", b"")  # A folder, as some tools make it.
    for source, output in (
        (local, tmp_path / "a"),
        (f"{folder}/photos", tmp_path / "b"),
        (f"{folder}/photos/", f"{folder}/c"),
    ):
        flags = ("--source=folder", f"--input={source}", "--shards=2")
        assert run_convert(*flags, f"--output={output}") == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") == objects(f"{folder}/c")


def test_idx_from_gs(folder: str, tmp_path: pathlib.Path) -> None:
    labels = np.arange(50, dtype=np.uint8) % 10
    write_idx(tmp_path / "idx", "train", idx_pixels()[:40], labels[:40])
    write_idx(tmp_path / "idx", "t10k", idx_pixels()[40:], labels[40:])
    put(tmp_path / "idx", f"{folder}/idx")
    flags = ("--source=idx", f"--input={folder}/idx")
    assert run_convert(*flags, f"--output={folder}/out") == 0
    assert dataset.load(f"{folder}/out").examples("test") == 10


def test_csv_from_gs(folder: str, tmp_path: pathlib.Path, capsys) -> None:
    names = [f"{i}.png" for i in range(10)]
    local = make_folder(tmp_path / "photos", names)
    # As written by people, and as Google's tools write it.
    lines = [f"{n},{'ab'[i % 2]}" for i, n in enumerate(names[:5])]
    lines += [f"{folder}/in/{n},{'ab'[i % 2]}" for i, n in enumerate(names[5:])]
    text = "\n".join(["path,label", *lines])
    put(local, f"{folder}/in")
    gcs.write(f"{folder}/in/list.csv", text.encode())
    (tmp_path / "list.csv").write_text(text)
    flags = ("--source=csv", "--split=train:1", "--shards=2")
    for number, more in enumerate(
        (
            (f"--input={folder}/in/list.csv",),
            (f"--input={tmp_path}/list.csv", f"--root={folder}/in"),
        )
    ):
        output = tmp_path / f"out{number}"
        assert run_convert(*flags, *more, f"--output={output}") == 0
        assert dataset.load(str(output)).examples("train") == 10
    assert contents(tmp_path / "out0") == contents(tmp_path / "out1")
    gcs.remove(f"{folder}/in/3.png")
    more = (f"--input={folder}/in/list.csv", f"--output={tmp_path}/out2")
    assert run_convert(*flags, *more) == 3
    assert "3.png: not found\n" in (error := capsys.readouterr().err)
    assert f"Paths are relative to {folder}/in;" in error
    more = (f"--input={folder}/in/none.csv", f"--output={tmp_path}/out2")
    assert run_convert(*flags, *more) == 2
    assert f"--input={folder}/in/none.csv: not found" in capsys.readouterr().err


def test_tfds_from_gs(folder: str, tmp_path: pathlib.Path) -> None:
    parts = {"train": examples("train", 10)}
    put(write(tmp_path, "tiny", FEATURES, parts), f"{folder}/tiny/1.2.0")
    flags = ("--source=tfds", f"--input={folder}/tiny/1.2.0", "--split=train:1")
    assert run_convert(*flags, f"--output={folder}/out") == 0
    assert dataset.load(f"{folder}/out").label_counts == {"train": (5, 5)}
    assert sorted(gcs.sizes(f"{folder}/out"))[-1].endswith(".tfrecord")


def test_what_is_wrong_with_the_input_is_said_of_the_input(
    folder: str, tmp_path: pathlib.Path, capsys
) -> None:
    output = f"--output={tmp_path}/out"
    flags = ("--source=folder", f"--input={folder}/photos", output)
    assert run_convert(*flags) == 2
    assert f"--input={folder}/photos: not found, or empty" in (
        capsys.readouterr().err
    )
    gcs.write(f"{folder}/photos/cat/1.png", b"no image")
    assert run_convert(*flags) == 3
    assert f"{folder}/photos: found 1 class(es)" in capsys.readouterr().err
    gcs.write(f"{folder}/photos/../../evil", b"")
    assert run_convert(*flags) == 2
    assert "'../../evil' has a name that no file" in capsys.readouterr().err
    assert run_convert("--source=idx", "--input=gs://none/x", output) == 2
    assert "there is no bucket 'none'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("inside", "outside"), [("data/out", "data"), ("data", "data/photos")]
)
def test_output_in_input(folder: str, inside, outside, capsys) -> None:
    flags = (f"--input={folder}/{outside}", f"--output={folder}/{inside}")
    assert run_convert("--source=folder", *flags) == 2
    assert "one lies in the other" in capsys.readouterr().err


def test_an_output_that_holds_something(folder: str, capsys) -> None:
    flags = ("--source=digits", f"--output={folder}", "--shards=2")
    gcs.write(f"{folder}/mine.txt", b"mine")
    assert run_convert(*flags) == 2
    assert f"{folder} is not empty. Give" in capsys.readouterr().err
    assert objects(folder) == {"mine.txt": b"mine"}
    # As an upload leaves that is killed.
    gcs.write(f"{folder}/train-00000-of-00009.tfrecord", b"old")
    assert run_convert(*flags) == 2
    assert "has shards but no dataset.json" in capsys.readouterr().err
    assert run_convert(*flags, "--overwrite") == 0
    assert run_convert(*flags, "--overwrite", "--seed=1") == 0
    found = objects(folder)
    assert found["mine.txt"] == b"mine"
    assert sorted(found) == [
        "dataset.json",
        "mine.txt",
        *(f"test-0000{i}-of-00002.tfrecord" for i in range(2)),
        *(f"train-0000{i}-of-00002.tfrecord" for i in range(2)),
        *(f"validation-0000{i}-of-00002.tfrecord" for i in range(2)),
    ]


def test_a_bucket_that_is_not_there_costs_no_work(capsys, folder) -> None:
    assert run_convert("--source=digits", "--output=gs://none/x") == 2
    assert "there is no bucket 'none'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt("SIGTERM"), 1), (gcs.StorageError("down"), 1)],
)
def test_an_upload_that_fails_leaves_nothing(
    folder: str, monkeypatch, capsys, error: BaseException, code: int
) -> None:
    upload = gcs.upload

    def fail_at_the_end(place: str, names: list[str], to: str) -> None:
        if names == ["dataset.json"]:
            assert len(gcs.sizes(folder)) == 24
            raise error
        upload(place, names, to)

    monkeypatch.setattr(gcs, "upload", fail_at_the_end)
    assert run_convert("--source=digits", f"--output={folder}") == code
    assert gcs.sizes(folder) == {}


def test_two_uploads_at_once(folder: str, monkeypatch, capsys) -> None:
    upload = gcs.upload

    def come_second(place: str, names: list[str], to: str) -> None:
        monkeypatch.setattr(gcs, "upload", upload)
        assert run_convert("--source=digits", f"--output={folder}") == 0
        upload(place, names, to)

    monkeypatch.setattr(gcs, "upload", come_second)
    flags = ("--source=digits", f"--output={folder}", "--seed=1")
    assert run_convert(*flags) == 2
    assert "another conversion writes there" in capsys.readouterr().err
    assert len(gcs.sizes(folder)) == 25
    dataset.verify(dataset.load(folder), folder, "train")
