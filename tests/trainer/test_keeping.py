"""What a run keeps, where it starts from, and when it ends before its time."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from tests.conftest import make_recipe
from tests.trainer import restarts
from tests.trainer.test_main import call, lines, tiny
from trainer import (
    archive,
    best,
    early,
    errors,
    evaluate,
    main,
    rundir,
    saving,
)

EVALUATED = (
    'train.checkpoint_every="5 steps"',
    'train.evaluate_every="5 steps"',
)


def best_line(model_dir: pathlib.Path, metric: str) -> dict:
    """Returns the first of the best evaluations, as metrics.jsonl has them."""
    evals = lines(model_dir, "eval")
    sign = -1 if metric == "loss" else 1
    return max(evals, key=lambda e: (sign * e[metric], -e["step"]))


@pytest.mark.parametrize("metric", ["loss", "top_1_accuracy"])
def test_the_best_weights_are_kept(tmp_path, metric: str) -> None:
    wanted = f'train.best_metric="{metric}"'
    assert call(main, *tiny(tmp_path, *EVALUATED, wanted)) == 0
    expected = best_line(tmp_path, metric)
    score = best.Best(str(tmp_path), metric).current()
    assert score == best.Score(expected["step"], expected[metric])
    kept = restarts.arrays(tmp_path, "best")
    assert int(kept["step"]) == expected["step"]


def test_periods_are_kept_for_good(tmp_path) -> None:
    bindings = (
        'train.checkpoint_every="2 steps"',
        'train.keep_every="6 steps"',
        "train.keep_checkpoints=2",
    )
    assert call(main, *tiny(tmp_path, *bindings)) == 0
    assert restarts.committed(tmp_path) == [6, 12, 18, 20]


# A learning rate so small that nothing gets better, once the first is in.
STALE = (
    *EVALUATED,
    "constant_schedule.value=1e-30",
    'train.early_stopping="10 steps"',
)


def test_early_stopping(tmp_path, caplog) -> None:
    assert call(main, *tiny(tmp_path, *STALE)) == 0
    assert json.loads((tmp_path / "DONE").read_text()) == {"step": 15}
    assert restarts.committed(tmp_path)[-1] == 15
    assert "has not been better than" in caplog.text
    # The same command again has nothing more to do.
    assert call(main, *tiny(tmp_path, *STALE)) == 0
    assert json.loads((tmp_path / "DONE").read_text()) == {"step": 15}


def test_a_restart_before_the_early_end_ends_at_the_same_step(
    tmp_path, finished_run
) -> None:
    """Killed after the request, before the checkpoint of that step."""
    finished_run(tmp_path, *STALE)
    (tmp_path / "DONE").unlink()
    for step in (15, 10):
        folder = tmp_path / "checkpoints" / f"step-{step:09d}"
        archive.remove(str(folder), f"{folder}.tmp")
    assert restarts.committed(tmp_path) == [5]
    assert call(main, *tiny(tmp_path, *STALE)) == 0
    assert json.loads((tmp_path / "DONE").read_text()) == {"step": 15}


def test_an_evaluation_job_ends_the_training(tmp_path, caplog) -> None:
    alone = (*STALE, "train.evaluate_every=None")
    bindings = ("train.keep_checkpoints=9", *alone)
    unstopped = [b for b in bindings if "early" not in b]
    assert call(main, *tiny(tmp_path, *unstopped)) == 0
    # As if it were still at work, and nothing had been evaluated.
    (tmp_path / "DONE").unlink()
    shutil.rmtree(tmp_path / "best")
    assert call(evaluate, "--timeout=0", *tiny(tmp_path, *bindings)) == 0
    request = json.loads((tmp_path / "STOP").read_text())
    assert request["step"] == 15
    assert "train.early_stopping" in request["reason"]
    assert call(main, *tiny(tmp_path, *unstopped)) == 0
    assert "Ended at step 20 of 20" in caplog.text


def test_a_new_training_forgets_the_old_end(tmp_path, finished_run) -> None:
    finished_run(tmp_path, *STALE)
    shutil.rmtree(tmp_path / "checkpoints")
    longer = [b for b in STALE if "early" not in b]
    flags = ["--allow_config_change", *tiny(tmp_path, *longer)]
    assert call(main, "--start_anew", *flags) == 0
    assert json.loads((tmp_path / "DONE").read_text()) == {"step": 20}
    assert not (tmp_path / "STOP").exists()


@pytest.mark.parametrize("lost", ["DONE", "best", None])
def test_lost_checkpoints_are_not_forgotten(
    tmp_path, finished_run, capsys, lost
) -> None:
    """Whatever else has gone, what is left is not touched."""
    finished_run(tmp_path, *EVALUATED)
    best_step = best.Best(str(tmp_path)).current()
    (tmp_path / "checkpoints").rename(tmp_path / "moved")
    if lost == "DONE":
        (tmp_path / "DONE").unlink()
    elif lost == "best":
        shutil.rmtree(tmp_path / "best")
    assert call(main, *tiny(tmp_path, *EVALUATED)) == 2
    err = capsys.readouterr().err
    assert "will not silently start again from zero" in err
    assert "--start_anew" in err
    assert (tmp_path / "DONE").exists() == (lost != "DONE")
    if lost != "best":
        assert best.Best(str(tmp_path)).current() == best_step
    (tmp_path / "moved").rename(tmp_path / "checkpoints")
    assert call(main, *tiny(tmp_path, *EVALUATED)) == 0
    assert lines(tmp_path, "run")[-1]["step"] == 20


def test_a_run_that_never_had_a_checkpoint_starts(tmp_path) -> None:
    """Killed before the first; the best is kept before it."""

    def line(kind: str, step: int, **more) -> str:
        return json.dumps({"kind": kind, "step": step} | more) + "\n"

    begun, kept = line("run", 0, resumed=False), line("checkpoint", 5)
    log = tmp_path / "metrics.jsonl"
    log.write_text(begun + line("train", 4))
    folder = tmp_path / "best" / "step-000000004"
    archive.write(str(folder), f"{folder}.tmp", 4, {}, {"loss": 1.0})
    rundir.check_not_lost(str(tmp_path))
    # Begun anew, on purpose, after one that had some.
    log.write_text(begun + kept + begun)
    rundir.check_not_lost(str(tmp_path))
    for lost in (begun + kept, begun + line("run", 5, resumed=True), ""):
        log.write_text(lost)
        with pytest.raises(errors.ConfigError, match="--start_anew"):
            rundir.check_not_lost(str(tmp_path))


class Nothing:
    """A state without variables."""

    def arrays(self) -> dict[str, np.ndarray]:
        return {}


@pytest.mark.parametrize(
    ("direction", "values", "end"),
    [
        # Steps 6, 12, 18, ...; two epochs are 12 steps.
        ("min", [0.5, 0.4, 0.4, 0.6, 0.3], 24),
        ("min", [0.5, 0.6, 0.4, 0.6, 0.3], None),
        ("max", [0.5, 0.4, 0.3, 0.6, 0.7], 18),
        ("max", [0.1, 0.2, 0.2, 0.3, 0.3], None),
    ],
)
def test_patience_is_for_any_metric(tmp_path, direction, values, end) -> None:
    patience = make_recipe('train.early_stopping = "2 epochs"')
    keep = saving.KeepBest(
        best.Best(str(tmp_path), "hamming_loss", direction),
        Nothing(),
        None,
        patience.optional_steps("early_stopping"),
    )
    asked = None
    for i, value in enumerate(values, start=1):
        keep(6 * i, {"hamming_loss": value})
        if asked is None and early.asked(str(tmp_path), 6 * i):
            asked = 6 * i
    assert asked == end


def test_a_metric_that_is_not_defined_is_told(tmp_path, caplog) -> None:
    keep = saving.KeepBest(
        best.Best(str(tmp_path), "roc_auc_macro"), Nothing(), None, patience=6
    )
    caplog.set_level("INFO")
    for step in (6, 12):
        keep(step, {"roc_auc_macro": float("nan")})
    assert "the best roc_auc_macro so far" not in caplog.text
    assert "step 12: roc_auc_macro is nan" in caplog.text
    assert "Choose another train.best_metric" in caplog.text
    assert early.asked(str(tmp_path), 12).startswith(
        "roc_auc_macro has not been a number for 6 steps"
    )


def test_patience_counts_from_the_last_phase(tmp_path, caplog) -> None:
    """What the head alone can learn does not end the run before the rest."""
    bindings = (
        *STALE,
        'train.duration="30 steps"',
        "train.phases=[@head/phase(), @fine/phase()]",
        'head/phase.duration="10 steps"',
        'head/phase.trainable="head"',
        'fine/phase.trainable="last 1 block"',
        'train.log_every="5 steps"',
    )
    with caplog.at_level("INFO", "absl"):
        assert call(main, *tiny(tmp_path, *bindings)) == 0
    # Best at step 5: without phases it would have ended at step 15.
    assert json.loads((tmp_path / "DONE").read_text()) == {"step": 20}
    assert "From step 10 on, phase 2 of 2: trainable 'last 1 block'" in (
        caplog.text
    )
    phases = [(x["step"], x["phase"]) for x in lines(tmp_path, "train")]
    assert phases == [(5, 1), (10, 1), (15, 2), (20, 2)]
    trained = lines(tmp_path, "eval")[-1]
    assert call(evaluate, "--once", *tiny(tmp_path, *bindings)) == 0
    again = lines(tmp_path, "eval")[-1]
    assert (again["step"], again["loss"]) == (20, trained["loss"])


def test_early_stopping_needs_something_to_look_at(tmp_path, capsys) -> None:
    bindings = ('train.early_stopping="1 epoch"', "train.eval_data=None")
    assert call(main, *tiny(tmp_path, *bindings)) == 2
    assert "needs train.eval_data" in capsys.readouterr().err


def warm(source: pathlib.Path) -> tuple[str, ...]:
    return (
        f'train.warm_start="{source}"',
        'train.duration="1 step"',
        "constant_schedule.value=1e-30",
        "sgd.weight_decay=0.0",
    )


def test_warm_start_takes_what_fits(tmp_path, finished_run, caplog) -> None:
    finished_run(tmp_path / "a", *EVALUATED)
    there = restarts.arrays(tmp_path / "a", "best")
    wider = ("train.num_classes=7", *warm(tmp_path / "a"))
    with caplog.at_level("INFO", "absl"):
        assert call(main, *tiny(tmp_path / "b", *wider)) == 0
    here = restarts.arrays(tmp_path / "b")
    shapes = {
        n: (there[n].shape, here[n].shape)
        for n in here
        if n.startswith("model/") and n in there
    }
    same = [n for n, (a, b) in shapes.items() if a == b and "moving" not in n]
    assert len(same) > 4
    for name in same:
        assert np.array_equal(here[name], there[name]), name
    heads = [n for n, (a, b) in shapes.items() if a != b]
    assert len(heads) == 2  # kernel and bias for 7 classes, not 4
    matched = len(shapes) - len(heads)
    assert f"{matched} of {len(shapes)} variables matched" in caplog.text
    assert f"{heads[0].removeprefix('model/')} " in caplog.text


def test_warm_start_prefers_averages(tmp_path) -> None:
    averaged = ("train.ema_decay=0.9", *EVALUATED)
    assert call(main, *tiny(tmp_path / "a", *averaged)) == 0
    assert call(main, *tiny(tmp_path / "b", *warm(tmp_path / "a"))) == 0
    there = restarts.arrays(tmp_path / "a", "best")
    here = restarts.arrays(tmp_path / "b")
    name = next(n for n in here if n.endswith("kernel"))
    average = there[name.replace("model/", "ema/", 1)]
    assert np.array_equal(here[name], average)
    assert not np.array_equal(here[name], there[name])


def test_warm_start_is_only_the_start(tmp_path, finished_run) -> None:
    finished_run(tmp_path / "a")
    assert call(main, *tiny(tmp_path / "b", *warm(tmp_path / "a"))) == 0
    # Killed before its first checkpoint, it would have started from the same.
    assert restarts.committed(tmp_path / "b") == [0, 1]
    shutil.rmtree(tmp_path / "a")
    more = (*warm(tmp_path / "a"), "train.duration='2 steps'")
    flags = tiny(tmp_path / "b", *more)
    assert call(main, "--allow_config_change", *flags) == 0
    assert lines(tmp_path / "b", "run")[-1]["step"] == 1
    assert call(evaluate, "--once", *flags) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "has no checkpoint"),
        (
            lambda path: archive.write(
                *(str(path / "best" / "step-000000001"), str(path / "t")),
                *(1, {"model/other": np.zeros(3)}, {}),
            ),
            "nothing in .* fits the model. .*only there: other",
        ),
    ],
)
def test_warm_start_from_nothing(tmp_path, capsys, make, message) -> None:
    (tmp_path / "a" / "best").mkdir(parents=True)
    make(tmp_path / "a")
    flags = tiny(tmp_path / "b", f'train.warm_start="{tmp_path / "a"}"')
    assert call(main, *flags) == 2
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(capsys.readouterr().err)
    assert not (tmp_path / "b" / "checkpoints").exists()
