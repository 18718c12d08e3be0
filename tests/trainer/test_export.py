"""Exports of a small run: what is in them, and that they are held to it."""

import dataclasses
import io
import json
import pathlib
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models import simple_cnn
from tests.trainer import tiny_run
from tests.trainer.test_main import call
from trainer import (
    archive,
    artefact_info,
    artefacts,
    constants,
    export,
    export_formats,
    export_output,
    parity,
    parity_worker,
    report,
)

PIXELS = np.random.default_rng(3).integers(0, 256, (12, 8, 8, 3), np.uint8)
IN_A_PROCESS = parity._ask
# A process takes seconds: those whose loading depends most on it have one.
ALONE = {("saved_model", "image_bytes"), ("keras", "tensors")}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
    return tiny_run.train(tmp_path_factory.mktemp("run") / "tiny")


def ask_here(name, artefact, way, path, found) -> None:
    parity_worker.main(artefact, way, path, found)


def ask(name, *rest) -> None:
    alone = (name, rest[1]) in ALONE
    (IN_A_PROCESS if alone else ask_here)(name, *rest)


@pytest.fixture(scope="module", autouse=True)
def few_processes():
    """Artefacts are asked in this process, and none is timed for long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "_ask", ask_here)
        patch.setattr(parity_worker, "_SECONDS", 0.001)
        yield


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory) -> pathlib.Path:
    output = tmp_path_factory.mktemp("exports") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "_ask", ask)
        flags = ("--agreement=tflite_int8=0.5",)
        assert write(run, output, list(export_formats.FORMATS), *flags) == 0
    return output


def write(run, output, formats=("tflite_float32",), *flags: str) -> int:
    return call(
        export,
        f"--model_dir={run}",
        f"--output={output}",
        f"--formats={','.join(formats)}",
        "--examples=20",
        "--calibration_examples=40",
        *flags,
    )


def best_of(run: pathlib.Path) -> pathlib.Path:
    (path,) = (run / "best").glob("step-*")
    return path


def expected(run: pathlib.Path, pixels: np.ndarray) -> np.ndarray:
    """By numpy and a model whose averaged weights were set by hand."""
    arrays = archive.read(str(best_of(run)))
    model = simple_cnn.simple_cnn(4, (8, 8, 3), filters=(4, 8), dense=8)
    for variable in model.variables:
        variable.assign(arrays[f"ema/{variable.path}"])
    logits = model((pixels.astype(np.float32) - 127.5) / 64.0).numpy()
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def paths(output: pathlib.Path) -> dict[str, str]:
    summary = json.loads((output / "export.json").read_text())
    return {n: str(output / p) for n, p in summary["artefacts"].items()}


@pytest.mark.parametrize("name", list(export_formats.FORMATS))
def test_each_format_says_what_the_averaged_weights_say(
    name, run, exported
) -> None:
    model = artefacts.load(paths(exported)[name])
    assert model.info.class_names == ("0", "1", "2", "3")
    assert model.info.image_shape == (8, 8, 3)
    assert model.info.activation == "softmax"
    assert f"step-{model.info.step:09d}" in str(best_of(run))
    found = model.probabilities(PIXELS)
    exact = name in ("saved_model", "keras", "onnx", "tflite_float32")
    np.testing.assert_allclose(
        found, expected(run, PIXELS), atol=2e-6 if exact else 0.05
    )


def test_export_json_has_the_table(run, exported) -> None:
    summary = json.loads((exported / "export.json").read_text())
    ways = [(row["format"], row["way"]) for row in summary["parity"]]
    assert ways[:2] == [
        ("saved_model", "tensors"),
        ("saved_model", "image_bytes"),
    ]
    assert len(ways) == len(export_formats.FORMATS) + 1
    pictures = tiny_run.pictures()[:20]
    images = np.stack([image for image, _ in pictures])
    labels = np.array([label for _, label in pictures])
    right = (expected(run, images).argmax(1) == labels).mean()
    for row in summary["parity"]:
        assert row["checkpoint_accuracy"] == pytest.approx(right)
        assert row["examples"] == 20
        assert row["passed"] and row["bytes"] > 1000
        assert row["p99_ms"] >= row["p50_ms"] > 0
        assert row["images_per_second"] > 0
    assert not list(exported.glob(".*"))


def test_signatures_for_servers(exported) -> None:
    model = tf.saved_model.load(paths(exported)["saved_model"])
    by_bytes = model.signatures["serving_default"]
    by_pixels = model.signatures["tensors"]
    (given,) = by_bytes.structured_input_signature[1].values()
    assert (given.name, given.dtype) == ("image_bytes", tf.string)
    (given,) = by_pixels.structured_input_signature[1].values()
    assert (given.name, given.dtype) == ("images", tf.uint8)
    for signature in (by_bytes, by_pixels):
        outputs = signature.structured_outputs
        assert {n: o.shape.as_list() for n, o in outputs.items()} == {
            "probabilities": [None, 4],
            "logits": [None, 4],
        }
    encoded = []
    for kind in ("PNG", "BMP", "GIF"):
        buffer = io.BytesIO()
        Image.fromarray(PIXELS[0] // 64 * 64).save(buffer, kind)
        encoded.append(buffer.getvalue())
    encoded.append(tf.io.encode_jpeg(PIXELS[0]).numpy())
    found = by_bytes(image_bytes=tf.constant(encoded))["logits"].numpy()
    seen = [
        np.asarray(Image.open(io.BytesIO(e)).convert("RGB")) for e in encoded
    ]
    wanted = by_pixels(images=tf.constant(np.stack(seen)))["logits"].numpy()
    # Of a JPEG, two decoders differ by a level here and there.
    np.testing.assert_allclose(found[:3], wanted[:3], atol=1e-5)
    np.testing.assert_allclose(found[3], wanted[3], atol=0.05)
    with pytest.raises(tf.errors.InvalidArgumentError):
        by_bytes(image_bytes=tf.constant([encoded[0], b"not a picture"]))


def test_warm_up_requests_are_ones_that_work(exported) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    folder = paths(exported)["saved_model"]
    model = tf.saved_model.load(folder)
    asked = []
    path = f"{folder}/assets.extra/tf_serving_warmup_requests"
    for record in tf.data.TFRecordDataset(path):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        assert request.model_spec.name == "tiny"
        asked.append(request.model_spec.signature_name)
        given = {
            k: tf.constant(tf.make_ndarray(v))
            for k, v in request.inputs.items()
        }
        found = model.signatures[asked[-1]](**given)
        np.testing.assert_allclose(
            found["probabilities"].numpy().sum(1), 1, rtol=1e-5
        )
    assert asked == ["serving_default", "tensors"]


def test_int8_takes_pixels_as_they_are_and_computes_in_integers(
    exported,
) -> None:
    from ai_edge_litert import interpreter

    model = interpreter.Interpreter(model_path=paths(exported)["tflite_int8"])
    (given,), (found,) = model.get_input_details(), model.get_output_details()
    assert (given["dtype"], given["quantization"]) == (np.uint8, (1.0, 0))
    assert (found["dtype"], found["quantization"]) == (np.uint8, (1 / 256, 0))
    assert {t["dtype"] for t in model.get_tensor_details()} <= {
        *(np.uint8, np.int8, np.int32)
    }
    signatures = model.get_signature_list()["serving_default"]
    assert signatures == {"inputs": ["images"], "outputs": ["probabilities"]}


def test_files_carry_their_labels(exported) -> None:
    for name in ("tflite_float16", "keras"):
        with zipfile.ZipFile(paths(exported)[name]) as members:
            assert members.read("labels.txt").decode().split() == list("0123")


def test_versions_only_grow(run, exported, tmp_path) -> None:
    output = tmp_path / "more"
    folder = output / "saved_model" / "x-1"
    for name in ("7", "008", "²"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "saved_model.pb").write_bytes(b"")
    flags = ("--name=x-1",)
    assert write(run, output, ["saved_model"], *flags) == 0
    numbers = {p.name for p in folder.iterdir()} - {"008", "²"}
    assert numbers == {"7", "8"}
    assert artefacts.find(str(output)) == str(folder / "8")
    assert artefacts.find(str(folder)) == str(folder / "8")
    assert artefacts.find(str(tmp_path)) is None


def test_what_differs_is_not_given_away(
    run, tmp_path, monkeypatch, capsys
) -> None:
    """Here the logits of the file are a tenth of what they should be."""
    right = constants.function

    def wrong(classifier, batch_size, dtype=tf.uint8):
        info = dataclasses.replace(classifier.info, temperature=10.0)
        other = dataclasses.replace(classifier, info=info)
        return right(other, batch_size, dtype)

    monkeypatch.setattr(constants, "function", wrong)
    output = tmp_path / "new" / "output"
    assert write(run, output, ["keras", "tflite_float32"]) == 1
    message = capsys.readouterr().err
    assert "tflite_float32 differ from the checkpoint" in message
    assert message.count("FAILED") == 1
    assert "--tolerance=FORMAT=DIFFERENCE" in message
    assert not (tmp_path / "new").exists()
    fields = {"tolerance": 1, "mean_tolerance": 1, "agreement": 0}
    allowed = [f"--{k}=tflite_float32={v}" for k, v in fields.items()]
    assert write(run, output, ["tflite_float32"], *allowed) == 0


def test_what_cannot_be_loaded_is_not_given_away(
    run, tmp_path, monkeypatch, capsys
) -> None:
    def attach(info, path: str) -> None:
        pathlib.Path(path).write_bytes(b"nothing")

    monkeypatch.setattr(artefact_info, "attach", attach)
    monkeypatch.setattr(parity, "_ask", IN_A_PROCESS)
    assert write(run, tmp_path / "out", ["keras"]) == 1
    message = capsys.readouterr().err
    assert "keras cannot be used in a new process" in message
    assert "lockstep.json" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--output="], "--output is missing"),
        (["--formats=tflite"], "'tflite' is none. Choose from: saved_model, "),
        (["--formats="], "--formats is empty"),
        (["--tolerance=onnx=0.1"], "a format that is written: tflite_float32"),
        (["--tolerance=tflite_float32=2"], "a number in [0, 1]"),
        (["--lost_accuracy=tflite_float32=-1"], "--lost_accuracy=tflite_flo"),
        (["--name=a b"], "--name='a b' must be letters"),
        (["--checkpoint=nowhere"], "--checkpoint=nowhere is no checkpoint"),
        (["--model_dir=nowhere"], "not the folder of a run"),
        (["--gin_param=simple_cnn.dense=9"], "is of another model"),
        (["--gin_param=train.seed=5"], "holds a run of a different config"),
    ],
)
def test_bad_flags(flags, message, run, tmp_path, capsys) -> None:
    output = tmp_path / "out"
    assert write(run, output, ["tflite_float32"], *flags) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


def test_a_temperature_comes_from_the_evaluation(run, tmp_path, capsys) -> None:
    """Of the same weights: the first checkpoint has had none."""
    first = min((run / "checkpoints").iterdir())
    flags = ["--calibrate", f"--checkpoint={first}"]
    assert write(run, tmp_path / "x", ["tflite_float32"], *flags) == 2
    assert "holds a fitted temperature" in capsys.readouterr().err
    assert write(run, tmp_path, ["tflite_float32"], "--calibrate") == 0
    fitted = archive.read_manifest(str(best_of(run)))["metrics"]["temperature"]
    model = artefacts.load(str(tmp_path / "tiny_float32.tflite"))
    assert model.info.temperature == fitted != 1
    plain = np.log(expected(run, PIXELS)) / fitted
    softened = np.exp(plain) / np.exp(plain).sum(1, keepdims=True)
    np.testing.assert_allclose(model.probabilities(PIXELS), softened, atol=2e-6)


def test_a_missing_package_is_named(run, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(
        export_formats.importlib.util, "find_spec", lambda name: None
    )
    assert write(run, tmp_path / "out", ["onnx"]) == 2
    message = capsys.readouterr().err
    assert "onnx needs the package tf2onnx, onnx, onnxruntime" in message
    assert "pip install '.[export]'" in message


def test_the_report_shows_the_export(run, exported) -> None:
    export_output.note(str(run), (exported / "export.json").read_bytes())
    report.write_report(str(run))
    page = (run / "report.html").read_text()
    assert '<section id="export">' in page
    for name in export_formats.FORMATS:
        assert name in page
    assert page.count("image_bytes") == 1
    assert '<th scope="col">Mean</th>' in page

    kept = run / "evaluation" / "export.json"
    content = kept.read_bytes()
    kept.write_bytes(content[:100])
    report.write_report(str(run))
    page = (run / "report.html").read_text()
    assert '<section id="export">' not in page
    assert "evaluation/export.json could not be read" in page
    kept.write_bytes(content)
