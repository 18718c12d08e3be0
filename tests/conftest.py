"""Shared fixtures. The CPU is split in four before TensorFlow starts."""

# First of all, so that TensorFlow starts quickly.
import input  # noqa: F401

# isort: split
import pathlib
import signal
from collections.abc import Callable, Iterator

import pytest
import tensorflow as tf
from tensorflow.python.framework import config as framework

from input import dataset
from trainer import bindings, config, engine, recipe, strategies

REPO = pathlib.Path(__file__).resolve().parents[1]
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 4,
)
bindings.register()

# A shell that runs the tests in the background has them ignore these.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def any_kernels() -> Iterator[None]:
    """Takes back what a test with train.deterministic has asked for."""
    yield
    framework.disable_op_determinism()


@pytest.fixture(autouse=True)
def same_signals() -> Iterator[None]:
    """A training that was stopped ignores signals until its process ends."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def make_engine(replicas: int) -> engine.Engine:
    """One device, or a mirrored engine of some of the four."""
    if replicas == 1:
        return engine.OneDevice()
    return strategies.mirrored([f"CPU:{i}" for i in range(replicas)])


def make_recipe(*bindings_: str, file: str = "tests/tiny.gin") -> recipe.Recipe:
    """The recipe of tests/tiny.gin with other bindings."""
    config.parse([file], list(bindings_))
    return config.call("train")


def write_dataset(
    directory: pathlib.Path,
    sizes: tuple[int, ...] = (5, 3, 4),
    split: str = "train",
    classes: int = 3,
    label: Callable[[int], int] | None = None,
) -> dataset.DatasetInfo:
    """Shards of 4x4 grey PNGs; pixel (0, 0) is the number of the example.

    Labels go round robin, or are what `label` makes of the number.
    """
    directory.mkdir(parents=True, exist_ok=True)
    shards, number = [], 0
    label = label or (lambda number: number % classes)
    for i, size in enumerate(sizes):
        name = f"{split}-{i:05d}-of-{len(sizes):05d}.tfrecord"
        with tf.io.TFRecordWriter(str(directory / name)) as writer:
            for _ in range(size):
                writer.write(_example(number, label(number)))
                number += 1
        length = (directory / name).stat().st_size
        shards.append(dataset.Shard(file=name, examples=size, bytes=length))
    info = dataset.DatasetInfo(
        splits={split: tuple(shards)},
        class_names=tuple(f"class {i}" for i in range(classes)),
        image_shape=(4, 4, 1),
        channel_mean=(10.0,),
        channel_std=(5.0,),
        fingerprint="0" * 64,
        label_counts={
            split: tuple(
                sum(label(n) == i for n in range(number))
                for i in range(classes)
            )
        },
    )
    dataset.save(info, str(directory))
    return info


def _example(number: int, label: int) -> bytes:
    image = tf.fill([4, 4, 1], tf.constant(number, tf.uint8))
    features = {
        "image/encoded": tf.train.Feature(
            bytes_list=tf.train.BytesList(
                value=[tf.io.encode_png(image).numpy()]
            )
        ),
        "image/class/label": tf.train.Feature(
            int64_list=tf.train.Int64List(value=[label])
        ),
        "image/filename": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[f"{number}.png".encode()])
        ),
    }
    return tf.train.Example(
        features=tf.train.Features(feature=features)
    ).SerializeToString()


@pytest.fixture
def tiny_data(tmp_path: pathlib.Path) -> pathlib.Path:
    write_dataset(tmp_path / "data")
    return tmp_path / "data"
