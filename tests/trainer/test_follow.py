"""The evaluation job, beside a trainer or after it."""

import json
import pathlib
import shutil
import sys

import pytest

from tests.trainer import restarts
from tests.trainer.test_main import call, lines, tiny
from trainer import (
    archive,
    best,
    bindings,
    config,
    evaluate,
    follow,
    main,
    results,
    session,
)

SAVED = ('train.checkpoint_every="5 steps"', "train.keep_checkpoints=9")


def by_job(model_dir: pathlib.Path) -> list[tuple[int, str]]:
    return [
        (line["step"], line["split"])
        for line in lines(model_dir, "eval")
        if line.get("by") == "evaluate"
    ]


def recipe_and_engine(flags: list[str]):
    bindings.register()
    files = [f.partition("=")[2] for f in flags if f.startswith("--gin_file")]
    params = [f.partition("=")[2] for f in flags if f.startswith("--gin_param")]
    config.parse(files, params)
    return config.call("train"), config.call("make_engine")


@pytest.fixture
def trained(tmp_path, finished_run) -> pathlib.Path:
    finished_run(tmp_path, *SAVED)
    return tmp_path


STEPS = [(5, "validation"), (10, "validation"), (15, "validation")]
STEPS = [*STEPS, (20, "validation")]


def test_each_checkpoint_once_and_in_order(trained) -> None:
    assert call(evaluate, *tiny(trained, *SAVED)) == 0
    assert by_job(trained) == STEPS
    # It knows what it did.
    assert call(evaluate, *tiny(trained, *SAVED)) == 0
    assert by_job(trained) == STEPS


def test_a_restarted_job_goes_on_where_it_was(trained) -> None:
    assert call(evaluate, *tiny(trained, *SAVED)) == 0
    path = trained / "metrics.jsonl"
    kept = path.read_text().splitlines(keepends=True)
    # As after a crash in the midst of the third line.
    path.write_text("".join([*kept[:-2], kept[-2][:20] + "\n"]))
    assert call(evaluate, *tiny(trained, *SAVED)) == 0
    text = path.read_text()
    assert text.count('"by": "evaluate"') == 4
    whole = [json.loads(x) for x in text.splitlines() if x.endswith("}")]
    steps = [x["step"] for x in whole if x.get("by")]
    assert steps == [5, 10, 15, 20]


BOTH = (
    *SAVED,
    "train.test_data = @test_data()",
    "test_data.source = %SOURCE",
    'test_data.split = "test"',
)


@pytest.mark.parametrize("flags", [["--latest_only"], []])
def test_test_data_is_for_the_end(trained, flags: list[str]) -> None:
    (trained / "DONE").rename(trained / "LATER")
    given = (*flags, *tiny(trained, *BOTH))
    assert call(evaluate, "--timeout=0", *given) == 0
    expected = STEPS[-1:] if flags else STEPS
    assert by_job(trained) == expected
    (trained / "LATER").rename(trained / "DONE")
    for _ in range(2):
        assert call(evaluate, *given) == 0
        # What has been evaluated on one of them is left to the other.
        assert by_job(trained) == [*expected, (20, "test")]


def test_once_is_on_all_splits(trained) -> None:
    (trained / "DONE").unlink()
    assert call(evaluate, "--once", *tiny(trained, *BOTH)) == 0
    assert by_job(trained) == [(20, "validation"), (20, "test")]


def test_a_run_that_begins_later_may_be_another_one(
    trained, tmp_path_factory, capsys, monkeypatch
) -> None:
    """The job comes first, to an empty folder, with another loss."""
    later = tmp_path_factory.mktemp("later")
    look = follow.Follower.next

    def begun_meanwhile(self: follow.Follower, late: bool) -> follow.Next:
        shutil.copytree(trained, later, dirs_exist_ok=True)
        return look(self, late)

    monkeypatch.setattr(follow.Follower, "next", begun_meanwhile)
    other = tiny(later, *SAVED, "sgd.weight_decay=0.5")
    assert call(evaluate, "--timeout=0", *other) == 2
    err = capsys.readouterr().err
    assert "different config" in err and "sgd.weight_decay" in err
    assert by_job(later) == []


def test_a_first_checkpoint_at_zero_is_evaluated_once(tmp_path) -> None:
    """A trainer that was killed before the second goes on from it."""

    def line(kind: str, **more) -> str:
        return json.dumps({"kind": kind, "step": 0} | more) + "\n"

    done = line("eval", split="test", by="evaluate")
    log = tmp_path / "metrics.jsonl"
    log.write_text(
        line("run", resumed=False) + done + line("run", resumed=True)
    )
    assert follow.evaluated(str(tmp_path), "evaluate") == {0: {"test"}}
    log.write_text(done + line("run", resumed=False))
    assert follow.evaluated(str(tmp_path), "evaluate") == {}


def test_a_job_that_lags_leaves_the_newest_result(trained) -> None:
    path = trained / "evaluation/validation.npz"
    assert results.step_of(str(path)) == 20
    shutil.rmtree(trained / "checkpoints/step-000000020")
    assert call(evaluate, *tiny(trained, *SAVED)) == 0
    assert by_job(trained) == STEPS[:3]
    assert results.step_of(str(path)) == 20


def test_what_comes_again_after_a_rollback_is_evaluated_again(
    tmp_path,
) -> None:
    def line(kind: str, step: int, **more) -> str:
        return json.dumps({"kind": kind, "step": step} | more) + "\n"

    done = [
        line("eval", step, split="test", by="evaluate") for step in (5, 10, 15)
    ]
    back = line("rollback", 17, to_step=5)
    (tmp_path / "metrics.jsonl").write_text("".join([*done, back, done[1]]))
    assert follow.evaluated(str(tmp_path), "evaluate") == {
        5: {"test"},
        10: {"test"},
    }


def test_nothing_is_read_where_nothing_is_new(trained) -> None:
    reads = []

    def known() -> dict[int, set[str]]:
        reads.append(1)
        return {step: {"validation"} for step, _ in STEPS}

    parts = session.build(*recipe_and_engine(tiny(trained, *SAVED)))
    (trained / "DONE").unlink()
    follower = follow.Follower(
        str(trained), parts, ["validation"], known, latest_only=False
    )
    for _ in range(3):
        assert follower.next(late=False) == follow.Next(None)
    assert len(reads) == 1


def test_only_the_latest(trained) -> None:
    flags = tiny(trained, *SAVED)
    assert call(evaluate, "--latest_only", *flags) == 0
    assert by_job(trained) == STEPS[-1:]


def test_only_the_latest_never_goes_back(trained) -> None:
    flags = tiny(trained, *SAVED)
    for _ in range(2):
        assert call(evaluate, "--latest_only", *flags) == 0
    assert by_job(trained) == STEPS[-1:]


@pytest.mark.parametrize("flag", [["--once"], ["--latest_only"], []])
def test_where_all_are_damaged(trained, capsys, flag: list[str]) -> None:
    for path in trained.glob("checkpoints/*/variables.npz"):
        path.write_bytes(b"x")
    assert call(evaluate, *flag, *tiny(trained, *SAVED)) == 2
    err = capsys.readouterr().err
    assert "No checkpoint of" in err and "can be read" in err
    assert "step-000000005: variables.npz has 1 bytes" in err


def test_a_damaged_one_is_evaluated_when_it_is_written_anew(trained) -> None:
    parts = session.build(*recipe_and_engine(tiny(trained, *SAVED)))
    follower = follow.Follower(
        str(trained),
        parts,
        ["validation"],
        lambda: {step: {"validation"} for step in (5, 10, 15)},
        latest_only=False,
    )
    path = trained / "checkpoints/step-000000020/variables.npz"
    content = path.read_bytes()
    path.write_bytes(b"x")
    for _ in range(2):
        assert follower.next(late=False) == follow.Next(None, ended=True)
    # As by cp: the folder does not change.
    path.write_bytes(content)
    assert follower.next(late=False) == follow.Next(20, ["validation"])


def test_a_damaged_one_is_said_and_left_out(trained, caplog) -> None:
    (trained / "checkpoints/step-000000010/variables.npz").write_bytes(b"x")
    assert call(evaluate, *tiny(trained, *SAVED)) == 0
    assert [step for step, _ in by_job(trained)] == [5, 15, 20]
    assert "Skipping a checkpoint" in caplog.text
    assert "step-000000010" in caplog.text


def test_once_takes_the_newest_that_verifies(trained) -> None:
    (trained / "checkpoints/step-000000020/manifest.json").write_bytes(b"")
    assert call(evaluate, "--once", *tiny(trained, *SAVED)) == 0
    assert by_job(trained) == [(15, "validation")]


def test_one_dropped_while_it_is_read(trained, monkeypatch, caplog) -> None:
    read, dropped = archive.read, []

    def dropping(path: str):
        if path.endswith("10") and not dropped:
            dropped.append(path)
            shutil.rmtree(path)
        return read(path)

    monkeypatch.setattr(archive, "read", dropping)
    with caplog.at_level("INFO", "absl"):
        assert call(evaluate, *tiny(trained, *SAVED)) == 0
    assert [step for step, _ in by_job(trained)] == [5, 15, 20]
    assert "dropped before it was read" in caplog.text
    assert "Skipping" not in caplog.text


def test_the_job_keeps_the_best(tmp_path) -> None:
    alone = (*SAVED, "train.evaluate_every=None", 'train.best_metric="loss"')
    assert call(main, *tiny(tmp_path, *alone)) == 0
    assert [x["step"] for x in lines(tmp_path, "eval")] == [20]
    shutil.rmtree(tmp_path / "best")
    assert call(evaluate, *tiny(tmp_path, *alone)) == 0
    losses = {
        x["step"]: x["loss"] for x in lines(tmp_path, "eval") if x.get("by")
    }
    step = min(losses, key=lambda s: (losses[s], s))
    score = best.Best(str(tmp_path), "loss").current()
    assert score == best.Score(step, losses[step])


def test_a_job_beside_a_trainer_that_saves_fast(tmp_path) -> None:
    """The trainer keeps one checkpoint and writes one every other step."""
    bindings = (
        'train.duration="160 steps"',
        'train.checkpoint_every="2 steps"',
        "train.keep_checkpoints=1",
        "train.evaluate_every=None",
    )
    flags = restarts.flags(tmp_path, *bindings)
    # The job may come first: there is nothing at all yet.
    log = tmp_path / "job.log"
    job = restarts.start(log, "trainer.evaluate", "--timeout=100", *flags)
    restarts.run("trainer.main", *flags)
    assert job.wait(120) == 0, log.read_text()
    evaluated = [step for step, _ in by_job(tmp_path)]
    assert evaluated == sorted(set(evaluated))
    assert evaluated[-1] == 160
    assert len(evaluated) >= 3
    assert "Skipping" not in log.read_text()
    final = [x for x in lines(tmp_path, "eval") if x["step"] == 160]
    assert len({(x["loss"], x["top_1_accuracy"]) for x in final}) == 1


SAME = ("loss", "top_1_accuracy", "top_5_accuracy", "examples")


def test_exact_at_any_batch_size_and_number_of_replicas(trained) -> None:
    """50 examples: none of these divides them."""
    expected = lines(trained, "eval")[-1]
    for devices, batch in ((4, 16), (3, 21), (1, 7), (1, 64)):
        engine = "mirrored" if devices > 1 else "one_device"
        bindings = (
            *SAVED,
            f"train.global_batch_size={batch}",
            f'make_engine.name="{engine}"',
            f"make_engine.virtual_devices={devices if devices > 1 else None}",
        )
        flags = ["--once", *tiny(trained, *bindings)]
        if devices == 3:
            # This process has four devices, and cannot have three.
            restarts.run("trainer.evaluate", *flags)
        else:
            assert call(evaluate, *flags) == 0
        found = lines(trained, "eval")[-1]
        assert found["by"] == "evaluate"
        for key in SAME:
            assert found[key] == pytest.approx(expected[key], rel=1e-6), key


@pytest.mark.parametrize("engine", ["multi_worker", "horovod"])
def test_two_processes_follow_as_one(trained, engine: str) -> None:
    shutil.rmtree(trained / "best")
    bindings = (*SAVED, f'make_engine.name="{engine}"')
    flags = tiny(trained, *bindings)
    expected = lines(trained, "eval")[-1]
    output = restarts.run(
        *("launch.local", "--workers=2", f"--engine={engine}", "--"),
        *(sys.executable, "-m", "trainer.evaluate", *flags),
    )
    assert by_job(trained) == STEPS
    found = lines(trained, "eval")[-1]
    for key in SAME:
        assert found[key] == pytest.approx(expected[key], rel=1e-6), key
    assert restarts.committed(trained, "best")
    assert output.count("report: ") == 1
