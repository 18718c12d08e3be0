import numpy as np

from benchmarks import cases, placement_contender, tf_contenders
from input import spec
from tests.conftest import make_engine
from trainer import session

CASE = cases.CASES["smoke"]
HOST = spec.HostShare(index=0, count=1, replicas=1)


def images(place: str) -> np.ndarray:
    chosen = placement_contender.augmented(
        tf_contenders.load_recipe(CASE), place
    )
    data = chosen.train_data.dataset(HOST, global_batch_size=4, seed=0)
    return next(data.as_numpy_iterator())[spec.IMAGE]


def test_the_host_augments_and_mixes() -> None:
    plain, changed = images("neither"), images("host")
    assert changed.shape == plain.shape and changed.dtype == np.uint8
    assert (changed[0] != changed[1]).any()
    assert all((changed[i] != plain[i]).any() for i in range(4))


def test_the_device_gets_plain_images() -> None:
    np.testing.assert_array_equal(images("device"), images("neither"))
    chosen = placement_contender.augmented(
        tf_contenders.load_recipe(CASE), "device"
    )
    assert len(chosen.augment) == 1 and chosen.mixing is not None


def test_all_train() -> None:
    for place in ("device", "host", "neither"):
        chosen = placement_contender.augmented(
            tf_contenders.load_recipe(CASE), place
        )
        parts = session.build(chosen, make_engine(1))
        assert np.isfinite(parts.take_steps(0)(2)["loss"])
