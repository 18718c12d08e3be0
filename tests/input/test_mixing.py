import numpy as np
import pytest
import tensorflow as tf

from input import augment, mixing

ROWS = 4096
RNG = np.random.default_rng(0)


def rows(count: int, first: int = 0, total: int = 8) -> augment.Rows:
    return augment.Rows(tf.constant([0, 5]), tf.constant(first), count, total)


def pairs(
    images: np.ndarray | tf.Tensor, first: int = 0, total: int = 8, allowed=True
) -> mixing.Pairs:
    images = tf.cast(images, tf.float32)
    return mixing.Pairs(
        images,
        mixing.partner(images),
        rows(images.shape[0], first, total),
        tf.broadcast_to(allowed, [images.shape[0]]),
    )


def numbered(count: int, side: int = 8) -> np.ndarray:
    """Images painted in their own number."""
    painted = np.arange(count, dtype=np.float32)[:, None, None, None]
    return np.broadcast_to(painted, [count, side, side, 3])


MIXINGS = {
    "mixup": mixing.mixup(0.4),
    "cutmix": mixing.cutmix(),
    "either": mixing.mixup_or_cutmix(0.4, 1.0, 0.3),
}


def test_partners_are_neighbours() -> None:
    assert mixing.partner(tf.range(6)).numpy().tolist() == [1, 0, 3, 2, 5, 4]


def test_copies_are_not_partners_of_each_other() -> None:
    found = mixing.partner(tf.constant([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]), 3)
    assert found.numpy().tolist() == [1, 1, 1, 0, 0, 0, 3, 3, 3, 2, 2, 2]


@pytest.mark.parametrize("name", MIXINGS)
def test_the_share_is_that_of_its_own_pixels(name: str) -> None:
    images, share = MIXINGS[name](pairs(numbered(ROWS), total=ROWS))
    own = np.arange(ROWS)
    other = own ^ 1
    means = images.numpy().mean(axis=(1, 2, 3))
    expected = share * own + (1 - share) * other
    np.testing.assert_allclose(means, expected, atol=2e-3)
    assert 0 <= share.numpy().min() and share.numpy().max() <= 1


@pytest.mark.parametrize("name", MIXINGS)
def test_the_same_at_any_number_of_replicas(name: str) -> None:
    images = RNG.uniform(0, 255, [8, 6, 6, 3])
    whole = MIXINGS[name](pairs(images))
    halves = [MIXINGS[name](pairs(images[i : i + 4], i)) for i in (0, 4)]
    for k in range(2):
        parts = np.concatenate([half[k] for half in halves])
        np.testing.assert_array_equal(whole[k], parts)


@pytest.mark.parametrize("name", MIXINGS)
def test_compiles_to_the_same(name: str) -> None:
    images = RNG.uniform(0, 255, [8, 6, 6, 3]).astype(np.float32)
    compiled = tf.function(lambda x: MIXINGS[name](pairs(x)), jit_compile=True)(
        tf.constant(images)
    )
    for ours, theirs in zip(
        compiled, MIXINGS[name](pairs(images)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 5.0])
def test_shares_are_beta_distributed(alpha: float) -> None:
    _, share = mixing.mixup(alpha)(pairs(numbered(ROWS, 1), total=ROWS))
    # The moments of Beta(alpha, alpha), within four standard errors.
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(share.numpy().mean() - 0.5) < 4 * (variance / ROWS) ** 0.5
    assert abs(share.numpy().var() / variance - 1) < 0.1


def test_cutmix_pastes_one_box() -> None:
    images, share = mixing.cutmix()(pairs(numbered(64, 9), total=64))
    for index, image in enumerate(images.numpy()):
        pasted = image[:, :, 0] == index ^ 1
        assert float(share[index]) == pytest.approx(1 - pasted.mean(), abs=1e-6)
        down, across = pasted.any(axis=1), pasted.any(axis=0)
        np.testing.assert_array_equal(pasted, np.outer(down, across))
        for edge in (down, across):
            assert (np.diff(np.flatnonzero(edge)) == 1).all()


def test_some_are_left_alone() -> None:
    images = numbered(ROWS, 2)
    _, share = mixing.mixup(1.0, probability=0.25)(pairs(images, total=ROWS))
    assert abs((share.numpy() < 1).mean() - 0.25) < 0.03
    same, share = mixing.mixup(1.0)(pairs(images, total=ROWS, allowed=False))
    np.testing.assert_array_equal(same, images)
    assert (share.numpy() == 1).all()


def test_either_switches() -> None:
    pick = mixing.mixup_or_cutmix(1.0, 1.0, switch_probability=0.25)
    images, share = pick(pairs(numbered(ROWS), total=ROWS))
    mixed = images.numpy()[share.numpy() < 1]
    blended = (mixed == mixed[:, :1, :1, :1]).all(axis=(1, 2, 3))
    assert abs(blended.mean() - 0.75) < 0.04


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mixing.mixup(0.0), "alpha=0.0 must be above 0"),
        (lambda: mixing.cutmix(-1.0), "alpha=-1.0 must be above 0"),
        (lambda: mixing.mixup(0.2, 1.5), "probability=1.5 must be in"),
        (
            lambda: mixing.mixup_or_cutmix(switch_probability=-0.1),
            "switch_probability=-0.1 must be in",
        ),
    ],
)
def test_values_out_of_range(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
