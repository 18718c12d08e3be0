"""Cross-validation: which splits a fold is trained and validated on.

A data set that was converted with `--folds=5` has the splits `fold_0` to
`fold_4` in place of `train`. Fold 2 is validated on `fold_2` and trained on the
four others.
"""

from __future__ import annotations

import dataclasses
import re

from input import dataset
from input.errors import DataError

_NAME = re.compile(r"fold_(0|[1-9]\d*)")


def name(fold: int) -> str:
    """Returns the name of the split that a fold is validated on."""
    return f"fold_{fold}"


def is_fold(split: str) -> bool:
    """Whether a split has the name of a fold."""
    return _NAME.fullmatch(split) is not None


def names(info: dataset.DatasetInfo) -> list[str]:
    """Returns the splits that are folds, in order; none if it has no folds."""
    found = [split for split in info.splits if is_fold(split)]
    return sorted(found, key=lambda split: int(split.removeprefix("fold_")))


def of(info: dataset.DatasetInfo, fold: int) -> dataset.DatasetInfo:
    """Presents a data set of folds as one with `train` and `validation`.

    Args:
        info: Of a data set with folds.
        fold: The one that becomes `validation`; the others are `train`.

    Returns:
        The same shards under other splits. It has a fingerprint of its own, so
        that a run does not go on with another fold.

    Raises:
        DataError: There are no folds, or not so many.
    """
    found = names(info)
    if not found:
        raise DataError(
            f"fold={fold}, but the data set has no folds: it has "
            f"{', '.join(info.splits)}. Convert it with --folds=5, or leave "
            "out `tfrecords.fold`."
        )
    if name(fold) not in found:
        raise DataError(
            f"fold={fold} must be 0 .. {len(found) - 1}: the data set has "
            f"{len(found)} folds."
        )
    others = [split for split in found if split != name(fold)]
    parts = {"train": others, "validation": [name(fold)]} | {
        split: [split] for split in info.splits if split not in found
    }
    splits = {
        split: tuple(shard for s in stored for shard in info.splits[s])
        for split, stored in parts.items()
    }
    label_counts = {
        split: tuple(
            sum(counts)
            for counts in zip(
                *(info.label_counts[s] for s in stored), strict=True
            )
        )
        for split, stored in parts.items()
    }
    return dataclasses.replace(
        info,
        splits=splits,
        label_counts=label_counts,
        fingerprint=dataset.fingerprint(splits, info.class_names),
    )
