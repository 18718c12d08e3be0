"""Tests of input/transcode.py, against Pillow's own reading of real files."""

import dataclasses
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from input import transcode
from input.image_check import UnreadableImageError
from tests.input.pictures import encoded, noise, opened, oriented, photo

RULES = transcode.Rules()
JPEG = encoded(photo(), "JPEG", quality=90)


def stored(data, **rules):
    """What is stored; `pixels` are what TensorFlow reads of `data`."""
    with transcode.quiet_pillow():
        result = transcode.store(data, dataclasses.replace(RULES, **rules))
    channels = result.pixels.shape[2]
    read = tf.io.decode_image(result.data, channels, expand_animations=False)
    np.testing.assert_array_equal(result.pixels, read.numpy())
    return result


def pillow(image, mode="RGB"):
    pixels = np.asarray(image.convert(mode))
    return pixels if mode == "RGB" else pixels[..., np.newaxis]


@pytest.mark.parametrize(
    ("data", "mode", "off"),
    [
        (JPEG, "RGB", 4),
        (encoded(photo(), "JPEG", progressive=True), "RGB", 4),
        (encoded(photo(channels=1), "JPEG"), "L", 4),
        (encoded(photo().convert("CMYK"), "JPEG", quality=95), "RGB", 6),
        (encoded(noise(), "PNG"), "RGB", 0),
        (encoded(noise().convert("L"), "PNG"), "L", 0),
        (encoded(noise().quantize(16), "PNG"), "RGB", 0),
        (encoded(noise().quantize(2), "PNG", bits=1), "RGB", 0),
        (encoded(noise().convert("1"), "PNG"), "L", 0),
        (oriented(noise(), "PNG", 1), "RGB", 0),
        (encoded(Image.new("RGBA", (4, 3), (9, 8, 7, 255)), "PNG"), "RGB", 0),
    ],
)
def test_what_training_reads_stays_as_found(data, mode, off):
    result = stored(data)
    assert (result.data, result.change) == (data, "")
    assert result.image_format == opened(data).format.lower()
    # TensorFlow's fast transform of a JPEG differs from Pillow's.
    difference = pillow(opened(data), mode) - result.pixels.astype(int)
    assert np.abs(difference).max() <= off


@pytest.mark.parametrize(
    ("data", "rules"),
    [
        (JPEG, {}),
        (JPEG, {"max_side": 10}),
        (oriented(photo(), "JPEG", 6), {}),
        (encoded(noise(), "PNG"), {}),
        (oriented(noise(), "PNG", 3), {}),
        (encoded(noise(), "GIF"), {}),
        (encoded(Image.new("RGBA", (4, 3), (9, 8, 7, 5)), "PNG"), {}),
    ],
)
def test_what_stays_is_told_by_the_header(data, rules):
    kept = stored(data, **rules).data == data
    assert transcode.stays(data, transcode.Rules(**rules)) == kept


def test_damage_is_not_told_by_the_header():
    assert not transcode.stays(b"GIF89a", RULES)
    assert transcode.stays(JPEG[:-99], RULES)
    with pytest.raises(UnreadableImageError, match="the file is empty"):
        transcode.stays(b"", RULES)
    with pytest.raises(UnreadableImageError, match="pixels are more than"):
        transcode.stays(JPEG, transcode.Rules(max_pixels=9))


def test_16_bits_stay_as_found():
    values = np.array([[0, 255, 256, 65535]], np.uint16)
    data = encoded(Image.fromarray(values), "PNG")
    result = stored(data)
    assert result.data == data
    assert result.pixels[..., 0].tolist() == [[0, 0, 1, 255]]


@pytest.mark.parametrize(
    ("kind", "image", "options"),
    [
        ("GIF", noise().quantize(200), {}),
        ("BMP", noise(), {}),
        ("BMP", noise().quantize(200), {}),
        ("TIFF", noise(), {"compression": "tiff_lzw"}),
        ("TIFF", noise().convert("CMYK"), {}),
        ("TIFF", photo(), {"compression": "jpeg"}),
        ("WebP", photo(), {"lossless": True}),
        ("WebP", photo(), {"quality": 80}),
        ("AVIF", photo(), {}),
        ("JPEG 2000", photo(64, 48), {}),
    ],
)
def test_other_formats_become_png_without_loss(kind, image, options):
    data = encoded(image, kind.replace(" ", ""), **options)
    result = stored(data)
    assert (result.image_format, result.change) == ("png", f"{kind} to PNG")
    np.testing.assert_array_equal(result.pixels, pillow(opened(data)))


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_grey_stays_grey(kind):
    data = encoded(noise().convert("L"), kind)
    result = stored(data)
    np.testing.assert_array_equal(result.pixels, pillow(opened(data), "L"))


def test_tiff_of_16_bits_keeps_them():
    values = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    result = stored(encoded(Image.fromarray(values), "TIFF"))
    kept = tf.io.decode_png(result.data, dtype=tf.uint16)
    np.testing.assert_array_equal(kept[..., 0], values)
    np.testing.assert_array_equal(result.pixels[..., 0], values >> 8)


@pytest.mark.parametrize("kind", ["GIF", "WebP", "TIFF", "PNG"])
def test_of_several_frames_the_first(kind):
    frames = [Image.new("RGB", (6, 4), c) for c in ("red", "lime", "blue")]
    data = encoded(
        frames[0],
        kind,
        save_all=True,
        append_images=frames[1:],
        **({"lossless": True} if kind == "WebP" else {}),
    )
    assert opened(data).n_frames == 3
    assert (stored(data).pixels == [255, 0, 0]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WebP", "AVIF"])
def test_exif_orientation(kind, orientation):
    options = {"lossless": True} if kind == "WebP" else {}
    data = oriented(photo(), kind, orientation, **options)
    upright = ImageOps.exif_transpose(opened(data))
    result = stored(data)
    pixels = pillow(upright)
    assert result.pixels.shape == pixels.shape
    if orientation > 1:
        assert result.change == f"{kind} to PNG: turned upright"
        np.testing.assert_array_equal(result.pixels, pixels)
        assert "exif" not in opened(result.data).info
    elif kind in ("JPEG", "PNG"):
        assert result.data == data


def test_orientation_of_a_grey_and_of_a_cmyk_jpeg():
    for mode in ("L", "CMYK"):
        data = oriented(photo().convert(mode), "JPEG", 6)
        upright = ImageOps.exif_transpose(opened(data))
        shown = "L" if mode == "L" else "RGB"
        difference = pillow(upright, shown) - stored(data).pixels.astype(int)
        assert np.abs(difference).max() <= 1  # rounding of CMYK to RGB


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff"])
def test_damaged_exif_is_no_damage_to_a_photo(exif):
    data = encoded(photo(), "JPEG", exif=exif)
    assert stored(data).data == data


def test_an_orientation_that_is_none():
    data = oriented(photo(), "JPEG", 77)
    assert stored(data).data == data


def clear(mode):
    """A picture of that mode with transparent parts."""
    image = noise(channels=4)
    if mode == "P":
        return noise().quantize(16), {"transparency": 3}
    if mode in ("L", "RGB"):
        image = noise().convert(mode)
        return image, {"transparency": image.getpixel((2, 3))}
    return image.convert(mode), {}


@pytest.mark.parametrize(
    ("kind", "mode"),
    [(k, m) for k in ("PNG", "TIFF") for m in ("RGBA", "LA")]
    + [("PNG", m) for m in ("L", "RGB", "P")]
    + [("GIF", "P"), ("WebP", "RGBA")],
)
def test_transparency_is_laid_over_white(kind, mode):
    image, options = clear(mode)
    if kind == "WebP":
        options = {"lossless": True}
    data = encoded(image, kind, **options)
    seen = opened(data).convert("RGBA")
    assert np.asarray(seen)[..., 3].min() < 255
    white = Image.new("RGBA", seen.size, "white")
    expected = Image.alpha_composite(white, seen)
    result = stored(data)
    shown = "L" if mode in ("L", "LA") and kind != "GIF" else "RGB"
    assert result.change == f"{kind} to PNG: laid over white"
    np.testing.assert_array_equal(result.pixels, pillow(expected, shown))


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((300, 200), 100, (100, 67)),
        ((200, 300), 100, (67, 100)),
        ((900, 3), 100, (100, 1)),  # nothing shrinks to nothing
        ((640, 480), 33, (33, 25)),
    ],
)
def test_max_side(size, max_side, expected):
    jpeg = stored(encoded(photo(*size), "JPEG", quality=95), max_side=max_side)
    png = stored(encoded(photo(*size), "PNG"), max_side=max_side)
    for result, kind in ((jpeg, "JPEG"), (png, "PNG")):
        assert opened(result.data).size == expected
        assert result.image_format == kind.lower()
        assert result.change == (
            f"{kind} to {kind}: shrunk to {max_side} pixels"
        )
    ideal = photo(*size).resize(expected, Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(png.pixels, pillow(ideal))
    difference = pillow(ideal) - jpeg.pixels.astype(float)
    assert np.abs(difference).mean() < 3.0


def test_max_side_is_antialiased():
    """Stripes of one pixel are grey from afar, not black or white."""
    stripes = np.zeros([400, 400], np.uint8)
    stripes[:, ::2] = 255
    image = Image.fromarray(stripes)
    for kind in ("PNG", "JPEG"):
        result = stored(encoded(image, kind, quality=95), max_side=45)
        assert np.abs(result.pixels[5:-5, 5:-5] - 127.5).max() < 12, kind


def test_max_side_enlarges_nothing():
    for data in (JPEG, encoded(noise(), "PNG")):
        assert stored(data, max_side=30).data == data
        assert stored(data, max_side=29).data != data


def test_max_side_of_other_kinds():
    turned = stored(oriented(photo(300, 200), "JPEG", 6), max_side=90)
    assert turned.change == "JPEG to JPEG: turned upright, shrunk to 90 pixels"
    assert opened(turned.data).size == (60, 90)
    assert turned.pixels[5, -5].tolist() == pytest.approx(
        photo(300, 200).getpixel((20, 20)), abs=12
    )
    for data, change in (
        (encoded(photo(300, 200), "BMP"), "BMP to PNG: shrunk to 90 pixels"),
        (encoded(photo().convert("L").resize((120, 90)), "PNG"), "PNG to PNG"),
        (
            encoded(Image.new("I;16", (120, 90), 0x1234), "PNG"),
            "PNG to PNG: shrunk to 90 pixels",
        ),
        (
            encoded(noise(200, 90, 4), "PNG"),
            "PNG to PNG: laid over white, shrunk to 90 pixels",
        ),
    ):
        result = stored(data, max_side=90)
        assert result.change.startswith(change)
        assert max(opened(result.data).size) == 90
        assert result.pixels.dtype == np.uint8


def test_a_jpeg_is_decoded_no_larger_than_it_must_be(monkeypatch):
    data = encoded(photo(1600, 1200), "JPEG")
    decode, scales = transcode.image_check.decode_jpeg, []

    def remember(data, **options):
        scales.append(options.get("scale", 1))
        return decode(data, **options)

    monkeypatch.setattr(transcode.image_check, "decode_jpeg", remember)
    for max_side in (1599, 800, 400, 399, 200, 100, 50):
        stored(data, max_side=max_side)
    assert scales[::2] == [1, 1, 2, 2, 4, 8, 8]  # and what is stored, at 1


def with_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header claims another size."""
    place = data.index(b"\xff\xc0") + 5
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return data[:place] + size + data[place + 4 :]


@pytest.mark.parametrize(
    "data",
    [
        with_size(JPEG, 30_000, 30_000),
        encoded(Image.new("1", (30_000, 30_000)), "PNG"),
        encoded(Image.new("1", (30_000, 30_000)), "TIFF", compression="group4"),
    ],
)
def test_too_many_pixels_are_refused_by_the_header(data, monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("decoded")

    monkeypatch.setattr(tf.io, "decode_jpeg", fail)
    monkeypatch.setattr(tf.io, "decode_png", fail)
    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(
        UnreadableImageError,
        match="30,000 x 30,000 pixels are more than --max_pixels=178956970",
    ):
        stored(data, max_side=100)


def test_max_pixels_at_the_limit():
    assert stored(JPEG, max_pixels=600).data == JPEG
    with pytest.raises(UnreadableImageError, match="30 x 20 pixels are more"):
        stored(JPEG, max_pixels=599)


def test_more_than_tensorflow_decodes():
    with pytest.raises(
        UnreadableImageError,
        match="30,000 x 30,000 pixels are more than the 178956970 that Tensor",
    ):
        stored(with_size(JPEG, 30_000, 30_000), max_pixels=10**9)


@pytest.mark.parametrize("width, height", [(0, 20), (30, 0)])
def test_no_pixels(width, height):
    with pytest.raises(UnreadableImageError, match="truncated or corrupt JPEG"):
        stored(with_size(JPEG, width, height), max_side=5)


def test_pillow_keeps_its_own_limit():
    before = Image.MAX_IMAGE_PIXELS
    filters = list(warnings.filters)
    with transcode.quiet_pillow():
        assert Image.MAX_IMAGE_PIXELS is None
    assert Image.MAX_IMAGE_PIXELS == before
    assert warnings.filters == filters


FLOATS = np.ones([4, 5], np.float32)
SMALL = {
    "GIF": encoded(noise().quantize(200), "GIF"),
    "BMP": encoded(noise(), "BMP"),
    "TIFF": encoded(noise(), "TIFF"),
    "WebP": encoded(noise(), "WebP"),
    "AVIF": encoded(noise(), "AVIF"),
    "JPEG 2000": encoded(noise(64, 48), "JPEG2000"),
    "PNG": encoded(noise(channels=4), "PNG"),  # read by Pillow: transparent
}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"this is text", "not an image, begins with 74 68 69 73"),
        (encoded(noise(), "PNG")[:20], "truncated or corrupt PNG"),
        (b"BMI: 20, of 3 people", "not an image, begins with 42 4d 49 3a"),
        (JPEG[:-1], "truncated or corrupt JPEG"),
        (JPEG[:-200], "truncated or corrupt JPEG"),
        (JPEG[:20], r"truncated or corrupt JPEG \(20 bytes\)"),
        (oriented(photo(), "JPEG", 3)[:-1], "truncated or corrupt JPEG"),
        (encoded(Image.fromarray(FLOATS), "TIFF"), "32 bits a channel"),
        *(
            (data[:size], f"truncated or corrupt {kind}")
            for kind, data in SMALL.items()
            for size in (16, len(data) // 2)
        ),
    ],
)
def test_unreadable(data, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        stored(data)


def test_random_damage_is_an_error_of_ours_or_none():
    """Whatever Pillow raises, a file can be named."""
    generator = np.random.default_rng(0)
    refused = 0
    for data in [*SMALL.values(), oriented(photo(), "JPEG", 6)] * 25:
        spoilt = np.frombuffer(data, np.uint8).copy()
        places = generator.integers(8, min(len(spoilt), 200), 4)
        spoilt[places] = generator.integers(0, 256, 4)
        try:
            stored(spoilt.tobytes(), max_pixels=10_000)
        except UnreadableImageError:
            refused += 1
    assert refused > 50
