import io
import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from input import duplicates


def photo(seed: int, height: int = 150, width: int = 200) -> np.ndarray:
    """Blobs of colour and some noise, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, [7, 9, 3])
    smooth = tf.image.resize(coarse, [height, width], "bicubic").numpy()
    noisy = smooth + rng.normal(0, 10, smooth.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    size = round(image.shape[1] * factor), round(image.shape[0] * factor)
    return np.array(Image.fromarray(image).resize(size, Image.BILINEAR))


def bits_apart(one: np.ndarray, other: np.ndarray) -> int:
    (a, _), (b, _) = duplicates.look(one), duplicates.look(other)
    return sum(bin(int(word)).count("1") for word in a ^ b)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: jpeg(image, 50),
        lambda image: resized(image, 0.5),
        lambda image: jpeg(resized(image, 1.7), 75),
        lambda image: (image * 0.8 + 10).astype(np.uint8),
        lambda image: image.mean(2, keepdims=True).astype(np.uint8),
    ],
    ids=["jpeg", "half", "larger jpeg", "duller", "grey"],
)
def test_changed_pictures_look_alike(change) -> None:
    for seed in range(5):
        image = photo(seed)
        assert bits_apart(image, change(image)) <= 6


def test_other_pictures_do_not() -> None:
    images = [photo(seed) for seed in range(12)]
    images.append(images[0][:, ::-1])
    for one, other in itertools.combinations(images, 2):
        assert bits_apart(one, other) > 20


@pytest.mark.parametrize(
    ("image", "comparable"),
    [
        (np.full([40, 50, 3], 255, np.uint8), False),
        (np.zeros([1, 1, 1], np.uint8), False),
        (np.eye(40, dtype=np.uint8)[..., np.newaxis], False),
        (photo(0)[:3, :4], True),
        (photo(0)[:1, :200], True),
        (photo(0), True),
    ],
)
def test_blank_pictures_are_not_compared(image, comparable) -> None:
    looks, found = duplicates.look(image)
    assert (looks.shape, looks.dtype) == ((2,), np.uint64)
    assert found == comparable


def test_hash_bits() -> None:
    """Brighter to the right everywhere, and never downwards."""
    ramp = np.tile(np.arange(0, 180, 2, dtype=np.uint8), [90, 1])[..., None]
    looks, _ = duplicates.look(ramp)
    assert looks.tolist() == [2**64 - 1, 0]
    looks, _ = duplicates.look(ramp.transpose([1, 0, 2]))
    assert looks.tolist() == [0, 2**64 - 1]


def test_digest_knows_the_shape() -> None:
    pixels = np.arange(24, dtype=np.uint8)
    digests = {
        duplicates.digest(pixels.reshape(shape))
        for shape in ([2, 4, 3], [4, 2, 3], [8, 3, 1], [24, 1, 1])
    }
    assert len(digests) == 4
    assert duplicates.digest(b"a") == duplicates.digest(b"a")
    assert len(duplicates.digest(b"")) == 16


def as_lists(groups: duplicates.Groups) -> list[list[int]]:
    assert len(list(groups)) == len(groups)
    return [group.tolist() for group in groups]


def test_exact() -> None:
    words = np.array(
        [[5, 1], [2, 2], [5, 1], [2, 3], [2, 2], [9, 9], [5, 1]], np.uint64
    )
    assert as_lists(duplicates.exact(words)) == [[0, 2, 6], [1, 4]]
    assert as_lists(duplicates.exact(words[:2])) == []
    assert as_lists(duplicates.exact(words[:0])) == []


def brute_force(looks: np.ndarray, distance: int) -> list[list[int]]:
    parents = list(range(len(looks)))

    def root(i: int) -> int:
        while parents[i] != i:
            i = parents[i]
        return i

    apart = looks[:, np.newaxis] ^ looks
    bits = np.unpackbits(apart.view(np.uint8), axis=-1).sum(-1)
    for i, j in np.argwhere(np.triu(bits <= distance, 1)):
        a, b = sorted([root(i), root(j)])
        parents[b] = a
    groups: dict[int, list[int]] = {}
    for i in range(len(looks)):
        groups.setdefault(root(i), []).append(i)
    return [group for group in groups.values() if len(group) > 1]


@pytest.mark.parametrize("distance", [0, 1, 4, 6, 16])
def test_near_finds_what_brute_force_finds(distance, monkeypatch) -> None:
    monkeypatch.setattr(duplicates, "_NEIGHBOURS", 400)
    monkeypatch.setattr(duplicates, "_BUFFERED_PAIRS", 50)
    rng = np.random.default_rng(distance)
    looks = rng.integers(0, 2**64, [300, 2], np.uint64, endpoint=False)
    for i in range(300):
        looks[i] = looks[rng.integers(0, i + 1)]
        for bit in rng.integers(0, 128, rng.integers(0, 2 * distance + 2)):
            looks[i, bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    found = duplicates.near(looks, np.arange(300), distance)
    expected = brute_force(looks, distance)
    assert expected
    assert as_lists(found) == expected


def test_a_crowd_is_bounded(monkeypatch) -> None:
    """All are within a few bits of one picture: half a million pairs."""
    monkeypatch.setattr(duplicates, "_NEIGHBOURS", 20)
    compared = counted(monkeypatch)
    rng = np.random.default_rng(0)
    looks = np.full([1000, 2], 0x123456789, np.uint64)
    for i in range(1000):
        for bit in rng.integers(0, 128, 3):
            looks[i, bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    found = duplicates.near(looks, np.arange(1000), 6)
    assert as_lists(found) == [list(range(1000))]
    assert sum(compared) <= 1000 * 20 * 7 * 2  # neighbours, bands, words


def counted(monkeypatch) -> list[int]:
    """Returns a list that grows by the number of words compared."""
    compared: list[int] = []
    count = duplicates._bit_count

    def spy(words: np.ndarray) -> np.ndarray:
        compared.append(len(words))
        return count(words)

    monkeypatch.setattr(duplicates, "_bit_count", spy)
    return compared


def test_near_compares_candidates_only() -> None:
    looks = np.zeros([6, 2], np.uint64)
    looks[3:, 0] = 0b111
    found = duplicates.near(looks, np.array([1, 2, 4]), 2)
    assert as_lists(found) == [[1, 2]]
    found = duplicates.near(looks, np.array([1, 2, 4]), 3)
    assert as_lists(found) == [[1, 2, 4]]
    assert as_lists(duplicates.near(looks, np.array([], int), 3)) == []


def test_near_is_far_from_quadratic(monkeypatch) -> None:
    """Pairs compared, of 200 million that there are."""
    compared = counted(monkeypatch)
    rng = np.random.default_rng(0)
    looks = rng.integers(0, 2**64, [20_000, 2], np.uint64, endpoint=False)
    looks[0] = looks[1] ^ np.uint64(0b1011)
    # A thousand copies of one are one.
    looks[5000:6000] = looks[4999]
    found = duplicates.near(looks, np.arange(20_000), 6)
    assert [len(group) for group in found] == [2, 1001]
    assert sum(compared) < 20_000
