"""Data sets of real photos to measure input pipelines with.

Cut from the photos inside scikit-learn and scikit-image, encoded as JPEG with
colours at half the scale, and written twice: as TFRecords, and as a folder of
files for peers that read those.
"""

import dataclasses
import io
import pathlib

import numpy as np
import skimage.data
import tqdm
from PIL import Image
from sklearn import datasets

from benchmarks import files
from input import dataset

# Noise of a camera's sensor, in levels: enlarged photos have none.
_NOISE = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Photos:
    """A data set.

    Attributes:
        width: Of a picture, in pixels.
        height: Of a picture, in pixels.
        quality: Of the JPEGs, 1..100.
        pictures: How many different ones.
        shards: Files of records.
        records: Pictures in each file.
    """

    width: int
    height: int
    quality: int
    pictures: int
    shards: int
    records: int

    @property
    def total(self) -> int:
        """Pictures in all files."""
        return self.shards * self.records

    def write(self, folder: pathlib.Path) -> None:
        """Writes `folder`/records and `folder`/files."""
        encoded = [
            self._encode(number)
            for number in tqdm.trange(self.pictures, desc="photos")
        ]
        (folder / "records").mkdir(parents=True)
        (folder / "files" / "a").mkdir(parents=True)
        for number in range(self.total):
            path = folder / "files" / "a" / f"{number:05d}.jpg"
            path.write_bytes(encoded[number % len(encoded)])
        shards = files.write(
            folder / "records", encoded, self.shards, self.records
        )
        dataset.save(files.description(shards), str(folder / "records"))

    def _encode(self, number: int) -> bytes:
        rng = np.random.default_rng(number)
        photo = Image.fromarray(_originals()[number % len(_originals())])
        # The largest part of this shape, or a smaller one.
        scale = min(photo.width / self.width, photo.height / self.height)
        scale = min(scale, max(1.0, scale * rng.uniform(0.7, 1.0)))
        width, height = int(self.width * scale), int(self.height * scale)
        left = int(rng.integers(photo.width - width + 1))
        top = int(rng.integers(photo.height - height + 1))
        part = photo.resize(
            (self.width, self.height),
            Image.Resampling.LANCZOS,
            box=(left, top, left + width, top + height),
        )
        if scale < 1:
            pixels = np.asarray(part, np.float32)
            noise = rng.normal(0, _NOISE, pixels.shape).astype(np.float32)
            noisy = np.clip(np.round(pixels + noise), 0, 255)
            part = Image.fromarray(noisy.astype(np.uint8))
        buffer = io.BytesIO()
        part.save(buffer, "jpeg", quality=self.quality, subsampling="4:2:0")
        return buffer.getvalue()


def _originals() -> list[np.ndarray]:
    """Returns uint8 [height, width, 3] photos of at least 500x375 pixels."""
    return [
        *datasets.load_sample_images().images,
        skimage.data.astronaut(),
        skimage.data.coffee(),
        skimage.data.rocket(),
        skimage.data.hubble_deep_field(),
    ]
