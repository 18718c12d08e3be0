import errno
import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from input import files
from trainer import archive, checkpoint, errors


def variables(fill: float = 0.0) -> dict[str, tf.Variable]:
    return {
        "model/a/kernel": tf.Variable(tf.fill([2, 3], fill)),
        "step": tf.Variable(int(fill), dtype=tf.int64),
    }


def arrays(fill: float = 0.0) -> dict[str, np.ndarray]:
    return {name: v.numpy() for name, v in variables(fill).items()}


def saved(directory: pathlib.Path, *steps: int) -> checkpoint.Checkpoints:
    checkpoints = checkpoint.Checkpoints(str(directory))
    for step in steps:
        checkpoints.save(step, arrays(float(step)))
    return checkpoints


def test_round_trip_is_bitwise(tmp_path: pathlib.Path) -> None:
    values = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    written = {
        "w": tf.Variable(values),
        "n": tf.Variable(2**40, dtype=tf.int64),
    }
    checkpoints = checkpoint.Checkpoints(str(tmp_path / "c"))
    checkpoints.save(12, {n: v.numpy() for n, v in written.items()})
    read = {
        "w": tf.Variable(tf.zeros([5, 4])),
        "n": tf.Variable(0, dtype=tf.int64),
    }
    assert checkpoints.restore_newest(read) == 12
    assert read["w"].numpy().tobytes() == values.tobytes()
    assert int(read["n"]) == 2**40
    assert (tmp_path / "c" / "step-000000012" / "manifest.json").exists()


def test_no_checkpoint_is_no_error(tmp_path: pathlib.Path) -> None:
    checkpoints = checkpoint.Checkpoints(str(tmp_path / "none"))
    assert checkpoints.steps() == []
    assert checkpoints.restore_newest(variables()) is None


def test_the_newest_are_kept(tmp_path: pathlib.Path) -> None:
    checkpoints = saved(tmp_path, 5, 10, 15, 20, 25)
    assert checkpoints.steps() == [15, 20, 25]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "step-000000015",
        "step-000000020",
        "step-000000025",
    ]


def test_a_half_written_checkpoint_is_not_there(tmp_path: pathlib.Path) -> None:
    checkpoints = saved(tmp_path, 5)
    half = tmp_path / "step-000000010.tmp"
    half.mkdir()
    (half / "variables.npz").write_bytes(b"half")
    assert checkpoints.steps() == [5]
    checkpoints.save(15, arrays(15.0))
    assert checkpoints.restore_newest(variables()) == 15
    assert not half.exists()


DAMAGE = {
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:-7]),
    "empty": lambda p: p.write_bytes(b""),
    "gone": lambda p: p.unlink(),
    "flipped": lambda p: p.write_bytes(
        p.read_bytes()[:60]
        + bytes([p.read_bytes()[60] ^ 1])
        + p.read_bytes()[61:]
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", ["variables.npz", "manifest.json"])
def test_damage_falls_back_to_the_one_before(
    tmp_path: pathlib.Path, file: str, damage: str, caplog
) -> None:
    checkpoints = saved(tmp_path, 5, 10)
    DAMAGE[damage](tmp_path / "step-000000010" / file)
    read = variables(99.0)
    with caplog.at_level("WARNING", "absl"):
        step = checkpoints.restore_newest(read)
    assert step == 5
    assert read["model/a/kernel"].numpy().tolist() == [[5.0] * 3] * 2
    assert "step-000000010" in caplog.text


def test_a_damaged_checkpoint_is_written_anew(tmp_path: pathlib.Path) -> None:
    checkpoints = saved(tmp_path, 5, 10)
    DAMAGE["truncated"](tmp_path / "step-000000010" / "variables.npz")
    checkpoints.save(10, arrays(11.0))
    read = variables()
    assert checkpoints.restore_newest(read) == 10
    assert int(read["step"]) == 11


def test_all_damaged_is_an_error_and_changes_nothing(
    tmp_path: pathlib.Path,
) -> None:
    checkpoints = saved(tmp_path, 5, 10)
    for path in tmp_path.glob("*/variables.npz"):
        DAMAGE["truncated"](path)
    read = variables(99.0)
    with pytest.raises(errors.ConfigError, match="will not silently start"):
        checkpoints.restore_newest(read)
    assert int(read["step"]) == 99


def test_another_model_is_named(tmp_path: pathlib.Path) -> None:
    checkpoints = saved(tmp_path, 5)
    other = variables() | {"model/b": tf.Variable(0.0)}
    del other["step"]
    other["model/a/kernel"] = tf.Variable(tf.zeros([4, 3]))
    with pytest.raises(
        errors.ConfigError,
        match=r"lacks \['model/b'\].*\['step'\].*\(2, 3\) there and \(4, 3\)",
    ):
        checkpoints.restore_newest(other)
    assert float(tf.reduce_sum(other["model/a/kernel"])) == 0.0


def test_manifest_of_another_format_is_refused(tmp_path: pathlib.Path) -> None:
    checkpoints = saved(tmp_path, 5)
    path = tmp_path / "step-000000005" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(errors.ConfigError, match="format 99"):
        checkpoints.restore_newest(variables())


def test_names_swapped_in_a_manifest_are_noticed(tmp_path) -> None:
    """Both arrays would fit the other's variable."""
    checkpoints = checkpoint.Checkpoints(str(tmp_path))
    checkpoints.save(5, {"a": np.zeros(3), "b": np.ones(3)})
    path = tmp_path / "step-000000005" / "manifest.json"
    text = path.read_text()
    path.write_text(
        text.replace('"00000"', '"x"')
        .replace('"00001"', '"00000"')
        .replace('"x"', '"00001"')
    )
    with pytest.raises(errors.ConfigError, match="checksum of manifest.json"):
        checkpoints.read_newest()


@pytest.mark.parametrize(
    ("newest", "every", "kept"),
    [
        (1, None, [60]),
        (2, 20, [20, 40, 50, 60]),
        # The first at or after each multiple, where none is at it.
        (1, 25, [30, 50, 60]),
        (9, 20, [10, 20, 30, 40, 50, 60]),
    ],
)
def test_retention(tmp_path, newest: int, every: int | None, kept) -> None:
    checkpoints = checkpoint.Checkpoints(
        str(tmp_path), checkpoint.Retention(newest, every)
    )
    for step in (10, 20, 30, 40, 50, 60):
        checkpoints.save(step, arrays(step))
    assert checkpoints.steps() == kept


def test_two_writers_leave_each_other_alone(tmp_path) -> None:
    other = tmp_path / "step-000000007.evaluate.tmp"
    other.mkdir(parents=True)
    own = tmp_path / "step-000000007.trainer.tmp"
    own.mkdir()
    checkpoint.Checkpoints(str(tmp_path), writer=".trainer").save(9, arrays())
    assert other.exists()
    assert not own.exists()


def test_a_checkpoint_dropped_while_it_is_read(tmp_path, monkeypatch) -> None:
    """With one kept, the trainer may replace it under a reader's hands."""
    checkpoints = checkpoint.Checkpoints(str(tmp_path), checkpoint.Retention(1))
    checkpoints.save(5, arrays(5.0))
    read, calls = archive.read, []

    def replaced_meanwhile(path: str) -> dict[str, np.ndarray]:
        calls.append(path)
        if len(calls) == 1:
            checkpoints.save(10, arrays(10.0))
        return read(path)

    monkeypatch.setattr(archive, "read", replaced_meanwhile)
    found = variables()
    assert checkpoints.restore_newest(found) == 10
    assert int(found["step"]) == 10


def test_a_full_disk_is_told_and_leaves_the_others(
    tmp_path, monkeypatch
) -> None:
    checkpoints = saved(tmp_path, 5)

    def full(*args: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "No space left")

    monkeypatch.setattr(archive, "_write_arrays", full)
    with pytest.raises(
        errors.CheckpointError,
        match="step 10 cannot be written .* No space left. That of step 5 is",
    ):
        checkpoints.save(10, arrays(10.0))
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000005"]


def emptied(checkpoints: checkpoint.Checkpoints, *steps: int) -> None:
    for step in steps:
        path = pathlib.Path(checkpoints.path(step)) / "variables.npz"
        path.write_bytes(b"")


def test_the_good_stay_and_the_damaged_do_not_count(tmp_path) -> None:
    saved(tmp_path, 5, 20, 30)
    checkpoints = checkpoint.Checkpoints(str(tmp_path), checkpoint.Retention(2))
    emptied(checkpoints, 20, 30)
    assert checkpoints.restore_newest(variables()) == 5
    assert checkpoints.steps() == [5]
    assert (tmp_path / "step-000000030.damaged" / "manifest.json").exists()
    checkpoints.save(13, arrays(13.0))
    assert checkpoints.steps() == [5, 13]
    assert checkpoints.restore_newest(variables()) == 13
    # Damaged in the same place again.
    checkpoints.save(20, arrays(20.0))
    emptied(checkpoints, 20)
    assert checkpoints.restore_newest(variables()) == 13


def test_what_was_just_written_stays(tmp_path) -> None:
    saved(tmp_path, 20, 30)
    checkpoints = checkpoint.Checkpoints(str(tmp_path), checkpoint.Retention(1))
    checkpoints.save(13, arrays(13.0))
    assert checkpoints.steps() == [13, 30]


def test_a_file_named_like_a_checkpoint_is_none(tmp_path) -> None:
    checkpoints = saved(tmp_path, 5)
    (tmp_path / "step-000000007").write_text("mine")
    assert checkpoints.steps() == [5]
    checkpoints.save(7, arrays(7.0))
    assert checkpoints.steps() == [5, 7]
    assert (tmp_path / "step-000000007.damaged").read_text() == "mine"


def test_a_disk_that_does_not_answer_is_no_damage(
    tmp_path, monkeypatch
) -> None:
    checkpoints = saved(tmp_path, 5, 10)
    read = files.read

    def failing(path: str) -> bytes:
        if "step-000000010" in path:
            raise OSError(errno.EIO, "Input/output error", path)
        return read(path)

    monkeypatch.setattr(files, "read", failing)
    with pytest.raises(errors.CheckpointError, match="10.*Input/output error"):
        checkpoints.restore_newest(variables())
    assert checkpoints.steps() == [5, 10]


def test_durable_before_it_counts(tmp_path, monkeypatch) -> None:
    """What has been made is synchronised, then renamed, then its folder."""
    events = []
    fsync, rename = os.fsync, tf.io.gfile.rename

    def syncing(descriptor: int) -> None:
        events.append(
            os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
        )
        fsync(descriptor)

    def renaming(source: str, target: str, *rest, **more) -> None:
        if target.endswith("step-000000005"):
            events.append("rename")
        rename(source, target, *rest, **more)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(tf.io.gfile, "rename", renaming)
    saved(tmp_path / "checkpoints", 5)
    at = events.index("rename")
    assert events[0] == tmp_path.name
    assert events[2:at] == ["variables.npz", "step-000000005.tmp"]
    assert events[1].startswith("manifest.json.")
    assert events[at + 1 :] == ["checkpoints"]
