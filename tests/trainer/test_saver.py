import threading

import pytest

from trainer import saver


def test_saves_run_in_order_beside_the_caller() -> None:
    background, done, go = saver.Saver(), [], threading.Event()
    background.submit(lambda: (go.wait(30), done.append(1))[1])
    background.submit(lambda: done.append(2))
    assert done == []
    go.set()
    background.wait()
    assert done == [1, 2]


def test_no_more_than_two_are_in_memory() -> None:
    background, running, go = saver.Saver(), [], threading.Event()
    for _ in range(2):
        background.submit(lambda: (running.append(1), go.wait(30))[0])
    third = threading.Thread(
        target=background.submit, args=(lambda: running.append(3),)
    )
    third.start()
    third.join(0.2)
    assert third.is_alive()  # It waits for the first to end.
    go.set()
    third.join(30)
    background.wait()
    assert running == [1, 1, 3]


def test_a_failure_surfaces_at_the_next_save() -> None:
    background, done = saver.Saver(), []
    failed = threading.Event()

    def fail() -> None:
        failed.set()
        raise OSError("no space left")

    background.submit(fail)
    failed.wait(30)
    with pytest.raises(OSError, match="no space left"):
        for _ in range(3):
            background.submit(lambda: done.append(1))
    background.wait()


def test_a_failure_surfaces_at_the_end() -> None:
    background = saver.Saver()

    def fail() -> None:
        raise OSError("no space left")

    background.submit(fail)
    with pytest.raises(OSError, match="no space left"):
        background.wait()
