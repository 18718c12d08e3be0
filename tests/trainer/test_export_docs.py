"""What docs/export.md shows, in this process; a server of ours for gRPC."""

import io
import pathlib
import re
import shlex
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn import datasets
from tensorflow_serving.apis import (
    predict_pb2,
    prediction_service_pb2_grpc,
)

from input import convert
from tests.conftest import REPO
from tests.test_docs import commands
from tests.trainer.test_export import ask_here
from tests.trainer.test_main import call
from trainer import export, main, parity, parity_worker, predict

DOCUMENT = "docs/export.md"
BINARIES = {"trainer.export": export, "trainer.predict": predict}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> pathlib.Path:
    """A folder with the data and the run that the document speaks of."""
    place = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        arguments = ["convert", "--source=digits", "--output=data/digits"]
        assert convert.main(arguments) == 0
        flags_ = ("--gin_file=gin/digits.gin", "--model_dir=runs/digits")
        short = "--gin_param=train.duration='2 epochs'"
        engine = '--gin_param=make_engine.name="one_device"'
        assert call(main, *flags_, short, engine) == 0
    (place / "PICTURES" / "more").mkdir(parents=True)
    for index, image in enumerate(datasets.load_digits().images[:6]):
        name = f"more/{index}.png" if index > 3 else f"{index}.png"
        pixels = (image * 15.9).astype(np.uint8)
        Image.fromarray(pixels).save(place / "PICTURES" / name)
    return place


def run(command: str, monkeypatch) -> None:
    """Runs a command line of ours, with what is piped into it."""
    piped, _, ours = command.rpartition(" | ")
    if piped:
        assert piped == "find PICTURES -name '*.png'"
        found = sorted(str(p) for p in pathlib.Path("PICTURES").rglob("*.png"))
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(found)))
    words = shlex.split(ours)
    assert words[:2] == ["python", "-m"], command
    binary, arguments = BINARIES[words[2]], words[3:]
    if binary is export:
        # The default formats, and those that later lines speak of; the
        # training was too short to agree in each answer.
        arguments.append(
            "--formats=saved_model,tflite_float32,tflite_int8,keras"
        )
        arguments.append("--agreement=tflite_int8=0.5")
    assert call(binary, *arguments) == 0, command


def pipelines() -> list[str]:
    """The commands, and those that begin with something else."""
    text = (REPO / DOCUMENT).read_text().replace("\\\n", " ")
    return [
        *commands(DOCUMENT),
        *re.findall(r"^find .* \| python .*", text, re.M),
    ]


def serve(service) -> tuple[grpc.Server, int]:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        service, server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers as TensorFlow Serving does, from the SavedModel."""

    def Predict(self, request, context):  # noqa: N802 - the protocol's name
        name = request.model_spec.name
        model = tf.saved_model.load(f"exports/digits/saved_model/{name}/1")
        signature = request.model_spec.signature_name or "serving_default"
        found = model.signatures[signature](
            **{
                key: tf.constant(tf.make_ndarray(value))
                for key, value in request.inputs.items()
            }
        )
        answer = predict_pb2.PredictResponse()
        for key, value in found.items():
            answer.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return answer


def test_what_the_document_shows(workplace, monkeypatch, capsys) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(parity, "_ask", ask_here)
    monkeypatch.setattr(parity_worker, "_SECONDS", 0.001)
    shown = pipelines()
    assert len(shown) == 5, shown
    for command in shown:
        run(command, monkeypatch)
    assert len((workplace / "predictions.csv").read_text().splitlines()) == 7

    text = (REPO / DOCUMENT).read_text()
    programs = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(programs) == 3
    server, port = serve(Service())
    capsys.readouterr()
    for program in programs:
        exec(program.replace("localhost:8500", f"127.0.0.1:{port}"), {})
    server.stop(0)
    printed = np.array(
        re.findall(r"\d\.\d+(?:e-\d+)?", capsys.readouterr().out)
    )
    # Two rows of probabilities: of the gRPC client and of LiteRT.
    assert printed.astype(float).reshape(2, 10).sum(1) == pytest.approx(
        1, abs=1e-5
    )
