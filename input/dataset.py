"""What a converted data set says of itself: `dataset.json`.

A data set directory holds one `dataset.json` beside its shards
(`train-00000-of-00064.tfrecord`, ...). The file lists the shards of each split
with their example counts, sizes and checksums, so that a reader can skip whole
shards, notice a truncated one before training starts, and tell two data sets
apart by one fingerprint. `directory` may be a local path or `gs://...`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from input import files, gcs
from input.errors import DataError

FILE_NAME = "dataset.json"
FORMAT_VERSION = 1

_NAMES_IN_MESSAGE = 5


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file of a split.

    Attributes:
        file: name inside the data set directory.
        examples: number of records, at least 1.
        bytes: size of the file.
        sha256: checksum of the whole file, 64 hexadecimal digits.
    """

    file: str
    examples: int
    bytes: int
    sha256: str = ""


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """The contents of `dataset.json`.

    Attributes:
        splits: the shards of each split, in name order.
        class_names: the name of each label; label i is `class_names[i]`.
        image_shape: (height, width, channels) if all images share it; None if
            their sizes differ, so that a crop or resize step is needed.
        channel_mean: mean pixel value (0..255) of each channel of the train
            split, or of all folds where there are folds; its length is the
            number of channels, 1 (grey) or 3 (RGB).
        channel_std: standard deviation of the same pixels, 0..255.
        fingerprint: see `fingerprint`.
        label_counts: examples of each class, per split; a split that is
            missing here, as in layouts without dataset.json, was not counted.
        image_format: "png", "jpeg", or "mixed" if both occur.
        smallest_image: least height and least width of any image, in pixels.
        largest_image: greatest height and greatest width, in pixels.
        multi_label: whether an example has any number of classes, 0 too.
        slice_columns: columns that examples are told apart by, such as
            "camera", with the values that occur, sorted; "" is one of them.
    """

    splits: Mapping[str, tuple[Shard, ...]]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None
    channel_mean: tuple[float, ...]
    channel_std: tuple[float, ...]
    fingerprint: str
    label_counts: Mapping[str, tuple[int, ...]]
    image_format: str = "mixed"
    smallest_image: tuple[int, int] | None = None
    largest_image: tuple[int, int] | None = None
    multi_label: bool = False
    slice_columns: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict
    )

    @property
    def channels(self) -> int:
        """Channels to decode every image to: 1 (grey) or 3 (RGB)."""
        return len(self.channel_mean)

    @property
    def num_classes(self) -> int:
        """Number of classes; labels are 0 .. num_classes - 1."""
        return len(self.class_names)

    def shards(self, split: str) -> tuple[Shard, ...]:
        """The shards of `split`, in name order.

        Raises:
            DataError: there is no such split.
        """
        if split not in self.splits:
            known = ", ".join(self.splits) or "none"
            fix = "Use one of these, or convert again with --split=..."
            if "fold_0" in self.splits:
                fix = "Choose a fold: tfrecords.fold = 0"
            raise DataError(
                f"split={split!r} is not in the data set. It has: {known}. "
                f"{fix}"
            )
        return self.splits[split]

    def examples(self, split: str) -> int:
        """Number of examples of `split`; DataError if there is none such."""
        return sum(shard.examples for shard in self.shards(split))

    def counted(self, split: str) -> tuple[int, ...]:
        """Examples of each class of `split`.

        Raises:
            DataError: they were not counted.
        """
        if split not in self.label_counts:
            raise DataError(
                f"Nothing says how many examples of each class split {split!r} "
                "has: only a dataset.json does. For class weights or "
                "resampling, make a data set that has one: python -m "
                "input.doctor --source=... FOLDER --fix=NEW_FOLDER (see "
                "docs/doctor.md)."
            )
        return self.label_counts[split]


def fingerprint(
    splits: Mapping[str, Sequence[Shard]], class_names: Sequence[str]
) -> str:
    """Identity of a data set: sha256 of its shards and class names.

    It depends on the bytes of the shards, their names and their split, and on
    the class names; not on where the data set lies or when it was made.

    Returns:
        64 hexadecimal digits.
    """
    content = {
        "class_names": list(class_names),
        "splits": {
            name: [dataclasses.asdict(shard) for shard in shards]
            for name, shards in splits.items()
        },
    }
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def shard_name(split: str, index: int, count: int) -> str:
    """Name of a shard, such as `train-00000-of-00064.tfrecord`."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def save(info: DatasetInfo, directory: str) -> None:
    """Writes `info` to `dataset.json` in `directory`, a local one.

    The same `info` gives the same bytes.
    """
    content = {"format_version": FORMAT_VERSION, **dataclasses.asdict(info)}
    for name in ("multi_label", "slice_columns"):
        if not content[name]:  # as in the files of earlier versions
            del content[name]
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    path = os.path.join(directory, FILE_NAME)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def load(directory: str) -> DatasetInfo:
    """Reads `dataset.json` of `directory`.

    Raises:
        DataError: the file is missing, is not JSON, has another format version
            or does not have the fields it should.
    """
    path = os.path.join(directory, FILE_NAME)
    try:
        data = files.read(path)
    except gcs.StorageError as e:
        raise DataError(str(e)) from e
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as e:
        found = "no such folder"
        if _is_folder(directory):
            found = f"the folder has no {FILE_NAME}"
        raise DataError(
            f"{path}: {found}. Give the folder that input.convert wrote, or "
            "make it: python -m input.convert --source=... "
            f"--output={directory}"
        ) from e
    try:
        content = json.loads(data.decode("utf-8"))
    except ValueError as e:
        raise DataError(
            f"{path}: not valid JSON ({e}). The file is damaged: convert the "
            "data set again, or copy it again from where it came."
        ) from e
    version = None
    if isinstance(content, dict):
        version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise DataError(
            f"{path}: format_version={version!r}, but this program reads "
            f"{FORMAT_VERSION}. Convert the data set again with this version."
        )
    try:
        info = _from_json(content)
        _check_consistent(info)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        reason = f"lacks the field {e}" if isinstance(e, KeyError) else str(e)
        raise DataError(
            f"{path}: {reason}. The file was changed by hand or is damaged: "
            "convert the data set again."
        ) from e
    return info


def verify(info: DatasetInfo, directory: str, split: str) -> None:
    """Checks that the shards of `split` are all there and not truncated.

    Looks at names and sizes only; on gs:// one request lists a thousand.

    Raises:
        DataError: unknown or empty split, or shards that are missing or of
            another size than recorded; the message names them.
    """
    shards = info.shards(split)
    if info.examples(split) == 0:
        raise DataError(
            f"split={split!r} of {directory} is empty. Convert again with a "
            "larger fraction for it, or do not use it."
        )
    found = sizes([os.path.join(directory, shard.file) for shard in shards])
    missing = [
        shard.file
        for shard, size in zip(shards, found, strict=True)
        if size is None
    ]
    changed = [
        f"{shard.file} has {size:,} bytes, not {shard.bytes:,}"
        for shard, size in zip(shards, found, strict=True)
        if size is not None and size != shard.bytes
    ]
    for problem, names in (("missing", missing), ("damaged", changed)):
        if names:
            raise DataError(
                f"{directory}: {len(names)} of the {len(shards)} shards of "
                f"split={split!r} {'is' if len(names) == 1 else 'are'} "
                f"{problem}: {_some(names)}. Copy the data set again, or "
                "convert it again."
            )


def _is_folder(directory: str) -> bool:
    if gcs.is_remote(directory):
        return bool(gcs.sizes(directory))
    return os.path.isdir(directory)


def sizes(paths: Sequence[str]) -> list[int | None]:
    """Returns the bytes of files of one folder, None for those missing."""
    if paths and gcs.is_remote(paths[0]):
        found = gcs.sizes(os.path.dirname(paths[0]))
        return [found.get(os.path.basename(path)) for path in paths]
    return [_size(path) for path in paths]


def _size(path: str) -> int | None:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return None


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_IN_MESSAGE])
    more = len(names) - _NAMES_IN_MESSAGE
    return f"{shown} and {more} more" if more > 0 else shown


def _integers(values: Sequence[int] | None) -> Any:
    return None if values is None else tuple(int(v) for v in values)


def _from_json(content: Mapping[str, Any]) -> DatasetInfo:
    return DatasetInfo(
        splits={
            name: tuple(Shard(**shard) for shard in shards)
            for name, shards in content["splits"].items()
        },
        class_names=tuple(content["class_names"]),
        image_shape=_integers(content["image_shape"]),
        channel_mean=tuple(float(v) for v in content["channel_mean"]),
        channel_std=tuple(float(v) for v in content["channel_std"]),
        fingerprint=str(content["fingerprint"]),
        label_counts={
            name: tuple(int(v) for v in counts)
            for name, counts in content["label_counts"].items()
        },
        image_format=str(content["image_format"]),
        smallest_image=_integers(content["smallest_image"]),
        largest_image=_integers(content["largest_image"]),
        multi_label=bool(content.get("multi_label", False)),
        slice_columns={
            name: tuple(map(str, values))
            for name, values in content.get("slice_columns", {}).items()
        },
    )


def _check_consistent(info: DatasetInfo) -> None:
    if info.channels not in (1, 3) or len(info.channel_std) != info.channels:
        raise ValueError(
            "channel_mean and channel_std must both have 1 or 3 values, got "
            f"{info.channels} and {len(info.channel_std)}"
        )
    shape = info.image_shape
    if shape is not None and (len(shape) != 3 or shape[2] != info.channels):
        raise ValueError(
            f"image_shape must be [height, width, {info.channels}] or null, "
            f"got {list(shape)}"
        )
    if set(info.label_counts) != set(info.splits):
        raise ValueError("splits and label_counts name different splits")
    for split, counts in info.label_counts.items():
        if len(counts) != info.num_classes:
            raise ValueError(
                f"label_counts of split {split!r} has {len(counts)} values "
                f"for {info.num_classes} class_names"
            )
        # An image of several classes is counted in each of them.
        if info.multi_label:
            if max(counts) > info.examples(split):
                raise ValueError(
                    f"label_counts of split {split!r} has {max(counts):,}, but "
                    f"its shards hold {info.examples(split):,} examples"
                )
        elif sum(counts) != info.examples(split):
            raise ValueError(
                f"label_counts of split {split!r} add up to {sum(counts):,} "
                f"but its shards hold {info.examples(split):,} examples"
            )
