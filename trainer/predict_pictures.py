"""From paths to pixels, in threads, ahead of the network and in order."""

from __future__ import annotations

import collections
import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures

import numpy as np
import tensorflow as tf

from input import decode, files, gcs, image_check, transcode
from trainer import errors


class Reader:
    """Makes of a picture's path what the network takes.

    A picture is treated as `input.convert` treats it: turned upright as EXIF
    says, laid over white where it is transparent, formats that TensorFlow does
    not read decoded by Pillow. What is damaged is said, not made up.

    Args:
        decoder: From stored bytes to pixels, as evaluation did.
        image_shape: Height, width and channels of these.
        max_pixels: Width times height of a picture, at most.
    """

    def __init__(
        self,
        decoder: decode.Decoder,
        image_shape: tuple[int, int, int],
        max_pixels: int = transcode.MAX_PIXELS,
    ) -> None:
        self._shape = image_shape
        self._rules = transcode.Rules(max_pixels)
        seed = tf.zeros([2], tf.int64)
        self._decode = tf.function(
            lambda encoded: decoder(encoded, seed, image_shape),
            input_signature=[tf.TensorSpec([], tf.string)],
            autograph=False,
        )

    def __call__(self, path: str) -> np.ndarray | str:
        """Returns uint8 [H, W, C], or what is wrong with the picture."""
        try:
            data = _read(path)
        except OSError as error:
            return f"cannot be read: {error.strerror or errors.reason(error)}"
        try:
            return self.pixels(data)
        except image_check.UnreadableImageError as error:
            return str(error)

    def pixels(self, data: bytes) -> np.ndarray:
        """Returns what the network takes, of a picture's bytes.

        Returns:
            uint8 [H, W, C].

        Raises:
            UnreadableImageError: No image, damaged, too large, or of another
                size than a network takes that resizes nothing.
        """
        stored = self._as_stored(data)
        try:
            return np.asarray(self._decode(stored))
        except tf.errors.OpError as error:
            if "not compatible with expected shape" not in error.message:
                with contextlib.suppress(tf.errors.OpError):
                    return np.asarray(self._decode(_as_png(stored)))
            if "not compatible with expected shape" in error.message:
                height, width, _ = self._shape
                raise image_check.UnreadableImageError(
                    "the network takes pictures of exactly "
                    f"{width} x {height} pixels"
                ) from error
            name = image_check.kind(data)
            raise image_check.corrupt(data, name) from error

    def _as_stored(self, data: bytes) -> bytes:
        """Returns what a conversion would store of a picture.

        Raises:
            UnreadableImageError: It would refuse it.
        """
        if not transcode.stays(data, self._rules):
            return transcode.store(data, self._rules).data
        if image_check.kind(data) == "JPEG":
            # The damage that TensorFlow does not see.
            image_check.check_jpeg(data)
        return data


def _as_png(data: bytes) -> bytes:
    """Returns what can be decoded, in a form that can be decoded to grey.

    Of a JPEG in CMYK, libjpeg makes colours alone.

    Raises:
        UnreadableImageError: It cannot be decoded at all.
    """
    return tf.io.encode_png(image_check.decode(data)).numpy()


def _read(path: str) -> bytes:
    # A pipe would be waited for.
    if not gcs.is_remote(path) and not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("not a file")
    return files.read(path)


def read(
    paths: Sequence[str],
    reader: Callable[[str], np.ndarray | str],
    ahead: int,
) -> Iterator[tuple[str, np.ndarray | str]]:
    """Yields what the reader makes of each path, in order.

    Args:
        paths: Of pictures.
        reader: Called in as many threads as there are cores.
        ahead: How many results wait at most.
    """
    with (
        transcode.quiet_pillow(),
        futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
    ):
        waiting: collections.deque[
            tuple[str, futures.Future[np.ndarray | str]]
        ] = collections.deque()
        try:
            for path in paths:
                waiting.append((path, pool.submit(reader, path)))
                if len(waiting) > ahead:
                    first, done = waiting.popleft()
                    yield first, done.result()
            while waiting:
                first, done = waiting.popleft()
                yield first, done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
