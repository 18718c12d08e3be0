"""Rollbacks: past the batches, in one process or two, killed or not."""

import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import REPO, make_engine, make_recipe
from tests.trainer.poison import ROLLBACK, harm, write
from tests.trainer.test_main import (
    call,
    final_arrays,
    lines,
    tiny,
    wait_for_step,
)
from trainer import main, session

SECONDS = 300


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
            np.testing.assert_allclose(
                np.asarray(variable), found[name], atol=1e-5, err_msg=name
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


def test_no_more_rollbacks_than_allowed(tmp_path, capsys) -> None:
    bindings = write(tmp_path / "data")
    every_label = ("poisoned.label = 0", ROLLBACK, "train.max_rollbacks = 2")
    run = tmp_path / "run"
    assert call(main, *tiny(run, *bindings, *harm("nan", *every_label))) == 1
    counts = [line["rollbacks"] for line in lines(run, "rollback")]
    assert counts == [1, 2]
    said = capsys.readouterr().err
    assert "rolled back train.max_rollbacks=2 times already" in said
    assert not (run / "DONE").exists()


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


@pytest.mark.parametrize(
    "engine",
    ["multi_worker", pytest.param("horovod", marks=pytest.mark.long)],
)
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
    assert output.count("Training has diverged in step") == 2 * len(rollbacks)


def test_killed_after_a_rollback(tmp_path) -> None:
    bindings = write(tmp_path / "data", bad_batch=12)
    bindings += harm("spike", ROLLBACK, "train.spike_factor = 20.0")
    bindings.append("train.deterministic = True")
    # The bad example comes once an epoch; batches are left out each time.
    bindings += ['train.duration = "60 steps"', "train.max_rollbacks = 100"]
    whole = start(tmp_path / "whole", *bindings)
    output = whole.communicate(timeout=SECONDS)[0]
    assert whole.returncode == 0, output
    assert len(lines(tmp_path / "whole", "rollback")) > 1

    broken = tmp_path / "broken"
    killed = start(broken, *bindings)
    wait_for_step(broken, 20)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    before = lines(broken, "rollback")
    assert before
    again = start(broken, *bindings)
    output = again.communicate(timeout=SECONDS)[0]
    assert again.returncode == 0, output

    expected, found = final_arrays(tmp_path / "whole"), final_arrays(broken)
    assert expected["history/data_offset"] > 5
    for name, value in expected.items():
        assert value.tobytes() == found[name].tobytes(), name
