"""The `csv` source of `input.convert`: a manifest of paths and labels."""

from __future__ import annotations

import dataclasses
import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence

from absl import logging

from input import slice_columns as slice_columns_lib
from input.convert_folder import SPLIT_NAMES
from input.convert_sources import DEFAULT_SPLIT, Picture, Source
from input.errors import DataError
from input.manifest import Manifest, Row

_NAMES_IN_MESSAGE = 20
_MOST_CLASSES = 1_000_000
_DIGITS = 9
_BETWEEN = "|"


def read_csv(
    manifest: str,
    data: bytes,
    root: str,
    *,
    aliases: Sequence[str] = (),
    class_names: Sequence[str] = (),
    multi_label: bool = False,
    slice_columns: Sequence[str] = (),
) -> Source:
    """Reads a manifest: the columns path, label and, if wanted, split.

    The first line names the columns, in any order; others are ignored. Labels
    are class names, or, if all are integers, numbers from 0.

    Args:
        manifest: What the user calls the file.
        data: Its content: UTF-8, with or without a byte order mark; commas,
            semicolons or tabs between the columns.
        root: The folder that paths are relative to.
        aliases: Other names of `root` that paths may begin with.
        class_names: Names of the labels 0, 1, ...; if empty, the names found,
            sorted, or the numbers themselves.
        multi_label: Whether a label is any number of classes, with `|`
            between them.
        slice_columns: Columns to keep with the pictures.

    Raises:
        DataError: Lines are wrong; the message lists them with their numbers.
    """
    columns = [column.strip().lower() for column in slice_columns]
    reader = Manifest(
        manifest,
        (root, *aliases),
        slice_columns=columns,
        empty_labels=multi_label,
    )
    rows = list(reader.rows(data))
    labels: Sequence[int | tuple[int, ...]]
    if multi_label:
        names, labels = _label_sets(reader, rows, class_names)
    else:
        names, labels = _labels(reader, rows, class_names)
    splits: dict[str, list[Picture]] = {}
    for number, row in enumerate(rows):
        label = labels[number]
        picture = Picture(row.path, label, row.size, root, row.slices)
        splits.setdefault(row.split, []).append(picture)
    reader.finish()
    _check_splits(manifest, splits, names)
    order = dict.fromkeys(SPLIT_NAMES.values())
    return Source(
        splits={split: splits[split] for split in order if split in splits},
        class_names=names,
        default_split="" if reader.has_splits else DEFAULT_SPLIT,
        multi_label=multi_label,
        slice_columns=slice_columns_lib.values(
            columns, (row.slices for row in rows)
        ),
    )


def _label_sets(
    reader: Manifest, rows: Sequence[Row], class_names: Sequence[str]
) -> tuple[tuple[str, ...], list[tuple[int, ...]]]:
    """Returns the class names and the labels of each row, ascending."""
    # A row for each class of a row: they are read like those of one class.
    single: list[Row] = []
    counts = []
    for row in rows:
        parts = [part.strip() for part in row.label.split(_BETWEEN)]
        parts = [] if parts == [""] else parts
        if "" in parts:
            reader.complain(
                row.line, f"label {row.label!r} has an empty class in it"
            )
            parts = [part for part in parts if part]
        single += (dataclasses.replace(row, label=part) for part in parts)
        counts.append(len(parts))
    names, labels = _labels(reader, single, class_names)
    ends = itertools.accumulate(counts)
    return names, [
        tuple(sorted(set(labels[end - count : end])))
        for end, count in zip(ends, counts, strict=True)
    ]


def _labels(
    reader: Manifest, rows: Sequence[Row], class_names: Sequence[str]
) -> tuple[tuple[str, ...], list[int]]:
    """Returns the class names and the label of each row."""
    texts = {row.label for row in rows}
    if texts and all(re.fullmatch(r"[+-]?[0-9]+", text) for text in texts):
        return _integer_labels(reader, rows, class_names)
    names = tuple(class_names) or tuple(sorted(texts))
    _warn_of_doubtful(reader.name, names)
    numbers = {name: label for label, name in enumerate(names)}
    labels = []
    for row in rows:
        labels.append(numbers.get(row.label, -1))
        if row.label not in numbers:
            reader.complain(
                row.line, f"label {row.label!r} is not among --class_names"
            )
    return names, labels


def _warn_of_doubtful(manifest: str, names: Sequence[str]) -> None:
    """Says which names look like one class written in several ways."""
    alike: dict[str, list[str]] = {}
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        alike.setdefault(" ".join(plain.split()), []).append(name)
    for group in alike.values():
        if len(group) > 1:
            logging.warning(
                "%s: %s are different classes. If they are one, write it in "
                "one way.",
                manifest,
                ", ".join(map(ascii, group)),
            )
    numbers = [name for name in names if re.fullmatch(r"[+-]?[0-9.]+", name)]
    if numbers:
        logging.warning(
            "%s: the labels %s are taken as names, because not all labels are "
            "integers.",
            manifest,
            _some(numbers),
        )


def _integer_labels(
    reader: Manifest, rows: Sequence[Row], class_names: Sequence[str]
) -> tuple[tuple[str, ...], list[int]]:
    labels = []
    for row in rows:
        # A number so long that Python refuses to read it is none of these.
        label = int(row.label[:_DIGITS])
        labels.append(label)
        if len(row.label) > _DIGITS or label >= _MOST_CLASSES:
            reader.complain(
                row.line,
                f"label {row.label[:_DIGITS]} is too large: classes are "
                f"numbered 0, 1, ... below {_MOST_CLASSES:,}",
            )
    reader.finish()
    count = len(class_names) or max(labels) + 1
    for row, label in zip(rows, labels, strict=True):
        if label < 0:
            reader.complain(row.line, f"label {label} is below 0")
        elif label >= count:
            reader.complain(
                row.line,
                f"label {label} has no name: --class_names has {count}",
            )
    reader.finish()
    if not class_names:
        missing = sorted(set(range(count)) - set(labels))
        if missing:
            raise DataError(
                f"{reader.name}: the labels must be 0, 1, ... without gaps, "
                f"but of 0 .. {count - 1} there is no {_some(missing)}. Number "
                "the classes from 0, or give all their names with "
                "--class_names."
            )
    return tuple(class_names) or tuple(map(str, range(count))), labels


def _check_splits(
    manifest: str, splits: Mapping[str, Sequence[Picture]], names: Sequence[str]
) -> None:
    if not splits:
        raise DataError(f"{manifest} names no images below its first line.")
    if "train" not in splits:
        raise DataError(
            f"{manifest} has the splits {', '.join(splits)} but no line with "
            "split=train. Add some."
        )
    if len(names) < 2:
        raise DataError(
            f"{manifest}: found {len(names)} class(es) "
            f"({', '.join(names)}), but at least 2 are needed."
        )
    known = {i for picture in splits["train"] for i in picture.classes}
    for split, pictures in splits.items():
        unknown = {i for p in pictures for i in p.classes} - known
        if unknown:
            raise DataError(
                f"{manifest}: the split {split!r} has classes that are missing "
                f"in train: {_some([names[i] for i in sorted(unknown)])}. Add "
                "images of them to train, or delete their lines."
            )


def _some(values: Sequence[object]) -> str:
    shown = ", ".join(map(str, values[:_NAMES_IN_MESSAGE]))
    more = len(values) - _NAMES_IN_MESSAGE
    return f"{shown} and {more:,} more" if more > 0 else shown
