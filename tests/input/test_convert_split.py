"""Tests of input/convert_split.py."""

import re
from fractions import Fraction

import numpy as np
import pytest

from input import convert_split
from input.convert_sources import Picture
from input.errors import UsageError


def make_pictures(counts, size=1):
    """Makes `counts[label]` pictures of each label."""
    return [
        Picture(f"{label}/{i}.png", label, size, "")
        for label, count in enumerate(counts)
        for i in range(count)
    ]


def label_counts(pictures, classes):
    return np.bincount([p.label for p in pictures], minlength=classes).tolist()


def test_parse_fractions_is_exact():
    assert convert_split.parse_fractions(
        "train:0.7, validation:0.2,test:0.1"
    ) == {
        "train": Fraction(7, 10),
        "validation": Fraction(1, 5),
        "test": Fraction(1, 10),
    }
    assert convert_split.parse_fractions("train:2/3,test:1/3") == {
        "train": Fraction(2, 3),
        "test": Fraction(1, 3),
    }
    assert convert_split.parse_fractions("train:1") == {"train": Fraction(1)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not NAME:FRACTION"),
        ("train", "'train' is not NAME:FRACTION"),
        ("train:0.8,", "'' is not NAME:FRACTION"),
        ("train=0.8,test=0.2", "'train=0.8' is not NAME:FRACTION"),
        ("Train:1", "'Train:1' is not NAME:FRACTION"),
        ("../x:1", "'../x:1' is not NAME:FRACTION"),
        ("train:much", "'much' is not a number"),
        ("train:", "'' is not a number"),
        ("train:1/0", "'1/0' is not a number"),
        ("train:nan", "'nan' is not a number"),
        ("train:1.2,test:-0.2", "fraction of 'train' is 1.2, but must be"),
        ("train:1,test:0", "fraction of 'test' is 0, but must be above 0"),
        ("train:0.5,train:0.5", "'train' is there twice"),
        ("train:0.8,test:0.1", "add up to 0.9, but must add up to 1"),
        ("train:0.8,test:0.3", "add up to 1.1, but must add up to 1"),
        ("a:0.5,b:0.5", "there is no split 'train'"),
    ],
)
def test_parse_fractions_rejects(text, message):
    with pytest.raises(UsageError, match=re.escape(message)) as e:
        convert_split.parse_fractions(text)
    assert str(e.value).startswith(f"--split={text!r}: ")
    assert str(e.value).endswith(", such as train:0.8,validation:0.1,test:0.1.")


THIRDS = {
    "train": Fraction(8, 10),
    "validation": Fraction(1, 10),
    "test": Fraction(1, 10),
}


@pytest.mark.parametrize(
    ("counts", "train", "validation", "test"),
    [
        # Divides evenly.
        ([10, 100], [8, 80], [1, 10], [1, 10]),
        # 0.5 each of every class for validation and test: in turn.
        ([5, 5], [4, 4], [1, 0], [0, 1]),
        # Every class is in train, even alone.
        ([1] * 9, [1] * 9, [0] * 9, [0] * 9),
    ],
)
def test_stratified_counts(counts, train, validation, test):
    splits = convert_split.stratified(make_pictures(counts), THIRDS, seed=0)
    assert {s: label_counts(p, len(counts)) for s, p in splits.items()} == {
        "train": train,
        "validation": validation,
        "test": test,
    }


def test_stratified_gives_small_classes_their_share_in_sum():
    """Rounding each class alone would leave test without any picture."""
    splits = convert_split.stratified(make_pictures([4] * 100), THIRDS, seed=0)
    sizes = {name: len(pictures) for name, pictures in splits.items()}
    assert sizes == {"train": 320, "validation": 40, "test": 40}


def test_stratified_rounds_each_class_down_or_up():
    """What earlier classes left owing gives a split one more, not two."""
    sizes = [5, 12, 6, 13, 12, 14, 12, 11]
    splits = convert_split.stratified(make_pictures(sizes), THIRDS, seed=0)
    for name, fraction in THIRDS.items():
        counts = label_counts(splits[name], len(sizes))
        for size, count in zip(sizes, counts, strict=True):
            assert count in (int(size * fraction), int(size * fraction) + 1)
        assert abs(sum(counts) - sum(sizes) * fraction) < 1


def test_stratified_loses_and_repeats_nothing():
    pictures = make_pictures([3, 17, 31])
    splits = convert_split.stratified(pictures, THIRDS, seed=0)
    names = [p.name for members in splits.values() for p in members]
    assert sorted(names) == sorted(p.name for p in pictures)


def test_stratified_depends_on_the_seed_and_not_on_the_order_found():
    pictures = make_pictures([50, 50])
    first, reverse, other = (
        {p.name for p in convert_split.stratified(found, THIRDS, seed)["test"]}
        for found, seed in ((pictures, 0), (pictures[::-1], 0), (pictures, 1))
    )
    assert first == reverse
    assert len(first & other) < 5


def test_a_new_picture_hardly_moves_the_others():
    pictures = make_pictures([1000])
    before, after = (
        {
            p.name: split
            for split, members in convert_split.stratified(
                found, THIRDS, seed=0
            ).items()
            for p in members
        }
        for found in (pictures, [*pictures, Picture("new", 0, 1, "")])
    )
    assert sum(after[name] != split for name, split in before.items()) <= 2


def test_the_order_is_the_same_on_every_machine():
    """A change here changes every data set that people have made."""
    pictures = make_pictures([5])
    names = [p.name for p in convert_split.shuffled(pictures, 0, "split")]
    assert names == ["0/0.png", "0/4.png", "0/2.png", "0/1.png", "0/3.png"]


def test_split_train_leaves_the_other_splits_alone():
    splits = {"train": make_pictures([10]), "test": make_pictures([4])}
    fractions = {"train": Fraction(1, 2), "validation": Fraction(1, 2)}
    divided = convert_split.split_train(splits, fractions, seed=0)
    assert {s: len(p) for s, p in divided.items()} == {
        "train": 5,
        "validation": 5,
        "test": 4,
    }
    assert divided["test"] is splits["test"]
    with pytest.raises(UsageError, match="a split 'test' of its own, with 4 p"):
        convert_split.split_train(splits, THIRDS, seed=0)


@pytest.mark.parametrize(
    ("count", "size", "shards", "expected"),
    [
        (100, 1, None, 8),  # small data: at least 8
        (3, 1, None, 3),  # never more shards than pictures
        (100, 30_000_000, None, 20),  # 3 GB in shards of 150 MB
        (100, 30_000_001, None, 21),
        (100, 1, 1, 1),
        (100, 1, 64, 64),
        (100, 1, 1000, 100),
    ],
)
def test_divide_number_of_shards(count, size, shards, expected):
    parts = convert_split.divide(make_pictures([count], size), 0, shards)
    sizes = [len(part) for part in parts]
    assert len(parts) == expected
    assert sum(sizes) == count
    assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1


def test_divide_mixes_the_classes():
    parts = convert_split.divide(make_pictures([400, 400]), 0, 8)
    for part in parts:
        assert 30 <= label_counts(part, 2)[0] <= 70
    names = [p.name for part in parts for p in part]
    again = convert_split.divide(make_pictures([400, 400])[::-1], 0, 8)
    assert names == [p.name for part in again for p in part]
    assert len(set(names)) == 800
