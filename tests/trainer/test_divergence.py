"""Losses and weights that go wrong: found and reported."""

import dataclasses

import numpy as np
import pytest

from input import rows, spec
from tests.conftest import make_engine, make_recipe
from tests.trainer.poison import (
    BATCH,
    SHARDS,
    examples_read,
    harm,
    shard_names,
    train_data,
    write,
)
from tests.trainer.test_main import call, final_arrays, lines, tiny
from trainer import divergence, errors, loop, main, session


def test_the_report_names_steps_rates_and_shards(tmp_path, capsys) -> None:
    bindings = write(tmp_path / "data", bad_batch=12)
    run = tmp_path / "run"
    assert call(main, *tiny(run, *bindings, *harm("nan"))) == 1
    # Stretches of at most 3 steps, cut by what is due: 11 to 12, then this.
    said = capsys.readouterr().err
    assert "in steps 13 to 14: the loss is nan. Loss nan" in said
    assert "learning rate 0.05 and gradient norm" in said
    assert "1 of 2 steps skipped" in said
    data = train_data(tmp_path / "data")
    names = shard_names(examples_read(data, range(12, 14)))
    assert len(names) < SHARDS
    assert f"This host has read: {', '.join(names)}." in said
    assert 'train.on_divergence="rollback"' in said
    checkpoints = {path.name for path in (run / "checkpoints").iterdir()}
    assert checkpoints == {"step-000000005", "step-000000010"}
    assert not (run / "DONE").exists()
    assert lines(run, "rollback") == []


def test_steps_that_are_all_skipped_end_the_run(tmp_path, capsys) -> None:
    """Their loss is finite, and the weights stay what they were."""
    bindings = write(tmp_path / "data")
    bindings += harm("gradient", "poisoned.label = 0")
    bindings += ["train.steps_per_loop = 10", 'train.log_every = "50 steps"']
    run = tmp_path / "run"
    assert call(main, *tiny(run, *bindings)) == 0
    assert final_arrays(run)["history/skipped_in_a_row"] == 20
    # A restart goes on counting.
    longer = tiny(run, *bindings, 'train.duration = "60 steps"')
    assert call(main, "--allow_config_change", *longer) == 1
    said = capsys.readouterr().err
    assert "in steps 21 to 25: the gradients of 25 steps in a" in said
    assert "5 of 5 steps skipped" in said


def test_a_good_step_ends_a_row_of_skipped_ones() -> None:
    parts = session.build(make_recipe(), make_engine(2))
    parts.state.history.skipped_in_a_row.assign(24)
    assert parts.take_steps(0)(1)["skipped_in_a_row"] == 0


def stretch(step: int, loss: float, steps: int = 5) -> loop.Progress:
    return loop.Progress(
        step=step,
        steps=steps,
        loss=loss,
        top_1_accuracy=0.5,
        examples=16.0 * steps,
        skipped=0,
        skipped_in_a_row=0,
        gradient_norm=1.25,
        learning_rate=0.1,
        seconds=1.0,
        input_wait_seconds=0.0,
    )


def test_a_spike_is_held_against_the_mean_of_earlier_steps() -> None:
    recipe = make_recipe("train.spike_factor = 3.0")
    parts = session.build(recipe, make_engine(2))
    guard = divergence.Guard(parts)
    guard(stretch(5, 50.0))
    guard(stretch(10, 1.0))
    weights = [(1 - 0.99**5) * 0.99**5, 1 - 0.99**5]
    mean = np.average([50.0, 1.0], weights=weights)
    guard(stretch(15, 2.99 * mean))
    mean = np.average(
        [50.0, 1.0, 2.99 * mean],
        weights=[weights[0] * 0.99**5, weights[1] * 0.99**5, weights[1]],
    )
    # What was before is in the state: another process would say the same.
    with pytest.raises(errors.DivergedError) as caught:
        divergence.Guard(parts)(stretch(20, 3.01 * mean))
    assert "train.spike_factor=3 times" in caught.value.reason
    assert f"{mean:.4g}" in caught.value.reason
    assert caught.value.step == 20
    assert "in steps 16 to 20" in str(caught.value)
    assert "rate 0.1 and gradient norm 1.25" in str(caught.value)
    assert "shard 0" in str(caught.value)


def test_without_a_factor_a_finite_loss_is_no_spike() -> None:
    parts = session.build(make_recipe(), make_engine(1))
    guard = divergence.Guard(parts)
    for step, loss in enumerate((1.0, 1e30, 1.0), start=1):
        guard(stretch(step, loss))


def test_many_shards_are_not_all_named(monkeypatch) -> None:
    parts = session.build(make_recipe(), make_engine(1))
    monkeypatch.setattr(
        session.Session,
        "shards_read",
        lambda self, steps: [f"s{i}" for i in range(11)],
    )
    with pytest.raises(errors.DivergedError, match="s7 and 3 more"):
        divergence.Guard(parts)(stretch(5, float("inf")))


@pytest.mark.parametrize("shard_by", ["record", "file"])
def test_shards_read_are_those_that_the_pipeline_reads(
    shard_by: rows.ShardBy, tmp_path
) -> None:
    write(tmp_path)
    data = train_data(tmp_path, shard_by)
    hosts = [spec.HostShare(i, count=2, replicas=2) for i in range(2)]
    for steps in (range(0, 1), range(28, 33), range(7, 9)):
        named = [
            data.shards_read(host, global_batch_size=BATCH, seed=0, steps=steps)
            for host in hosts
        ]
        read = [shard_names(examples_read(data, steps, host)) for host in hosts]
        if shard_by == "record":
            # Every host reads all, and decodes its own.
            read = [sorted({*read[0], *read[1]})] * 2
        assert named == read


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("spike_factor", 1.0, "must be above 1"),
        ("max_rollbacks", 0, "must be at least 1"),
    ],
)
def test_values_out_of_range(name: str, value: float, message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message) as caught:
        dataclasses.replace(make_recipe(), **{name: value})
    assert f"train.{name}={value}" in str(caught.value)
