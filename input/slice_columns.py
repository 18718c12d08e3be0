"""Columns of a manifest by which examples are told apart: camera, site, group.

`input.convert --slice_columns=camera,site` keeps them in the records, under
`slice/NAME`, and their values in dataset.json.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from input import dataset
from input.errors import DataError

PREFIX = "slice/"

# A column of more values is a name or a number, not a part of the data.
_MOST_VALUES = 200
_SHOWN = 3


def values(
    columns: Sequence[str], examples: Iterable[Sequence[str]]
) -> Mapping[str, tuple[str, ...]]:
    """Returns the values of each column, sorted.

    Args:
        columns: Their names.
        examples: Of each example, the values of the columns in order.

    Raises:
        DataError: A column has too many.
    """
    found: list[set[str]] = [set() for _ in columns]
    for row in examples:
        for known, value in zip(found, row, strict=True):
            known.add(value)
    for column, known in zip(columns, found, strict=True):
        if len(known) > _MOST_VALUES:
            shown = ", ".join(sorted(known)[:_SHOWN])
            raise DataError(
                f"--slice_columns: {column!r} has {len(known):,} values "
                f"({shown}, ...), but at most {_MOST_VALUES} slices can be "
                "told apart. Leave it out, or group its values."
            )
    return {
        column: tuple(sorted(known))
        for column, known in zip(columns, found, strict=True)
    }


def chosen(
    info: dataset.DatasetInfo, wanted: Sequence[str] | None
) -> tuple[str, ...]:
    """Returns the columns to evaluate by: those wanted, or all.

    Raises:
        ValueError: One is not in the data set.
    """
    if wanted is None:
        return tuple(info.slice_columns)
    for column in wanted:
        if column in info.slice_columns:
            continue
        close = difflib.get_close_matches(column, info.slice_columns, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        known = ", ".join(info.slice_columns) or "none"
        raise ValueError(
            f"slices={list(wanted)} has {column!r}, which is no column of the "
            f"data set.{hint} It has: {known}. input.convert --source=csv "
            "--slice_columns=... keeps columns of the manifest."
        )
    return tuple(wanted)
