"""Who reads the photos: Lockstep and what it is compared with.

    python -m benchmarks.input_contenders NAME FOLDER BATCH

A step is a batch; of `records` and `cat`, once through all files.
"""

import dataclasses
import glob
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable

import simplejpeg
import tensorflow as tf

from benchmarks import orders
from input import crops, eval_pipeline, pipeline, sources, spec, threads

SIZE = 224
_HOST = spec.HostShare(index=0, count=1, replicas=1)

TakeSteps = Callable[[int], object]


@dataclasses.dataclass(frozen=True)
class FlippedCrop(crops.RandomResizedCrop):
    """The random crop, and the flip that else is made on the device."""

    def __call__(
        self, encoded: tf.Tensor, seed: tf.Tensor, shape: tuple[int, int, int]
    ) -> tf.Tensor:
        """Decodes a random window, resizes it and mirrors every other one."""
        image = super().__call__(encoded, seed, shape)
        chosen = tf.random.stateless_uniform([], seed) < 0.5
        return tf.cond(chosen, lambda: tf.reverse(image, [1]), lambda: image)


def _train_data(folder: str) -> pipeline.TrainData:
    return pipeline.TrainData(
        source=sources.TFRecords(os.path.join(folder, "records")),
        decode=FlippedCrop(size=SIZE),
    )


def lockstep(folder: str, batch: int) -> TakeSteps:
    """The training pipeline."""
    data = _train_data(folder)
    batches = iter(data.dataset(_HOST, global_batch_size=batch, seed=0))

    def take(steps: int) -> None:
        for _ in range(steps):
            next(batches)

    return take


def evaluation(folder: str, batch: int) -> TakeSteps:
    """The evaluation pipeline, over and over."""
    data = eval_pipeline.EvalData(
        source=sources.TFRecords(os.path.join(folder, "records")),
        split="train",
        decode=crops.ResizeCenterCrop(size=SIZE),
    )
    batches = iter(data.dataset(_HOST, global_batch_size=batch).repeat())

    def take(steps: int) -> None:
        for _ in range(steps):
            next(batches)

    return take


def records(folder: str, batch: int) -> TakeSteps:
    """The records in training order, shuffled, none decoded."""
    data = _train_data(folder)
    shards = range(len(data.source.info.shards("train")))
    stream = data.stream(shards, 0, 0).batch(batch).prefetch(1)
    read = iter(stream.with_options(threads.options()))

    def take(steps: int) -> None:
        for _ in range(steps * data.examples // batch):
            next(read)

    return take


def cat(folder: str, batch: int) -> TakeSteps:
    """The program `cat`, to nowhere."""
    del batch
    command = ["cat", *glob.glob(os.path.join(folder, "records", "*.tf*"))]

    def take(steps: int) -> None:
        for _ in range(steps):
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    return take


_pictures: list[bytes] = []


def _decode(numbers: range, min_size: int) -> None:
    for number in numbers:
        simplejpeg.decode_jpeg(
            _pictures[number % len(_pictures)],
            min_height=min_size,
            min_width=min_size,
        )


def _simplejpeg(folder: str, batch: int, min_size: int) -> TakeSteps:
    """libjpeg-turbo on every core, pictures in memory."""
    for path in sorted(glob.glob(os.path.join(folder, "files", "*", "*"))):
        with open(path, "rb") as file:
            _pictures.append(file.read())
    cores = len(os.sched_getaffinity(0))
    # Forked, so that all have the pictures; TensorFlow has not started yet.
    pool = multiprocessing.get_context("fork").Pool(cores)

    def take(steps: int) -> None:
        total = steps * batch
        # A few parts for each, so that none waits long for another.
        part = max(1, total // (8 * cores))
        parts = (
            (range(first, min(first + part, total)), min_size)
            for first in range(0, total, part)
        )
        pool.starmap(_decode, parts, chunksize=1)

    return take


def full_decode(folder: str, batch: int) -> TakeSteps:
    """All pixels of every picture."""
    return _simplejpeg(folder, batch, min_size=0)


def reduced_decode(folder: str, batch: int) -> TakeSteps:
    """Whole pictures at the smallest scale that leaves SIZE pixels."""
    return _simplejpeg(folder, batch, min_size=SIZE)


CONTENDERS = {
    "lockstep": lockstep,
    "evaluation": evaluation,
    "full": full_decode,
    "reduced": reduced_decode,
    "records": records,
    "cat": cat,
}


def main() -> None:
    """Becomes the contender."""
    name, folder, batch = sys.argv[1:]
    todo = orders.Orders()
    take = CONTENDERS[name](folder, int(batch))
    version = {
        "full": f"simplejpeg {simplejpeg.__version__}",
        "cat": "cat",
    }.get(name, f"TensorFlow {tf.__version__}")
    todo.ready(version, 0)
    todo.serve(take)


if __name__ == "__main__":
    main()
