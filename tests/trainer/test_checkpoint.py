import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from trainer import checkpoint, errors


def variables(fill: float = 0.0) -> dict[str, tf.Variable]:
    return {
        "model/a/kernel": tf.Variable(tf.fill([2, 3], fill)),
        "step": tf.Variable(int(fill), dtype=tf.int64),
    }


def saved(directory: pathlib.Path, *steps: int) -> checkpoint.Checkpoints:
    checkpoints = checkpoint.Checkpoints(str(directory), keep=3)
    for step in steps:
        checkpoints.save(step, variables(float(step)))
    return checkpoints


def test_round_trip_is_bitwise(tmp_path: pathlib.Path) -> None:
    values = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    written = {
        "w": tf.Variable(values),
        "n": tf.Variable(2**40, dtype=tf.int64),
    }
    checkpoints = checkpoint.Checkpoints(str(tmp_path / "c"))
    checkpoints.save(12, written)
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
    checkpoints.save(15, variables(15.0))
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
    with caplog.at_level("WARNING"):
        step = checkpoints.restore_newest(read)
    assert step == 5
    assert read["model/a/kernel"].numpy().tolist() == [[5.0] * 3] * 2
    assert "step-000000010" in caplog.text


def test_a_damaged_checkpoint_is_written_anew(tmp_path: pathlib.Path) -> None:
    checkpoints = saved(tmp_path, 5, 10)
    DAMAGE["truncated"](tmp_path / "step-000000010" / "variables.npz")
    checkpoints.save(10, variables(11.0))
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
