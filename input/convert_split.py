"""Which picture goes to which split and shard of a converted data set.

Every order comes from a hash of seed and file name, not from a generator: it
is the same on every machine and with every version of every library, and a
picture that is added to a folder moves hardly another one to another split.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

from input import folds
from input.convert_sources import Picture
from input.errors import UsageError

# A reader seeks and shuffles among shards: large enough to be read at full
# speed, small enough that a few in flight fit in memory.
SHARD_BYTES = 150_000_000
LEAST_SHARDS = 8

_EXAMPLE = "train:0.8,validation:0.1,test:0.1"


def parse_fractions(text: str) -> dict[str, Fraction]:
    """Parses `--split`, such as `train:0.8,validation:0.1,test:0.1`.

    Returns:
        The fraction of each split, exact, in the order given; they add up to
        1 and `train` is among them.

    Raises:
        UsageError: Anything else.
    """

    def error(rule: str) -> UsageError:
        return UsageError(f"--split={text!r}: {rule}, such as {_EXAMPLE}.")

    fractions: dict[str, Fraction] = {}
    for part in text.split(","):
        name, colon, value = part.strip().partition(":")
        if not colon or not re.fullmatch("[a-z][a-z0-9_]*", name):
            raise error(
                f"{part!r} is not NAME:FRACTION with a name of lower-case "
                "letters. Give a list"
            )
        try:
            fraction = Fraction(value)
        except (ValueError, ZeroDivisionError):
            raise error(
                f"{value!r} is not a number. Give each split a fraction"
            ) from None
        if not 0 < fraction <= 1:
            raise error(
                f"the fraction of {name!r} is {value}, but must be above 0 "
                "and at most 1. Give each split its part"
            )
        if folds.is_fold(name):
            raise error(
                f"{name!r} is the name of a fold, which --folds=5 makes. "
                "Choose another one"
            )
        if name in fractions:
            raise error(f"{name!r} is there twice. Name each split once")
        fractions[name] = fraction
    total = sum(fractions.values())
    if total != 1:
        raise error(
            f"the fractions add up to {float(total):g}, but must add up to "
            "1. Change one of them"
        )
    if "train" not in fractions:
        raise error("there is no split 'train'. Add it")
    return fractions


def split_train(
    splits: Mapping[str, Sequence[Picture]],
    fractions: Mapping[str, Fraction],
    seed: int,
) -> dict[str, Sequence[Picture]]:
    """Divides the pictures of `train` by `fractions`; the others stay.

    Raises:
        UsageError: A split to be made exists already.
    """
    others = {name: p for name, p in splits.items() if name != "train"}
    for name in fractions:
        if name in others:
            raise UsageError(
                f"--split: the source has a split {name!r} of its own, with "
                f"{len(others[name]):,} pictures. Leave it out of --split, "
                "which divides only the source's 'train'."
            )
    return {**stratified(splits["train"], fractions, seed), **others}


def fold_train(
    splits: Mapping[str, Sequence[Picture]], count: int, seed: int
) -> dict[str, Sequence[Picture]]:
    """Divides the pictures of `train` into equal folds; the others stay.

    Args:
        splits: `train` and, perhaps, others.
        count: How many folds, at least 2.
        seed: Of the division.

    Returns:
        The folds, named by `folds.name`, each with its part of every class,
        and the other splits.

    Raises:
        UsageError: There is a split whose place a fold takes.
    """
    others = {name: p for name, p in splits.items() if name != "train"}
    for name in others:
        if name == "validation" or folds.is_fold(name):
            raise UsageError(
                f"--folds={count}: there is a split {name!r}, with "
                f"{len(others[name]):,} pictures, but each fold is the "
                "validation of the others. Leave it out of --split, or move "
                "its pictures to train."
            )
    if count > len(splits["train"]):
        raise UsageError(
            f"--folds={count}: each fold needs a picture, but there are "
            f"{len(splits['train'])}. Choose at most so many, and for every "
            "class to be in each fold no more than its pictures."
        )
    fractions = {folds.name(i): Fraction(1, count) for i in range(count)}
    return {**stratified(splits["train"], fractions, seed), **others}


def stratified(
    pictures: Sequence[Picture], fractions: Mapping[str, Fraction], seed: int
) -> dict[str, list[Picture]]:
    """Divides pictures so that each split has its fraction of each class.

    A class of n pictures gives a split floor(n * fraction) or one more. Who
    gets one more is decided by what the earlier classes left owing, so the
    whole split has its fraction too, even when every class is tiny. `train`,
    if it is among them, gets at least one picture of every class.

    Of multi-label data each combination of classes is divided like a class,
    the most frequent first.
    """
    by_class: dict[tuple[int, ...], list[Picture]] = {}
    for picture in pictures:
        by_class.setdefault(picture.classes, []).append(picture)
    splits: dict[str, list[Picture]] = {name: [] for name in fractions}
    owed = dict.fromkeys(fractions, Fraction(0))
    in_train: set[int] = set()
    for label in _order(by_class):
        members = shuffled(by_class[label], seed, "split")
        counts = {name: int(len(members) * f) for name, f in fractions.items()}
        for name, fraction in fractions.items():
            owed[name] += len(members) * fraction - counts[name]
        by_debt = sorted(owed, key=lambda name: owed[name], reverse=True)
        for name in by_debt[: len(members) - sum(counts.values())]:
            counts[name] += 1
            owed[name] -= 1
        if counts.get("train") == 0 and not in_train.issuperset(label):
            giver = max(counts, key=lambda name: counts[name])
            for name, change in ((giver, -1), ("train", 1)):
                counts[name] += change
                owed[name] -= change
        if counts.get("train"):
            in_train.update(label)
        start = 0
        for name, count in counts.items():
            splits[name] += members[start : start + count]
            start += count
    return splits


def _order(
    by_class: Mapping[tuple[int, ...], Sequence[Picture]],
) -> list[tuple[int, ...]]:
    """Returns classes by number, or their combinations by frequency."""
    if all(len(label) == 1 for label in by_class):
        return sorted(by_class)
    return sorted(by_class, key=lambda label: (-len(by_class[label]), label))


def shuffled(
    pictures: Sequence[Picture], seed: int, purpose: str
) -> list[Picture]:
    """Returns pictures in an order given by seed, purpose and their names."""

    def key(picture: Picture) -> tuple[bytes, str]:
        text = f"{seed}\0{purpose}\0{picture.name}"
        data = text.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(data, digest_size=16).digest(), picture.name

    return sorted(pictures, key=key)


def divide(
    pictures: Sequence[Picture], seed: int, shards: int | None = None
) -> list[list[Picture]]:
    """Deals the pictures of a split to shards, each a fair sample.

    Args:
        pictures: At least one.
        seed: Of the order.
        shards: How many; None takes one per 150 MB and at least 8.

    Returns:
        The pictures of each shard. Their numbers differ by one at most, and
        none is empty: there are never more shards than pictures.
    """
    if shards is None:
        size = sum(picture.size for picture in pictures)
        shards = max(LEAST_SHARDS, -(-size // SHARD_BYTES))
    shards = min(shards, len(pictures))
    ordered = shuffled(pictures, seed, "shard")
    return [ordered[i::shards] for i in range(shards)]
