"""Data sets in the layouts of others, for tests of several packages."""

import pathlib

import numpy as np
import tensorflow as tf

SHAPE = (20, 30, 3)
CLASSES = ("cat", "dog", "cow")


def picture(number: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Pixels of a picture that is like no other."""
    return np.random.default_rng(number).integers(0, 256, shape, np.uint8)


def classic_record(
    number: int, label: int, encoded: bytes | None = None
) -> bytes:
    """A record as in ImageNet's; labels begin at 1."""
    if encoded is None:
        encoded = tf.io.encode_jpeg(picture(number)).numpy()
    made = tf.train.Example()
    feature = made.features.feature
    feature["image/encoded"].bytes_list.value.append(encoded)
    feature["image/class/label"].int64_list.value.append(label)
    feature["image/class/text"].bytes_list.value.append(b"a text")
    feature["image/filename"].bytes_list.value.append(
        f"n{label:08d}_{number}.JPEG".encode()
    )
    feature["image/height"].int64_list.value.append(SHAPE[0])
    return made.SerializeToString()


def write_classic(
    directory: pathlib.Path,
    split: str = "train",
    sizes: tuple[int, ...] = (6, 8, 5),
    first: int = 0,
) -> None:
    """Writes `train-00000-of-00003` and so on; labels 1, 2, 3, 1, ..."""
    directory.mkdir(parents=True, exist_ok=True)
    number = first
    for i, size in enumerate(sizes):
        name = f"{split}-{i:05d}-of-{len(sizes):05d}"
        with tf.io.TFRecordWriter(str(directory / name)) as writer:
            for _ in range(size):
                writer.write(classic_record(number, 1 + number % len(CLASSES)))
                number += 1


def write_tfds(
    data_dir: pathlib.Path,
    *,
    shape: tuple[int | None, int | None, int] = (None, None, 3),
    file_format: str = "tfrecord",
    sizes: dict[str, int] | None = None,
) -> pathlib.Path:
    """Prepares the data set `pets`; returns the folder of its version."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=shape, encoding_format="png"),
            "label": tfds.features.ClassLabel(names=CLASSES),
            "file_name": tfds.features.Text(),
            "weight": np.float32,
        }
    )
    signature = {
        "image": tf.TensorSpec((*SHAPE[:2], shape[2]), tf.uint8),
        "label": tf.TensorSpec((), tf.int64),
        "file_name": tf.TensorSpec((), tf.string),
        "weight": tf.TensorSpec((), tf.float32),
    }

    def split(first: int, size: int) -> tf.data.Dataset:
        def examples():
            for number in range(first, first + size):
                yield {
                    "image": picture(number, (*SHAPE[:2], shape[2])),
                    "label": number % len(CLASSES),
                    "file_name": f"{number}.png",
                    "weight": 1.0,
                }

        return tf.data.Dataset.from_generator(
            examples, output_signature=signature
        )

    sizes = sizes or {"train": 19, "test": 7}
    tfds.dataset_builders.store_as_tfds_dataset(
        name="pets",
        version="1.0.0",
        data_dir=data_dir,
        features=features,
        split_datasets={
            name: split(100 * i, size)
            for i, (name, size) in enumerate(sizes.items())
        },
        file_format=file_format,
        disable_shuffling=True,
    )
    return data_dir / "pets" / "1.0.0"
