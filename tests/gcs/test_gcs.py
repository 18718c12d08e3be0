"""Tests of input/gcs.py, against the emulator."""

import json
import os
import pathlib

import pytest
import requests
from google.api_core import exceptions

from input import files, gcs
from tests.gcs.conftest import start
from trainer import archive, checkpoint, writer


def test_objects_and_their_generations(folder: str) -> None:
    path = f"{folder}/x"
    with pytest.raises(FileNotFoundError, match="x: no such object"):
        gcs.read(path)
    gcs.remove(path)  # Nothing to do.
    generation = gcs.write(path, b"1")
    assert gcs.read(path) == gcs.Object(b"1", generation)
    assert gcs.exists(path) and not gcs.exists(folder)


def test_many_files_at_once(folder: str, tmp_path: pathlib.Path) -> None:
    content = {f"d/{i}": os.urandom(100 + i) for i in range(30)}
    (tmp_path / "from" / "d").mkdir(parents=True)
    for name, data in content.items():
        (tmp_path / "from" / name).write_bytes(data)
    gcs.upload(str(tmp_path / "from"), list(content), folder)
    gcs.write(f"{folder}-other/x", b"not below it")
    assert gcs.sizes(folder) == {n: len(d) for n, d in content.items()}
    gcs.download(folder, list(content), str(tmp_path / "to"))
    for name, data in content.items():
        assert (tmp_path / "to" / name).read_bytes() == data
    with pytest.raises(gcs.ChangedError):
        gcs.upload(str(tmp_path / "from"), ["d/3"], folder)


@pytest.mark.parametrize("remote", [True, False])
def test_two_writers_lose_no_line(
    folder: str, tmp_path: pathlib.Path, remote: bool
) -> None:
    model_dir = folder if remote else str(tmp_path)
    lines = 20 if remote else 500
    code = (
        "import sys; from input import files\n"
        f"for i in range({lines}):\n"
        f"    line = sys.argv[1] + ' ' + str(i) + ' ' + 'x' * 200\n"
        f"    files.append('{model_dir}/metrics.jsonl', line.encode() + b'\\n')"
    )
    writers = [start("-c", code, name) for name in "ab"]
    for each in writers:
        output = each.communicate()[0]
        assert each.returncode == 0, output
    found = files.read(f"{model_dir}/metrics.jsonl").decode().splitlines()
    for name in "ab":
        own = [line.split() for line in found if line.startswith(name)]
        assert own == [[name, str(i), "x" * 200] for i in range(lines)]
    assert len(found) == 2 * lines


def test_metrics_of_a_trainer_and_an_evaluation(folder: str) -> None:
    trainer, evaluation = writer.Writer(folder), writer.Writer(folder)
    trainer.write("run", 0, {"engine": "one_device"})
    evaluation.write("run", 5, {"engine": "one_device"})
    trainer.write("run", 6, {"engine": "one_device"})
    lines = gcs.read(f"{folder}/metrics.jsonl").content.splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 5, 6]


def test_an_answer_that_is_lost_does_not_double_a_line(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gcs.append(f"{folder}/x", b"1\n")
    write = gcs.write

    def write_and_be_refused(*arguments: object) -> None:
        write(*arguments)
        monkeypatch.setattr(gcs, "write", write)
        raise gcs.ChangedError

    monkeypatch.setattr(gcs, "write", write_and_be_refused)
    gcs.append(f"{folder}/x", b"1\n")
    assert gcs.read(f"{folder}/x").content == b"1\n1\n"


def test_appending_gives_up(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise gcs.ChangedError

    monkeypatch.setattr(gcs, "write", refuse)
    monkeypatch.setattr(gcs.time, "sleep", lambda seconds: None)
    with pytest.raises(gcs.StorageError, match="writing 20 times"):
        gcs.append(f"{folder}/x", b"1\n")


def test_a_bucket_that_is_not_there(folder: str) -> None:
    wanted = "there is no bucket 'none'.*buckets create gs://none"
    for act in (
        lambda: gcs.read("gs://none/x"),
        lambda: gcs.exists("gs://none/x"),
        lambda: gcs.write("gs://none/x", b""),
        lambda: gcs.sizes("gs://none/x"),
    ):
        with pytest.raises(gcs.StorageError, match=wanted):
            act()


@pytest.mark.parametrize("path", ["gs://", "gs:///x", "gs://b", "gs://b/"])
def test_a_path_without_bucket_or_name(path: str) -> None:
    with pytest.raises(gcs.StorageError, match="needs a bucket and a name"):
        gcs.read(path)


def test_without_credentials(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    gcs._client.cache_clear()
    with pytest.raises(
        gcs.StorageError,
        match="gs://b/x: Google Cloud does not know who asks .*gcloud auth",
    ):
        gcs.read("gs://b/x")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (exceptions.Forbidden("no"), "denied .*no.*roles/storage.objectAdmin"),
        (exceptions.Unauthorized("who"), "does not know who asks .*who"),
        (exceptions.ServiceUnavailable("down"), "cannot be reached .*down"),
        (requests.ConnectionError("cut"), "cannot be reached .*cut"),
    ],
)
def test_what_the_storage_may_say(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(gcs, "_client", fail)
    with pytest.raises(gcs.StorageError, match=f"^gs://b/x: .*{message}"):
        gcs.write("gs://b/x", b"")


def test_a_checkpoint_written_anew_and_one_set_aside(folder: str) -> None:
    found = checkpoint.Checkpoints(folder)
    path = found.path(5)
    for name in (archive.ARRAYS, archive.MANIFEST):
        gcs.write(f"{path}/{name}", b"damaged")
    assert found.steps() == [5]
    before = archive.version(path)
    assert archive.version(path) == before
    gcs.write(f"{path}/{archive.ARRAYS}", b"repaired"[:7])
    assert archive.version(path) != before
    to = archive.set_aside(path)
    assert found.steps() == []
    assert gcs.sizes(folder) == {
        f"{os.path.basename(to)}/{name}": 7
        for name in (archive.ARRAYS, archive.MANIFEST)
    }
