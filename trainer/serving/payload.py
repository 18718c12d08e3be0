"""TensorFlow Serving's predict API: from JSON to pictures, and back.

https://www.tensorflow.org/tfx/serving/api_rest#predict_api
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import gc
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from trainer.serving import servable
from trainer.serving.limits import Limits, Refusal

# An encoded picture, or uint8 [H, W, C].
Picture: TypeAlias = "bytes | np.ndarray"

_KEYS = ("signature_name", "instances", "inputs")
_BASE64 = "b64"


@dataclasses.dataclass(frozen=True)
class PredictRequest:
    """What a body asks for.

    Attributes:
        pictures: At least one.
        key: "instances" or "inputs": where the pictures were, and how the
            answer is laid out.
    """

    pictures: Sequence[Picture]
    key: str


def parse(
    body: bytes, limits: Limits, image_shape: tuple[int, int, int]
) -> PredictRequest:
    """Reads the body of a predict request.

    Args:
        body: JSON.
        limits: How many pictures it may have.
        image_shape: [H, W, C] of the pictures of the signature `tensors`.

    Raises:
        Refusal: It is no predict request, or has too many pictures.
    """
    request = _object(body)
    signature = request.get("signature_name") or servable.ENCODED
    # A list is no key of a dict.
    if not isinstance(signature, str) or signature not in servable.INPUTS:
        known = ", ".join(servable.INPUTS)
        raise Refusal(
            400,
            f'Serving signature name: "{signature}" not found in signature '
            f"def. This model has {known}.",
        )
    name = servable.INPUTS[signature]
    if "instances" in request:
        key, values = "instances", _list(request["instances"])
    else:
        key, values = "inputs", _column(request["inputs"], name)
    if not values:
        raise Refusal(400, f"{key} is empty. Give at least one picture.")
    limits.check_pictures(len(values), key)
    if key == "instances":
        values = _rows(values, name)
    pictures: list[Picture] = []
    for index, value in enumerate(values):
        where = f"{key}[{index}]"
        if signature == servable.ENCODED:
            pictures.append(_decoded(value, where))
        else:
            pictures.append(_pixels(value, where, image_shape))
    return PredictRequest(pictures, key)


def render(
    answers: Sequence[Mapping[str, np.ndarray]], key: str
) -> dict[str, Any]:
    """Returns the answer to a predict request, to be written as JSON.

    Args:
        answers: For each picture its outputs by name, [classes] each.
        key: Of the request.
    """
    if key == "instances":
        return {
            "predictions": [
                {name: values.tolist() for name, values in answer.items()}
                for answer in answers
            ]
        }
    return {
        "outputs": {
            name: [answer[name].tolist() for answer in answers]
            for name in answers[0]
        }
    }


def _loaded(body: bytes) -> Any:
    """Returns what JSON says, without collecting garbage on the way.

    The collector looks again and again at lists that are all alive: for 30 MB
    of small ones it takes ten times as long as the parser, and all threads
    wait. Where another thread switches it on in between, this takes longer.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return json.loads(body)
    finally:
        if enabled:
            gc.enable()


def _object(body: bytes) -> dict[str, Any]:
    try:
        request = _loaded(body)
    # Of ValueError: text that is not UTF-8, and numbers of 5,000 digits.
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise Refusal(
            400,
            "The body must be a JSON object, such as "
            '{"instances": [{"b64": "..."}]}.',
        )
    unknown = set(request) - set(_KEYS)
    if unknown:
        raise Refusal(
            400,
            f"Unknown key {min(unknown)!r}. There are {', '.join(_KEYS)}.",
        )
    if ("instances" in request) == ("inputs" in request):
        raise Refusal(
            400, "Give either 'instances' (by picture) or 'inputs' (by name)."
        )
    return request


def _list(instances: Any) -> list[Any]:
    if not isinstance(instances, list):
        raise Refusal(400, "'instances' must be a list, one item a picture.")
    return instances


def _rows(instances: list[Any], name: str) -> list[Any]:
    """Values of `instances`, each with or without the name of the input."""
    return [
        _named(item, name, f"instances[{index}]")
        for index, item in enumerate(instances)
    ]


def _column(inputs: Any, name: str) -> list[Any]:
    values = _named(inputs, name, "inputs")
    if not isinstance(values, list):
        raise Refusal(
            400, f"'inputs' must be a list of {name}, one item a picture."
        )
    return values


def _named(value: Any, name: str, where: str) -> Any:
    if not isinstance(value, dict) or set(value) == {_BASE64}:
        return value
    if set(value) != {name}:
        raise Refusal(
            400,
            f"{where}: has the inputs {sorted(value)}, but the signature has "
            f"{name!r} alone.",
        )
    return value[name]


def _decoded(value: Any, where: str) -> bytes:
    text = value.get(_BASE64) if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise Refusal(
            400,
            f'{where}: must be {{"b64": "..."}}, the bytes of a picture in '
            "base64.",
        )
    # Base64 of some languages has line breaks, of others no padding.
    text = "".join(text.split()).rstrip("=")
    try:
        data = text.encode("ascii") + b"=" * (-len(text) % 4)
        return base64.b64decode(data, validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise Refusal(
            400, f"{where}: Unable to base64 decode: {error}."
        ) from error


def _pixels(
    value: Any, where: str, image_shape: tuple[int, int, int]
) -> np.ndarray:
    wanted = f"uint8 {list(image_shape)} as nested lists"
    try:
        pixels = np.asarray(value)
    # A ragged list, or one that is nested too deeply.
    except (ValueError, OverflowError) as error:
        raise Refusal(400, f"{where}: must be {wanted}.") from error
    if pixels.shape != image_shape:
        raise Refusal(
            400,
            f"{where}: has the shape {list(pixels.shape)}; must be {wanted}.",
        )
    if pixels.dtype.kind not in "iu" or not (
        0 <= pixels.min() and pixels.max() <= 255
    ):
        raise Refusal(
            400, f"{where}: must be whole numbers from 0 to 255: {wanted}."
        )
    return pixels.astype(np.uint8)
