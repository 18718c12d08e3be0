"""A SavedModel as TensorFlow Serving loads it, with requests to warm it up.

Signatures: `serving_default` takes encoded pictures, `tensors` takes pixels;
both give probabilities and logits. Decoding, resizing and normalisation are
inside, so that a client needs none of them.
"""

import os

import numpy as np
import tensorflow as tf

from trainer import artefact_info, inference

ENCODED = "image_bytes"
PIXELS = "images"
BY_ENCODED = "serving_default"
BY_PIXELS = "tensors"
_WARM_UP = "tf_serving_warmup_requests"


class _Module(tf.Module):
    """Holds what the functions of a SavedModel use."""

    def __init__(self, classifier: inference.Classifier) -> None:
        super().__init__()
        # Variables, and what a layer holds besides, such as a SavedModel.
        self.layers = list(classifier.model.layers)
        height, width, channels = classifier.info.image_shape
        shape = tf.TensorSpec([height, width, channels], tf.uint8)

        def tensors(images: tf.Tensor) -> dict[str, tf.Tensor]:
            return classifier(images)

        def image_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            return classifier(
                tf.map_fn(
                    classifier.decode, image_bytes, fn_output_signature=shape
                )
            )

        self.tensors = tf.function(
            tensors,
            input_signature=[
                tf.TensorSpec([None, *shape.shape], tf.uint8, name=PIXELS)
            ],
            autograph=False,
        )
        self.image_bytes = tf.function(
            image_bytes,
            input_signature=[tf.TensorSpec([None], tf.string, name=ENCODED)],
            autograph=False,
        )


def write(classifier: inference.Classifier, folder: str, name: str) -> None:
    """Writes the version folder of a model.

    Args:
        classifier: What to write.
        folder: A local one, to be made.
        name: Under which TensorFlow Serving will know the model.

    Raises:
        OSError: The disk fails; so does tf.errors.OpError.
    """
    module = _Module(classifier)
    tf.saved_model.save(
        module,
        folder,
        signatures={
            BY_ENCODED: module.image_bytes,
            BY_PIXELS: module.tensors,
        },
    )
    extra = os.path.join(folder, artefact_info.EXTRA)
    os.makedirs(extra, exist_ok=True)
    with open(os.path.join(extra, artefact_info.FILE_NAME), "wb") as file:
        file.write(classifier.info.to_json())
    _write_warm_up(
        os.path.join(extra, _WARM_UP), name, classifier.info.image_shape
    )


def _write_warm_up(
    path: str, name: str, image_shape: tuple[int, int, int]
) -> None:
    """Writes requests that make a server compile what real ones will use.

    The pictures are made up: a model is given away, and its data may not be.
    Format: https://www.tensorflow.org/tfx/serving/saved_model_warmup
    """
    from tensorflow_serving.apis import prediction_log_pb2

    shades = np.linspace(0, 255, int(np.prod(image_shape)))
    image = shades.reshape(image_shape).astype(np.uint8)
    encoded = [tf.io.encode_jpeg(image), tf.io.encode_png(image)]
    with tf.io.TFRecordWriter(path) as writer:
        for signature, key, value in (
            (BY_ENCODED, ENCODED, tf.stack(encoded).numpy()),
            (BY_PIXELS, PIXELS, image[np.newaxis]),
        ):
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())
