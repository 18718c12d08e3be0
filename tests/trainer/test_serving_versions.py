"""Which version answers, while versions come, break and go."""

import pathlib
import shutil
import socket
import time

import numpy as np
import pytest

from input import errors
from tests.trainer import exported
from tests.trainer.served import Client, served, wait_until
from trainer.serving import servable, versions

CARD = "assets.extra/lockstep.json"
RED = exported.picture("red")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> pathlib.Path:
    """Versions to copy: saving one takes a second."""
    folder = tmp_path_factory.mktemp("models")
    exported.export(folder / "1", scale=1.0)
    exported.export(folder / "2", scale=2.0)
    return folder


@pytest.fixture
def folder(models: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """The output of an export, with version 1."""
    place = tmp_path / "out" / "saved_model" / "colours"
    place.mkdir(parents=True)
    shutil.copytree(models / "1", place / "1")
    return place


def add(models: pathlib.Path, which: str, target: pathlib.Path) -> None:
    """Adds a version as the export does: it is complete at once."""
    temporary = target.parent / "incoming"
    shutil.copytree(models / which, temporary)
    (temporary / servable.GRAPH).touch()
    temporary.rename(target)


def scale(client: Client) -> float:
    return client.predict(RED).json()["predictions"][0]["logits"][0]


def status(client: Client) -> dict[str, str]:
    found = client.get("/v1/models/colours").json()["model_version_status"]
    return {each["version"]: each["state"] for each in found}


def test_every_way_to_name_a_model(folder: pathlib.Path) -> None:
    output = folder.parents[1]
    for path in (output, folder, f"{output}/", f"{folder}/"):
        place = versions.locate(str(path))
        assert (place.name, place.folder) == ("colours", str(folder))
        assert [v.number for v in place.versions()] == [1]
    only = versions.locate(str(folder / "1"))
    assert (only.name, only.folder, only.only) == ("colours", str(folder), "1")
    assert versions.locate(str(output), "mine").name == "mine"


def test_the_highest_number_comes_first(
    folder: pathlib.Path, models: pathlib.Path
) -> None:
    for number in ("9", "10"):
        add(models, "2", folder / number)
    (folder / "11").mkdir()  # Nothing is in it yet.
    shutil.copytree(models / "2", folder / "12.tmp")
    place = versions.locate(str(folder))
    assert [v.number for v in place.versions()] == [10, 9, 1]


def test_what_is_no_model_is_named(
    folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    output = folder.parents[1]
    with pytest.raises(errors.UsageError, match="nowhere: not there. Give"):
        versions.locate(str(tmp_path / "nowhere"))
    with pytest.raises(errors.UsageError, match="empty: no model. Give"):
        (tmp_path / "empty").mkdir()
        versions.locate(str(tmp_path / "empty"))
    shutil.copytree(folder, folder.parent / "other")
    with pytest.raises(
        errors.UsageError, match="2 models.*saved_model/colours"
    ):
        versions.locate(str(output))


def test_a_new_version_takes_over(
    folder: pathlib.Path, models: pathlib.Path
) -> None:
    with served(folder.parents[1]) as client:
        assert scale(client) == 1
        add(models, "2", folder / "2")
        wait_until(lambda: client.metric("lockstep_model_version") == 2)
        assert scale(client) == 2
        assert client.get("/v1/models/colours/versions/1").status_code == 404
        # Taken back: the one before answers again.
        shutil.rmtree(folder / "2")
        wait_until(lambda: client.metric("lockstep_model_version") == 1)
        assert scale(client) == 1
        # The same number, another model.
        shutil.rmtree(folder / "1")
        add(models, "2", folder / "1")
        wait_until(lambda: scale(client) == 2)


def test_no_request_fails_while_versions_change(
    folder: pathlib.Path, models: pathlib.Path
) -> None:
    with served(folder) as client:
        add(models, "2", folder / "2")
        seen = []
        while not seen or seen[-1] != 2:
            seen.append(scale(client))
        assert set(seen) <= {1, 2}
        assert seen == sorted(seen)


def test_a_slow_request_ends_on_the_version_that_it_began_with(
    folder: pathlib.Path, models: pathlib.Path
) -> None:
    host = b"Host: x\r\nContent-Length: %d\r\n\r\n" % len(RED)
    with served(folder) as client:
        name, port = client.address.removeprefix("http://").split(":")
        with socket.create_connection((name, int(port)), timeout=20) as slow:
            slow.sendall(b"POST /classify HTTP/1.1\r\n" + host + RED[:9])
            wait_until(lambda: client.metric("lockstep_held_bytes") == 9)
            add(models, "2", folder / "2")
            wait_until(lambda: client.metric("lockstep_model_version") == 2)
            slow.sendall(RED[9:])
            answer = slow.recv(1 << 16)
            while b"classes" not in answer:
                answer += slow.recv(1 << 16)
        assert b'"version": 1' in answer


def break_graph(path: pathlib.Path) -> None:
    (path / servable.GRAPH).write_bytes(b"\x00garbage")


def break_weights(path: pathlib.Path) -> None:
    for file in (path / "variables").iterdir():
        file.write_bytes(file.read_bytes()[:5])


def break_card(path: pathlib.Path) -> None:
    (path / CARD).write_text("{")


def forget_card(path: pathlib.Path) -> None:
    (path / CARD).unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (break_graph, "saved_model.pb cannot be read"),
        (break_weights, "cannot be loaded"),
        (break_card, "cannot be read"),
        (forget_card, "Name what trainer.export has written"),
    ],
)
def test_a_broken_version_is_told_of_and_left(
    folder: pathlib.Path, models: pathlib.Path, damage, reason: str
) -> None:
    incoming = folder.parent / "incoming"
    shutil.copytree(models / "2", incoming)
    damage(incoming)
    with served(folder) as client:
        incoming.rename(folder / "7")
        wait_until(lambda: client.get("/readyz").json()["problems"] != [])
        ready = client.get("/readyz")
        assert ready.status_code == 200
        (problem,) = ready.json()["problems"]
        assert problem.startswith("version 7: ") and reason in problem
        assert scale(client) == 1
        assert status(client) == {"7": "END", "1": "AVAILABLE"}
        # It is tried once, not every time.
        time.sleep(0.5)
        assert client.metric("lockstep_model_load_failures_total") == 1
        # Mended, it is loaded.
        shutil.rmtree(folder / "7")
        add(models, "2", folder / "7")
        wait_until(lambda: status(client) == {"7": "AVAILABLE"})
        assert client.get("/readyz").json()["problems"] == []


def test_a_version_that_is_copied_slowly_is_served_when_it_is_complete(
    folder: pathlib.Path, models: pathlib.Path
) -> None:
    """By name, as cp and rsync do it, the weights come last."""
    with served(folder) as client:
        (folder / "2").mkdir()
        for name in ("assets.extra", servable.GRAPH, "variables"):
            source, target = models / "2" / name, folder / "2" / name
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy2(source, target)
            if name == servable.GRAPH:
                wait_until(lambda: client.get("/readyz").json()["problems"])
                assert scale(client) == 1
        wait_until(lambda: client.metric("lockstep_model_version") == 2)
        assert scale(client) == 2
        assert client.get("/readyz").json()["problems"] == []


def test_a_folder_that_disappears_is_no_reason_to_stop(
    folder: pathlib.Path, models: pathlib.Path
) -> None:
    with served(folder) as client:
        shutil.rmtree(folder)
        wait_until(lambda: client.get("/readyz").json()["problems"] != [])
        assert "no version is there any more" in client.get("/readyz").text
        assert scale(client) == 1
        folder.mkdir()
        add(models, "2", folder / "5")
        wait_until(lambda: scale(client) == 2)
        assert client.get("/readyz").json()["problems"] == []


def test_at_the_start_a_broken_version_is_passed_over(
    folder: pathlib.Path, models: pathlib.Path
) -> None:
    add(models, "2", folder / "2")
    break_graph(folder / "2")
    with served(folder) as client:
        assert scale(client) == 1
        assert "version 2: " in client.get("/readyz").text


def test_a_version_that_is_named_stays(
    folder: pathlib.Path, models: pathlib.Path
) -> None:
    add(models, "2", folder / "2")
    with served(folder / "1") as client:
        assert scale(client) == 1
        assert client.get("/readyz").json()["model"] == "colours"


def load(path: pathlib.Path) -> servable.Servable:
    return servable.Servable(str(path), sizes=(1, 4), max_pixels=1000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2, not 1"),
        (
            {"class_names": ["a"]},
            r"does not answer with probabilities \[b, 1\]",
        ),
        ({"image_shape": [9, 9, 3]}, "says that tensors takes"),
        ({"image_shape": 3}, "cannot be read"),
        (
            {"preprocessing": {"decode": {"name": "squint"}}},
            "with the decoder 'squint'",
        ),
        (
            {
                "preprocessing": {
                    "decode": {
                        "name": "resize_center_crop",
                        "size": 8,
                        "kept": 0.2,
                    }
                }
            },
            "serving_default and tensors differ by",
        ),
    ],
)
def test_a_model_that_is_not_what_it_says(
    tmp_path: pathlib.Path, changes: dict, message: str
) -> None:
    path = exported.export(tmp_path / "1", **changes)
    with pytest.raises(servable.LoadError, match=message):
        load(path)


def test_a_model_that_answers_nan_is_refused(tmp_path: pathlib.Path) -> None:
    path = exported.export(tmp_path / "1", scale=float("nan"))
    with pytest.raises(servable.LoadError, match="not finite"):
        load(path)


def test_a_batch_is_filled_up_and_answered_in_order(
    models: pathlib.Path,
) -> None:
    loaded = load(models / "2")
    images = [loaded.read(exported.picture(c)) for c in exported.CLASSES]
    answers = loaded.run(images)
    assert len(answers) == 3
    for colour, answer in zip(exported.CLASSES, answers, strict=True):
        np.testing.assert_allclose(
            answer["probabilities"],
            exported.probabilities(colour, scale=2.0),
            rtol=1e-5,
        )
