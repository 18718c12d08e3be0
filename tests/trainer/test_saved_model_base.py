"""A SavedModel as the base of a run: no checkpoint has its weights."""

import logging
import pathlib
import shutil

import pytest
import tensorflow as tf

from tests.conftest import make_recipe
from tests.trainer.test_main import call, lines, tiny
from trainer import evaluate, main


def export(folder: pathlib.Path, factor: float) -> None:
    """Writes, or writes over, a SavedModel whose weights say which it is."""
    height, width, channels = make_recipe().train_data.image_shape
    module = tf.Module()
    module.factor = tf.Variable(factor)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, height, width, channels], tf.float32)
        ]
    )
    def embed(images):
        return tf.reduce_mean(images, 2)[:, :, 0] * module.factor

    shutil.rmtree(folder, ignore_errors=True)
    # As Keras does: the same function twice.
    both = {"serve": embed, "serving_default": embed}
    tf.saved_model.save(module, str(folder), both)


def flags(model_dir: pathlib.Path, folder: pathlib.Path) -> list[str]:
    return tiny(
        model_dir,
        "train.model = @saved_model",
        f"saved_model.path = '{folder}'",
        "saved_model.normalisation = 'pixels'",
        'train.trainable = "head"',
        "train.duration = '2 steps'",
        f"train.features_dir = '{model_dir.parent}/kept'",
    )


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    export(tmp_path / "base", 1.0)
    return tmp_path / "base"


def test_features_of_another_content_are_not_taken(
    folder, tmp_path, caplog
) -> None:
    caplog.set_level(logging.INFO)
    assert call(main, *flags(tmp_path / "a", folder)) == 0
    caplog.clear()
    assert call(main, *flags(tmp_path / "b", folder)) == 0
    assert "features are taken from" in caplog.text
    export(folder, 0.5)
    caplog.clear()
    assert call(main, *flags(tmp_path / "c", folder)) == 0
    assert "features are taken from" not in caplog.text
    same, other = (lines(tmp_path / n, "train")[-1]["loss"] for n in "bc")
    assert same != other


def test_an_evaluation_with_another_content_is_refused(
    folder, tmp_path, capsys
) -> None:
    model_dir = tmp_path / "run"
    assert call(main, *flags(model_dir, folder)) == 0
    again = ["--once", *flags(model_dir, folder)]
    assert call(evaluate, *again) == 0
    export(folder, 0.5)
    assert call(evaluate, *again) == 2
    assert "content of saved_model.path is: " in capsys.readouterr().err
