"""Splits of which features stand in the batches in place of pictures.

Where the first layers of a network are frozen and an image always looks the
same, what they make of it is computed once (trainer/features.py) and trained
on. The features travel as their bytes, in the place of the pixels: order,
shares of hosts and replicas, and all else of a pipeline stay as they are.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from input import (
    augment,
    cache,
    damage,
    eval_pipeline,
    pipeline,
    records,
    spec,
    threads,
)

_FLOAT = 4


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a row of bytes holds features, and the place of its example.

    Whoever wants to show an example (a mistake, say) finds its picture by the
    place.

    Attributes:
        shape: Of the features of one example.
    """

    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many features there are."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def row_shape(self) -> tuple[int, int, int]:
        """Shape of a row: [1, n, 4], as if of n pixels of four channels."""
        # Two for the place, and one so that rows are whole int64.
        return (1, self.numbers + 2 + self.numbers % 2, _FLOAT)

    def fill(self, rows: np.ndarray, places: Any, features: Any) -> None:
        """Writes the rows of some examples.

        Args:
            rows: uint8 [examples, *row_shape].
            places: int64 [b], which of them.
            features: float32 [b, *shape].
        """
        values = rows.reshape([len(rows), -1]).view(np.float32)
        values[places, : self.numbers] = np.reshape(
            features, [len(places), self.numbers]
        )
        ends = np.asarray(places, np.int64)[:, None].view(np.float32)
        values[places, self.numbers : self.numbers + 2] = ends

    def place(self, row: np.ndarray) -> int:
        """Returns which example of its split a row is of."""
        begin = _FLOAT * self.numbers
        return int(row.reshape([-1])[begin : begin + 8].view(np.int64)[0])

    def unpack(
        self,
        images: tf.Tensor,
        *,
        augments: Sequence[augment.Augment] = (),
        rows: augment.Rows | None = None,
    ) -> tf.Tensor:
        """Returns float32 [b, *shape] of uint8 [b, *row_shape].

        It stands in the place of `augment.preprocess`.

        Raises:
            ValueError: There are `augments`: nothing is left to change.
        """
        del rows
        if augments:
            raise ValueError("Features cannot be augmented.")
        numbers = tf.bitcast(images, tf.float32)[:, 0, : self.numbers]
        return tf.reshape(numbers, [-1, *self.shape])


@dataclasses.dataclass(frozen=True)
class Table:
    """The features of a whole split, in memory.

    Attributes:
        layout: Of a row.
        rows: uint8 [examples + 1, *row_shape]; the last row is padding.
        labels: As a batch has them, of [examples + 1] rows.
    """

    layout: Layout
    rows: np.ndarray
    labels: np.ndarray

    def stored(
        self, shards: Sequence[int], all_sizes: Sequence[int]
    ) -> cache.Stored:
        """Returns the rows of some shards, in the order that is asked for.

        Args:
            shards: Their numbers.
            all_sizes: Examples in each shard of the split.
        """
        starts = np.concatenate([[0], np.cumsum(all_sizes)])
        places = np.concatenate(
            [np.arange(starts[i], starts[i + 1]) for i in shards]
            + [starts[-1:]]
        )
        rows, labels = self.rows, self.labels
        examples = len(rows) - 1
        index = places.astype(np.int64)
        if not np.array_equal(places, np.arange(len(rows))):
            rows, labels = _held(rows[places]), labels[places]
        real = places < examples
        with tf.device("CPU:0"):
            small = {
                spec.LABEL: tf.constant(labels),
                spec.MASK: tf.constant(real.astype(np.float32)),
                spec.INDEX: tf.constant(np.where(real, index, -1)),
            }
        held = tf.experimental.dlpack.from_dlpack(rows.__dlpack__())
        sizes = tuple(all_sizes[i] for i in shards)
        return cache.Stored(sizes, small | {spec.IMAGE: held})


def empty(layout: Layout, examples: int) -> np.ndarray:
    """Returns uint8 [examples + 1, *row_shape], all 0."""
    rows = cache.aligned((examples + 1, *layout.row_shape))
    rows[:] = 0
    return rows


def _held(rows: np.ndarray) -> np.ndarray:
    """Returns rows where TensorFlow takes them without a copy."""
    place = cache.aligned(rows.shape)
    place[:] = rows
    return place


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainFeatures(pipeline.TrainData):
    """The training split, features for pictures.

    Attributes:
        table: Of the whole split.
    """

    table: Table

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of a row."""
        return self.table.layout.row_shape

    def _read(
        self, shards: Sequence[int], reader: damage.Reader | None
    ) -> cache.Stored:
        del reader
        return self.table.stored(shards, _sizes(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalFeatures(eval_pipeline.EvalData):
    """A split to evaluate on, features for pictures.

    Attributes:
        table: Of the whole split.
    """

    table: Table

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of a row."""
        return self.table.layout.row_shape

    def _read(
        self, shards: Sequence[int], reader: damage.Reader | None
    ) -> cache.Stored:
        del reader
        return self.table.stored(shards, _sizes(self))

    def pictures(self, places: Sequence[int]) -> list[np.ndarray]:
        """Returns the pictures of some examples, uint8, decoded now."""
        starts = np.concatenate([[0], np.cumsum(_sizes(self))])
        wanted = tf.constant(sorted(places), tf.int64)
        shards = np.unique(np.searchsorted(starts, wanted.numpy(), "right") - 1)
        plain = records.Split(
            source=self.source, split=self.split, decode=self.decode
        )
        pairs = tf.data.Dataset.from_tensor_slices(
            tf.constant(shards, tf.int64)
        ).flat_map(lambda shard: records.indexed(plain, shard))
        pairs = pairs.filter(
            lambda place, _: tf.reduce_any(tf.equal(wanted, place))
        )
        seed = tf.constant([0, 0], tf.int64)
        decoded = pairs.map(
            lambda place, record: records.example(plain, place, record, seed)
        ).with_options(threads.options())
        found = {
            int(row[spec.INDEX]): row[spec.IMAGE]
            for row in decoded.as_numpy_iterator()
        }
        return [found[place] for place in places]


def train(data: pipeline.TrainData, table: Table) -> TrainFeatures:
    """Returns a training split whose batches have features."""
    return TrainFeatures(table=table, **_settings(data))


def evaluation(data: eval_pipeline.EvalData, table: Table) -> EvalFeatures:
    """Returns a split to evaluate on whose batches have features."""
    return EvalFeatures(table=table, **_settings(data))


def pictures_of(data: cache.Cached) -> eval_pipeline.EvalData:
    """Returns the pictures of a split, each once, as training sees them."""
    return eval_pipeline.EvalData(
        source=data.source, split=data.split, decode=data.decode
    )


def _settings(data: cache.Cached) -> dict[str, Any]:
    found = {
        field.name: getattr(data, field.name)
        for field in dataclasses.fields(data)
        if field.init
    }
    # They are in memory already; how large they may be was checked for them.
    return found | {"cache": "decoded", "cache_bytes": None}


def _sizes(data: cache.Cached) -> list[int]:
    return [shard.examples for shard in data.source.info.shards(data.split)]
