import numpy as np
import pytest
import tensorflow as tf

from input import augment

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(1, 256, (8, 12, 12, 3)).astype(np.float32)


def rows(first: int = 0, count: int = 8, seed: int = 0) -> augment.Rows:
    return augment.Rows(tf.constant([seed, 5]), tf.constant(first), count, 8)


AUGMENTS = {
    "crop": augment.random_crop(3),
    "flip": augment.random_flip(),
    "cutout": augment.cutout(5),
}


@pytest.mark.parametrize("name", AUGMENTS)
def test_same_for_every_split_of_the_batch(name: str) -> None:
    apply = AUGMENTS[name]
    whole = apply(IMAGES, rows()).numpy()
    halves = [apply(IMAGES[i : i + 4], rows(i, 4)).numpy() for i in (0, 4)]
    np.testing.assert_array_equal(whole, np.concatenate(halves))
    assert (whole != apply(IMAGES, rows(seed=1)).numpy()).any()


@pytest.mark.parametrize("name", AUGMENTS)
def test_compiles_to_the_same(name: str) -> None:
    apply = AUGMENTS[name]

    @tf.function(jit_compile=True)
    def compiled(images: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        return apply(images, augment.Rows(tf.constant([0, 5]), first, 8, 8))

    result = compiled(tf.constant(IMAGES), tf.constant(0))
    np.testing.assert_array_equal(result, apply(tf.constant(IMAGES), rows()))


def test_crop_is_a_shift_with_black_moving_in() -> None:
    cropped = augment.random_crop(2)(IMAGES, rows()).numpy()
    padded = np.pad(IMAGES, [(0, 0), (2, 2), (2, 2), (0, 0)])
    for before, after in zip(padded, cropped, strict=True):
        views = [
            before[top : top + 12, left : left + 12]
            for top in range(5)
            for left in range(5)
        ]
        assert any((view == after).all() for view in views)


def test_flip_mirrors_about_half() -> None:
    images = np.tile(
        np.arange(4, dtype=np.float32)[None, None, :, None], (2000, 1, 1, 1)
    )
    of = augment.Rows(tf.constant([1, 1]), tf.constant(0), 2000, 2000)
    flipped = augment.random_flip()(images, of).numpy()[:, 0, :, 0]
    mirrored = (flipped == [3, 2, 1, 0]).all(axis=1)
    assert (mirrored | (flipped == [0, 1, 2, 3]).all(axis=1)).all()
    assert 0.45 < mirrored.mean() < 0.55


def test_cutout_blanks_one_square() -> None:
    blanked = (augment.cutout(4, fill=0.0)(IMAGES, rows()).numpy() == 0).all(-1)
    for mask in blanked:
        down, across = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert 2 <= len(down) <= 4
        assert 2 <= len(across) <= 4
        assert mask.sum() == len(down) * len(across)


def test_preprocess_normalises() -> None:
    pixels = RNG.integers(0, 256, (4, 6, 6, 2)).astype(np.uint8)
    mean, std = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))
    seen = augment.preprocess(pixels, mean=mean.tolist(), std=std.tolist())
    assert seen.dtype == tf.float32
    np.testing.assert_allclose(np.mean(seen, (0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(seen, (0, 1, 2)), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: augment.random_crop(0), "padding=0"),
        (lambda: augment.random_flip(1.5), "probability=1.5"),
        (lambda: augment.cutout(0), "size=0"),
        (lambda: augment.cutout(2, fill=300.0), "fill=300"),
    ],
)
def test_refuses_bad_values(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_same_augmentation_twice_draws_twice() -> None:
    drawn = []

    def note(images: tf.Tensor, rows: augment.Rows) -> tf.Tensor:
        drawn.append(rows.uniform("place").numpy())
        return images

    augment.preprocess(
        IMAGES,
        mean=[0.0],
        std=[1.0],
        augments=[note, note],
        rows=augment.Rows(tf.constant([1, 2]), tf.constant(0), 5, 5),
    )
    first, second = drawn
    assert (first != second).all()


def test_augments_need_rows() -> None:
    with pytest.raises(ValueError, match="rows"):
        augment.preprocess(
            IMAGES, mean=[0.0], std=[1.0], augments=[augment.random_flip()]
        )
