"""Pictures to predictions, as a user meets them."""

import csv
import io
import json
import os
import pathlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from input import decode
from tests.trainer import tiny_run
from tests.trainer.test_main import call
from trainer import (
    archive,
    artefacts,
    cli,
    export_saved_model,
    export_tflite,
    inference,
    predict,
    predict_output,
    predict_pictures,
    results,
    rundir,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
    """Its best checkpoint is the one that was evaluated last."""
    return tiny_run.train(
        tmp_path_factory.mktemp("run") / "tiny",
        'train.evaluate_every="20 steps"',
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("pictures") / "all"
    tiny_run.write_pictures(folder)
    return folder


@pytest.fixture(scope="module")
def exports(run, tmp_path_factory) -> list[pathlib.Path]:
    """A SavedModel and a .tflite file of the run."""
    place = tmp_path_factory.mktemp("exports")
    recipe = cli.load_recipe([rundir.config_of(str(run))])
    made = inference.load(recipe, str(run))
    export_saved_model.write(made, str(place / "saved_model" / "m" / "1"), "m")
    none = np.zeros([0, 8, 8, 3], np.uint8)
    export_tflite.write(made, str(place / "m.tflite"), "float32", none)
    return [place, place / "m.tflite"]


def ask(model, output, *arguments) -> int:
    return call(
        predict, f"--model={model}", f"--output={output}", *map(str, arguments)
    )


def lines(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_evaluation_has_found(run, pictures, tmp_path, capsys) -> None:
    output = tmp_path / "out.jsonl"
    assert ask(run, output, "--all_probabilities", pictures) == 0
    assert capsys.readouterr().out == f"50 of 50 pictures: {output}\n"
    rows = lines(output)
    assert [os.path.basename(row["path"]) for row in rows] == [
        f"{number:02}.png" for number in range(50)
    ]
    said = np.array([row["probabilities"] for row in rows])
    labels = np.array([label for _, label in tiny_run.pictures()])
    evaluated = results.EvaluationResult.load(
        str(run / "evaluation" / "validation.npz")
    ).metrics
    assert (said.argmax(1) == labels).mean() == evaluated["top_1_accuracy"]
    loss = -np.log(said[np.arange(50), labels]).mean()
    assert loss == pytest.approx(evaluated["loss"], abs=1e-5)
    for row, probabilities in zip(rows, said, strict=True):
        ranked = [p["class"] for p in row["predictions"]]
        assert ranked == [str(i) for i in np.argsort(-probabilities)]


def test_exports_say_the_same(run, exports, pictures, tmp_path) -> None:
    found = []
    for index, model in enumerate([run, *exports, exports[0] / "saved_model"]):
        output = tmp_path / f"{index}.csv"
        flags = ("--top=1", f"--batch_size={index * 20 + 7}")
        assert ask(model, output, *flags, pictures) == 0
        found.append(list(csv.DictReader(output.open())))
    assert list(found[0][0]) == ["path", "error", "class_1", "probability_1"]
    for other in found[1:]:
        for row, same in zip(found[0], other, strict=True):
            assert row["class_1"] == same["class_1"]
            assert float(row["probability_1"]) == pytest.approx(
                float(same["probability_1"]), abs=2e-6
            )


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels, by its header."""
    body = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + checksum


def test_bad_pictures_are_rows(run, tmp_path, capsys) -> None:
    jpeg = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(jpeg, "JPEG")
    good = io.BytesIO()
    Image.fromarray(noise[:8, :8]).save(good, "PNG")
    # TensorFlow decodes it, and makes up the other half.
    within = jpeg.getvalue()[: len(jpeg.getvalue()) // 2] + b"\xff\xd9"
    table = {
        "bomb.png": (bomb(), "60,000 x 60,000 pixels are more than"),
        "cut.jpg": (jpeg.getvalue()[:-200], "corrupt JPEG"),
        "empty.jpg": (b"", "the file is empty"),
        "good.png": (good.getvalue(), ""),
        "half.png": (good.getvalue()[:90], "truncated or corrupt PNG"),
        "large.jpg": (jpeg.getvalue(), "exactly 8 x 8 pixels"),
        "within.jpg": (within, "premature end"),
        "text.png": (b"hello", "not an image, begins with 68 65 6c 6c"),
    }
    folder = tmp_path / "bad"
    folder.mkdir()
    for name, (content, _) in table.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "a_pipe.png")
    os.symlink("nowhere", folder / "dangling.png")
    output = tmp_path / "out.csv"
    extra = folder / "a_pipe.png"
    assert ask(run, output, folder, extra) == 0
    assert "1 of 10 pictures" in capsys.readouterr().out
    rows = list(csv.DictReader(output.open()))
    found = {os.path.basename(row["path"]): row for row in rows}
    table["a_pipe.png"] = (b"", "cannot be read: not a file")
    table["dangling.png"] = (b"", "cannot be read: No such file")
    assert found.keys() == table.keys()
    for name, (_, problem) in table.items():
        assert problem in found[name]["error"]
        assert bool(problem) == (found[name]["class_1"] == "")


def test_a_photo_on_its_side_is_turned(run, tmp_path) -> None:
    """As input.convert does, which stores it upright."""
    pixels = tiny_run.pictures()[1][0].copy()
    pixels[:4] //= 2
    turned = np.rot90(pixels, 2)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels).save(tmp_path / "upright.png")
    Image.fromarray(turned).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(turned).save(tmp_path / "unsaid.png")
    output = tmp_path / "out.jsonl"
    flags = ("--all_probabilities", tmp_path)
    assert ask(run, output, *flags) == 0
    turned_, unsaid, upright = (row["probabilities"] for row in lines(output))
    assert turned_ == upright
    assert unsaid != upright


def test_where_pictures_are_named(
    exports, pictures, tmp_path, monkeypatch, capsys
) -> None:
    """Folders with what is below them, globs, and lists."""
    deep = tmp_path / "folder" / "deep"
    tiny_run.write_pictures(deep)
    for name in ("notes.txt", ".hidden.png"):
        (deep / name).write_bytes(b"x")
    (deep / "00.png").rename(deep / "no_ending")
    output = tmp_path / "out.jsonl"
    model = exports[1]

    def named(*arguments) -> list[str]:
        assert ask(model, output, *arguments) == 0
        return [row["path"] for row in lines(output)]

    below = named(tmp_path / "folder")
    assert len(below) == 50 and below == sorted(below)
    assert f"{deep}/no_ending" in below
    assert named(f"{tmp_path}/f*/**/1?.png") == [
        f"{deep}/{number}.png" for number in range(10, 20)
    ]
    monkeypatch.setattr(
        "sys.stdin", io.StringIO(f"{deep}/07.png\n\n{deep}/03.png\n")
    )
    assert named(deep / "05.png", "-") == [
        f"{deep}/{number}.png" for number in ("05", "07", "03")
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    for wrong, message in (
        ("nowhere.png", "nowhere.png: no such file or folder"),
        (f"{deep}/*.gif", "nothing matches"),
        ("-", "There is no picture to predict"),
    ):
        output.unlink(missing_ok=True)
        assert ask(model, output, wrong) == 2
        assert message in capsys.readouterr().err
        assert not output.exists()


def test_a_grey_network_reads_colours_of_print() -> None:
    """libjpeg makes no grey of CMYK."""
    rgb = np.full((8, 8, 3), (200, 120, 40), np.uint8)
    jpeg = io.BytesIO()
    Image.fromarray(rgb).convert("CMYK").save(jpeg, "JPEG", quality=100)
    reader = predict_pictures.Reader(decode.AsStored(), (8, 8, 1))
    grey = np.asarray(Image.fromarray(rgb).convert("L"), np.int32)
    found = reader.pixels(jpeg.getvalue())[..., 0]
    assert np.abs(found - grey).max() <= 2


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--model="], "--model is missing"),
        (["--output="], "--output is missing"),
        (["--output=x.txt"], "must end in .csv, .jsonl, .ndjson"),
        (["--model=nowhere"], "neither the model_dir of a run nor an export"),
        (["--model_dir=x"], "name the run with --model"),
        (["--calibrate"], "--calibrate is for a run"),
        (["--checkpoint=x"], "--checkpoint is for a run"),
    ],
)
def test_bad_flags(flags, message, exports, pictures, tmp_path, capsys) -> None:
    output = tmp_path / "out.csv"
    assert ask(exports[1], output, pictures, *flags) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_model(pictures, tmp_path, capsys) -> None:
    (tmp_path / "x.tflite").write_bytes(b"nothing")
    assert ask(tmp_path / "x.tflite", tmp_path / "out.csv", pictures) == 2
    assert "x.tflite has no lockstep.json" in capsys.readouterr().err


def test_a_stop_leaves_what_was_there(exports, pictures, tmp_path, monkeypatch):
    output = tmp_path / "out.csv"
    output.write_text("earlier")

    def stop(self, images):
        raise KeyboardInterrupt

    monkeypatch.setattr(artefacts.Tflite, "probabilities", stop)
    with pytest.raises(KeyboardInterrupt):
        ask(exports[1], output, pictures)
    assert output.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [output]


def test_a_disk_that_fails_is_told(exports, pictures, tmp_path, capsys) -> None:
    """A folder lies where the file should go."""
    output = tmp_path / "out.csv"
    (output / "x").mkdir(parents=True)
    assert ask(exports[1], output, pictures) == 1
    assert f"{output} cannot be written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [output]


def test_a_file_is_readable_by_others(tmp_path) -> None:
    path = tmp_path / "out.csv"
    before = os.umask(0o022)
    try:
        with predict_output.rows(str(path), "csv", ["a", "b"], 1, True) as rows:
            rows.add("x", np.array([0.25, 0.75], np.float32))
            rows.add_error(os.fsdecode(b"\xff.png"), "broken")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.read_text().splitlines() == [
        "path,error,class_1,probability_1,probability: a,probability: b",
        "x,,b,0.75,0.25,0.75",
        "\ufffd.png,broken,,,,",
    ]


def test_another_checkpoint(run, pictures, tmp_path) -> None:
    steps = sorted((run / "checkpoints").iterdir())
    assert len({archive.read_manifest(str(s))["step"] for s in steps}) >= 2
    found = []
    for step in (steps[0], steps[-1]):
        output = tmp_path / "out.csv"
        assert ask(run, output, f"--checkpoint={step}", pictures) == 0
        found.append(output.read_text())
    assert found[0] != found[1]
