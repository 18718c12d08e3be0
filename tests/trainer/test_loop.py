import pytest

from trainer import loop


def fake_steps(log: list[int]) -> loop.TakeSteps:
    def take(steps: int) -> dict[str, float]:
        log.append(steps)
        return {
            "loss": 3.0 * steps,
            "correct": 1.0 * steps,
            "examples": 2.0 * steps,
            "skipped": 0.0,
            "skipped_in_a_row": 0.0,
            "gradient_norm": 1.0,
            "learning_rate": 0.1,
            "waited": 0.0,
        }

    return take


def test_stretches_end_where_an_action_is_due() -> None:
    stretches: list[int] = []
    seen: list[tuple[str, int]] = []
    done = loop.run(
        fake_steps(stretches),
        [
            (loop.always, lambda p: seen.append(("always", p.step))),
            (loop.every(4, 10), lambda p: seen.append(("four", p.step))),
            (loop.every(None, 10), lambda p: seen.append(("never", p.step))),
        ],
        start_step=0,
        total_steps=10,
        steps_per_loop=3,
    )
    assert done == 10
    assert stretches == [3, 1, 3, 1, 2]
    assert seen == [
        ("always", 3),
        ("always", 4),
        ("four", 4),
        ("always", 7),
        ("always", 8),
        ("four", 8),
        ("always", 10),
        ("four", 10),
    ]


def test_a_resumed_run_has_the_same_boundaries() -> None:
    stretches: list[int] = []
    loop.run(
        fake_steps(stretches),
        [(loop.every(4, 10), lambda p: None)],
        start_step=6,
        total_steps=10,
        steps_per_loop=100,
    )
    assert stretches == [2, 2]


def test_progress_is_in_means() -> None:
    seen: list[loop.Progress] = []
    loop.run(
        fake_steps([]),
        [(loop.always, seen.append)],
        start_step=0,
        total_steps=5,
        steps_per_loop=5,
    )
    assert seen[0].loss == 1.5
    assert seen[0].top_1_accuracy == 0.5
    assert seen[0].examples == 10


def test_an_action_can_stop() -> None:
    def stop(progress: loop.Progress) -> None:
        if progress.step >= 6:
            raise loop.StopTraining

    done = loop.run(
        fake_steps([]),
        [(loop.always, stop)],
        start_step=0,
        total_steps=100,
        steps_per_loop=3,
    )
    assert done == 6


@pytest.mark.parametrize("start", [10, 12])
def test_nothing_is_left_to_do(start: int) -> None:
    stretches: list[int] = []
    done = loop.run(
        fake_steps(stretches),
        [],
        start_step=start,
        total_steps=10,
        steps_per_loop=3,
    )
    assert (done, stretches) == (start, [])
