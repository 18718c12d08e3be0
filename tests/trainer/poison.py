"""trainer.main with a loss that goes wrong for some labels, as a program.

And data in which one example has such a label.
"""

import math
import pathlib
from typing import Literal

import tensorflow as tf

from input import pipeline, rows, sources, spec
from tests.conftest import write_dataset
from trainer import cli, config, losses, main

LABEL = 3
SHARDS, SHARD_SIZE, BATCH = 6, 40, 8  # 30 batches an epoch.
ROLLBACK = 'train.on_divergence = "rollback"'
_ALONE = spec.HostShare(index=0, count=1, replicas=1)


def poisoned(
    harm: Literal["nan", "spike", "gradient"], label: int = LABEL
) -> losses.Loss:
    """A loss that does harm from a label on: in its value or gradient."""

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        plain = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        bad = labels >= label
        if harm == "gradient":
            # The root of 0 has an infinite slope.
            return plain + tf.sqrt(tf.where(bad, 0 * plain, 1)) - 1
        factor = {"nan": math.nan, "spike": 1e3}[harm]
        return plain * tf.where(bad, tf.constant(factor), 1)

    return losses.Loss(loss)


config.register(poisoned, "poisoned", "tests")


def harm(kind: str, *more: str) -> list[str]:
    """Bindings of that loss, and others."""
    return ["train.loss = @poisoned()", f'poisoned.harm = "{kind}"', *more]


def write(folder: pathlib.Path, bad_batch: int | None = None) -> list[str]:
    """Writes a data set; returns the bindings that train on it.

    One example of a batch has a label of its own.
    """
    sizes = (SHARD_SIZE,) * SHARDS
    bad = None
    if bad_batch is not None:
        # The order does not depend on the labels.
        write_dataset(folder, sizes, classes=4)
        batch = range(bad_batch, bad_batch + 1)
        bad = examples_read(train_data(folder), batch)[3]
    write_dataset(
        folder,
        sizes,
        classes=4,
        label=lambda number: LABEL if number == bad else number % LABEL,
    )
    return [
        "SOURCE = @tfrecords()",
        f'tfrecords.data_dir = "{folder}"',
        f"train_data.shuffle_bytes = {train_data(folder).shuffle_bytes}",
        "train.eval_data = None",
        f"train.global_batch_size = {BATCH}",
        'train.checkpoint_every = "5 steps"',
        'train.log_every = "2 steps"',
        "train.steps_per_loop = 3",
    ]


def train_data(
    folder: pathlib.Path, shard_by: rows.ShardBy = "auto"
) -> pipeline.TrainData:
    """The training split, two shards of which are shuffled together."""
    source = sources.TFRecords(str(folder))
    largest = max(shard.bytes for shard in source.info.splits["train"])
    return pipeline.TrainData(
        source=source, shuffle_bytes=2 * largest, shard_by=shard_by
    )


def examples_read(
    data: pipeline.TrainData, steps: range, host: spec.HostShare = _ALONE
) -> list[int]:
    """The examples that a host gets in some steps, by the pipeline itself."""
    stream = data.dataset(
        host, global_batch_size=BATCH, seed=0, start_step=steps.start
    )
    return [
        int(index)
        for batch in stream.take(len(steps) * host.replicas)
        for index in batch[spec.INDEX]
    ]


def shard_names(examples: list[int]) -> list[str]:
    """The files that examples are in, without regard to any order."""
    shards = sorted({index // SHARD_SIZE for index in examples})
    return [f"train-{i:05d}-of-{SHARDS:05d}.tfrecord" for i in shards]


if __name__ == "__main__":
    cli.run(main.main)
