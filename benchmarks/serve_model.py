"""Networks to serve: made-up weights, in the layout of trainer.export."""

import pathlib

import tensorflow as tf

from benchmarks import cases
from input import crops
from models import resnet
from trainer import artefact_info

_BUILDERS = {"resnet": resnet.resnet, "small_resnet": resnet.small_resnet}


def export(folder: pathlib.Path, case: cases.Case) -> pathlib.Path:
    """Writes `folder`/model/1 and returns it."""
    size, classes = case.pixels, case.classes
    model = _BUILDERS[case.builder](classes, (size, size, 3), depth=case.depth)

    def tensors(images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = model(tf.cast(images, tf.float32) / 127.5 - 1, training=False)
        return {"probabilities": tf.nn.softmax(logits), "logits": logits}

    decoder = crops.ResizeCenterCrop(size)
    shape = (size, size, 3)
    seed = tf.zeros([2], tf.int64)

    def image_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return tensors(
            tf.map_fn(
                lambda encoded: decoder(encoded, seed, shape),
                image_bytes,
                fn_output_signature=tf.TensorSpec(shape, tf.uint8),
            )
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
    info = artefact_info.Info(
        class_names=tuple(f"class {i}" for i in range(classes)),
        image_shape=shape,
        activation="softmax",
        preprocessing={"decode": artefact_info.describe_decoder(decoder)},
        step=0,
    )
    extra = version / artefact_info.EXTRA
    extra.mkdir()
    (extra / artefact_info.FILE_NAME).write_bytes(info.to_json())
    return version
