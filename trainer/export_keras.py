"""A `.keras` file: the network as Keras loads it, with both ends.

It takes uint8 or float32 images with levels 0..255 and gives probabilities;
inside, the network itself is the layer `network`, from normalised images to
logits. Loading it needs `import models.registered`, which registers the layers
of our own.
"""

import keras

from trainer import artefact_info, errors, inference

NETWORK = "network"


def write(classifier: inference.Classifier, path: str) -> None:
    """Writes a .keras file.

    Raises:
        errors.ConfigError: The network or its preprocessing cannot be written
            as Keras layers.
    """
    info = classifier.info
    scale, offset = (info.preprocessing[k] for k in ("scale", "offset"))
    if scale is None:
        raise errors.ConfigError(
            "--formats=keras: the network is not preprocessed by a scale and "
            "an offset for each channel, for which alone Keras has a layer. "
            "Leave this format out, or use saved_model."
        )
    images = keras.Input(info.image_shape, name="images")
    x = images
    if len(scale) != info.image_shape[2]:
        x = keras.layers.Concatenate(name="repeat_grey")([x] * len(scale))
    x = keras.layers.Rescaling(scale, offset, name="normalise")(x)
    network = keras.Model(
        classifier.model.inputs[0], classifier.model.outputs[0], name=NETWORK
    )
    x = network(x)
    if info.temperature != 1:
        x = keras.layers.Rescaling(1 / info.temperature, name="calibrate")(x)
    x = keras.layers.Activation(
        info.activation, dtype="float32", name="probabilities"
    )(x)
    try:
        keras.Model(images, x, name="classifier").save(path)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise errors.ConfigError(
            f"--formats=keras: the network cannot be written: "
            f"{errors.reason(error)}. Leave this format out."
        ) from error
    artefact_info.attach(info, path)
