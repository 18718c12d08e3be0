"""Data sets that tensorflow-datasets itself has written."""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


def picture(split, number):
    """A picture of its own for each example, as JPEG bytes."""
    seed = [ord(split[0]), number]
    pixels = np.random.default_rng(seed).integers(0, 256, [7, 9, 3], np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def write(data_dir, name, features, examples):
    """Writes {split: examples} as a data set that is prepared."""
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.2.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={s: list(enumerate(e)) for s, e in examples.items()},
        data_dir=data_dir,
        disable_shuffling=True,
    )
    return data_dir / name / "1.2.0"


LABEL = tfds.features.ClassLabel(names=["cat", "dog"])
FEATURES = {
    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
    "label": LABEL,
}


def examples(split, count, **more):
    return [
        {"image": io.BytesIO(picture(split, i)), "label": i % 2}
        | {key: value(i) for key, value in more.items()}
        for i in range(count)
    ]
