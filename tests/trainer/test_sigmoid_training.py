"""The sigmoid losses on examples of several classes, from files to weights."""

import numpy as np
import pytest

from input import mixing
from tests.conftest import make_engine
from tests.trainer import label_sets
from trainer import class_weights, errors, losses, session


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    manifest = label_sets.write_pictures(folder / "in")
    label_sets.convert(manifest, folder / "data")
    return folder / "data"


@pytest.mark.parametrize(
    "loss",
    [
        losses.binary_cross_entropy(0.1, target_threshold=0.3),
        losses.sigmoid_focal_loss(alpha=0.4),
    ],
    ids=["binary cross entropy", "focal"],
)
def test_two_replicas_learn_like_one_device(data, loss: losses.Loss) -> None:
    found = []
    for replicas in (1, 2):
        recipe = label_sets.make_label_set_recipe(
            data, loss=loss, mixing=mixing.mixup(probability=0.5)
        )
        parts = session.build(recipe, make_engine(replicas))
        take = parts.take_steps(0)
        first, last = take(2)["loss"], [take(10) for _ in range(3)][-1]["loss"]
        assert last / 10 < 0.9 * first / 2
        found.append(parts.state.arrays())
    for name, value in found[0].items():
        np.testing.assert_allclose(
            found[1][name], value, rtol=0, atol=1e-5, err_msg=name
        )


def test_class_weights_are_refused_before_anything_is_built(data) -> None:
    with pytest.raises(errors.ConfigError, match="class_weights weighs an ex"):
        label_sets.make_label_set_recipe(
            data,
            loss=losses.binary_cross_entropy(),
            class_weights=class_weights.balanced_weights(),
        )
