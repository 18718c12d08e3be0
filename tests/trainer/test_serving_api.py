"""TensorFlow Serving's REST API, answered as it answers, and its limits."""

import base64
import gc
import io
import json
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format
from PIL import Image, ImageOps
from tensorflow.core.protobuf import meta_graph_pb2

from tests.trainer import exported
from tests.trainer.served import Client, served
from trainer import artefact_info
from trainer.serving import payload, pictures
from trainer.serving.limits import Limits, Refusal

MODEL = "/v1/models/colours"
RED, BLUE = exported.picture("red"), exported.picture("blue", kind="jpeg")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "colours"
    folder.mkdir()
    exported.export(folder / "3")
    with served(
        folder,
        max_body_bytes=1 << 18,
        max_pictures=6,
        max_queue=8,
        max_pixels=40_000,
    ) as client:
        yield client


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def pixels(colour: str) -> list:
    image = np.zeros(exported.SHAPE, int)
    image[..., exported.CLASSES.index(colour)] = 255
    return image.tolist()


@pytest.mark.parametrize("path", [MODEL, MODEL + "/versions/3"])
@pytest.mark.parametrize(
    "body",
    [
        {"instances": [b64(RED), b64(BLUE)]},
        {"instances": [{"image_bytes": b64(RED)}, {"image_bytes": b64(BLUE)}]},
        {
            "signature_name": "serving_default",
            "instances": [b64(RED), b64(BLUE)],
        },
        {
            "signature_name": "tensors",
            "instances": [pixels("red"), {"images": pixels("blue")}],
        },
    ],
)
def test_rows(client: Client, body: dict, path: str) -> None:
    answer = client.post(path + ":predict", json=body)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    red, blue = answer.json()["predictions"]
    np.testing.assert_allclose(
        red["probabilities"], exported.probabilities("red"), rtol=1e-5
    )
    # A JPEG's colours are off by a little.
    np.testing.assert_allclose(
        blue["probabilities"], exported.probabilities("blue"), rtol=0.05
    )
    assert red["logits"] == [5.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": [b64(RED), b64(BLUE)]},
        {"inputs": {"image_bytes": [b64(RED), b64(BLUE)]}},
        {"signature_name": "tensors", "inputs": [pixels("red")] * 2},
        {
            "signature_name": "tensors",
            "inputs": {"images": [pixels("red")] * 2},
        },
    ],
)
def test_columns(client: Client, body: dict) -> None:
    outputs = client.post(MODEL + ":predict", json=body).json()["outputs"]
    assert set(outputs) == {"probabilities", "logits"}
    assert np.shape(outputs["probabilities"]) == (2, 3)
    np.testing.assert_allclose(
        outputs["probabilities"][0], exported.probabilities("red"), rtol=1e-5
    )


def test_base64_with_line_breaks_and_without_padding(client: Client) -> None:
    text = base64.encodebytes(RED).decode().rstrip("=\n")
    assert "\n" in text
    body = {"instances": [{"b64": text}]}
    assert client.post(MODEL + ":predict", json=body).status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "JSON Parse error"),
        (b"\xff\xfe", "JSON Parse error"),
        (b"[" * 100_000, "JSON Parse error"),
        (b"9" * 5000, "JSON Parse error"),
        (b"[]", "must be a JSON object"),
        (b"{}", "either 'instances'"),
        (b'{"instances": [], "inputs": []}', "either 'instances'"),
        (b'{"instances": []}', "instances is empty"),
        (b'{"instances": 3}', "'instances' must be a list"),
        (b'{"inputs": 3}', "'inputs' must be a list"),
        (b'{"instances": [1], "batch": 2}', "Unknown key 'batch'"),
        (b'{"instances": [{"b64": "?"}]}', "instances[0]: Unable to base64"),
        (b'{"instances": [{"x": 1}]}', "instances[0]: has the inputs ['x']"),
        (b'{"instances": ["cat.jpg"]}', 'instances[0]: must be {"b64"'),
        (b'{"instances": [{"b64": ""}]}', "instances[0]: the file is empty"),
        (
            b'{"signature_name": "x", "instances": [1]}',
            'Serving signature name: "x" not found in signature def',
        ),
        (
            b'{"signature_name": ["x"], "instances": [1]}',
            "Serving signature name: \"['x']\" not found in signature def",
        ),
        (
            b'{"signature_name": "tensors", "instances": [[1, 2]]}',
            "instances[0]: has the shape [2]; must be uint8 [8, 8, 3]",
        ),
        (
            b'{"signature_name": "tensors", "instances": [[1, [2]]]}',
            "instances[0]: must be uint8 [8, 8, 3]",
        ),
        (
            json.dumps(
                {
                    "signature_name": "tensors",
                    "inputs": [np.full(exported.SHAPE, 256).tolist()],
                }
            ).encode(),
            "inputs[0]: must be whole numbers from 0 to 255",
        ),
    ],
)
def test_bad_requests(client: Client, body: bytes, message: str) -> None:
    answer = client.post(MODEL + ":predict", data=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_a_bad_picture_is_named_and_the_others_of_a_batch_pass(client) -> None:
    answer = client.predict(RED, b"no picture", BLUE, RED[:60])
    assert answer.status_code == 400
    first, second = answer.json()["error"].split("; ")
    assert first == "instances[1]: not an image, begins with 6e 6f 20 70"
    assert second.startswith("instances[3]: truncated or corrupt PNG (60 bytes")
    assert client.metric("lockstep_refused_pictures_total") >= 2


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        sum_ = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + sum_

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data)


def frames(count: int, size: int) -> bytes:
    """A GIF of many frames, of which the first is red."""
    images = [Image.new("RGB", (size, size), "red")]
    images += [
        Image.new("RGB", (size, size), (0, i % 256, 99)) for i in range(count)
    ]
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:])
    return buffer.getvalue()


def test_a_decompression_bomb_is_not_decoded(client: Client) -> None:
    answer = client.predict(bomb(60_000, 60_000))
    assert answer.status_code == 400
    assert answer.json()["error"] == (
        "instances[0]: 60,000 x 60,000 pixels are more than --max_pixels=40000"
    )


def test_scans_without_end_are_refused(client: Client) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    assert client.predict(data).status_code == 200
    start = data.rindex(b"\xff\xda")
    answer = client.predict(data[:-2] + data[start:-2] * 200 + data[-2:])
    assert answer.status_code == 400
    assert "more than 100" in answer.json()["error"]


def test_of_an_animation_the_first_frame_counts(client: Client) -> None:
    answer = client.predict(frames(50, 20))
    assert np.argmax(answer.json()["predictions"][0]["logits"]) == 0


def test_a_photo_is_seen_upright() -> None:
    """Its middle is what it is once it has been turned."""
    photo = Image.new("RGB", (40, 8), "blue")
    photo.paste((255, 0, 0), (0, 0, 20, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    photo.save(buffer, "PNG", exif=exif)
    upright = io.BytesIO()
    ImageOps.exif_transpose(Image.open(buffer)).save(upright, "PNG")
    info = artefact_info.Info(
        class_names=exported.CLASSES,
        image_shape=exported.SHAPE,
        activation="softmax",
        preprocessing={
            "decode": artefact_info.describe_decoder(exported.DECODER)
        },
        step=0,
    )
    read = pictures.Reader(info, max_pixels=1000)
    found = read(buffer.getvalue())
    np.testing.assert_array_equal(found, read(upright.getvalue()))
    # Red above blue, not beside it.
    assert (found[0, :, 0] > found[-1, :, 0]).all()


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        (
            "/v1/models/cats:predict",
            404,
            "Servable not found for request: Latest(cats). There is colours",
        ),
        (
            MODEL + "/versions/2:predict",
            404,
            "request: Specific(colours, 2). There is colours, version 3.",
        ),
        (MODEL, 400, "Malformed request: POST"),
        (MODEL + ":classify", 400, "Malformed request: POST"),
        (
            MODEL + "/versions/x:predict",
            400,
            "Failed to convert version: x to numeric.",
        ),
        (
            MODEL + f"/versions/{'9' * 5000}:predict",
            400,
            "Failed to convert version",
        ),
    ],
)
def test_unknown_models(
    client: Client, path: str, status: int, message: str
) -> None:
    answer = client.predict(RED, path=path)
    assert answer.status_code == status
    assert message in answer.json()["error"]


def test_status(client: Client) -> None:
    expected = {
        "model_version_status": [
            {
                "version": "3",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    assert client.get(MODEL).json() == expected
    assert client.get(MODEL + "/versions/3").json() == expected
    for path, message in (
        ("/v1/models/cats", "Could not find any versions of model cats"),
        (MODEL + "/versions/9", "Could not find version 9 of model colours"),
    ):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.json() == {"error": message}


def test_metadata_is_what_tensorflow_reads(client: Client) -> None:
    found = client.get(MODEL + "/metadata").json()
    assert found["model_spec"] == {
        "name": "colours",
        "signature_name": "",
        "version": "3",
    }
    definitions = found["metadata"]["signature_def"]["signature_def"]
    assert set(definitions) == {"serving_default", "tensors"}
    parsed = json_format.ParseDict(
        definitions["tensors"], meta_graph_pb2.SignatureDef()
    )
    images = parsed.inputs["images"]
    assert images.dtype == tf.uint8.as_datatype_enum
    assert [dim.size for dim in images.tensor_shape.dim] == [-1, 8, 8, 3]


@pytest.mark.parametrize(
    "content",
    [
        {"data": RED},
        {"data": RED, "headers": {"content-type": "image/png"}},
        {"files": {"image": ("red.png", RED, "image/png")}},
        {"files": {"anything": RED}, "data": {"note": "mine"}},
    ],
)
def test_classify(client: Client, content: dict) -> None:
    answer = client.post("/classify?top=2", **content).json()
    assert (answer["model"], answer["version"]) == ("colours", 3)
    assert answer["activation"] == "softmax"
    # Of two equal ones the first.
    assert [c["class"] for c in answer["classes"]] == ["red", "green"]
    np.testing.assert_allclose(
        [c["probability"] for c in answer["classes"]],
        exported.probabilities("red")[:2],
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("", {"data": b"text"}, "The picture: not an image"),
        ("", {"data": b""}, "The picture: the file is empty"),
        ("?top=0", {"data": RED}, "top='0' must be a number from 1 to 1000"),
        ("?top=" + "9" * 5000, {"data": RED}, "must be a number from 1 to"),
        ("", {"files": {"a": RED, "b": RED}}, "The form has 2 files, must"),
        (
            "",
            {
                "data": b"x",
                "headers": {"content-type": "multipart/form-data"},
            },
            "boundary",
        ),
    ],
)
def test_classify_refuses(
    client: Client, path: str, content: dict, message: str
) -> None:
    answer = client.post("/classify" + path, **content)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_ten_thousand_pictures_are_refused_with_the_fix(client: Client) -> None:
    answer = client.predict(*[b"x"] * 10_000)
    assert answer.status_code == 413
    assert answer.json()["error"] == (
        "instances: 10,000 pictures in one request; at most 6 are taken. Send "
        "them in several requests, or start the server with a higher "
        "--max_pictures."
    )


def test_many_small_lists_do_not_hold_up_the_others() -> None:
    """With the garbage collector on, this took ten times as long."""
    body = b'{"instances": [' + b"[]," * 1_000_000 + b"[]]}"
    collected = []
    gc.callbacks.append(lambda phase, info: collected.append(phase))
    try:
        with pytest.raises(Refusal, match="1,000,001 pictures"):
            payload.parse(body, Limits(), exported.SHAPE)
    finally:
        gc.callbacks.pop()
    assert len(collected) < 10
    assert gc.isenabled()


def test_long_bodies_are_refused_whether_they_say_so_or_not(client) -> None:
    body = bytes(300_000)
    chunks = (body[i : i + 1000] for i in range(0, len(body), 1000))
    for content in (body, chunks):
        answer = client.post("/classify", data=content)
        assert answer.status_code == 413
        assert "--max_body_mb" in answer.json()["error"]
    assert client.metric("lockstep_held_bytes") == 0


def test_other_methods_and_paths(client: Client) -> None:
    for answer, status in (
        (client.get("/nowhere"), 404),
        (client.get("/classify"), 405),
        (client.post("/readyz"), 405),
    ):
        assert answer.status_code == status
        assert "Malformed request" in answer.json()["error"]


def test_health(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "up"}
    assert client.get("/readyz").json() == {
        "ready": True,
        "model": "colours",
        "version": 3,
        "problems": [],
    }


def test_metrics_count(client: Client) -> None:
    name = 'lockstep_requests_total{code="404",kind="other"}'
    client.get("/nowhere")
    before = client.metric(name)
    client.get("/nowhere")
    assert client.metric(name) == before + 1
    batches = client.metric("lockstep_batch_pictures_count")
    pictures = client.metric("lockstep_batch_pictures_sum")
    assert client.predict(RED, RED, RED).status_code == 200
    assert client.metric("lockstep_batch_pictures_sum") == pictures + 3
    assert client.metric("lockstep_batch_pictures_count") > batches
    assert client.metric("lockstep_queue_pictures") == 0
    assert client.metric("lockstep_model_version") == 3
    assert client.metric("process_resident_memory_bytes") > 0
