"""What learns when: frozen layers, and the phases of a run."""

import numpy as np
import pytest

from tests.conftest import make_engine, make_recipe
from tests.trainer import equivalence
from trainer import archive, errors, phases, session, warm_start

TWO = (
    "train.phases = [@head/phase(), @fine/phase()]",
    'head/phase.trainable = "head"',
    'head/phase.duration = "3 steps"',
    "head/phase.optimizer = @adamw()",
    "adamw.learning_rate = @constant_schedule()",
    'fine/phase.trainable = "last 2 blocks"',
)


def build(*bindings: str, replicas: int = 1) -> session.Session:
    recipe = make_recipe(*equivalence.SMALL_RESNET, *bindings)
    return session.build(recipe, make_engine(replicas))


def changed(parts: session.Session, steps: int, start: int = 0) -> set[str]:
    """The variables that some steps change."""
    before = parts.state.arrays()
    parts.take_steps(start)(steps)
    after = parts.state.arrays()
    return {n for n in before if before[n].tobytes() != after[n].tobytes()}


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("batch_norm", ["local", "sync"])
def test_frozen_layers_do_not_move(replicas: int, batch_norm: str) -> None:
    """Neither weights nor statistics nor averages, whatever decays."""
    parts = build(
        'train.trainable = "last 1 block"',
        "train.freeze_batch_norm = True",
        f'train.batch_norm = "{batch_norm}"',
        "train.ema_decay = 0.9",
        "sgd.weight_decay = 0.1",
        "small_resnet.zero_last_gamma = False",
        replicas=replicas,
    )
    names = {v.path for v in parts.state.updater.variables}
    learn = {
        "stage3_block1_1_conv/kernel",
        "stage3_block1_2_conv/kernel",
        "logits/kernel",
        "logits/bias",
    }
    slots = {f"sgd/{n.replace('/', '_')}_momentum" for n in learn}
    assert names == slots | {"iterations"}
    assert changed(parts, 2) == {
        "step",
        "optimizer/iterations",
        *(f"model/{n}" for n in learn),
        *(f"ema/{n}" for n in learn),
        *(f"optimizer/{n}" for n in slots),
    }


def test_statistics_of_blocks_that_learn_move() -> None:
    parts = build('train.trainable = "last 1 block"')
    moved = {n for n in changed(parts, 2) if "moving" in n}
    assert len(moved) == 4
    assert all("stage3" in name for name in moved)


def test_each_phase_trains_its_part() -> None:
    parts = build(*TWO)
    head = {n for n in changed(parts, 3) if n.startswith("model/")}
    assert head == {"model/logits/kernel", "model/logits/bias"}
    both = {n for n in changed(parts, 2, start=3) if n.startswith("model/")}
    assert head < both
    assert {name.split("_")[0] for name in both - head} == {
        "model/stage2",
        "model/stage3",
    }


def test_phases_have_places_and_schedules_of_their_own() -> None:
    parts = build(
        *TWO,
        "adamw.learning_rate = @head/cosine_schedule()",
        "sgd.learning_rate = @fine/cosine_schedule()",
        "head/cosine_schedule.peak = 1.0",
        "fine/cosine_schedule.peak = 0.5",
    )
    assert [(s.start, s.until) for s in parts.spans] == [(0, 3), (3, 20)]
    assert [phases.at(parts.spans, n).index for n in (0, 2, 3, 20)] == [
        *[0] * 2,
        *[1] * 2,
    ]
    take = parts.take_steps(0)
    rates = [take(1)["learning_rate"] for _ in range(4)]
    halves = 0.5 + 0.5 * np.cos(np.pi * np.arange(3) / 3)
    np.testing.assert_allclose(rates, [*halves, 0.5], rtol=1e-5)


STOPS = (1, 3, 4, 6)
STOPPED = (
    *TWO,
    "train.ema_decay = 0.9",
    "train.deterministic = True",
    "simple_cnn.dropout = 0.5",
)


@pytest.fixture(scope="module")
def checkpoints() -> dict[int, dict[str, np.ndarray]]:
    """What a run that is not stopped has after some of its steps."""
    parts = session.build(make_recipe(*STOPPED), make_engine(1))
    take, found, done = parts.take_steps(0), {}, 0
    for step in STOPS:
        take(step - done)
        found[step], done = parts.state.arrays(), step
    return found


@pytest.mark.parametrize("killed_after", STOPS[:-1])
def test_a_start_in_any_phase_goes_on_with_the_same_bits(
    checkpoints, killed_after: int
) -> None:
    """Before the border, at it, and after it."""
    parts = session.build(make_recipe(*STOPPED), make_engine(1))
    variables = parts.state.variables()
    assert variables.keys() == checkpoints[killed_after].keys()
    for name, value in checkpoints[killed_after].items():
        variables[name].assign(value)
    take, done = parts.take_steps(killed_after), killed_after
    for step in STOPS:
        if step > done:
            take(step - done)
            done = step
    again = parts.state.arrays()
    for name, value in checkpoints[STOPS[-1]].items():
        assert value.tobytes() == again[name].tobytes(), name


def test_averages_are_those_of_all_phases() -> None:
    """The mean of the weights after each of the five updates."""
    recipe = make_recipe(*TWO, "train.ema_decay = 0.8")
    parts = session.build(recipe, make_engine(1))
    take = parts.take_steps(0)
    weights = []
    for _ in range(5):
        take(1)
        weights.append(parts.state.arrays()["model/logits/kernel"])
    shares = 0.8 ** np.arange(4, -1, -1.0)
    expected = np.average(weights, axis=0, weights=shares)
    found = parts.state.arrays()["ema/logits/kernel"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_averages_of_what_is_frozen_are_the_weights_it_starts_from(
    tmp_path,
) -> None:
    """Taken from another run after the averages have been made."""
    recipe = make_recipe('train.trainable = "head"', "train.ema_decay = 0.9")
    parts = session.build(recipe, make_engine(1))
    other = {
        name: value / 999
        for name, value in parts.state.arrays().items()
        if name.startswith("model/")
    }
    folder = tmp_path / "step-000000001"
    archive.write(str(folder), f"{folder}.tmp", 1, other, {})
    warm_start.load(str(folder), parts.state.variables())
    parts.take_steps(0)(2)
    after = parts.state.arrays()
    for name in ("conv1/kernel", "dense/kernel"):
        expected = other[f"model/{name}"].tobytes()
        assert after[f"model/{name}"].tobytes() == expected
        assert after[f"ema/{name}"].tobytes() == expected


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (["head/phase.trainable = 'tail'"], "trainable='tail' must be"),
        (["head/phase.duration = None"], "number 1 has no duration"),
        (["head/phase.duration = 'soon'"], "'soon' is not a duration"),
        (["head/phase.duration = '0 steps'"], "less than one step"),
        (["head/phase.duration = '20 steps'"], "ends at step 20, which"),
        (["fine/phase.duration = '2 steps'"], "lasts to the end of the run"),
        (["train.trainable = 'head'"], "without train.phases"),
    ],
)
def test_refuses_phases_that_make_no_sense(bindings, message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        make_recipe(*TWO, *bindings)


def test_refuses_what_no_block_is_called() -> None:
    with pytest.raises(errors.ConfigError, match="trainable='tail' must be"):
        make_recipe('train.trainable = "tail"')


def test_refuses_more_blocks_than_the_model_has() -> None:
    with pytest.raises(errors.ConfigError, match=r"^train.trainable=.*4 bloc"):
        build('train.trainable = "last 9 blocks"')


def test_an_error_names_the_phase() -> None:
    with pytest.raises(
        errors.ConfigError, match=r"^train.phases: number 2: trainable='last 9"
    ):
        build(*TWO, 'fine/phase.trainable = "last 9 blocks"')
