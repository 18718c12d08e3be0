"""Tests of input/image_check.py."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from input import image_check

RAMP = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)


def chunk(kind, data):
    body = kind + data
    checksum = struct.pack(">I", zlib.crc32(body))
    return struct.pack(">I", len(data)) + body + checksum


def make_png(rows, bits, colour_type, extra=b""):
    """Makes a PNG that TensorFlow cannot write, from raw scan lines."""
    width = len(rows[0]) * 8 // bits
    shape = struct.pack(">II", width, len(rows))
    raw = b"".join(b"\0" + row for row in rows)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", shape + bytes([bits, colour_type, 0, 0, 0]))
        + extra
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def png(pixels):
    return tf.io.encode_png(pixels).numpy()


def jpeg(pixels):
    return tf.io.encode_jpeg(pixels).numpy()


@pytest.mark.parametrize(("stored", "kept"), [(1, 1), (2, 1), (3, 3), (4, 3)])
def test_png_without_alpha(stored, kept):
    pixels = np.arange(4 * 5 * stored, dtype=np.uint8).reshape(4, 5, stored)
    image = image_check.decode(png(pixels))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, pixels[..., :kept])


def test_png_of_16_bits():
    values = np.array([[0, 255, 256, 65535]], ">u2")
    image = image_check.decode(make_png([values.tobytes()], 16, 0))
    assert image[..., 0].tolist() == [[0, 0, 1, 255]]


def test_png_with_a_palette():
    palette = chunk(b"PLTE", bytes([1, 2, 3, 40, 50, 60]))
    rows = [b"\0\1", b"\1\1"]
    image = image_check.decode(make_png(rows, 8, 3, palette))
    assert image.tolist() == [
        [[1, 2, 3], [40, 50, 60]],
        [[40, 50, 60], [40, 50, 60]],
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg(channels):
    data = jpeg(RAMP[..., :channels])
    image = image_check.decode(data)
    np.testing.assert_array_equal(image, tf.io.decode_jpeg(data).numpy())
    assert image.shape == (20, 30, channels)


@pytest.mark.parametrize(
    ("scale", "shape"), [(1, (20, 30)), (2, (10, 15)), (8, (3, 4))]
)
def test_jpeg_at_a_scale(scale, shape):
    image = image_check.decode_jpeg(jpeg(RAMP), scale=scale)
    assert image.shape == (*shape, 3)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (jpeg(RAMP), "JPEG"),
        (png(RAMP), "PNG"),
        (b"GIF87a", "GIF"),
        (b"GIF89a", "GIF"),
        (b"BM\x99\0\0\0\0\0\0\0", "BMP"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"RIFF....WEBPVP8 ", "WebP"),
        (b"\0\0\0 ftypavif", "AVIF"),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
        (b"\xffO\xffQ", "JPEG 2000"),
    ],
)
def test_kind(data, kind):
    assert image_check.kind(data) == kind


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"<html>", "not an image, begins with 3c 68 74 6d"),
        (b"BMW, Mercedes", "not an image, begins with 42 4d 57 2c"),
        (b"\0\0\0 ftypheic", "HEIC is not supported, convert it to JPEG"),
        (b"8BPS\0\1", "Photoshop is not supported"),
    ],
)
def test_no_kind(data, reason):
    with pytest.raises(image_check.UnreadableImageError, match=reason):
        image_check.kind(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xd8\xff\xe0", r"truncated or corrupt JPEG \(4 bytes\)"),
        (jpeg(RAMP)[:-1], "truncated or corrupt JPEG"),
        (jpeg(RAMP)[:-40], "truncated or corrupt JPEG"),
        (jpeg(RAMP)[:100], r"truncated or corrupt JPEG \(100 bytes\)"),
        (png(RAMP)[:-13], "truncated or corrupt PNG"),
        (png(RAMP)[:8], r"truncated or corrupt PNG \(8 bytes\)"),
        (png(RAMP).replace(b"IDAT", b"IDAU"), "truncated or corrupt PNG"),
    ],
)
def test_unreadable(data, reason):
    with pytest.raises(image_check.UnreadableImageError, match=reason):
        image_check.decode(data)


def scan(data):
    """Where the pixels of a JPEG begin."""
    return data.index(b"\xff\xda") + 14


NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        # As a tool leaves it that closes what it could not download.
        (lambda d: d[: len(d) // 2] + b"\xff\xd9", "premature end"),
        (
            lambda d: d[: scan(d)] + b"\xff\0" * 300 + d[scan(d) + 600 :],
            "extraneous bytes",
        ),
    ],
)
def test_a_jpeg_that_is_damaged_within(damage, reason):
    """TensorFlow decodes it, with a warning that names no file."""
    data = damage(jpeg(NOISE))
    assert tf.io.decode_jpeg(data).shape == (64, 64, 3)
    with pytest.raises(
        image_check.UnreadableImageError,
        match=rf"truncated or corrupt JPEG \(.* bytes\): .*{reason}",
    ):
        image_check.decode(data)


def test_bytes_behind_the_end_are_no_damage():
    data = jpeg(NOISE)
    pixels = tf.io.decode_jpeg(data).numpy()
    for longer in (data + b"more", data[:-2] + bytes(20) + data[-2:]):
        assert (image_check.decode(longer) == pixels).all()


@pytest.mark.parametrize("kind", ["GIF", "BMP", "WebP"])
def test_what_training_reads_besides(kind):
    """In data sets of others; a conversion stores PNG in their place."""
    buffer = io.BytesIO()
    Image.fromarray(RAMP).save(buffer, kind, lossless=True)
    expected = np.asarray(Image.open(buffer).convert("RGB"))
    assert (image_check.decode(buffer.getvalue()) == expected).all()


def test_what_training_does_not_read():
    buffer = io.BytesIO()
    Image.fromarray(RAMP).save(buffer, "TIFF")
    with pytest.raises(
        image_check.UnreadableImageError, match="TIFF is not read in training"
    ):
        image_check.decode(buffer.getvalue())


def test_a_flipped_byte_in_a_png_is_found():
    data = bytearray(png(RAMP))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(image_check.UnreadableImageError, match="corrupt PNG"):
        image_check.decode(bytes(data))


def test_looks_like_image(tmp_path):
    path = tmp_path / "x"
    for data, expected in (
        (jpeg(RAMP), True),
        (png(RAMP), True),
        (b"GIF89a", True),
        (b"text", False),
        (b"", False),
    ):
        path.write_bytes(data)
        assert image_check.looks_like_image(str(path)) is expected
