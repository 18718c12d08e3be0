"""RandAugment on the device and on the host, for benchmarks.augment."""

import functools
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps
from sklearn import datasets

from input import augment, menu, operations, policies

LAYERS, MAGNITUDE = 2, 9
_Op = menu.Operation


def photographs(count: int, size: int) -> np.ndarray:
    """Cuts pictures out of two photographs: uint8 [count, size, size, 3]."""
    photos = datasets.load_sample_images().images
    rng = np.random.default_rng(0)
    cut = []
    for i in range(count):
        photo = photos[i % len(photos)]
        top, left = rng.integers(0, np.array(photo.shape[:2]) - size)
        cut.append(photo[top : top + size, left : left + size])
    return np.stack(cut)


def lockstep() -> augment.Augment:
    """Returns what a recipe gets."""
    return policies.rand_augment(num_ops=LAYERS, magnitude=MAGNITUDE)


def batched(choices: Sequence[menu.Choice]) -> augment.Augment:
    """Returns what a GPU gets, to be run on a CPU as well."""
    return _with(
        choices,
        lambda images, numbers, of: operations.apply(
            images, numbers, of, "nearest", fill=0, one_by_one=False
        ),
    )


def naive(choices: Sequence[menu.Choice]) -> augment.Augment:
    """Returns what does all operations to all images and then selects."""

    def apply(images: tf.Tensor, numbers: tf.Tensor, _: Any) -> tf.Tensor:
        both = [
            menu.make(choices[i : i + 2], *images.shape[1:3])
            for i in range(0, len(choices), 2)
        ]

        def layer(images: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
            done = images
            for i, of in enumerate(both):
                changed = operations.apply(
                    images, number[None] % 2, of, "nearest", 0, one_by_one=False
                )
                mine = (number // 2 == i)[:, None, None, None]
                done = tf.where(mine, changed, done)
            return done

        return tf.foldl(layer, numbers, images)

    return _with(choices, apply)


def _with(
    choices: Sequence[menu.Choice], apply: Callable[..., tf.Tensor]
) -> augment.Augment:
    """Returns RandAugment with another way to do the operations."""

    @tf.function(jit_compile=True, autograph=False)
    def compiled(images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        of = menu.make(choices, *images.shape[1:3])
        done = apply(tf.cast(images, tf.uint8), numbers, of)
        return tf.cast(done, tf.float32)

    return lambda images, rows: compiled(
        images, policies.rand_augment_numbers(rows, LAYERS)
    )


class Device:
    """Augments batches as the training step does."""

    def __init__(
        self,
        pictures: np.ndarray,
        apply: augment.Augment,
        jit_compile: bool = False,
    ) -> None:
        images, count = tf.constant(pictures), len(pictures)

        @tf.function(jit_compile=jit_compile, autograph=False)
        def step(number: tf.Tensor) -> tf.Tensor:
            rows = augment.Rows(
                tf.stack([0, number]), tf.constant(0), count, count
            )
            return apply(tf.cast(images, tf.float32), rows)

        self._step = step

    def run(self, steps: int) -> float:
        """Takes steps and returns the seconds they took."""
        began = time.perf_counter()
        for number in range(steps):
            self._step(tf.constant(number)).numpy()
        return time.perf_counter() - began

    def close(self) -> None:
        """Does nothing."""


class Threads:
    """Augments with Pillow in the threads of a tf.data pipeline."""

    def __init__(self, pictures: np.ndarray) -> None:
        self._batch = len(pictures)
        self._data = (
            tf.data.Dataset.from_tensor_slices(pictures)
            .repeat()
            .enumerate()
            .map(
                lambda number, picture: tf.numpy_function(
                    host_rand_augment, [picture, number], tf.uint8
                ),
                num_parallel_calls=_cores(),
            )
            .batch(self._batch)
        )

    def run(self, steps: int) -> float:
        """Takes steps and returns the seconds they took."""
        began = time.perf_counter()
        for _ in self._data.take(steps):
            pass
        return time.perf_counter() - began

    def close(self) -> None:
        """Does nothing."""


class Processes:
    """Augments with Pillow in forked processes that share the memory."""

    def __init__(self, pictures: np.ndarray) -> None:
        context = multiprocessing.get_context("fork")
        self._count = len(pictures)
        shared = context.RawArray("B", pictures.size)
        self._pool = context.Pool(
            _cores(), initializer=_start, initargs=(pictures, shared)
        )

    def run(self, steps: int) -> float:
        """Takes steps and returns the seconds they took."""
        began = time.perf_counter()
        share = max(1, self._count // (2 * _cores()))
        for step in range(steps):
            first = step * self._count
            numbers = range(first, first + self._count)
            self._pool.map(_augment_one, numbers, chunksize=share)
        return time.perf_counter() - began

    def close(self) -> None:
        """Ends the processes."""
        self._pool.terminate()


_process: dict[str, np.ndarray] = {}


def _start(pictures: np.ndarray, shared: Any) -> None:
    _process["pictures"] = pictures
    _process["done"] = np.frombuffer(shared, np.uint8).reshape(pictures.shape)


def _augment_one(number: int) -> None:
    place = number % len(_process["pictures"])
    picture = _process["pictures"][place]
    _process["done"][place] = host_rand_augment(picture, number)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@functools.cache
def _choices(height: int, width: int) -> list[menu.Choice]:
    return policies.rand_augment_choices(MAGNITUDE, height, width)


def host_rand_augment(picture: np.ndarray, seed: int) -> np.ndarray:
    """Does as many operations of the same list with Pillow; uint8."""
    choices = _choices(*picture.shape[:2])
    image = Image.fromarray(picture)
    for number in np.random.default_rng(seed).integers(len(choices), size=2):
        image = with_pillow(image, choices[number])
    return np.asarray(image)


def with_pillow(
    image: Image.Image, choice: menu.Choice, fill: int = 0
) -> Image.Image:
    """Does an operation of the policies as Pillow does it."""
    amount = choice.amount
    outside = fill if image.mode == "L" else (fill,) * 3
    matrices = {
        _Op.SHEAR_X: (1, amount, 0, 0, 1, 0),
        _Op.SHEAR_Y: (1, 0, 0, amount, 1, 0),
        _Op.TRANSLATE_X: (1, 0, amount, 0, 1, 0),
        _Op.TRANSLATE_Y: (1, 0, 0, 0, 1, amount),
    }
    if matrix := matrices.get(choice.operation):
        affine = Image.Transform.AFFINE
        return image.transform(image.size, affine, matrix, fillcolor=outside)
    match choice.operation:
        case _Op.ROTATE:
            return image.rotate(amount, fillcolor=outside)
        case _Op.BRIGHTNESS:
            return ImageEnhance.Brightness(image).enhance(amount)
        case _Op.SATURATION:
            return ImageEnhance.Color(image).enhance(amount)
        case _Op.CONTRAST:
            return ImageEnhance.Contrast(image).enhance(amount)
        case _Op.SHARPNESS:
            return ImageEnhance.Sharpness(image).enhance(amount)
        case _Op.POSTERISE:
            return ImageOps.posterize(image, int(amount))
        case _Op.SOLARISE:
            return ImageOps.solarize(image, math.ceil(amount))
        case _Op.AUTO_CONTRAST:
            return ImageOps.autocontrast(image)
        case _Op.EQUALISE:
            return ImageOps.equalize(image)
        case _Op.INVERT:
            return ImageOps.invert(image)
    return image
