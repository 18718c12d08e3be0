"""Profiles of some steps; of a whole run in test_main.py."""

import pathlib
import types

import pytest
import tensorflow as tf

from trainer import profiling


def written(board: pathlib.Path) -> int:
    return len(list(board.glob("plugins/profile/*/*.xplane.pb")))


def at(step: int) -> types.SimpleNamespace:
    return types.SimpleNamespace(step=step)


def test_a_profile_cut_short_is_kept(tmp_path) -> None:
    profile = profiling.Profile(range(3, 13), str(tmp_path))
    with pytest.raises(KeyboardInterrupt), profile:
        assert profile.is_due(3) and not profile.is_due(4)
        profile(at(3))
        tf.linalg.matmul(tf.ones([9, 9]), tf.ones([9, 9]))
        raise KeyboardInterrupt
    assert written(tmp_path) == 1


@pytest.mark.parametrize(
    ("start", "count"), [(2, 0), (3, 1), (7, 1), (12, 1), (13, 0)]
)
def test_a_run_that_goes_on_within_the_window(
    tmp_path, start: int, count: int
) -> None:
    profile = profiling.Profile(range(3, 13), str(tmp_path), start)
    with profile:
        tf.linalg.matmul(tf.ones([9, 9]), tf.ones([9, 9]))
        if start > 2:
            profile(at(13))
    assert written(tmp_path) == count


def test_only_one_process_writes(tmp_path) -> None:
    with profiling.Profile(range(3, 13), str(tmp_path), 5, enabled=False) as p:
        assert p.is_due(13)
        p(at(13))
    assert written(tmp_path) == 0


def test_training_goes_on_where_a_profile_cannot_be_written(
    tmp_path, caplog
) -> None:
    file = tmp_path / "file"
    file.touch()
    with profiling.Profile(range(3, 13), str(file), 3):
        pass
    assert f"No profile in {file}: " in caplog.text


def test_a_profile_under_way_is_left_alone(tmp_path, caplog) -> None:
    tf.profiler.experimental.start(str(tmp_path))
    try:
        with profiling.Profile(range(3, 13), str(tmp_path / "b"), 3) as profile:
            profile(at(13))
    finally:
        tf.profiler.experimental.stop()
    assert "Another profiler is running" in caplog.text
    assert written(tmp_path) == 1
