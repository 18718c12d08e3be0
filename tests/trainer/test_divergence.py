"""Losses and weights that go wrong: found, reported, rolled back."""

import dataclasses
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from input import pipeline, sources, spec
from tests.conftest import REPO, make_engine, make_recipe, write_dataset
from tests.trainer import poison
from tests.trainer.test_main import (
    call,
    final_arrays,
    lines,
    tiny,
    wait_for_step,
)
from trainer import divergence, errors, loop, main, session

SHARDS, SHARD_SIZE, BATCH = 6, 40, 8  # 30 batches an epoch.
SECONDS = 300


def write(folder: pathlib.Path, bad_batch: int | None = None) -> list[str]:
    """Writes a data set; returns the bindings that read it.

    One example of the batch has a label of its own.
    """
    sizes = (SHARD_SIZE,) * SHARDS
    bad = None
    info = write_dataset(folder, sizes, classes=4)
    # Two shards are shuffled together.
    budget = 2 * max(shard.bytes for shard in info.splits["train"])
    if bad_batch is not None:
        bad = read_in(folder, budget, range(bad_batch, bad_batch + 1))[3]
    write_dataset(
        folder,
        sizes,
        classes=4,
        label=lambda n: poison.LABEL if n == bad else n % poison.LABEL,
    )
    return [
        "SOURCE = @tfrecords()",
        f'tfrecords.data_dir = "{folder}"',
        f"train_data.shuffle_bytes = {budget}",
        "train.eval_data = None",
        f"train.global_batch_size = {BATCH}",
        'train.checkpoint_every = "5 steps"',
        'train.log_every = "2 steps"',
        "train.steps_per_loop = 3",
        "train.deterministic = True",
    ]


def read_in(
    folder: pathlib.Path,
    budget: int,
    batches: range,
    host: spec.HostShare = spec.HostShare(0, 1, 1),  # noqa: B008
    shard_by: pipeline.ShardBy = "auto",
) -> list[int]:
    """The examples of some batches, as the pipeline gives them."""
    data = pipeline.TrainData(
        source=sources.TFRecords(str(folder)),
        shuffle_bytes=budget,
        shard_by=shard_by,
    )
    stream = data.dataset(
        host, global_batch_size=BATCH, seed=0, start_step=batches.start
    )
    return [
        int(index)
        for batch in stream.take(len(batches))
        for index in batch[spec.INDEX]
    ]


def shard_names(examples: list[int]) -> list[str]:
    shards = sorted({index // SHARD_SIZE for index in examples})
    return [f"train-{i:05d}-of-{SHARDS:05d}.tfrecord" for i in shards]


def harm(kind: str, *more: str) -> list[str]:
    return ["train.loss = @poisoned()", f'poisoned.harm = "{kind}"', *more]


ROLLBACK = 'train.on_divergence = "rollback"'


def test_the_report_names_steps_rates_and_shards(tmp_path, caplog) -> None:
    bindings = write(tmp_path / "data", bad_batch=12)
    run = tmp_path / "run"
    assert call(main, *tiny(run, *bindings, *harm("nan"))) == 1
    # Stretches of at most 3 steps, cut by what is due: 11 to 12, then this.
    assert "in steps 13 to 14: the loss is nan. Loss nan" in caplog.text
    assert "learning rate 0.05 and gradient norm" in caplog.text
    assert "1 of 2 steps skipped" in caplog.text
    budget = int(bindings[2].split()[-1])
    names = shard_names(read_in(tmp_path / "data", budget, range(12, 14)))
    assert len(names) < SHARDS
    assert f"This host has read: {', '.join(names)}." in caplog.text
    assert 'train.on_divergence="rollback"' in caplog.text
    checkpoints = {path.name for path in (run / "checkpoints").iterdir()}
    assert checkpoints == {"step-000000005", "step-000000010"}
    assert not (run / "DONE").exists()
    assert lines(run, "rollback") == []


@pytest.mark.parametrize("replicas", [1, 4])
def test_a_rollback_goes_on_past_the_batches(
    replicas: int, tmp_path, caplog
) -> None:
    bindings = write(tmp_path / "data", bad_batch=12)
    run = tmp_path / "run"
    if replicas > 1:
        bindings += [
            'make_engine.name = "mirrored"',
            f"make_engine.virtual_devices = {replicas}",
        ]
    assert call(main, *tiny(run, *bindings, *harm("nan", ROLLBACK))) == 0
    (line,) = lines(run, "rollback")
    del line["time"]
    assert line == {
        "kind": "rollback",
        "step": 14,
        "to_step": 10,
        "reason": "the loss is nan",
        "batches_left_out": 4,
        "rollbacks": 1,
    }
    assert "Going back to step 10 and past 4 batches" in caplog.text
    assert "rollback 1 of train.max_rollbacks=3" in caplog.text
    found = final_arrays(run)
    assert found["step"] == 20
    assert found["history/data_offset"] == 4
    assert found["history/rollbacks"] == 1

    # By hand: 10 steps, then 10 more from batch 14 on.
    recipe = make_recipe(*bindings, *harm("nan"))
    parts = session.build(recipe, make_engine(replicas))
    parts.take_steps(0)(10)
    parts.state.history.data_offset.assign(4)
    parts.take_steps(10)(10)
    for name, variable in parts.state.variables().items():
        if name != "history/rollbacks":
            np.testing.assert_array_equal(
                np.asarray(variable), found[name], err_msg=name
            )


def test_a_rollback_to_the_beginning_and_results_of_a_step_that_comes_again(
    tmp_path,
) -> None:
    bindings = write(tmp_path / "data", bad_batch=2)
    bindings += [
        "train.eval_data = @eval_data()",
        'eval_data.split = "train"',
        'train.evaluate_every = "2 steps"',
    ]
    run = tmp_path / "run"
    duration = "train.duration = '6 steps'"
    assert (
        call(main, *tiny(run, *bindings, *harm("nan", ROLLBACK, duration))) == 0
    )
    (line,) = lines(run, "rollback")
    assert (line["step"], line["to_step"]) == (4, 0)
    evaluated = {}
    for found in lines(run, "eval"):
        evaluated.setdefault(found["step"], []).append(found["top_1_accuracy"])
    assert {s: len(found) for s, found in evaluated.items()} == {
        2: 2,
        4: 1,
        6: 1,
    }


def test_no_more_rollbacks_than_allowed(tmp_path, caplog) -> None:
    bindings = write(tmp_path / "data")
    every_label = ("poisoned.label = 0", ROLLBACK, "train.max_rollbacks = 2")
    run = tmp_path / "run"
    assert call(main, *tiny(run, *bindings, *harm("nan", *every_label))) == 1
    counts = [line["rollbacks"] for line in lines(run, "rollback")]
    assert counts == [1, 2]
    assert "rolled back train.max_rollbacks=2 times already" in caplog.text
    assert not (run / "DONE").exists()


def test_steps_that_are_all_skipped_end_the_run(tmp_path, caplog) -> None:
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
    assert "in steps 21 to 25: the gradients of 25 steps in a" in caplog.text
    assert "5 of 5 steps skipped" in caplog.text


def test_a_good_step_ends_a_row_of_skipped_ones() -> None:
    parts = session.build(make_recipe(), make_engine(2))
    parts.state.history.skipped_in_a_row.assign(24)
    assert parts.take_steps(0)(1)["skipped_in_a_row"] == 0


def test_weights_that_are_not_finite_are_rolled_back(tmp_path) -> None:
    """The loss is finite before the one update that ruins the weights."""
    bindings = write(tmp_path / "data")
    bindings += ["train.duration = '1 step'", "constant_schedule.value = 1e38"]
    bindings += ["sgd.weight_decay = 1e30", ROLLBACK, "train.max_rollbacks = 1"]
    run = tmp_path / "run"
    assert call(main, *tiny(run, *bindings)) == 1
    (line,) = lines(run, "rollback")
    assert (line["step"], line["to_step"]) == (1, 0)
    assert line["reason"].endswith("is not finite")
    checkpoints = [path.name for path in (run / "checkpoints").iterdir()]
    assert checkpoints == ["step-000000000"]


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
    with pytest.raises(divergence.DivergedError) as caught:
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
    with pytest.raises(divergence.DivergedError, match="s7 and 3 more"):
        divergence.Guard(parts)(stretch(5, float("inf")))


@pytest.mark.parametrize("shard_by", ["record", "file"])
def test_shards_read_are_those_that_the_pipeline_reads(
    shard_by: pipeline.ShardBy, tmp_path
) -> None:
    budget = int(write(tmp_path)[2].split()[-1])
    data = pipeline.TrainData(
        source=sources.TFRecords(str(tmp_path)),
        shuffle_bytes=budget,
        shard_by=shard_by,
    )
    for batches in (range(0, 1), range(28, 33), range(7, 9)):
        named, read = [], []
        for host in (spec.HostShare(0, 2, 2), spec.HostShare(1, 2, 2)):
            named.append(
                data.shards_read(
                    host, global_batch_size=BATCH, seed=0, steps=batches
                )
            )
            # A host with two replicas has two batches of the pipeline a step.
            rows = range(2 * batches.start, 2 * batches.stop)
            read.append(_host_reads(data, host, batches, len(rows)))
        if shard_by == "file":
            assert named == read
        else:
            # Every host reads all, and decodes its own.
            assert named[0] == named[1] == sorted({*read[0], *read[1]})


def _host_reads(
    data: pipeline.TrainData, host: spec.HostShare, steps: range, batches: int
) -> list[str]:
    stream = data.dataset(
        host, global_batch_size=BATCH, seed=0, start_step=steps.start
    )
    return shard_names(
        [int(i) for batch in stream.take(batches) for i in batch[spec.INDEX]]
    )


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


def start(
    run: pathlib.Path, *bindings: str, engine: str | None = None
) -> subprocess.Popen:
    """Trains in a process, or in two."""
    program = [sys.executable, "-m", "tests.trainer.poison"]
    if engine:
        launcher = [sys.executable, "-m", "launch.local", "--workers=2"]
        program = [*launcher, f"--engine={engine}", "--", *program]
        bindings = (*bindings, f'make_engine.name = "{engine}"')
    return subprocess.Popen(
        [*program, *tiny(run, *bindings)],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("engine", ["multi_worker", "horovod"])
def test_two_workers_roll_back_together(engine: str, tmp_path) -> None:
    bindings = write(tmp_path / "data", bad_batch=12)
    bindings += ['train_data.shard_by = "file"']
    # Which host reads the bad example, and when, depends on the hosts.
    every_epoch = ('train.duration = "40 steps"', ROLLBACK)
    process = start(
        tmp_path / "run",
        *bindings,
        *harm("nan", *every_epoch),
        engine=engine,
    )
    output = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 0, output[-5000:]
    rollbacks = lines(tmp_path / "run", "rollback")
    assert 1 <= len(rollbacks) <= 2
    found = final_arrays(tmp_path / "run")
    assert found["step"] == 40
    assert found["history/rollbacks"] == len(rollbacks)
    left_out = sum(line["batches_left_out"] for line in rollbacks)
    assert found["history/data_offset"] == left_out
    # Each process says it, with its own shards.
    assert output.count("Training has diverged in steps") == 2 * len(rollbacks)


def test_killed_after_a_rollback(tmp_path) -> None:
    bindings = write(tmp_path / "data", bad_batch=12)
    bindings += harm("spike", ROLLBACK, "train.spike_factor = 20.0")
    # The bad example comes once an epoch; batches are left out each time.
    bindings += ['train.duration = "200 steps"', "train.max_rollbacks = 100"]
    whole = start(tmp_path / "whole", *bindings)
    output = whole.communicate(timeout=SECONDS)[0]
    assert whole.returncode == 0, output
    assert len(lines(tmp_path / "whole", "rollback")) > 3

    broken = tmp_path / "broken"
    killed = start(broken, *bindings)
    wait_for_step(broken, 50)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    before = lines(broken, "rollback")
    assert before
    again = start(broken, *bindings)
    output = again.communicate(timeout=SECONDS)[0]
    assert again.returncode == 0, output

    expected, found = final_arrays(tmp_path / "whole"), final_arrays(broken)
    assert expected["history/data_offset"] > 3
    for name, value in expected.items():
        assert value.tobytes() == found[name].tobytes(), name
