import threading

import pytest

from trainer import saver


def test_saves_run_in_order_beside_the_caller() -> None:
    done, go = [], threading.Event()
    with saver.Saver() as background:
        background.submit(lambda: lambda: (go.wait(30), done.append(1))[1])
        background.submit(lambda: lambda: done.append(2))
        assert done == []
        go.set()
    assert done == [1, 2]


def test_no_more_than_two_copies_are_in_memory() -> None:
    taken, running, go = [], threading.Semaphore(0), threading.Event()

    def prepare():
        taken.append(1)
        return lambda: (running.release(), go.wait(30))[0]

    background = saver.Saver()
    for _ in range(2):
        background.submit(prepare)
    running.acquire(timeout=30)
    third = threading.Thread(target=background.submit, args=(prepare,))
    third.start()
    third.join(0.2)
    # It waits for the first to end before it takes anything.
    assert third.is_alive()
    assert len(taken) == 2
    go.set()
    third.join(30)
    background.wait()
    assert len(taken) == 3


def fail() -> None:
    raise OSError("no space left")


def test_a_failure_surfaces_at_the_next_save() -> None:
    background = saver.Saver()
    background.submit(lambda: fail)
    with pytest.raises(OSError, match="no space left"):
        for _ in range(3):
            background.submit(lambda: lambda: None)


def test_what_follows_a_failure_is_left_out() -> None:
    """A checkpoint without the best before it would hide that it is lost."""
    background, done, go = saver.Saver(), [], threading.Event()
    background.submit(lambda: lambda: (go.wait(30), fail())[1])
    background.submit(lambda: lambda: done.append(1))
    go.set()
    with pytest.raises(OSError, match="no space left"):
        background.wait()
    background.wait()
    assert done == []


def test_a_failure_surfaces_at_the_end() -> None:
    with pytest.raises(OSError, match="no space left"), saver.Saver() as it:
        it.submit(lambda: fail)


def test_an_error_that_ends_the_run_is_not_hidden_by_that_of_a_save(
    caplog,
) -> None:
    with pytest.raises(ZeroDivisionError), saver.Saver() as background:
        background.submit(lambda: fail)
        raise ZeroDivisionError
    assert "no space left" in caplog.text


def test_each_save_is_a_beat() -> None:
    beats = []
    with saver.Saver(lambda: beats.append(1)) as background:
        background.submit(lambda: lambda: None)
    assert beats == [1]
