"""What docs/tutorial.md and docs/serving.md show, from photos to answers."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from input import convert, doctor
from tests.conftest import REPO
from tests.test_docs import commands
from tests.trainer.served import Client, served
from tests.trainer.test_export import ask_here
from tests.trainer.test_main import call
from trainer import (
    evaluate,
    export,
    main,
    parity,
    parity_worker,
    predict,
    serve,
)
from trainer.serving import running

BINARIES = {
    "trainer.main": main,
    "trainer.evaluate": evaluate,
    "trainer.export": export,
    "trainer.predict": predict,
}
# The commands are what is tested: a small network, trained a little.
SHORT = [
    "--gin_param=train.duration='2 steps'",
    "--gin_param=SIZE=16",
    "--gin_param=train.model=@simple_cnn",
    "--gin_param=cosine_schedule.warmup='1 steps'",
    '--gin_param=make_engine.name="one_device"',
]
URL = "http://127.0.0.1:8501"


def write_photos(folder: pathlib.Path) -> None:
    """Bright cats and dark dogs."""
    rng = np.random.default_rng(0)
    for name, low in (("cat", 120), ("dog", 0)):
        (folder / name).mkdir(parents=True)
        for number in range(1, 31):
            pixels = rng.integers(low, low + 130, (24, 32, 3))
            path = folder / name / f"{number}.jpg"
            path.write_bytes(tf.io.encode_jpeg(pixels.astype(np.uint8)).numpy())


def run(command: str) -> None:
    """Runs a command of the tutorial in this process."""
    words = shlex.split(command)
    assert words[:2] == ["python", "-m"], command
    name, arguments = words[2], words[3:]
    if name in ("input.convert", "input.doctor"):
        binary = {"input.convert": convert, "input.doctor": doctor}[name]
        code = binary.main([name, *arguments])
    elif name == "input.preview":
        # In one process its --output and that of trainer.export would clash.
        code = subprocess.run(
            [sys.executable, "-m", name, *arguments],
            env=os.environ | {"PYTHONPATH": str(REPO)},
        ).returncode
    else:
        short = [] if name == "trainer.predict" else SHORT
        code = call(BINARIES[name], *arguments, *short)
    assert code == 0, command


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[pathlib.Path]:
    """A folder in which the tutorial has been followed up to serving."""
    folder = tmp_path_factory.mktemp("tutorial")
    write_photos(folder / "PHOTOS")
    (folder / "cat.jpg").symlink_to("PHOTOS/cat/1.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(parity, "_ask", ask_here)
        patch.setattr(parity_worker, "_SECONDS", 0.001)
        *before, last = commands("docs/tutorial.md")
        assert "trainer.serve" in last
        for command in before:
            run(command)
        yield folder


@pytest.fixture(scope="module")
def client(place: pathlib.Path) -> Iterator[Client]:
    """What the last command of the tutorial starts."""
    (command,) = (
        c for c in commands("docs/tutorial.md") if "trainer.serve" in c
    )
    assert command in commands("docs/serving.md")
    flags = shlex.split(command)[3:]
    assert flags == ["--model=exported/photos"]
    with served(place / "exported" / "photos") as client:
        yield client


def test_each_step_leaves_what_it_says(place: pathlib.Path) -> None:
    for name in (
        "data/photos/dataset.json",
        "preview.html",
        "runs/photos/report.html",
        "exported/photos/saved_model/photos/1/saved_model.pb",
    ):
        assert (place / name).is_file(), name
    lines = (place / "predictions.csv").read_text().splitlines()
    assert len(lines) == 61


@pytest.mark.skipif(
    shutil.which("curl") is None, reason="no curl: apt-get install curl"
)
@pytest.mark.parametrize("document", ["docs/tutorial.md", "docs/serving.md"])
def test_curl(document: str, place: pathlib.Path, client: Client) -> None:
    text = (REPO / document).read_text().replace("\\\n", " ")
    shown = re.findall(r"^curl .*", text, re.M)
    assert len(shown) >= 2
    for command in shown:
        assert URL in command
        answer = subprocess.run(
            ["bash", "-c", command.replace(URL, client.address)],
            cwd=place,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "probabilit" in answer.stdout, answer


def test_the_server_says_what_predict_says(
    place: pathlib.Path, client: Client
) -> None:
    output = place / "all.jsonl"
    flags = (f"--output={output}", "--all_probabilities")
    photos = sorted((place / "PHOTOS").rglob("*.jpg"))[::10]
    model = f"--model={place}/runs/photos"
    assert call(predict, model, *flags, *map(str, photos)) == 0
    rows = [json.loads(line) for line in output.open()]
    assert len(rows) == len(photos)
    for photo, row in zip(photos, rows, strict=True):
        path = "/v1/models/photos:predict"
        answer = client.predict(photo.read_bytes(), path=path).json()
        found = answer["predictions"][0]["probabilities"]
        np.testing.assert_allclose(found, row["probabilities"], atol=1e-5)


def test_every_flag_that_the_document_names_is_one() -> None:
    text = (REPO / "docs" / "serving.md").read_text()
    named = set(re.findall(r"`--(\w+)", text))
    assert named >= {"max_pictures", "batch_sizes", "read_timeout"}
    assert named - {"soak_minutes"} <= set(serve._FLAGS)


def test_the_defaults_in_the_document_are_those() -> None:
    text = (REPO / "docs" / "serving.md").read_text()
    rows = re.findall(r"^\| `--(\w+)` \| ([\d,]+) \|", text, re.M)
    assert len(rows) == 7
    for name, default in rows:
        assert serve._FLAGS[name].default == int(default.replace(",", ""))
    settings = running.Settings("x")
    for name, value in (
        ("port", settings.port),
        ("poll_seconds", settings.poll_seconds),
        ("batch_wait_ms", 1000 * settings.batch_wait_seconds),
        ("max_connections", settings.max_connections),
        ("max_body_mb", settings.limits.max_body_bytes / 2**20),
        ("max_pictures", settings.limits.max_pictures),
        ("max_pixels", settings.limits.max_pixels),
        ("max_queue", settings.limits.max_queue),
        ("timeout", settings.limits.timeout_seconds),
        ("read_timeout", settings.limits.read_seconds),
    ):
        assert serve._FLAGS[name].default == value, name
