"""Where examples come from: shards of records, and how to read one record."""

import abc
import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from input import dataset, folds

# Made-up shards of the size that ImageNet's have.
_SYNTHETIC_SHARD = 1024
_SYNTHETIC_SHARD_BYTES = 1024 * 110_000

ReadImage = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Fields:
    """Under which names a tf.train.Example holds what is needed of it.

    Attributes:
        image: The encoded image, bytes.
        label: The class, int64.
        name: What people call the image, bytes; "" where there is no such
            thing. It may be missing in a record.
        label_offset: Number of the first class; it becomes 0.
        label_hint: What decides which labels there may be, for messages; ""
            where the data set itself says it.
        multi_label: Whether there may be any number of labels.
        slice_columns: Of `input.slice_columns`, those that records have.
    """

    image: str = "image/encoded"
    label: str = "image/class/label"
    name: str = "image/filename"
    label_offset: int = 0
    label_hint: str = ""
    multi_label: bool = False
    slice_columns: tuple[str, ...] = ()

    def wrong_label(self, label: int, classes: int) -> str:
        """Returns why a label, after its offset, is none, or ""."""
        if 0 <= label < classes:
            return ""
        reason = f"label {label} is not in [0, {classes})"
        if self.label_hint:
            in_record = label + self.label_offset
            reason += f": {in_record} in the record; see {self.label_hint}"
        return reason


def fields_of(info: dataset.DatasetInfo) -> Fields:
    """Returns where things are in a record of a data set of ours."""
    return Fields(
        multi_label=info.multi_label, slice_columns=tuple(info.slice_columns)
    )


class Source(Protocol):
    """A data set as a pipeline sees it."""

    @property
    def info(self) -> dataset.DatasetInfo:
        """What is known of the data set before it is read."""

    @property
    def fields(self) -> Fields:
        """Where an example is in a record, and which labels it may have."""

    def check(self, split: str) -> None:
        """Raises errors.DataError where the split cannot be read in full."""

    def paths(self, split: str) -> tuple[str, ...]:
        """Returns where the shards are; nothing where there are no files."""

    def read(self, split: str, shard: tf.Tensor) -> tf.data.Dataset:
        """Returns the serialised records of one shard (its int64 index)."""

    def parse(
        self,
        record: tf.Tensor,
        read_image: ReadImage,
        shape: tuple[int, int, int],
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the image (uint8, `shape`) and label of a record.

        The label is an int32 scalar; of multi-label data int32 [n], any number
        of classes.
        """

    def names(self, split: str, indices: Sequence[int]) -> list[str]:
        """Returns what people call the examples at some positions."""


class RecordFiles(abc.ABC):
    """A data set in TFRecord files, whoever has written them.

    A source that reads another layout gives its `info`, its `directory` and
    its `fields`; everything else follows from them.
    """

    @property
    @abc.abstractmethod
    def info(self) -> dataset.DatasetInfo:
        """What is known of the data set before it is read."""

    @property
    @abc.abstractmethod
    def directory(self) -> str:
        """The folder that all files are in."""

    @property
    def fields(self) -> Fields:
        """Where an example is in a record."""
        return fields_of(self.info)

    def check(self, split: str) -> None:
        """Holds the files of the split against what is known of them.

        Raises:
            errors.DataError: Unknown or empty split; files that are missing
                or of another size.
        """
        dataset.verify(self.info, self.directory, split)

    def paths(self, split: str) -> tuple[str, ...]:
        """Returns the files of the split."""
        return tuple(
            os.path.join(self.directory, shard.file)
            for shard in self.info.shards(split)
        )

    def read(self, split: str, shard: tf.Tensor) -> tf.data.Dataset:
        """Returns the serialised tf.train.Examples of one file."""
        paths = tf.constant(self.paths(split))
        # 8 MiB reads: on gs:// each is a request.
        return tf.data.TFRecordDataset(paths[shard], buffer_size=8 << 20)

    def parse(
        self,
        record: tf.Tensor,
        read_image: ReadImage,
        shape: tuple[int, int, int],
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads image and label where `fields` says they are."""
        fields = self.fields
        label_feature = tf.io.FixedLenFeature([], tf.int64)
        if self.info.multi_label:
            label_feature = tf.io.FixedLenSequenceFeature(
                [], tf.int64, allow_missing=True
            )
        features = tf.io.parse_single_example(
            record,
            {
                fields.image: tf.io.FixedLenFeature([], tf.string),
                fields.label: label_feature,
            },
        )
        label = tf.cast(features[fields.label], tf.int32)
        if fields.label_offset:
            label -= fields.label_offset
        return read_image(features[fields.image]), label

    def names(self, split: str, indices: Sequence[int]) -> list[str]:
        """Reads the names of the examples; "" for those without one."""
        sizes = [shard.examples for shard in self.info.splits[split]]
        ends = np.cumsum(sizes)
        found = []
        for index in indices:
            shard = int(np.searchsorted(ends, index, side="right"))
            records = self.read(split, tf.constant(shard, tf.int64))
            inside = index - int(ends[shard] - sizes[shard])
            record = next(iter(records.skip(inside).take(1)))
            parsed = tf.train.Example.FromString(record.numpy())
            names = parsed.features.feature[self.fields.name].bytes_list.value
            found.append(names[0].decode(errors="replace") if names else "")
        return found


@dataclasses.dataclass(frozen=True)
class TFRecords(RecordFiles):
    """A directory that `input.convert` has written.

    Attributes:
        data_dir: Path of the directory; may be on gs://.
        fold: Of a data set that was converted with --folds=N, the part that
            becomes `validation`, 0 .. N - 1; the others become `train`.

    Raises:
        errors.DataError: There is no readable dataset.json in it, or no such
            fold.
    """

    data_dir: str
    fold: int | None = None

    def __post_init__(self) -> None:
        _ = self.info

    @functools.cached_property
    def info(self) -> dataset.DatasetInfo:
        """The contents of dataset.json, of a fold with its train split."""
        info = dataset.load(self.data_dir)
        return info if self.fold is None else folds.of(info, self.fold)

    @property
    def directory(self) -> str:
        """The folder that holds dataset.json."""
        return self.data_dir


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """Made-up images, for `--dry_run` and for speed tests without data.

    The label decides the brightness, so that a network can learn it.

    Attributes:
        examples: Number of examples by split.
        num_classes: At least 2; labels go round robin.
        image_shape: [height, width, channels]; a decoder that makes another
            size gets that size.
    """

    examples: Mapping[str, int] = dataclasses.field(
        default_factory=lambda: {"train": 1024, "validation": 256}
    )
    num_classes: int = 10
    image_shape: tuple[int, int, int] = (32, 32, 3)

    @functools.cached_property
    def info(self) -> dataset.DatasetInfo:
        """A description without files."""
        channels = self.image_shape[2]
        return dataset.DatasetInfo(
            splits={
                split: tuple(
                    dataset.Shard(
                        file="",
                        examples=min(_SYNTHETIC_SHARD, count - start),
                        bytes=_SYNTHETIC_SHARD_BYTES,
                    )
                    for start in range(0, count, _SYNTHETIC_SHARD)
                )
                for split, count in self.examples.items()
            },
            class_names=tuple(str(i) for i in range(self.num_classes)),
            label_counts={
                split: tuple(
                    len(range(i, count, self.num_classes))
                    for i in range(self.num_classes)
                )
                for split, count in self.examples.items()
            },
            image_shape=self.image_shape,
            channel_mean=(127.5,) * channels,
            channel_std=(64.0,) * channels,
            fingerprint=f"synthetic-{self}",
        )

    @property
    def fields(self) -> Fields:
        """The usual names, though there are no records."""
        return Fields()

    def check(self, split: str) -> None:
        """Raises errors.DataError for an unknown split."""
        self.info.examples(split)

    def paths(self, split: str) -> tuple[str, ...]:
        """Returns nothing: there are no files."""
        del split
        return ()

    def read(self, split: str, shard: tf.Tensor) -> tf.data.Dataset:
        """Returns the numbers of the examples, as strings."""
        start = shard * _SYNTHETIC_SHARD
        end = tf.minimum(start + _SYNTHETIC_SHARD, self.examples[split])
        return tf.data.Dataset.range(start, end).map(tf.strings.as_string)

    def parse(
        self,
        record: tf.Tensor,
        read_image: ReadImage,
        shape: tuple[int, int, int],
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws an image from the number of the example."""
        del read_image
        number = tf.strings.to_number(record, tf.int32)
        label = number % self.num_classes
        noise = tf.random.stateless_uniform(
            shape, seed=tf.stack([number, 0]), maxval=64, dtype=tf.int32
        )
        brightness = label * 192 // self.num_classes
        return tf.cast(noise + brightness, tf.uint8), label

    def names(self, split: str, indices: Sequence[int]) -> list[str]:
        """Returns the numbers of the examples."""
        return [f"{split} {index}" for index in indices]
