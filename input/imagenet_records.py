"""ImageNet as many have it: TFRecords without a description beside them.

The classic layout has `train-00000-of-01024` and `validation-00000-of-00128`,
without an extension, and labels from 1. It is read as it is. The number of
records of each file comes from one scan, see `input.record_index`.
"""

import dataclasses
import functools
import os
import re
from collections.abc import Sequence

from input import dataset, errors, files, gcs, record_index, sources

# Published for ImageNet's training pictures on a scale of 0 to 1 as (0.485,
# 0.456, 0.406) and (0.229, 0.224, 0.225).
CHANNEL_MEAN = (123.675, 116.28, 103.53)
CHANNEL_STD = (58.395, 57.12, 57.375)

_NAME = re.compile(r"([A-Za-z][\w.-]*?)-(\d{5})-of-(\d{5})")
_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class ImagenetRecords(sources.RecordFiles):
    """A folder of files such as `train-00000-of-01024`.

    Records have `image/encoded` and `image/class/label`; `image/filename` is
    used where it is there. The examples of each class are not known.

    Attributes:
        data_dir: The folder; may be on gs://.
        class_names_file: A text file with a class on each line, in the order
            of the labels; "" names the classes by their numbers, from 0.
        num_classes: Classes where there is no file of their names.
        label_offset: Number of the first class in the records; a lower label
            (0, where there is a background class) is an error. 0 takes labels
            as they are.
        channel_mean: Mean pixel value, 0..255, of each channel: 3 values, or 1
            to read pictures as grey ones. ImageNet's.
        channel_std: Standard deviation of the same pixels. ImageNet's.

    Raises:
        errors.DataError: There are no such files, some are missing, or they
            cannot be read.
    """

    data_dir: str
    class_names_file: str = ""
    num_classes: int = 1000
    label_offset: int = 1
    channel_mean: Sequence[float] = CHANNEL_MEAN
    channel_std: Sequence[float] = CHANNEL_STD

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ValueError(
                f"num_classes={self.num_classes} must be at least 2."
            )
        if self.label_offset < 0:
            raise ValueError(
                f"label_offset={self.label_offset} must be at least 0: the "
                "number that the first class has in the records."
            )
        check_channels(self.channel_mean, self.channel_std)
        _ = self.info

    @functools.cached_property
    def info(self) -> dataset.DatasetInfo:
        """What the scan has found; labels are not counted."""
        names = self._class_names()
        splits = {
            split: tuple(
                record_index.shard(name, self._index[name]) for name in found
            )
            for split, found in self._files.items()
        }
        return dataset.DatasetInfo(
            splits=splits,
            class_names=names,
            image_shape=None,
            channel_mean=tuple(map(float, self.channel_mean)),
            channel_std=tuple(map(float, self.channel_std)),
            fingerprint=dataset.fingerprint(
                splits, [*names, f"labels from {self.label_offset}"]
            ),
            label_counts={},
        )

    @property
    def directory(self) -> str:
        """The folder."""
        return self.data_dir

    @property
    def fields(self) -> sources.Fields:
        """The usual names, and labels from `label_offset`."""
        names = self.class_names_file
        classes = (
            f"class_names_file={names!r}"
            if names
            else f"num_classes={self.num_classes}"
        )
        return sources.Fields(
            label_offset=self.label_offset,
            label_hint=f"label_offset={self.label_offset} and {classes}",
        )

    def check(self, split: str) -> None:
        """Raises errors.DataError where the scan has found damage."""
        shards = self.info.shards(split)
        damaged = [
            f"{shard.file} at byte {extent.end:,}: {extent.problem}"
            for shard in shards
            if (extent := self._index[shard.file].extent).problem
        ]
        if damaged:
            lines = damaged[:_SHOWN]
            if len(damaged) > _SHOWN:
                lines.append(f"and {len(damaged) - _SHOWN:,} more")
            raise errors.DataError(
                f"{self.data_dir}: {len(damaged)} of the {len(shards)} files "
                f"of split={split!r} cannot be read to their end:\n  "
                + "\n  ".join(lines)
                + "\nCopy them again from where they came."
            )
        super().check(split)

    @functools.cached_property
    def _files(self) -> dict[str, list[str]]:
        """The names of the files of each split, in order."""
        return _splits(self.data_dir)

    @functools.cached_property
    def _index(self) -> dict[str, record_index.Indexed]:
        names = [name for found in self._files.values() for name in found]
        return record_index.index(self.data_dir, names)

    def _class_names(self) -> tuple[str, ...]:
        if not self.class_names_file:
            return tuple(map(str, range(self.num_classes)))
        try:
            text = files.read(self.class_names_file).decode("utf-8")
        except (OSError, ValueError) as e:
            raise errors.DataError(
                "imagenet_records.class_names_file="
                f"{self.class_names_file!r}: {e}. Give a text file, UTF-8, "
                "with the name of a class on each line."
            ) from e
        names = tuple(line.strip() for line in text.strip().splitlines())
        if len(names) < 2 or "" in names:
            raise errors.DataError(
                f"{self.class_names_file}: {len(names)} lines, or an empty one "
                "between others. It must have the name of a class on each "
                "line, of two at least."
            )
        return names


def check_channels(mean: Sequence[float], std: Sequence[float]) -> None:
    """Raises ValueError for what cannot normalise grey or RGB pictures."""
    if len(mean) not in (1, 3) or len(std) != len(mean) or min(std) <= 0:
        raise ValueError(
            f"channel_mean={tuple(mean)} and channel_std={tuple(std)} must "
            "both have 1 value (grey) or 3 (RGB), on a scale of 0 to 255, and "
            "those of channel_std must be above 0."
        )


def _splits(directory: str) -> dict[str, list[str]]:
    """Returns the names of the files of each split, in order.

    Raises:
        errors.DataError: There are none, or not all.
    """
    found: dict[str, dict[int, list[str]]] = {}
    for name in sorted(_listing(directory)):
        if match := _NAME.fullmatch(name):
            split, count = match[1], int(match[3])
            found.setdefault(split, {}).setdefault(count, []).append(name)
    if not found:
        raise errors.DataError(
            f"{directory}: no file is named like train-00000-of-01024. Give "
            "the folder that holds them; what input.convert wrote is read by "
            "tfrecords(), what TensorFlow Datasets wrote by tfds()."
        )
    for split, by_count in found.items():
        if len(by_count) > 1:
            raise errors.DataError(
                f"{directory}: the files of split {split!r} are of "
                f"{len(by_count)} different sets, of {sorted(by_count)} files. "
                "Move all sets but one elsewhere."
            )
        ((count, names),) = by_count.items()
        wanted = [f"{split}-{i:05d}-of-{count:05d}" for i in range(count)]
        missing = sorted(set(wanted) - set(names))
        if missing:
            raise errors.DataError(
                f"{directory}: {len(missing)} of the {count} files of split "
                f"{split!r} are missing, such as "
                f"{', '.join(missing[:_SHOWN])}. Copy them again from where "
                "they came."
            )
    return {split: next(iter(found[split].values())) for split in found}


def _listing(directory: str) -> list[str]:
    if gcs.is_remote(directory):
        return list(gcs.sizes(directory))
    try:
        return os.listdir(directory)
    except OSError as e:
        raise errors.DataError(
            f"imagenet_records.data_dir={directory!r}: {e.strerror}. Give the "
            "folder that holds train-00000-of-01024 and the others."
        ) from e
