"""Files of records to measure with: the training split of a data set."""

import itertools
import pathlib
from collections.abc import Sequence

import tensorflow as tf
import tqdm

from input import dataset


def write(
    folder: pathlib.Path, encoded: Sequence[bytes], shards: int, records: int
) -> list[dataset.Shard]:
    """Writes the training split, the pictures in turn."""
    made = []
    pictures = itertools.cycle(encoded)
    for number in tqdm.trange(shards, desc="writing", unit="file"):
        name = dataset.shard_name("train", number, shards)
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for picture in itertools.islice(pictures, records):
                writer.write(_example(picture))
        size = (folder / name).stat().st_size
        made.append(dataset.Shard(file=name, examples=records, bytes=size))
    return made


def description(shards: Sequence[dataset.Shard]) -> dataset.DatasetInfo:
    """Returns a dataset.json of colour pictures that have no class."""
    return dataset.DatasetInfo(
        splits={"train": tuple(shards)},
        class_names=("a", "b"),
        image_shape=None,
        channel_mean=(127.0,) * 3,
        channel_std=(60.0,) * 3,
        fingerprint="0" * 64,
        label_counts={"train": (sum(s.examples for s in shards), 0)},
    )


def _example(encoded: bytes) -> bytes:
    made = tf.train.Example()
    feature = made.features.feature
    feature["image/encoded"].bytes_list.value.append(encoded)
    feature["image/class/label"].int64_list.value.append(0)
    return made.SerializeToString()
