"""What an exported model says of itself: `lockstep.json`, in each artefact.

A SavedModel has it in assets.extra. A .tflite or .keras file carries it as a
member of a ZIP archive, as TensorFlow Lite's metadata carry label files: their
readers pass over it, and `unzip -p MODEL lockstep.json` shows it. An .onnx file
has it in its metadata.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from input import crops, decode, files
from trainer import errors

FILE_NAME = "lockstep.json"
EXTRA = "assets.extra"
FORMAT = 1

Activation = Literal["softmax", "sigmoid"]

# By the names that gin files have for them.
_DECODERS: dict[str, type[Any]] = {
    "as_stored": decode.AsStored,
    "resize_center_crop": crops.ResizeCenterCrop,
    "random_resized_crop": crops.RandomResizedCrop,
}


@dataclasses.dataclass(frozen=True)
class Info:
    """The contents of `lockstep.json`.

    Attributes:
        class_names: In order of the outputs.
        image_shape: Height, width and channels of the pixels it takes.
        activation: How logits become probabilities.
        preprocessing: `decode`: the name and the arguments of what makes
            pixels of a picture; `scale` and `offset`: by channel, from pixels
            0..255 to what the network sees, null where that is no such thing.
            It is done inside the model; only `decode` is left to callers who
            give pixels.
        step: Of training, of the weights.
        temperature: Logits are divided by it first; 1 unless calibrated.
    """

    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    activation: Activation
    preprocessing: Mapping[str, Any]
    step: int
    temperature: float = 1.0

    def to_json(self) -> bytes:
        """Returns the content of the file."""
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        text = json.dumps(content, indent=1, ensure_ascii=False)
        return text.encode()

    @classmethod
    def from_json(cls, content: bytes, path: str) -> Info:
        """Reads what `to_json` wrote.

        Args:
            content: Of the file.
            path: Of the artefact, for messages.

        Raises:
            errors.ConfigError: It is of another format, or damaged.
        """
        try:
            found = json.loads(content)
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']}, not {FORMAT}")
            height, width, channels = found["image_shape"]
            return cls(
                class_names=tuple(found["class_names"]),
                image_shape=(height, width, channels),
                activation=found["activation"],
                preprocessing=found["preprocessing"],
                step=found["step"],
                temperature=found.get("temperature", 1.0),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise errors.ConfigError(
                f"{path}: {FILE_NAME} cannot be read ({error!r}). Export the "
                "model again with this version."
            ) from error

    def decoder(self) -> decode.Decoder:
        """Returns what makes pixels of a picture, as evaluation did.

        Raises:
            errors.ConfigError: It is none of Lockstep's own.
        """
        arguments = dict(self.preprocessing["decode"])
        name = arguments.pop("name")
        if name not in _DECODERS:
            raise errors.ConfigError(
                f"The model was evaluated with the decoder {name!r}, which "
                f"is none of {', '.join(_DECODERS)}. Use --model=MODEL_DIR of "
                "the run instead of the export."
            )
        return _DECODERS[name](**arguments)


def describe_decoder(decoder: decode.Decoder) -> dict[str, Any]:
    """Returns the name and the arguments of a decoder, for JSON."""
    names = {kind: name for name, kind in _DECODERS.items()}
    kind = type(decoder)
    described: dict[str, Any] = {"name": names.get(kind, kind.__name__)}
    if dataclasses.is_dataclass(decoder):
        described |= dataclasses.asdict(decoder)
    return described


def attach(info: Info, path: str) -> None:
    """Adds `lockstep.json` and `labels.txt` to a .tflite or .keras file."""
    labels = "\n".join(info.class_names)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_member(FILE_NAME), info.to_json())
        archive.writestr(_member("labels.txt"), labels)


def _member(name: str) -> zipfile.ZipInfo:
    """Returns a member without a date: the same model, the same bytes."""
    return zipfile.ZipInfo(name)


def read(path: str) -> Info:
    """Reads it from a SavedModel's folder, a .tflite or a .keras file.

    Raises:
        errors.ConfigError: It is not there, or cannot be read.
    """
    try:
        if path.endswith((".tflite", ".keras")):
            with zipfile.ZipFile(io.BytesIO(files.read(path))) as archive:
                return Info.from_json(archive.read(FILE_NAME), path)
        inside = os.path.join(path, EXTRA, FILE_NAME)
        return Info.from_json(files.read(inside), path)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise errors.ConfigError(
            f"{path} has no {FILE_NAME} ({errors.reason(error)}), so nothing "
            "says which classes it has. Name what trainer.export has written."
        ) from error


def names_of(known: Sequence[str], outputs: int) -> tuple[str, ...]:
    """Returns a name for each output; those that no class has say so."""
    spare = range(len(known), outputs)
    return (*known, *(f"unused {i}" for i in spare))
