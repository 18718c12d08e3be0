"""The ways to train that benchmarks.transfer compares."""

from collections.abc import Sequence
from typing import NamedTuple


class Way(NamedTuple):
    """How to train.

    Attributes:
        recipe: Gin file.
        bindings: What it leaves open; `{epochs}` and `{size}` are filled in.
    """

    recipe: str
    bindings: Sequence[str]


_LITE0 = ('train.duration = "{epochs} epochs"', "SIZE = {size}")
# Clothes fill their pictures.
_CROP = "random_resized_crop.min_area = 0.5"
WAYS = {
    "features and head": Way("gin/features.gin", _LITE0),
    "fine-tuned": Way("gin/fine_tune.gin", (*_LITE0, _CROP)),
    "from random weights": Way(
        "gin/fine_tune.gin",
        (
            *_LITE0,
            _CROP,
            "efficientnet_lite0.weights = None",
            "train.phases = []",
            "train.optimizer = @sgd()",
            "sgd.learning_rate = @cosine_schedule()",
            "sgd.weight_decay = 1e-4",
            "sgd.clip_norm = 1.0",
            "cosine_schedule.peak = 0.05",
            'cosine_schedule.warmup = "2 epochs"',
        ),
    ),
    "small network from random weights, 200 epochs": Way(
        "gin/fashion_mnist.gin",
        (
            'train.duration = "200 epochs"',
            "train.global_batch_size = 32",
            'cosine_schedule.warmup = "5 epochs"',
        ),
    ),
}


def bindings(
    way: Way, data: str, *, seed: int, epochs: int, size: int
) -> list[str]:
    """Returns the bindings of a way, complete."""
    values = {"epochs": epochs, "size": size}
    return [
        f'DATA_DIR = "{data}"',
        # Nothing is chosen by the test split; there is no other.
        "train.eval_data = None",
        "train.test_data = @test_data()",
        'train.checkpoint_every = "100 epochs"',
        f"train.seed = {seed}",
        *(binding.format(**values) for binding in way.bindings),
    ]
