"""Exports to gs://, and pictures and predictions there."""

import json

import numpy as np
from PIL import Image

from input import gcs
from tests.trainer import tiny_run
from tests.trainer.test_export import ask_here
from tests.trainer.test_main import call
from trainer import export, parity, parity_worker, predict


def test_export_and_predict(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(parity, "_ask", ask_here)
    monkeypatch.setattr(parity_worker, "_SECONDS", 0.001)
    run = tiny_run.train(tmp_path / "tiny", "train.duration='4 steps'")
    flags = ("--formats=saved_model,tflite_float32", "--examples=4")
    output = f"{folder}/exports"
    for version in (1, 2):
        places = (f"--model_dir={run}", f"--output={output}")
        assert call(export, *places, *flags) == 0
        place = f"{output}/saved_model/tiny/{version}"
        assert {"saved_model.pb", "assets.extra/lockstep.json"} <= set(
            gcs.sizes(place)
        )
    summary = json.loads(gcs.read(f"{output}/export.json").content)
    assert summary["version"] == 2
    assert not list(tmp_path.glob(".export-*"))

    for number, (image, _) in enumerate(tiny_run.pictures()[:3]):
        path = tmp_path / f"{number}.png"
        Image.fromarray(image).save(path)
        gcs.write(f"{folder}/pictures/deep/{number}.png", path.read_bytes())
    gcs.write(f"{folder}/pictures/bad.jpg", b"text")
    gcs.write(f"{folder}/pictures/notes.txt", b"text")
    there, here = f"{folder}/out.jsonl", tmp_path / "out.jsonl"
    for to, inputs in (
        (there, [f"{folder}/pictures", f"{folder}/pictures/deep/0.png"]),
        (here, sorted(map(str, tmp_path.glob("*.png")))),
    ):
        model = f"--model={output}/tiny_float32.tflite"
        flags = (model, f"--output={to}", "--all_probabilities")
        assert call(predict, *flags, *inputs) == 0
    remote = [
        json.loads(line)
        for line in gcs.read(there).content.decode().splitlines()
    ]
    local = [json.loads(line) for line in here.read_text().splitlines()]
    assert [row["path"] for row in remote] == [
        f"{folder}/pictures/{name}"
        for name in ("bad.jpg", *(f"deep/{i}.png" for i in (0, 1, 2, 0)))
    ]
    assert "not an image" in remote[0]["error"]
    np.testing.assert_array_equal(
        [row["probabilities"] for row in remote[1:4]],
        [row["probabilities"] for row in local],
    )
