"""Measures trainer.predict against its network and its decoder alone.

    python -m benchmarks.predict
    python -m benchmarks.predict --network=cnn --rounds=9

Photos of 500x375 in files, read, checked, decoded, resized to 224 pixels and
classified to rows of a CSV file; in turns with the network on pixels that are
ready, and with reading and decoding alone. All in one process on all cores, the
files in the page cache. Predicting can be no faster than the slower of the two,
and as fast as both add up where they take the same cores. Prints Markdown.
Close other programs first.
"""

import dataclasses
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import photos, tables, turns
from input import crops
from models import resnet, simple_cnn
from trainer import (
    artefact_info,
    predict_output,
    predict_pictures,
    prediction,
)

_ROUNDS = flags.DEFINE_integer(
    "rounds", 5, "Turns of each contender.", lower_bound=1
)
_PICTURES = flags.DEFINE_integer(
    "pictures", 512, "Files of a turn.", lower_bound=1
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 64, "Pictures that the network takes at once.", lower_bound=1
)
_PIXELS = 224
_CLASSES = 1000
_NETWORKS: Mapping[str, Callable[[], keras.Model]] = {
    "resnet18": lambda: resnet.resnet(
        _CLASSES, (_PIXELS, _PIXELS, 3), depth=18
    ),
    # Hardly anything: what is left is the way there.
    "cnn": lambda: simple_cnn.simple_cnn(
        _CLASSES, (_PIXELS, _PIXELS, 3), filters=(4, 4, 4, 4), dense=8
    ),
}
_NETWORK = flags.DEFINE_enum(
    "network", "resnet18", list(_NETWORKS), "What classifies."
)
_TITLES = {
    "predict": "trainer.predict, files to CSV",
    "network": "the network on pixels that are ready",
    "decoder": "reading, checking and decoding",
}


@dataclasses.dataclass(frozen=True)
class _Turn:
    """A contender, whose step is a pass over all files."""

    passes: Callable[[], object]

    def run(self, steps: int) -> float:
        """Returns the seconds of some passes."""
        began = time.perf_counter()
        for _ in range(steps):
            self.passes()
        return time.perf_counter() - began

    def close(self) -> None:
        """Does nothing: there is no process to end."""


def main(arguments: Sequence[str]) -> None:
    """Measures and prints the tables."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    conditions, count = tables.conditions(), _PICTURES.value
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        photos.Photos(
            width=500,
            height=375,
            quality=92,
            pictures=min(count, 64),
            shards=1,
            records=count,
        ).write(place)
        crowd = _crowd(place)
        turns.warm_up(crowd, 1)
        seconds = turns.take(crowd, _ROUNDS.value, 1, "predict")
    print(conditions)
    print(f"- {_NETWORK.value}, batches of {_BATCH_SIZE.value}\n")
    print(tables.speeds(seconds, _TITLES, count) + "\n")
    pairs = [("predict", "network"), ("predict", "decoder")]
    print(tables.comparisons(seconds, _TITLES, pairs, {}))


def _crowd(folder: pathlib.Path) -> dict[str, _Turn]:
    """Returns the contenders."""
    paths = sorted(str(path) for path in folder.glob("files/*/*"))
    size, model = _BATCH_SIZE.value, _model()
    reader = predict_pictures.Reader(model.decoder, model.info.image_shape)
    images = np.zeros([size, _PIXELS, _PIXELS, 3], np.uint8)

    def whole() -> None:
        with predict_output.rows(
            os.path.join(folder, "out.csv"),
            "csv",
            model.info.class_names,
            5,
            False,
        ) as rows:
            if prediction.predict(model, paths, rows, size):
                raise RuntimeError("Some of the photos could not be read.")

    def network() -> None:
        for begin in range(0, len(paths), size):
            model.infer(images[: len(paths) - begin])

    def decoder() -> None:
        for _ in predict_pictures.read(paths, reader, 3 * size):
            pass

    return {
        "predict": _Turn(whole),
        "network": _Turn(network),
        "decoder": _Turn(decoder),
    }


def _model() -> prediction.Model:
    """Returns a network with random weights."""
    network = _NETWORKS[_NETWORK.value]()

    @tf.function(autograph=False)
    def infer(images: tf.Tensor) -> tf.Tensor:
        pixels = (tf.cast(images, tf.float32) - 127.5) / 64
        return tf.nn.softmax(network(pixels, training=False))

    infer.get_concrete_function(
        tf.TensorSpec([None, _PIXELS, _PIXELS, 3], tf.uint8)
    )
    decoder = crops.ResizeCenterCrop(_PIXELS)
    info = artefact_info.Info(
        class_names=tuple(str(i) for i in range(_CLASSES)),
        image_shape=(_PIXELS, _PIXELS, 3),
        activation="softmax",
        preprocessing={"decode": artefact_info.describe_decoder(decoder)},
        step=0,
    )
    return prediction.Model(
        info, decoder, lambda images: infer(tf.constant(images)).numpy()
    )


if __name__ == "__main__":
    app.run(main)
