"""Which slice of a split each example belongs to: camera, site, group.

What `input.slice_columns` describes is read once, before the first evaluation,
without decoding pictures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from input import (
    dataset,
    errors,
    eval_pipeline,
    progress,
    slice_columns,
    threads,
)

_AT_A_TIME = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Codes:
    """A column, for each example of a split.

    Attributes:
        values: The values that it has.
        numbers: int32 [examples], which of them.
    """

    values: Sequence[str]
    numbers: np.ndarray


def read(data: eval_pipeline.EvalData) -> dict[str, Codes]:
    """Reads the columns to evaluate a split by.

    Raises:
        errors.DataError: A record has a value that dataset.json does not.
    """
    info = data.source.info
    columns = slice_columns.chosen(info, data.slices)
    if not columns:
        return {}
    features = {
        slice_columns.PREFIX + column: tf.io.FixedLenFeature([], tf.string, "")
        for column in columns
    }
    shards = tf.data.Dataset.range(len(info.shards(data.split)))
    # In the order of the split: one file after the other.
    records = shards.flat_map(lambda i: data.source.read(data.split, i))
    parsed = (
        records.batch(_AT_A_TIME)
        .map(
            lambda some: tf.io.parse_example(some, features),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        .with_options(threads.options())
    )
    found: dict[str, list[np.ndarray]] = {column: [] for column in columns}
    with progress.progress(data.examples, "slices") as advance:
        for some in parsed.as_numpy_iterator():
            for column in columns:
                texts = some[slice_columns.PREFIX + column]
                found[column].append(_numbers(info, column, texts))
            for _ in texts:
                advance()
    return {
        column: Codes(info.slice_columns[column], np.concatenate(parts))
        for column, parts in found.items()
    }


def _numbers(
    info: dataset.DatasetInfo, column: str, texts: np.ndarray
) -> np.ndarray:
    values = info.slice_columns[column]
    known = {value.encode(): i for i, value in enumerate(values)}
    different, places = np.unique(texts.astype(object), return_inverse=True)
    unknown = [text for text in different if text not in known]
    if unknown:
        raise errors.DataError(
            f"A record has {column}={unknown[0].decode(errors='replace')!r}, "
            "which dataset.json does not list: a shard has changed since the "
            "conversion. Convert it again."
        )
    return np.array([known[t] for t in different], np.int32)[places.reshape(-1)]
