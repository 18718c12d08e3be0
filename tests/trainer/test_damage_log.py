"""Training on a damaged data set, as a user meets it."""

import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from input import errors, frames
from tests.conftest import REPO
from tests.input import damaged
from tests.trainer.test_main import call, final_arrays, lines, tiny
from trainer import main, results


def flags(place: pathlib.Path, name: str, *bindings: str) -> list[str]:
    """Flags for a run on the data set in `place`, its model_dir there too."""
    return tiny(
        place / name,
        "SOURCE = @tfrecords()",
        f'tfrecords.data_dir = "{place}/data"',
        "train.eval_data = None",
        "train.duration = '12 steps'",
        "train.global_batch_size = 4",
        "train.log_every = '1 step'",
        "train.steps_per_loop = 1",
        "train.deterministic = True",
        *bindings,
    )


SKIP_RECORD = 'train_data.on_corrupt = "skip_record"'
SKIP_FILE = 'train_data.on_corrupt = "skip_file"'


def budget(fraction: float) -> str:
    return f"train_data.max_corrupt_fraction = {fraction}"


@pytest.fixture
def place(tmp_path: pathlib.Path) -> pathlib.Path:
    damaged.write(tmp_path / "data")
    return tmp_path


@pytest.mark.parametrize(
    ("policy", "case", "lost"),
    [
        (SKIP_RECORD, "data", 1),
        (SKIP_RECORD, "length", 5),
        (SKIP_RECORD, "deleted", 8),
        (SKIP_FILE, "data", 8),
    ],
)
def test_training_goes_on_and_writes_down_what_is_lost(
    place: pathlib.Path, policy: str, case: str, lost: int, caplog
) -> None:
    offset = damaged.damage(place / "data", case)
    assert call(main, *flags(place, "run", policy, budget(0.5))) == 0
    (line,) = lines(place / "run", "corrupt")
    assert 1 <= line.pop("step") <= 12
    del line["time"]
    assert line == {
        "kind": "corrupt",
        "file": damaged.FILE,
        "offset": offset,
        "records": lost,
        "reason": damaged.CASES[case].reason,
    }
    assert caplog.text.count(f"{damaged.FILE} at byte {offset:,}") == 1
    # Two epochs of 19 and some are 48 rows; each epoch misses what is lost.
    train = lines(place / "run", "train")
    assert len(train) == 12
    assert (place / "run" / "report.html").exists()


def test_a_restart_on_damaged_data_gives_the_same_bits(
    place: pathlib.Path,
) -> None:
    damaged.damage(place / "data", "length")
    bindings = (SKIP_RECORD, budget(0.5), "train.checkpoint_every = '5 steps'")
    assert call(main, *flags(place, "whole", *bindings)) == 0
    part = (*bindings, "train.duration = '5 steps'")
    assert call(main, *flags(place, "parts", *part)) == 0
    longer = ("--allow_config_change", *flags(place, "parts", *bindings))
    assert call(main, *longer) == 0
    assert [line["step"] for line in lines(place / "parts", "run")] == [0, 5]
    expected = final_arrays(place / "whole")
    for name, value in final_arrays(place / "parts").items():
        assert value.tobytes() == expected[name].tobytes(), name


def test_too_much_is_lost(place: pathlib.Path, capsys) -> None:
    offset = damaged.damage(place / "data", "length")
    assert call(main, *flags(place, "run", SKIP_RECORD, budget(0.2))) == 3
    error = capsys.readouterr().err
    assert "5 of the 19 training examples are lost" in error
    assert f"{damaged.FILE} at byte {offset:,}: 5 records" in error
    assert "Traceback" not in error
    (line,) = lines(place / "run", "corrupt")
    assert line["records"] == 5
    assert not (place / "run" / "DONE").exists()


def test_too_much_is_missing_before_training(
    place: pathlib.Path, capsys
) -> None:
    damaged.damage(place / "data", "deleted")
    assert call(main, *flags(place, "run", SKIP_RECORD, budget(0.2))) == 3
    assert "8 of the 19 training examples are lost" in capsys.readouterr().err
    assert not (place / "run").exists()


def test_fail_is_one_message_and_exit_code_3(
    place: pathlib.Path, capsys
) -> None:
    offset = damaged.damage(place / "data", "data")
    assert call(main, *flags(place, "run")) == 3
    error = capsys.readouterr().err
    assert error.count("error: ") == 1
    assert f"{damaged.FILE} at byte {offset:,}: 1 record lost" in error
    assert "Traceback" not in error


def test_a_damaged_split_for_evaluation_is_never_skipped(
    place: pathlib.Path, capsys
) -> None:
    offset = damaged.damage(place / "data", "data")
    bindings = (
        SKIP_RECORD,
        budget(0.5),
        "train.eval_data = @eval_data()",
        'eval_data.split = "train"',
    )
    assert call(main, *flags(place, "run", *bindings)) == 3
    assert f"{damaged.FILE} at byte {offset:,}" in capsys.readouterr().err
    path = place / "run" / "evaluation" / "train.npz"
    assert not path.exists()
    damaged.write(place / "data")
    assert call(main, *flags(place, "run", *bindings)) == 0
    assert results.EvaluationResult.load(str(path)).examples == 19


@pytest.mark.parametrize(("fraction", "code"), [(0.5, 0), (0.2, 3)])
def test_workers_tell_each_other_what_they_lost(
    place: pathlib.Path, fraction: float, code: int
) -> None:
    """Worker 1 alone reads the damaged file; worker 0 writes and ends too."""
    offset = damaged.damage(place / "data", "length")
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "launch.local", "--workers=2"),
            *("--engine=multi_worker", "--"),
            *(sys.executable, "-m", "trainer.main"),
            *flags(place, "run", SKIP_RECORD, budget(fraction)),
            '--gin_param=train_data.shard_by = "file"',
            '--gin_param=make_engine.name = "multi_worker"',
        ],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.returncode == code, answer.stderr[-5000:]
    (line,) = lines(place / "run", "corrupt")
    assert (line["file"], line["offset"]) == (damaged.FILE, offset)
    if code:
        # Both have said so, of their own accord.
        for rank in range(2):
            assert f"[{rank}] error: 5 of the 19 training" in answer.stderr


def test_a_shard_that_is_a_folder_is_lost(place: pathlib.Path) -> None:
    damaged.damage(place / "data", "deleted")
    (place / "data" / damaged.FILE).mkdir()
    assert call(main, *flags(place, "run", SKIP_FILE, budget(0.5))) == 0
    (line,) = lines(place / "run", "corrupt")
    assert line["reason"] == "it is a folder, not a file"
    assert line["records"] == 8


def test_a_shard_that_may_not_be_read_is_no_damage(monkeypatch) -> None:
    def refusing(*arguments: object) -> None:
        raise tf.errors.PermissionDeniedError(None, None, "not yours")

    monkeypatch.setattr(tf.io.gfile, "GFile", refusing)
    with pytest.raises(errors.DataError, match="x.tfrecord .*: not yours"):
        frames.read("x.tfrecord", size=9, offset=0, count=1)
