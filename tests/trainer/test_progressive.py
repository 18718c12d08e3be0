"""Training that begins with smaller images."""

import keras
import numpy as np
import pytest

from input import contact_sheet
from tests.conftest import make_engine, make_recipe
from tests.trainer import equivalence
from trainer import errors, preview, progressive, session

TWO = 'train.progressive_resizing = ["4 until 3 steps", "6 until 5 steps"]'


def resnet(*bindings: str):
    return make_recipe(*equivalence.SMALL_RESNET, *bindings)


def weights(parts: session.Session) -> dict[str, np.ndarray]:
    return parts.state.arrays()


def test_stages_follow_each_other() -> None:
    stages = resnet(TWO).stages
    assert stages == [
        progressive.Stage(4, 4, 3),
        progressive.Stage(6, 6, 5),
    ]
    assert [progressive.at(stages, step) for step in (0, 2, 3, 4, 5, 9)] == [
        *[stages[0]] * 2,
        *[stages[1]] * 2,
        None,
        None,
    ]


def test_the_longer_side_keeps_its_proportion() -> None:
    recipe = resnet()
    stages = progressive.stages(
        ["32 until 5 steps"], (64, 96, 3), recipe.horizon
    )
    assert stages == [progressive.Stage(32, 48, 5)]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["small"], "'small' must say how large and until when"),
        (["4 until noon"], "'noon' is not a duration"),
        (["8 until 3 steps"], "must be above 0 and below 8"),
        (["0 until 3 steps"], "must be above 0 and below 8"),
        (["6 until 2 steps", "4 until 3 steps"], "must be above 6 and below"),
        (["4 until 3 steps", "6 until 3 steps"], "must be after step 3 and"),
        (["4 until 20 steps"], "before the end of the run, step 20"),
    ],
)
def test_refuses_stages_that_make_no_sense(texts, message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        make_recipe(f"train.progressive_resizing = {texts}")


def test_refuses_a_model_that_knows_each_place() -> None:
    images = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(images)
    model = keras.Model(images, keras.layers.Dense(2)(flat), name="flat")
    with pytest.raises(errors.ConfigError, match="'flat' cannot take images"):
        progressive.view(model, progressive.Stage(4, 4, 3))


def test_a_view_has_the_same_variables_in_the_same_order() -> None:
    parts = session.build(resnet(TWO), make_engine(1))
    for stage, view in parts.views.items():
        assert view.input_shape == (None, stage.height, stage.width, 3)
        for mine, other in (
            (view.trainable_variables, parts.state.model.trainable_variables),
            (view.variables, parts.state.model.variables),
        ):
            assert len(mine) == len(other)
            assert all(a is b for a, b in zip(mine, other, strict=True))


def test_stages_train_and_the_whole_size_is_as_without() -> None:
    staged, plain = (
        session.build(resnet(*bindings), make_engine(1))
        for bindings in ([TWO], [])
    )
    take = staged.take_steps(0)
    for steps in (3, 2):
        assert np.isfinite(take(steps)["loss"])
    for name, value in plain.state.variables().items():
        value.assign(staged.state.variables()[name])
    last = take(2)
    after = plain.take_steps(5)(2)
    assert last["loss"] == pytest.approx(after["loss"], rel=1e-6)
    for name, value in weights(staged).items():
        np.testing.assert_allclose(
            value, weights(plain)[name], atol=1e-6, err_msg=name
        )


def test_a_start_within_a_stage_goes_on_in_it() -> None:
    whole, part = (session.build(resnet(TWO), make_engine(1)) for _ in range(2))
    take = whole.take_steps(0)
    take(3)
    take(1)
    for name, value in part.state.variables().items():
        value.assign(whole.state.variables()[name])
    assert take(1)["loss"] == part.take_steps(4)(1)["loss"]
    assert take(1)["loss"] == part.take_steps(5)(1)["loss"]


def test_the_preview_shows_what_a_stage_sees(tmp_path) -> None:
    recipe = make_recipe(TWO)
    sizes = []
    for step in (0, 4, 5):
        (example,) = contact_sheet.make(
            recipe.train_data,
            recipe.augments_at(step),
            recipe.seed,
            examples=1,
            variants=1,
        )
        sizes.append(example.seen.shape[1:3])
    assert sizes == [(4, 4), (6, 6), (8, 8)]
    preview.write(recipe, str(tmp_path))
    small = (tmp_path / "preview.png").read_bytes()
    preview.write(make_recipe(), str(tmp_path))
    assert small != (tmp_path / "preview.png").read_bytes()
