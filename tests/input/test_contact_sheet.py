"""The contact sheet shows what is stored and what the network sees."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from input import augment, contact_sheet, crops, mixing, pipeline, sources
from tests.conftest import write_dataset

TILE = 96


def split(directory: pathlib.Path, **kwargs) -> pipeline.TrainData:
    return pipeline.TrainData(
        source=sources.TFRecords(str(directory)), **kwargs
    )


def pixels(sheet: bytes) -> np.ndarray:
    return tf.io.decode_png(sheet, channels=3).numpy()


def test_what_is_seen_is_mixed(tiny_data: pathlib.Path) -> None:
    def halves(pairs: mixing.Pairs) -> tuple[tf.Tensor, tf.Tensor]:
        assert tf.reduce_all(pairs.allowed)
        return (pairs.images + pairs.partners) / 2, pairs.rows.uniform("x")

    examples = contact_sheet.make(
        split(tiny_data), [], 0, examples=3, mixing=halves
    )
    assert [int(e.stored[0, 0, 0]) for e in examples] == [0, 5, 8]
    # The last is mixed with the first; halves go to the even number.
    assert [int(e.seen[0, 0, 0, 0]) for e in examples] == [2, 6, 4]


def test_mixed_classes_are_named(tiny_data: pathlib.Path) -> None:
    def thirds(pairs: mixing.Pairs) -> tuple[tf.Tensor, tf.Tensor]:
        return pairs.images, tf.constant([0.3, 1.0, 0.0])

    data = split(tiny_data)
    examples = contact_sheet.make(
        data, [], 0, examples=3, variants=2, mixing=thirds
    )
    assert [e.name for e in examples] == ["class 0", "class 2", "class 2"]
    assert [list(e.labels) for e in examples] == [
        ["30 % class 0, 70 % class 2"] * 2,
        ["class 2"] * 2,
        ["class 0"] * 2,
    ]
    sheet = contact_sheet.png(examples)
    assert "class 0; 30 % class 0, 70 %" in contact_sheet.page(
        examples, "title", sheet
    )
    plain = contact_sheet.make(data, [], 0, examples=3, variants=2)
    assert all(e.labels == [] for e in plain)
    # Room for them is below each row.
    more = pixels(sheet).shape[0] - pixels(contact_sheet.png(plain)).shape[0]
    assert more == 3 * 22


@pytest.mark.parametrize(
    ("count", "shown"),
    # write_dataset paints each picture with its number; shards of 5, 3 and 4.
    [(1, [0]), (2, [0, 8]), (3, [0, 5, 8]), (4, [0, 1, 5, 8])],
)
def test_examples_are_spread_over_the_shards(
    tiny_data: pathlib.Path, count: int, shown: list[int]
) -> None:
    examples = contact_sheet.make(split(tiny_data), [], 0, examples=count)
    assert [int(e.stored[0, 0, 0]) for e in examples] == shown
    assert [e.name for e in examples] == [f"class {n % 3}" for n in shown]
    for example in examples:
        assert example.stored.shape == (4, 4, 1)
        assert example.seen.shape == (5, 4, 4, 1)
        assert (example.seen == example.stored).all()


def test_what_is_seen_is_cropped_and_augmented(tmp_path: pathlib.Path) -> None:
    write_dataset(tmp_path, sizes=(9,))
    data = split(tmp_path, decode=crops.RandomResizedCrop(3))
    blank = augment.cutout(1, fill=200.0)
    done: list[None] = []
    examples = contact_sheet.make(
        data, [blank], 1, examples=2, variants=4, done=lambda: done.append(None)
    )
    assert len(done) == 8
    for example in examples:
        assert example.seen.shape == (4, 3, 3, 1)
        # One pixel each time, not always the same one.
        assert (np.sum(example.seen == 200, axis=(1, 2, 3)) == 1).all()
        assert len(np.unique(example.seen, axis=0)) > 1
    again = contact_sheet.make(data, [blank], 1, examples=2, variants=4)
    other = contact_sheet.make(data, [blank], 2, examples=2, variants=4)
    assert all(
        (a.seen == e.seen).all() for a, e in zip(again, examples, strict=True)
    )
    assert any(
        (o.seen != e.seen).any() for o, e in zip(other, examples, strict=True)
    )


def test_png_shows_the_pictures() -> None:
    stored = np.full([10, 20, 3], (250, 0, 0), np.uint8)
    seen = np.full([2, 4, 4, 3], (0, 0, 250), np.uint8)
    example = contact_sheet.Example(
        "$x^2$ and much longer than that", stored, seen
    )
    sheet = contact_sheet.png([example, example])
    found = pixels(sheet)
    assert found.shape == (26 + 2 * 102, 150 + 3 * 102 + 6, 3)
    red = (found == (250, 0, 0)).all(axis=2)
    blue = (found == (0, 0, 250)).all(axis=2)
    # 96 x 48 and 96 x 96: the shape of the picture is kept.
    assert red.sum() == 2 * TILE * TILE // 2
    assert blue.sum() == 2 * 2 * TILE * TILE
    # There is text to the left of them.
    assert (found[:, :150] < 128).any()
    assert contact_sheet.png([example, example]) == sheet


def test_grey_and_large_pictures() -> None:
    stored = np.full([300, 200, 1], 7, np.uint8)
    example = contact_sheet.Example("a", stored, stored[None])
    found = pixels(contact_sheet.png([example]))
    assert (found == 7).all(axis=2).sum() == 2 * 96 * 64


def test_page_escapes_names() -> None:
    picture = np.zeros([1, 2, 2, 3], np.uint8)
    example = contact_sheet.Example("<b>", picture[0], picture)
    text = contact_sheet.page([example], "a < b", b"PNG")
    assert "<li>&lt;b&gt;</li>" in text
    assert "<h1>a &lt; b</h1>" in text
    assert 'src="data:image/png;base64,UE5H"' in text
