"""Backbones from files: what Keras or TensorFlow have saved."""

import os
from collections.abc import Callable

import keras

from models import backbone, ends, input_format
from models import weights as weights_lib
from models.frozen import Frozen


def keras_file(
    num_classes: int,
    image_shape: tuple[int, int, int],
    *,
    path: str,
    normalisation: input_format.Name,
    architecture: Callable[..., keras.Model] | None = None,
    cut_at: str | None = None,
    dropout: float = 0.2,
) -> keras.Model:
    """Builds a classifier on the layers of a model that Keras has saved.

    Args:
        num_classes: At least 2.
        image_shape: (height, width, channels).
        path: Of a `.keras` file: a whole model, whose last layer with weights
            is left out with all that follows it. Or of a `.weights.h5` file,
            whose `architecture` is given.
        normalisation: What the model expects of pixels, see
            `input_format.named`; "pixels" where it normalises by itself.
        architecture: Makes the model of a `.weights.h5` file: called with
            `num_classes` and `image_shape`. Its layer `logits` is replaced by
            a new one, so that the number of classes may be another.
        cut_at: Name of the layer whose output is taken, in place of the one
            before the last with weights.
        dropout: Share in [0, 1) of the features dropped before the classifier.

    Returns:
        A model from images [batch, height, width, channels], normalised as
        its input format says, to float32 logits [batch, num_classes].

    Raises:
        ValueError: There is no such file, it cannot be used so, or does not
            fit.
    """
    wanted = input_format.named(normalisation)
    shape = wanted.network_shape(image_shape) if wanted else image_shape
    image = ends.images(shape)
    if not os.path.isfile(path):
        raise ValueError(f"path={path!r}: no such file. Name a .keras file.")
    if path.endswith(".h5"):
        whole = _with_weights(path, shape, architecture)
    else:
        whole = _load_keras(path)
    _check_input(whole, path, shape)
    features = backbone.rebuild(_cut(whole, path, cut_at), image)
    logits = ends.classifier(features, num_classes, dropout)
    model = keras.Model(image, logits, name=whole.name)
    return input_format.attach(model, wanted)


def _with_weights(
    path: str,
    shape: tuple[int, int, int],
    architecture: Callable[..., keras.Model] | None,
) -> keras.Model:
    if architecture is None:
        raise ValueError(
            f"path={path!r} has weights alone: say of which network, such as "
            "keras_file.architecture = @resnet, or save the whole model as "
            ".keras."
        )
    classes = weights_lib.outputs(path)
    model = architecture(num_classes=classes, image_shape=shape)
    weights_lib.load_h5(model, path)
    return model


def _load_keras(path: str) -> keras.Model:
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:
        raise ValueError(
            f"path={path!r} cannot be loaded as a .keras file: {error} It must "
            "be one that model.save wrote, of layers of Keras or of ours."
        ) from error
    if not isinstance(model, keras.Sequential | keras.Model) or not hasattr(
        model, "layers"
    ):
        raise ValueError(f"path={path!r} holds no model of layers.")
    return model


def _check_input(
    model: keras.Model, path: str, shape: tuple[int, int, int]
) -> None:
    taken = getattr(model, "input_shape", None)
    if not isinstance(taken, tuple) or len(taken) != 4:
        raise ValueError(
            f"path={path!r} takes {taken}; it must be functional or "
            "sequential and take one input, (batch, height, width, channels)."
        )
    if any(
        size not in (None, given)
        for size, given in zip(taken[1:], shape, strict=True)
    ):
        raise ValueError(
            f"path={path!r} takes images of {taken[1:]}, but is to be given "
            f"{tuple(shape)}. Choose that size for the decoder."
        )


def _cut(model: keras.Model, path: str, at: str | None) -> keras.Model:
    """Returns the model up to what the last layer with weights was given."""
    layers = {layer.name: layer for layer in model.layers}
    if at is not None:
        if at not in layers:
            raise ValueError(
                f"cut_at={at!r} is no layer of {path!r}. It has: "
                f"{', '.join(layers)}."
            )
        return keras.Model(model.inputs, layers[at].output)
    weighted = [layer for layer in model.layers if layer.weights]
    if not weighted or not isinstance(weighted[-1], keras.layers.Dense):
        raise ValueError(
            f"path={path!r} does not end in a dense layer, so where its "
            "features are is not known. Name the layer whose output is to be "
            f"taken: keras_file.cut_at = ... It has: {', '.join(layers)}."
        )
    return keras.Model(model.inputs, weighted[-1].input)


def saved_model(
    num_classes: int,
    image_shape: tuple[int, int, int],
    *,
    path: str,
    normalisation: input_format.Name,
    signature: str | None = None,
    output: str | None = None,
    dropout: float = 0.2,
) -> keras.Model:
    """Builds a classifier on a SavedModel, which is one frozen layer.

    Args:
        num_classes: At least 2.
        image_shape: (height, width, channels).
        path: Folder of the SavedModel.
        normalisation: What it expects of pixels, see `input_format.named`;
            "pixels" where it normalises by itself.
        signature: Name of what to call in it; None: "serving_default", or
            else the only one.
        output: Name of the output of the signature, where it has several.
        dropout: Share in [0, 1) of the features dropped before the classifier.

    Returns:
        A model from images [batch, height, width, channels], normalised as
        its input format says, to float32 logits [batch, num_classes].

    Raises:
        ValueError: It has no such signature, or that takes something else
            than a batch of images; the message says what there is.
    """
    wanted = input_format.named(normalisation)
    shape = wanted.network_shape(image_shape) if wanted else image_shape
    image = ends.images(shape)
    features = Frozen(path, signature, output, name="saved_model")(image)
    logits = ends.classifier(features, num_classes, dropout)
    model = keras.Model(image, logits, name="saved_model_classifier")
    return input_format.attach(model, wanted)
