"""Data sets of the MNIST family with fewer training pictures."""

import pathlib

import numpy as np

from benchmarks import fashion_mnist


def test_some_of_each_class_and_the_whole_test_split(
    tmp_path: pathlib.Path,
) -> None:
    rng = np.random.default_rng(0)
    images, labels = {}, {}
    for split, each in (("train", 200), ("test", 5)):
        labels[split] = rng.permutation(np.repeat(np.arange(3), each))
        # Each picture shows its label and its number.
        images[split] = np.zeros([3 * each, 4, 4], np.uint8)
        images[split][:, 0, 0] = labels[split]
        images[split][:, 1, 1] = np.arange(3 * each) % 256
    whole = fashion_mnist.Pictures(images, labels)
    assert whole.sizes.tolist() == [200, 200, 200]
    fashion_mnist.write(whole, [200, 20, 2], tmp_path / "some")

    found = fashion_mnist.read(str(tmp_path / "some"))
    assert found.sizes.tolist() == [200, 20, 2]
    np.testing.assert_array_equal(
        found.images["train"][:, 0, 0], found.labels["train"]
    )
    for label, size in enumerate(found.sizes):
        first = images["train"][labels["train"] == label][:size]
        mine = found.images["train"][found.labels["train"] == label]
        np.testing.assert_array_equal(mine, first)
    np.testing.assert_array_equal(found.images["test"], images["test"])
    np.testing.assert_array_equal(found.labels["test"], labels["test"])
