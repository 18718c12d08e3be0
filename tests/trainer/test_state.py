import keras
import pytest

from models import layers
from trainer import optimizers, schedules, state, updater


def make_state(ema_decay: float | None = None) -> state.TrainState:
    """A frozen body, and a head with batch norm of ours and of Keras."""
    body = keras.Sequential(
        [
            keras.layers.Conv2D(2, 3, name="conv"),
            layers.BatchNormalization(name="frozen"),
        ],
        name="body",
    )
    inputs = keras.Input([4, 4, 3])
    x = layers.BatchNormalization(name="ours")(body(inputs))
    x = keras.layers.BatchNormalization(name="theirs")(x)
    x = keras.layers.Dropout(0.5, name="dropout")(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    body.trainable = False
    optimizer = optimizers.sgd(schedules.constant_schedule(0.1))
    slots = updater.Updater(optimizer, model.trainable_variables)
    return state.create(model, [slots], "float32", ema_decay)


@pytest.mark.parametrize(
    ("synchronised", "expected"),
    [(False, ["ours", "theirs"]), (True, ["theirs"])],
)
def test_statistics_are_those_of_layers_that_learn(
    synchronised: bool, expected: list[str]
) -> None:
    train = make_state()
    names = {id(v.value): v.path for v in train.model.variables}
    found = [names[id(v)] for v in train.statistics(synchronised)]
    assert found == [
        f"{layer}/{name}"
        for layer in expected
        for name in ("moving_mean", "moving_variance")
    ]


def test_their_averages_go_with_them() -> None:
    train = make_state(ema_decay=0.9)
    averages = {id(average): source for source, average in train.average.pairs}
    found = train.statistics(synchronised=False)
    assert [averages[id(v)].path for v in found[4:]] == [
        "ours/moving_mean",
        "ours/moving_variance",
        "theirs/moving_mean",
        "theirs/moving_variance",
    ]
