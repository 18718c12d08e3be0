import numpy as np
import pytest
import tensorflow as tf

from benchmarks import augment_contenders as benchmark
from input import augment, policies


@pytest.fixture
def eager():
    """Without XLA, which compiles each of the contenders for seconds."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def test_contenders_do_the_same(eager: None) -> None:
    pictures = benchmark.photographs(6, 20)
    assert pictures.shape == (6, 20, 20, 3)
    rows = augment.Rows(tf.constant([0, 1]), tf.constant(0), 6, 6)
    choices = policies.rand_augment_choices(9, 20, 20)
    ours, at_once, naive = (
        make(tf.constant(pictures.astype(np.float32)), rows).numpy()
        for make in (
            benchmark.lockstep(),
            benchmark.batched(choices),
            benchmark.naive(choices),
        )
    )
    np.testing.assert_array_equal(ours, at_once)
    np.testing.assert_array_equal(ours, naive)
    assert (ours != pictures).any()


@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
def test_contenders_run(eager: None) -> None:
    pictures = benchmark.photographs(4, 16)
    processes = benchmark.Processes(pictures)
    for contender in (
        benchmark.Device(pictures, benchmark.lockstep()),
        benchmark.Threads(pictures),
        processes,
    ):
        assert contender.run(2) > 0
    processes.close()


def test_host_draws_from_the_same_list() -> None:
    picture = benchmark.photographs(1, 32)[0]
    changed = [benchmark.host_rand_augment(picture, seed) for seed in range(20)]
    assert {c.shape for c in changed} == {(32, 32, 3)}
    assert len({c.tobytes() for c in changed}) > 12
    again = benchmark.host_rand_augment(picture, 3)
    np.testing.assert_array_equal(again, changed[3])
