"""Networks to serve: made-up weights, in the layout of trainer.export."""

import json
import pathlib

import tensorflow as tf

from benchmarks import cases
from input import decode
from models import resnet

_BUILDERS = {"resnet": resnet.resnet, "small_resnet": resnet.small_resnet}


def export(folder: pathlib.Path, case: cases.Case) -> pathlib.Path:
    """Writes `folder`/model/1 and returns it."""
    size, classes = case.pixels, case.classes
    model = _BUILDERS[case.builder](classes, (size, size, 3), depth=case.depth)

    def tensors(images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = model(tf.cast(images, tf.float32) / 127.5 - 1, training=False)
        return {"probabilities": tf.nn.softmax(logits), "logits": logits}

    def resized(encoded: tf.Tensor) -> tf.Tensor:
        image = tf.image.resize(decode.decode(encoded, 3), [size, size])
        return tf.cast(tf.round(image), tf.uint8)

    def image_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return tensors(
            tf.map_fn(resized, image_bytes, fn_output_signature=tf.uint8)
        )

    module = tf.Module()
    module.model = model
    signatures = {
        "serving_default": tf.function(
            image_bytes,
            input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")],
        ),
        "tensors": tf.function(
            tensors,
            input_signature=[
                tf.TensorSpec([None, size, size, 3], tf.uint8, "images")
            ],
        ),
    }
    module.signatures_ = signatures
    version = folder / "model" / "1"
    tf.saved_model.save(module, str(version), signatures=signatures)
    (version / "assets.extra").mkdir()
    card = {
        "format": 1,
        "class_names": [f"class {i}" for i in range(classes)],
        "image_shape": [size, size, 3],
        "activation": "softmax",
        "preprocessing": {},
        "step": 0,
    }
    (version / "assets.extra" / "lockstep.json").write_text(json.dumps(card))
    return version
