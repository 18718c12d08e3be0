"""The binaries as a user meets them: files, lines, exit codes."""

import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from tests.conftest import REPO, write_dataset
from tests.trainer import restarts
from trainer import (
    archive,
    checkpoint,
    cli,
    errors,
    evaluate,
    main,
    results,
    writer,
)


def call(binary, *arguments: str) -> int:
    """Runs a binary in this process and returns its exit code."""
    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        run = getattr(binary, "run", functools.partial(cli.run, binary.main))
        with pytest.raises(SystemExit) as exit_:
            run(["binary", *arguments])
        flags.FLAGS(["binary"])
    return exit_.value.code or 0


def tiny(model_dir: pathlib.Path, *bindings: str) -> list[str]:
    """Flags for a run of tests/tiny.gin."""
    return [
        "--gin_file=tests/tiny.gin",
        f"--model_dir={model_dir}",
        *(f"--gin_param={b}" for b in bindings),
    ]


def lines(model_dir: pathlib.Path, kind: str) -> list[dict]:
    text = (model_dir / "metrics.jsonl").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    return [line for line in found if line["kind"] == kind]


def final_arrays(model_dir: pathlib.Path) -> dict[str, np.ndarray]:
    checkpoints = checkpoint.Checkpoints(str(model_dir / "checkpoints"))
    return archive.read(checkpoints.path(checkpoints.steps()[-1]))


def test_a_run_leaves_what_the_contract_says(tmp_path, capsys) -> None:
    bindings = (
        "train.test_data = @test_data()",
        "test_data.source = %SOURCE",
        'test_data.split = "test"',
        'train.log_every = "5 steps"',
        'train.checkpoint_every = "10 steps"',
        'train.evaluate_every = "10 steps"',
    )
    assert call(main, *tiny(tmp_path, *bindings)) == 0
    last_line = capsys.readouterr().out.splitlines()[-1]
    assert "top-1 accuracy" in last_line
    assert "on test (30 examples)" in last_line
    assert str(tmp_path / "report.html") in last_line

    train = lines(tmp_path, "train")
    assert [line["step"] for line in train] == [5, 10, 15, 20]
    for key in (
        "loss",
        "learning_rate",
        "images_per_second",
        "input_wait_fraction",
        "gradient_norm",
    ):
        assert np.isfinite(train[-1][key])
    evals = [(line["step"], line["split"]) for line in lines(tmp_path, "eval")]
    assert evals == [(10, "validation"), (20, "validation"), (20, "test")]
    assert lines(tmp_path, "eval")[-1]["examples"] == 30
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {
        "step-000000010",
        "step-000000020",
    }
    assert json.loads((tmp_path / "DONE").read_text()) == {"step": 20}
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["engine"] == "one_device"
    assert run["seed"] == 0
    assert run["data_fingerprint"].startswith("synthetic")
    assert list((tmp_path / "tensorboard").rglob("events*"))
    result = results.EvaluationResult.load(
        str(tmp_path / "evaluation" / "test.npz")
    )
    assert result.examples == 30


def test_evaluate_finds_what_training_found(
    tmp_path, finished_run, capsys
) -> None:
    finished_run(tmp_path)
    trained = lines(tmp_path, "eval")[-1]
    assert call(evaluate, "--once", *tiny(tmp_path)) == 0
    again = lines(tmp_path, "eval")[-1]
    for key in ("step", "loss", "top_1_accuracy", "top_5_accuracy", "examples"):
        assert again[key] == trained[key]
    assert "step 20, validation: top-1" in capsys.readouterr().out


def test_evaluate_follows_a_run_until_it_has_ended(
    tmp_path, finished_run
) -> None:
    finished_run(tmp_path)
    assert call(evaluate, *tiny(tmp_path)) == 0
    steps = [x["step"] for x in lines(tmp_path, "eval") if x.get("by")]
    assert steps == [12, 18, 20]
    # Without DONE the trainer may still be at work: it waits, then gives up.
    (tmp_path / "DONE").unlink()
    assert call(evaluate, "--timeout=0", *tiny(tmp_path)) == 0


def test_evaluate_without_a_checkpoint(tmp_path, capsys) -> None:
    assert call(evaluate, "--once", *tiny(tmp_path)) == 2
    assert "no checkpoint to evaluate" in capsys.readouterr().err


def test_dry_run_says_everything_and_writes_nothing(tmp_path, capsys) -> None:
    assert call(main, "--dry_run", *tiny(tmp_path / "never")) == 0
    out = capsys.readouterr().out
    for part in (
        "train 96, validation 50, test 30; 4 classes",
        "16 global, 16 per replica",
        "20 in all, 6.0 an epoch",
        "parameters",
        "GFLOPs",
        "MiB",
        "0.05",
        "one step",
    ):
        assert part in out
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--gin_file=gin/nothing.gin"], 2, "gin/nothing.gin: no such file"),
        ([], 2, "--gin_file is missing"),
        (["--gin_file=tests/tiny.gin"], 2, "--model_dir is missing"),
        (["--gin_fil=x"], 2, "gin_fil"),
        (["--gin_file=tests/tiny.gin", "extra"], 2, "'extra' is not a flag"),
        (
            ["--gin_file=gin/digits.gin", '--gin_param=DATA_DIR="/none"'],
            3,
            "/none",
        ),
    ],
)
def test_bad_flags(arguments, code: int, message: str, capsys) -> None:
    assert call(main, *arguments) == code
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert "In call to configurable" not in err


def test_batch_that_cannot_be_divided(tmp_path, capsys) -> None:
    bindings = ("train.global_batch_size=10", 'make_engine.name="mirrored"')
    bindings = (*bindings, "make_engine.virtual_devices=4")
    assert call(main, *tiny(tmp_path / "run", *bindings)) == 2
    err = capsys.readouterr().err
    assert "train.global_batch_size=10" in err
    assert "8 or 12" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.unlink(), "train-00001-of-00003.tfrecord"),
        (lambda p: p.write_bytes(p.read_bytes()[:-9]), "train-00001-of-00003"),
    ],
)
def test_a_missing_or_truncated_shard(
    tmp_path, capsys, damage, message
) -> None:
    write_dataset(tmp_path / "data")
    damage(tmp_path / "data" / "train-00001-of-00003.tfrecord")
    bindings = (
        "SOURCE=@tfrecords()",
        f'tfrecords.data_dir="{tmp_path}/data"',
        "train.eval_data=None",
    )
    assert call(main, *tiny(tmp_path / "run", *bindings)) == 3
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_model_dir_of_another_config(tmp_path, finished_run, capsys) -> None:
    finished_run(tmp_path)
    # How often to log does not change what is learnt; the seed does.
    assert call(main, *tiny(tmp_path, 'train.log_every="7 steps"')) == 0
    assert call(main, *tiny(tmp_path, "train.seed=1")) == 2
    err = capsys.readouterr().err
    assert "train.seed: default -> 1" in err
    assert "--allow_config_change" in err
    now = (tmp_path / "operative_config.gin").read_text()
    assert "train.log_every = '7 steps'" in now
    assert "train.seed" not in now
    assert (
        call(main, "--allow_config_change", *tiny(tmp_path, "train.seed=1"))
        == 0
    )


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path, capsys) -> None:
    code = call(main, *tiny(tmp_path, "constant_schedule.value=1e30"))
    assert code == 1
    assert "learning rate 1e+30" in capsys.readouterr().err
    assert not (tmp_path / "DONE").exists()


def test_weights_that_are_not_finite_are_never_saved(tmp_path, capsys) -> None:
    """The loss is finite before the one update that ruins the weights."""
    bindings = ("train.duration='1 step'", "constant_schedule.value=1e38")
    bindings = (*bindings, "sgd.weight_decay=1e30")
    assert call(main, *tiny(tmp_path, *bindings)) == 1
    err = capsys.readouterr().err
    assert "diverged in step 1: model/conv1/kernel is not finite" in err
    assert not list((tmp_path / "checkpoints").glob("step-*"))


def test_a_refused_change_leaves_the_run_as_it_was(
    tmp_path, finished_run, capsys
) -> None:
    finished_run(tmp_path)
    names = ("run.json", "operative_config.gin", "DONE")
    before = {name: (tmp_path / name).read_bytes() for name in names}
    wider = tiny(tmp_path, "simple_cnn.filters=(8, 8)")
    assert call(main, "--allow_config_change", *wider) == 2
    assert "another model" in capsys.readouterr().err
    assert before == {name: (tmp_path / name).read_bytes() for name in names}


def test_evaluate_refuses_another_training(
    tmp_path, finished_run, capsys
) -> None:
    finished_run(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    other = "synthetic.num_classes=3"
    assert call(evaluate, "--once", *tiny(tmp_path, other)) == 2
    assert "different config" in capsys.readouterr().err
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_more_outputs_than_classes(tmp_path) -> None:
    bindings = ("train.num_classes=9", "train.duration='1 step'")
    assert call(main, *tiny(tmp_path, *bindings)) == 0
    path = tmp_path / "evaluation" / "validation.npz"
    result = results.EvaluationResult.load(str(path))
    assert result.confusion_matrix.shape == (9, 9)
    assert result.class_names[4:] == tuple(f"unused {i}" for i in range(4, 9))


def test_model_dir_that_is_a_file(tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("mine")
    assert call(main, *tiny(tmp_path / "file")) == 2
    assert "cannot be written to" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_checkpoints_of_which_nothing_says_what_they_are(
    tmp_path, finished_run, capsys
) -> None:
    finished_run(tmp_path)
    for name, contents in (
        ("run.json", (b"", b"[]", b"{}", None)),
        ("operative_config.gin", (b"", b"\xff", None)),
    ):
        path = tmp_path / name
        whole = path.read_bytes()
        for content in contents:
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
            for binary in (main, evaluate):
                assert call(binary, *tiny(tmp_path)) == 2
                err = capsys.readouterr().err
                assert f"{path} is missing or damaged" in err
                assert "--allow_config_change" in err
        path.write_bytes(whole)
    (tmp_path / "run.json").write_text("[]")
    assert call(main, "--allow_config_change", *tiny(tmp_path)) == 0
    assert json.loads((tmp_path / "run.json").read_text())["seed"] == 0


def test_hosts_that_read_other_files_need_permission(
    tmp_path, finished_run, capsys
) -> None:
    """As after a restart with three processes instead of one, or back."""
    finished_run(tmp_path)
    path = tmp_path / "run.json"
    said = json.loads(path.read_text())
    assert said["data_order"] == "record"
    path.write_text(json.dumps(said | {"data_order": "file, 3 hosts"}))
    assert call(main, *tiny(tmp_path)) == 2
    err = capsys.readouterr().err
    assert "train_data.shard_by is: file, 3 hosts -> record" in err
    assert "--allow_config_change" in err
    # It decides nothing in an evaluation.
    assert call(evaluate, "--once", *tiny(tmp_path)) == 0


def test_metrics_are_json_whatever_happens(tmp_path) -> None:
    out = writer.Writer(str(tmp_path))
    out.write("train", 1, {"loss": float("nan"), "gradient_norm": float("inf")})
    line = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(line)["loss"] is None
    assert "Infinity" not in line


def test_a_line_cut_short_does_not_spoil_the_next(tmp_path) -> None:
    out = writer.Writer(str(tmp_path))
    out.write("train", 1, {"loss": 1.0})
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"kind": "train", "st')
    out.write("train", 2, {"loss": 0.5})
    whole = [x for x in path.read_text().splitlines() if x.endswith("}")]
    assert [json.loads(x)["step"] for x in whole] == [1, 2]


def test_metrics_that_cannot_be_written_are_told(tmp_path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    out = writer.Writer(str(tmp_path))
    with pytest.raises(errors.OutputError, match="metrics.jsonl cannot be"):
        out.write("train", 1, {"loss": 1.0})


@pytest.mark.parametrize(
    "module",
    ["trainer.main", "trainer.evaluate", "trainer.export", "trainer.predict"],
)
def test_help_explains_every_flag(module: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True,
        text=True,
        cwd=REPO,
    )
    assert answer.returncode == 0
    for flag in ("--gin_file", "--gin_param", "--model_dir"):
        assert flag in answer.stdout


def start(
    model_dir: pathlib.Path, module: str = "trainer.main"
) -> subprocess.Popen:
    bindings = (
        'train.duration="600 steps"',
        'train.checkpoint_every="20 steps"',
        'train.log_every="10 steps"',
        'train.evaluate_every="300 steps"',
        "train.augment=[@random_crop(), @random_flip()]",
        "simple_cnn.dropout=0.5",
        "train.deterministic=True",
    )
    return subprocess.Popen(
        [sys.executable, "-m", module, *tiny(model_dir, *bindings)],
        cwd=REPO,
        env=os.environ | {"RECORD_TO": str(model_dir), "RECORD_RUN": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_step(model_dir: pathlib.Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        path = model_dir / "metrics.jsonl"
        if path.exists() and any(
            f'"step": {s},' in path.read_text() for s in range(step, step + 100)
        ):
            return
        time.sleep(0.02)
    raise AssertionError(f"step {step} did not come")


def test_killed_and_stopped_runs_end_as_if_nothing_had_been(tmp_path) -> None:
    whole = start(tmp_path / "whole")
    assert whole.wait() == 0, whole.stdout.read()

    broken = tmp_path / "broken"
    broken.mkdir()
    # It pauses after each step: a busy machine that keeps this test waiting
    # for 15 s still finds it at work.
    slow = "tests.trainer.recorded"
    killed = start(broken, slow)
    wait_for_step(broken, 50)
    # It is written beside training, and may still be on its way to the disk.
    restarts.wait_until(
        lambda: max(restarts.committed(broken), default=0) >= 40
    )
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL

    stopped = start(broken, slow)
    wait_for_step(broken, 100)
    stopped.send_signal(signal.SIGUSR1)  # As Slurm does.
    time.sleep(0.05)
    stopped.send_signal(signal.SIGTERM)  # A second one does no harm.
    output = stopped.communicate()[0]
    assert stopped.returncode == 75, output
    assert "Run the same command again" in output
    assert not (broken / "DONE").exists()

    last = start(broken)
    output = last.communicate()[0]
    assert last.returncode == 0, output
    starts = [line["step"] for line in lines(broken, "run")]
    assert starts[0] == 0
    assert 40 <= starts[1] < starts[2] < 600

    expected, found = final_arrays(tmp_path / "whole"), final_arrays(broken)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert value.tobytes() == found[name].tobytes(), name


def test_a_profile_of_some_steps(tmp_path) -> None:
    window = 'train.profile = "4 steps at 6 steps"'
    assert call(main, *tiny(tmp_path, window)) == 0
    traces = list(tmp_path.glob("tensorboard/plugins/profile/*/*.xplane.pb"))
    assert len(traces) == 1
    assert traces[0].stat().st_size > 1000


def test_a_profile_after_the_end(tmp_path, capsys) -> None:
    window = 'train.profile = "4 steps at 18 steps"'
    assert call(main, *tiny(tmp_path, window)) == 2
    assert (
        "ends at step 22, after the run (20 steps)" in capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())
