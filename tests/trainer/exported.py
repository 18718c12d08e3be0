"""A tiny model in the layout that trainer.export writes."""

import json
import pathlib

import numpy as np
import tensorflow as tf

from input import crops
from trainer import artefact_info

SHAPE = (8, 8, 3)
CLASSES = ("red", "green", "blue")
DECODER = crops.ResizeCenterCrop(8)


class Colours(tf.Module):
    """Which colour there is most of: logits are `scale` times the means."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = tf.Variable(scale)

    @tf.function(input_signature=[tf.TensorSpec([None, *SHAPE], tf.uint8)])
    def tensors(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        means = tf.reduce_mean(tf.cast(images, tf.float32) / 255, [1, 2])
        logits = self.scale * means
        return {"probabilities": tf.nn.softmax(logits), "logits": logits}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def encoded(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        seed = tf.zeros([2], tf.int64)
        return self.tensors(
            tf.map_fn(
                lambda data: DECODER(data, seed, SHAPE),
                image_bytes,
                fn_output_signature=tf.TensorSpec(SHAPE, tf.uint8),
            )
        )


def export(
    folder: pathlib.Path, scale: float = 5.0, **changes: object
) -> pathlib.Path:
    """Writes a version folder, complete at once, and returns it."""
    model = Colours(scale)
    temporary = folder.parent / f"{folder.name}.tmp"
    tf.saved_model.save(
        model,
        str(temporary),
        signatures={"serving_default": model.encoded, "tensors": model.tensors},
    )
    card = {
        "format": 1,
        "class_names": CLASSES,
        "image_shape": SHAPE,
        "activation": "softmax",
        "preprocessing": {"decode": artefact_info.describe_decoder(DECODER)},
        "step": 12,
    }
    (temporary / "assets.extra").mkdir()
    (temporary / "assets.extra" / "lockstep.json").write_text(
        json.dumps(card | changes)
    )
    temporary.rename(folder)
    return folder


def picture(colour: str, size: int = 20, kind: str = "png") -> bytes:
    """A picture all of one colour, encoded."""
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[..., CLASSES.index(colour)] = 255
    encode = tf.io.encode_png if kind == "png" else tf.io.encode_jpeg
    return encode(pixels).numpy()


def probabilities(colour: str, scale: float = 5.0) -> np.ndarray:
    """What the model answers for it, by NumPy."""
    powers = np.exp(scale * (np.array(CLASSES) == colour))
    return powers / powers.sum()
