import functools
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

from input import crops

SHAPE = (224, 224, 3)


@functools.cache
def photo(number: int, width: int, height: int) -> bytes:
    """A real photo as a JPEG of some size, colours at half the scale."""
    picture = Image.fromarray(load_sample_images().images[number])
    buffer = io.BytesIO()
    picture.resize((width, height), Image.Resampling.LANCZOS).save(
        buffer, "jpeg", quality=92, subsampling="4:2:0"
    )
    return buffer.getvalue()


def to_png(encoded: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(encoded)).save(buffer, "png")
    return buffer.getvalue()


def torchvision_view(encoded: bytes, size: int, shorter: int) -> np.ndarray:
    """What Resize(shorter) and CenterCrop(size) of torchvision make."""
    image = Image.open(io.BytesIO(encoded))
    width, height = (side * shorter // min(image.size) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def seed(position: int) -> tf.Tensor:
    return tf.constant([7, position], tf.int64)


@pytest.mark.parametrize(
    ("width", "height", "largest"),
    [
        (640, 427, 1),
        (375, 500, 1),
        (333, 251, 1),
        (256, 256, 1),
        (150, 120, 1),
        (3841, 2561, 2),  # Decoded at a scale of 1/2.
    ],
)
@pytest.mark.parametrize("number", [0, 1])
def test_evaluation_sees_what_torchvision_sees(
    number: int, width: int, height: int, largest: int
) -> None:
    encoded = photo(number, width, height)
    image = crops.ResizeCenterCrop(size=224)(encoded, seed(0), SHAPE).numpy()
    expected = torchvision_view(encoded, 224, 256).astype(int)
    difference = np.abs(image - expected)
    assert difference.mean() < 0.2
    assert difference.max() <= largest


def test_evaluation_reads_png_as_well() -> None:
    encoded = to_png(photo(0, 640, 427))
    view = crops.ResizeCenterCrop(size=96, kept=0.75)
    image = view(encoded, seed(0), (96, 96, 3)).numpy()
    difference = np.abs(image - torchvision_view(encoded, 96, 128).astype(int))
    assert difference.max() <= 1


# PIL's own filters BOX and BILINEAR differ by 0.7 to 4.5 on these.
@pytest.mark.parametrize(
    ("side", "mean", "largest"),
    [
        (120, 0.2, 2),  # To be enlarged.
        # Interpolated, where PIL filters.
        (300, 2.0, 48),
        (447, 5.0, 80),
        # Here the scale of 1/2 begins: sharper than PIL's filter.
        (448, 3.8, 52),
        (1000, 2.3, 40),
        (2000, 2.3, 34),
    ],
)
@pytest.mark.parametrize("number", [0, 1])
def test_training_is_close_to_a_full_decode(
    number: int, side: int, mean: float, largest: int
) -> None:
    encoded = photo(number, side, side)
    whole = crops.RandomResizedCrop(size=224, min_area=1.0, max_aspect=1.0)
    image = whole(encoded, seed(0), SHAPE).numpy()
    expected = Image.open(io.BytesIO(encoded)).resize(
        (224, 224), Image.Resampling.BILINEAR
    )
    difference = np.abs(image - np.asarray(expected).astype(int))
    assert difference.mean() < mean
    assert difference.max() <= largest


@pytest.mark.parametrize(
    ("side", "ratio"),
    [(1, 1), (447, 1), (448, 2), (895, 2), (896, 4), (1791, 4), (1792, 8)]
    + [(30_000, 8)],
)
def test_training_decodes_at_the_least_scale(
    side: int, ratio: int, monkeypatch
) -> None:
    """The scale that leaves the pixels of the target."""
    asked = []

    def decode(encoded, window, ratio, channels) -> tf.Tensor:
        asked.append(ratio)
        return tf.zeros([8, 8, channels], tf.uint8)

    monkeypatch.setattr(crops, "_decode_window", decode)
    monkeypatch.setattr(
        crops, "_jpeg_size", lambda encoded: tf.constant([side, side])
    )
    crop = crops.RandomResizedCrop(size=224, min_area=1.0, max_aspect=1.0)
    crop(photo(0, 640, 427), seed(0), SHAPE)
    assert asked == [ratio]


@pytest.mark.parametrize("ratio", [1, 2, 4, 8])
@pytest.mark.parametrize(
    "window", [(0, 0, 427, 640), (0, 0, 9, 8), (101, 99, 140, 161)]
)
def test_window_is_that_part_of_the_image(
    ratio: int, window: tuple[int, ...]
) -> None:
    encoded = photo(0, 640, 427)
    part = crops._decode_window(encoded, tf.constant(window), ratio, 3).numpy()
    whole = tf.io.decode_jpeg(
        encoded, ratio=ratio, dct_method="INTEGER_ACCURATE"
    ).numpy()
    top, left, height, width = (side // ratio for side in window)
    assert part.shape == (height, width, 3)
    difference = np.abs(
        part - whole[top : top + height, left : left + width].astype(int)
    )
    # Colours at the border are mixed with those outside in a full decode.
    assert difference[1:-1, 1:-1].max(initial=0) == 0
    assert difference.max() <= 8


def test_png_and_jpeg_are_cropped_alike() -> None:
    encoded = photo(1, 500, 375)
    # Too large for a reduced scale, which rounds the window.
    crop = crops.RandomResizedCrop(size=200, min_area=0.1)
    for position in range(4):
        one, other = (
            crop(data, seed(position), (200, 200, 3)).numpy().astype(int)
            for data in (encoded, to_png(encoded))
        )
        assert np.abs(one - other).mean() < 0.5


def test_windows_are_as_asked_for() -> None:
    crop = crops.RandomResizedCrop(size=8, min_area=0.2, max_aspect=1.5)
    size = tf.constant([300, 400])
    windows = np.array([crop._window(size, seed(i)) for i in range(300)])
    top, left, height, width = windows.T
    assert (top >= 0).all() and (top + height <= 300).all()
    assert (left >= 0).all() and (left + width <= 400).all()
    area = height * width / 120_000
    assert 0.19 < area.min() < 0.25 and area.max() > 0.9
    assert 1 / 1.52 < (width / height).min() < 0.75
    assert 1.3 < (width / height).max() < 1.52
    # Every part of the image is in some windows.
    assert top.min() == left.min() == 0
    assert (top + height).max() == 300 and (left + width).max() == 400


def test_a_grey_jpeg_is_read_as_it_is_and_as_colours() -> None:
    grey = np.asarray(Image.open(io.BytesIO(photo(0, 90, 70))).convert("L"))
    encoded = tf.io.encode_jpeg(grey[..., np.newaxis], quality=95)
    for channels in (1, 3):
        shape = (32, 32, channels)
        for decode in (
            crops.RandomResizedCrop(size=32),
            crops.ResizeCenterCrop(size=32),
        ):
            image = decode(encoded, seed(0), shape).numpy()
            assert image.shape == shape and image.std() > 5


@pytest.mark.parametrize("as_png", [True, False])
def test_center_crop_takes_the_middle(as_png: bool) -> None:
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 16:64] = 200
    encode = tf.io.encode_png if as_png else tf.io.encode_jpeg
    view = crops.ResizeCenterCrop(size=10, kept=1.0)
    image = view(encode(picture), seed(0), (10, 10, 3)).numpy()
    assert image.shape == (10, 10, 3)
    assert np.abs(image.astype(int) - 200).max() <= (0 if as_png else 3)


def test_random_crop_follows_its_seed() -> None:
    picture = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3)
    encoded = tf.io.encode_jpeg((picture % 251).astype(np.uint8))
    crop = crops.RandomResizedCrop(size=16)
    views = [
        crop(encoded, seed(position), (16, 16, 3)).numpy()
        for position in (2, 2, 3)
    ]
    assert views[0].dtype == np.uint8
    assert (views[0] == views[1]).all()
    assert (views[0] != views[2]).any()
