"""A run of tests/tiny.gin, and its pictures as files."""

import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image

from input import sources
from tests.trainer.test_main import call, tiny
from trainer import main

BINDINGS = ("train.ema_decay=0.8", 'train.checkpoint_every="10 steps"')


def train(model_dir: pathlib.Path, *bindings: str) -> pathlib.Path:
    """Trains for 20 steps, with averaged weights."""
    assert call(main, *tiny(model_dir, *BINDINGS, *bindings)) == 0
    return model_dir


def pictures() -> list[tuple[np.ndarray, int]]:
    """The 50 pictures of its validation split, with their labels."""
    source = sources.Synthetic(
        {"validation": 50}, num_classes=4, image_shape=(8, 8, 3)
    )
    found = []
    for record in source.read("validation", tf.constant(0, tf.int64)):
        image, label = source.parse(record, lambda x: x, (8, 8, 3))
        found.append((image.numpy(), int(label)))
    return found


def write_pictures(folder: pathlib.Path) -> list[int]:
    """Writes them as 00.png and so on; returns their labels."""
    folder.mkdir(parents=True)
    labels = []
    for number, (image, label) in enumerate(pictures()):
        Image.fromarray(image).save(folder / f"{number:02}.png")
        labels.append(label)
    return labels
