"""A run's network under a new classifier."""

import json
import pathlib

import keras
import numpy as np
import pytest

from models import input_format
from tests.trainer.test_main import call, final_arrays, tiny
from trainer import config, errors, from_run, main


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
    model_dir = tmp_path_factory.mktemp("run")
    bindings = (
        "train.model = @small_resnet",
        "small_resnet.depth = 8",
        "small_resnet.width = 4",
        "train.ema_decay = 0.5",
        "train.eval_data = None",
        'train.duration = "3 steps"',
    )
    assert call(main, *tiny(model_dir, *bindings)) == 0
    config.parse(["tests/tiny.gin"], [])  # Another recipe is in force now.
    return model_dir


def test_it_has_the_run_s_weights_and_pixels(run) -> None:
    model = from_run.from_run(7, (16, 16, 3), model_dir=str(run))
    arrays = final_arrays(run)
    body = [v for v in model.variables if not v.path.startswith("logits")]
    assert len(body) == len(model.variables) - 2 > 20
    for v in body:
        np.testing.assert_array_equal(v, arrays[f"ema/{v.path}"], v.path)
    assert model.output_shape == (None, 7)
    assert model.input_shape == (None, 16, 16, 3)
    said = json.loads((run / "run.json").read_text())["pixels"]
    assert input_format.of(model) == input_format.InputFormat(
        tuple(said["mean"]), tuple(said["std"])
    )


def test_a_run_trains_on_it(run, tmp_path) -> None:
    bindings = (
        "train.model = @from_run",
        f"from_run.model_dir = '{run}'",
        "synthetic.image_shape = (8, 8, 1)",
        'train.duration = "2 steps"',
        "train.eval_data = None",
    )
    assert call(main, *tiny(tmp_path, *bindings)) == 0
    before = json.loads((run / "run.json").read_text())
    after = json.loads((tmp_path / "run.json").read_text())
    assert before["pixels"] == after["pixels"]
    # And that may be the backbone of a third.
    model = from_run.from_run(3, (8, 8, 3), model_dir=str(tmp_path))
    assert isinstance(model, keras.Model)


def copied(run: pathlib.Path, to: pathlib.Path, **changes: str) -> str:
    """A run whose operative_config.gin says something else."""
    to.mkdir()
    (to / "checkpoints").symlink_to(run / "checkpoints")
    text = (run / "operative_config.gin").read_text()
    for old, new in changes.items():
        text = text.replace(old, new)
    (to / "operative_config.gin").write_text(text)
    return str(to)


def test_what_cannot_be_is_said(run, tmp_path, caplog) -> None:
    with pytest.raises(
        errors.ConfigError, match="from_run.model_dir='none' has"
    ):
        from_run.from_run(3, (8, 8, 3), model_dir="none")
    deeper = copied(run, tmp_path / "a", **{"depth = 8": "depth = 14"})
    with pytest.raises(
        ValueError, match=r"architecture.*missing there: stage1"
    ):
        from_run.from_run(3, (8, 8, 3), model_dir=deeper)
    unknown = copied(run, tmp_path / "b", small_resnet="huge_resnet")
    with pytest.raises(ValueError, match="@huge_resnet, which is no name here"):
        from_run.from_run(3, (8, 8, 3), model_dir=unknown)
    (tmp_path / "b" / "operative_config.gin").unlink()
    with pytest.raises(ValueError, match=r"has no operative_config\.gin"):
        from_run.from_run(3, (8, 8, 3), model_dir=unknown)
