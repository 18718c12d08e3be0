"""No pipeline has a thread that tunes it, for which an end would wait."""

import pathlib

import tensorflow as tf

from input import pipeline, sources, spec, threads


def test_a_pipeline_does_not_tune_itself_and_keeps_its_order() -> None:
    data = tf.data.Dataset.range(9).with_options(threads.options())
    assert data.options().autotune.enabled is False
    assert data.options().deterministic is True


def test_batches_have_these_options(tiny_data: pathlib.Path) -> None:
    data = pipeline.TrainData(source=sources.TFRecords(str(tiny_data)))
    made = data.dataset(spec.HostShare(0, 1, 1), global_batch_size=4, seed=0)
    assert made.options().autotune.enabled is False
    assert made.options().autotune.initial_parallelism == 1024
