import pathlib

import numpy as np
import pytest

from tests.trainer.test_checkpoint import DAMAGE
from trainer import archive, best


def offer(kept: best.Best, step: int, accuracy: float) -> None:
    arrays = {"w": np.full([2], step, np.float32)}
    kept.save(step, arrays, {"top_1_accuracy": accuracy, "loss": 1 - accuracy})


def steps(model_dir: pathlib.Path) -> list[str]:
    return sorted(p.name for p in (model_dir / "best").iterdir())


def test_the_best_stays_and_the_first_of_equals(tmp_path) -> None:
    kept = best.Best(str(tmp_path))
    assert kept.current() is None
    for step, accuracy in ((10, 0.5), (20, 0.75), (30, 0.75), (40, 0.25)):
        offer(kept, step, accuracy)
        assert len(steps(tmp_path)) == 1
    assert best.Best(str(tmp_path)).current() == best.Score(20, 0.75)
    arrays = archive.read(kept.checkpoints.path(20))
    assert arrays["w"].tolist() == [20.0, 20.0]


@pytest.mark.parametrize(
    ("metric", "direction", "step"),
    [
        ("loss", "auto", 10),
        ("loss", "max", 20),
        ("top_1_accuracy", "auto", 10),
        ("top_1_accuracy", "min", 20),
    ],
)
def test_direction(tmp_path, metric, direction, step: int) -> None:
    kept = best.Best(str(tmp_path), metric, direction)
    offer(kept, 10, 0.75)
    offer(kept, 20, 0.5)
    assert kept.current().step == step


def test_two_writers_agree(tmp_path) -> None:
    """Each adds first and drops the worse after: the better one stays."""
    trainer = best.Best(str(tmp_path))
    job = best.Best(str(tmp_path), writer=".evaluate")
    offer(trainer, 20, 0.5)
    offer(job, 10, 0.75)
    offer(trainer, 20, 0.5)
    assert trainer.current() == job.current() == best.Score(10, 0.75)
    assert steps(tmp_path) == ["step-000000010"]


def test_a_damaged_best_is_no_best(tmp_path) -> None:
    kept = best.Best(str(tmp_path))
    offer(kept, 10, 0.75)
    DAMAGE["flipped"](tmp_path / "best" / "step-000000010" / "manifest.json")
    assert kept.current() is None
    offer(kept, 20, 0.5)
    assert kept.current() == best.Score(20, 0.5)
    assert steps(tmp_path) == ["step-000000020"]


def test_a_new_training_forgets_it(tmp_path) -> None:
    kept = best.Best(str(tmp_path))
    offer(kept, 10, 0.75)
    kept.forget()
    assert kept.current() is None
    assert steps(tmp_path) == []


def test_a_better_result_at_the_same_step_replaces(tmp_path) -> None:
    """As after a rollback, when the step comes again with other weights."""
    kept = best.Best(str(tmp_path))
    offer(kept, 10, 0.5)
    better = {"w": np.full([2], 99, np.float32)}
    kept.save(10, better, {"top_1_accuracy": 0.75})
    assert kept.current() == best.Score(10, 0.75)
    arrays = archive.read(kept.checkpoints.path(10))
    assert arrays["w"].tolist() == [99.0, 99.0]
    offer(kept, 10, 0.25)
    assert kept.current() == best.Score(10, 0.75)
    assert steps(tmp_path) == ["step-000000010"]


def test_what_is_not_a_number_is_never_better(tmp_path) -> None:
    kept = best.Best(str(tmp_path), "loss")
    nan, good = best.Score(5, float("nan")), best.Score(10, 3.0)
    assert kept.is_better(good, nan)
    assert not kept.is_better(nan, good)
    kept.save(5, {"w": np.zeros(2)}, {"loss": float("nan")})
    kept.save(10, {"w": np.zeros(2)}, {"loss": 3.0})
    assert kept.current() == good


def test_one_that_the_other_writer_drops_meanwhile(
    tmp_path, monkeypatch
) -> None:
    kept = best.Best(str(tmp_path))
    offer(kept, 10, 0.5)
    remove = archive.remove

    def twice(path: str, temporary: str) -> None:
        remove(path, f"{temporary}.other")
        remove(path, temporary)

    monkeypatch.setattr(archive, "remove", twice)
    offer(kept, 20, 0.75)
    assert kept.current() == best.Score(20, 0.75)
