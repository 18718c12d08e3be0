"""The `tfds` source of `input.convert`: data sets of tensorflow-datasets."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import itertools
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import tensorflow as tf
from absl import logging

from input.convert_sources import DEFAULT_SPLIT, Extent, Picture, Source
from input.errors import DataError, UsageError
from input.staging import check_room

_SCRATCH = "pictures.scratch"
_SPLITS = ("train", "validation", "test")
_DESCRIPTION = "dataset_info.json"
# Under one of these keys a data set has the name that a picture came with.
_NAME_KEYS = ("file_name", "filename", "image/filename")
_UNLABELLED = -1


def is_prepared(directory: str) -> bool:
    """Whether a folder is what tensorflow-datasets calls prepared."""
    return os.path.isfile(os.path.join(directory, _DESCRIPTION))


def read_tfds(
    *, name: str = "", directory: str = "", data_dir: str = "", place: str
) -> Source:
    """Reads a data set through tensorflow-datasets, its images undecoded.

    The pictures are copied one after the other to a scratch file: the files of
    a data set may be of formats that can only be read from the beginning.

    Args:
        name: NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION. It is
            downloaded and prepared if it is not in `data_dir`.
        directory: In place of `name`, a prepared data set: the folder with
            dataset_info.json.
        data_dir: Folder of prepared data sets; empty for the usual one.
        place: Folder for the scratch file.

    Raises:
        UsageError: There is no such data set, or it cannot be prepared.
        DataError: It has no single image and label for each example, no
            split `train`, a label outside the range, or is damaged.
    """
    builder = _prepared(directory) if directory else _built(name, data_dir)
    keys = _keys(builder.info)
    class_names = tuple(builder.info.features[keys.label].names)
    known = [s for s in _SPLITS if s in builder.info.splits]
    size = sum(builder.info.splits[split].num_bytes for split in known)
    check_room(2 * size, place)  # the scratch file, and what is made of it
    scratch = os.path.join(place, _SCRATCH)
    splits = {}
    skipped = [
        f"split {split!r} ({info.num_examples:,} examples): not one of "
        f"{', '.join(_SPLITS)}"
        for split, info in builder.info.splits.items()
        if split not in known
    ]
    with open(scratch, "wb") as file:
        for split in known:
            examples = _examples(builder, split, keys.image)
            splits[split] = _copy(examples, keys, split, file)
    for split, pictures in list(splits.items()):
        if {picture.label for picture in pictures} == {_UNLABELLED}:
            count = len(splits.pop(split))
            skipped.append(f"split {split!r} ({count:,} examples): no labels")
        else:
            _check_labels(pictures, len(class_names))
    if "train" not in splits:
        raise DataError(
            f"{builder.info.full_name} has no labelled split 'train'. It has: "
            f"{', '.join(builder.info.splits)}."
        )
    return Source(
        splits=splits,
        class_names=class_names,
        default_split=DEFAULT_SPLIT if len(splits) == 1 else "",
        skipped=tuple(skipped),
        scratch=(scratch,),
    )


def _prepared(directory: str) -> Any:
    import tensorflow_datasets as tfds

    if not is_prepared(directory):
        found = [
            os.path.dirname(path)
            for depth in ("*", "*/*", "*/*/*")
            for path in sorted(
                glob.glob(os.path.join(directory, depth, _DESCRIPTION))
            )
        ]
        hint = f", such as {found[0]}" if found else ""
        raise DataError(
            f"{directory} has no {_DESCRIPTION}. Give the folder of one "
            f"version of one data set{hint}."
        )
    with _said_of(directory, DataError):
        return tfds.builder_from_directory(directory)


def _built(name: str, data_dir: str) -> Any:
    import tensorflow_datasets as tfds

    with _said_of(f"--input={name}", UsageError):
        builder = tfds.builder(name, data_dir=data_dir or None)
        logging.info("Reading %s in %s.", name, builder.data_dir)
        if not is_prepared(str(builder.data_dir)):
            builder.download_and_prepare()
        return builder


@contextlib.contextmanager
def _said_of(name: str, error: type[Exception]) -> Iterator[None]:
    """Makes what tensorflow-datasets raises ours.

    It raises ValueErrors, AssertionErrors (a data set to be downloaded by
    hand), errors of requests, of JSON and more.
    """
    try:
        yield
    except Exception as e:
        text = str(e).strip() or type(e).__name__
        if type(e).__name__ == "DatasetNotFoundError":
            # Its message lists the whole catalogue.
            meant = re.search(r"Did you mean:? ?(.+)", text)
            text = "there is no such data set." + (
                f" Did you mean {meant.group(1).strip()}" if meant else ""
            )
        raise error(f"{name}: tensorflow-datasets says: {text}") from e


class _Keys(NamedTuple):
    """Where an example has its parts."""

    image: str
    label: str
    name: str  # empty if it has none


def _keys(info: Any) -> _Keys:
    import tensorflow_datasets as tfds

    features = info.features
    if not isinstance(features, tfds.features.FeaturesDict):
        raise DataError(f"{info.full_name}: its examples have no named parts.")
    keys = []
    for what, kind in (
        ("image", tfds.features.Image),
        ("label", tfds.features.ClassLabel),
    ):
        found = [key for key, f in features.items() if isinstance(f, kind)]
        usual = [key for key in info.supervised_keys or () if key in found]
        if len(found) != 1 and not usual:
            raise DataError(
                f"{info.full_name} has {len(found)} {what}s in an example "
                f"({', '.join(sorted(features))}), but exactly one is "
                "needed: it is no data set of labelled pictures."
            )
        keys.append((usual or found)[0])
    name = next((key for key in _NAME_KEYS if key in features), "")
    image, label = keys
    return _Keys(image, label, name)


def _examples(
    builder: Any, split: str, image_key: str
) -> Iterator[dict[str, Any]]:
    """Yields the examples of a split in the order of its files."""
    import tensorflow_datasets as tfds

    data = builder.as_dataset(
        split=split,
        decoders={image_key: tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(
            interleave_cycle_length=1, try_autocache=False
        ),
        shuffle_files=False,
    )
    count = 0
    try:
        for example in data.as_numpy_iterator():
            yield example
            count += 1
    except tf.errors.OpError as e:
        reason = re.sub(r"\{\{.*?\}\} | \[Op:.*", "", e.message)
        raise DataError(
            f"{_file_of(builder.info.splits[split], count)}: cannot be read "
            f"beyond example {count:,} of split {split!r}: {reason}. Prepare "
            "the data set again."
        ) from e


def _file_of(info: Any, number: int) -> str:
    """Returns which file of a split an example is in."""
    ends = itertools.accumulate(info.shard_lengths)
    paths = zip(info.filepaths, ends, strict=True)
    return next(str(path) for path, end in paths if number < end)


def _copy(
    examples: Iterator[dict[str, Any]],
    keys: _Keys,
    split: str,
    file: BinaryIO,
) -> list[Picture]:
    """Appends the images of a split to a file."""
    pictures = []
    for number, example in enumerate(examples):
        image = example[keys.image]
        name = os.fsdecode(example[keys.name]) if keys.name else f"{number:08d}"
        pictures.append(
            Picture(
                f"{split}/{name}",
                int(example[keys.label]),
                len(image),
                Extent(file.name, file.tell(), len(image)),
            )
        )
        file.write(image)
    repeated = len(pictures) - len({picture.name for picture in pictures})
    if repeated:
        logging.warning(
            "split=%r has %d examples with the name of another: all get their "
            "number as well.",
            split,
            repeated,
        )
        pictures = [
            dataclasses.replace(picture, name=f"{picture.name}#{number}")
            for number, picture in enumerate(pictures)
        ]
    return pictures


def _check_labels(pictures: list[Picture], classes: int) -> None:
    wrong = [p for p in pictures if not 0 <= p.classes[0] < classes]
    if wrong:
        raise DataError(
            f"{len(wrong):,} labels are outside of 0 .. {classes - 1}, the "
            f"first is {wrong[0].label} of {wrong[0].name}. Prepare the data "
            "set again."
        )
