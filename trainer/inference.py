"""The network of a run with the weights of a checkpoint, for inference.

From pixels to probabilities as evaluation computes them, in float32 whatever
the precision of training was: it is what all servers and devices can do.
"""

import dataclasses
import functools
import os
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from input import eval_pipeline
from trainer import (
    artefact_info,
    config,
    engine,
    errors,
    recipe,
    results,
    rundir,
    session,
    step,
    trained,
)

_TEMPERATURE = "temperature"
# Of float32 numbers of a size of about 1.
_ROUNDING = 1e-4
_ACTIVATIONS: tuple[tuple[object, artefact_info.Activation], ...] = (
    (tf.nn.softmax, "softmax"),
    (tf.nn.sigmoid, "sigmoid"),
)


@dataclasses.dataclass(frozen=True)
class Classifier:
    """From pixels to probabilities.

    Attributes:
        parts: The network, with its weights, and its preprocessing.
        data: The split that it was evaluated on; how it decodes pictures is
            part of the model.
        info: What is to be known of it.
    """

    parts: session.Session
    data: eval_pipeline.EvalData
    info: artefact_info.Info

    @property
    def model(self) -> keras.Model:
        """The network, from preprocessed images to logits."""
        return self.parts.state.model

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """Returns float32 [b, classes].

        Args:
            images: uint8 [b, H, W, C], or float32 with the same levels.
        """
        return self.parts.state.logits(self.parts.preprocess(images))

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Returns float32 [b, classes], calibrated if that was asked for."""
        if self.info.temperature != 1:
            logits = logits / self.info.temperature
        return self.parts.recipe.loss.probabilities(logits)

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns `probabilities` and `logits` of uint8 [b, H, W, C]."""
        logits = self.logits(images)
        return {"probabilities": self.probabilities(logits), "logits": logits}

    def infer(self, images: np.ndarray) -> np.ndarray:
        """Returns probabilities, float32 [b, classes], of uint8 images.

        Compiled once, for any number of rows.
        """
        return np.asarray(self._compiled(tf.constant(images)))

    @functools.cached_property
    def _compiled(self) -> Callable[[tf.Tensor], tf.Tensor]:
        spec = tf.TensorSpec([None, *self.info.image_shape], tf.uint8)
        return tf.function(
            lambda images: self(images)["probabilities"],
            input_signature=[spec],
            autograph=False,
        )

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """Returns the pixels of one picture, uint8 [H, W, C], from a string."""
        shape = self.info.image_shape
        return self.data.decode(encoded, tf.zeros([2], tf.int64), shape)


def load(
    chosen: recipe.Recipe,
    model_dir: str,
    path: str | None = None,
    calibrate: bool = False,
) -> Classifier:
    """Returns the classifier that a run has trained.

    Args:
        chosen: The recipe of the run.
        model_dir: Of the run.
        path: A checkpoint; None: the best, else the newest.
        calibrate: Whether to use the temperature that evaluation has fitted.

    Raises:
        errors.ConfigError: There is no checkpoint, it is of another training,
            or has no temperature.
    """
    weights = trained.read(model_dir, path)
    temperature = (
        fitted_temperature(chosen, weights, model_dir) if calibrate else 1.0
    )
    made = build(chosen, weights, temperature)
    rundir.check(
        model_dir,
        made.parts,
        config.operative_config(),
        rundir.FREE_AFTERWARDS,
    )
    return made


def build(
    chosen: recipe.Recipe, weights: trained.Weights, temperature: float = 1.0
) -> Classifier:
    """Makes the network of a recipe and gives it its weights.

    Raises:
        errors.ConfigError: The recipe evaluates nothing, its weights are of
            another model, or its loss reads logits in a way of its own.
    """
    if not chosen.evaluations:
        raise errors.ConfigError(
            "Nothing says how pictures are decoded for the network: bind "
            "train.eval_data or train.test_data."
        )
    data = chosen.evaluations[0]
    # A first look at the loss: it costs nothing.
    activation = _activation(chosen)
    parts = session.build(
        dataclasses.replace(
            chosen,
            precision="float32",
            gradient_compression="none",
            ema_decay=None,
            warm_start=None,
            progressive_resizing=(),
        ),
        engine.OneDevice(),
    )
    weights.assign_to(parts.state.model)
    info = artefact_info.Info(
        class_names=artefact_info.names_of(
            data.source.info.class_names, chosen.classes
        ),
        image_shape=data.image_shape,
        activation=activation,
        preprocessing={
            "decode": artefact_info.describe_decoder(data.decode),
            **_affine(parts.preprocess, data.image_shape),
        },
        step=weights.step,
        temperature=temperature,
    )
    logging.info("Weights: %s, step %d.", weights.path, weights.step)
    return Classifier(parts, data, info)


def fitted_temperature(
    chosen: recipe.Recipe, weights: trained.Weights, model_dir: str
) -> float:
    """Returns the temperature that evaluation has fitted to some weights.

    Raises:
        errors.ConfigError: It has fitted none to those of this step.
    """
    found = weights.metrics.get(_TEMPERATURE)
    for data in chosen.evaluations:
        path = os.path.join(model_dir, "evaluation", f"{data.split}.npz")
        if found is None:
            found = _of_result(path, weights.step)
    if found is None or not found > 0:
        raise errors.ConfigError(
            f"--calibrate: no evaluation of step {weights.step} in {model_dir} "
            "holds a fitted temperature. Evaluate that step with "
            "trainer.evaluate first, or leave the flag out."
        )
    return float(found)


def _of_result(path: str, at_step: int) -> float | None:
    try:
        result = results.EvaluationResult.load(path)
    except (FileNotFoundError, ValueError):
        return None
    return result.metrics.get(_TEMPERATURE) if result.step == at_step else None


def _activation(chosen: recipe.Recipe) -> artefact_info.Activation:
    for function, name in _ACTIVATIONS:
        if chosen.loss.probabilities is function:
            return name
    raise errors.ConfigError(
        f"train.loss reads logits with {chosen.loss.probabilities!r}. An "
        "export knows softmax and sigmoid: use one of these in the loss."
    )


def _affine(
    preprocess: step.Preprocess, shape: tuple[int, int, int]
) -> dict[str, list[float] | None]:
    """Returns scale and offset by channel, found by asking.

    None for both where the preprocessing is no such thing.
    """
    # Each channel at other levels: none may stand for another.
    levels = 51 * np.arange(6)[:, None] + 85 * np.arange(shape[2])
    pixels = np.broadcast_to(levels[:, None, None] % 256, (len(levels), *shape))
    seen = np.asarray(preprocess(tf.constant(pixels, tf.uint8)), np.float64)
    # Of grey pictures one channel may be repeated for the network.
    if seen.shape[:3] == pixels.shape[:3] and shape[2] in (1, seen.shape[3]):
        x, y = pixels[:, 0, 0], seen[:, 0, 0]
        scale = (y[3] - y[0]) / (x[3] - x[0])
        offset = y[0] - x[0] * scale
        if np.abs(seen - (pixels * scale + offset)).max() < _ROUNDING:
            return {"scale": scale.tolist(), "offset": offset.tolist()}
    return {"scale": None, "offset": None}
