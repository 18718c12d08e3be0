"""Bytes become lines."""

import os
import threading
import types

import pytest

from launch import logs


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines(clock: Clock) -> logs.Lines:
    return logs.Lines(clock)


@pytest.mark.parametrize(
    ("pieces", "shown", "last"),
    [
        ([b"a\nb\n"], [b"a", b"b"], []),
        ([b"a", b"b\nc"], [b"ab"], [b"c"]),
        ([b"\n\n"], [b"", b""], []),
        ([b"a\r\nb\r", b"\nc"], [b"a", b"b"], [b"c"]),
        ([b"\xff\xe9\n"], [b"\xff\xe9"], []),
        # A bar that writes its states before "\r", or after it.
        ([b"1%\r2%\r3%\r"], [b"1%"], [b"3%"]),
        ([b"\r1%", b"\r2%", b"\r3%\nend\n"], [b"1%", b"3%", b"end"], []),
        ([b"1%\r2%\r3%\rdone\n"], [b"1%", b"done"], []),
        ([b"1%\r2%\rx"], [b"1%"], [b"x"]),
        ([b" \r \r"], [], [b" "]),
    ],
)
def test_lines(lines: logs.Lines, pieces, shown, last) -> None:
    assert [line for piece in pieces for line in lines.feed(piece)] == shown
    assert lines.finish() == last
    assert lines.finish() == []


def test_a_bar_is_shown_once_a_second(lines: logs.Lines, clock: Clock) -> None:
    seen = []
    for tenth in range(35):
        clock.now = tenth / 10
        seen += lines.feed(b"%d\r" % tenth)
    # What "\r" ends is known with the next byte.
    assert seen == [b"0", b"10", b"20", b"30"]
    assert lines.finish() == [b"34"]


def test_a_line_without_end_does_not_fill_the_memory(lines) -> None:
    shown = [line for _ in range(20) for line in lines.feed(b"x" * (1 << 17))]
    assert sum(map(len, shown)) + len(lines.finish()[0]) == 20 << 17
    assert 1 <= len(shown) <= 3


class FakeWorker(types.SimpleNamespace):
    """Two pipes."""

    def __init__(self, index: int) -> None:
        out, err = os.pipe(), os.pipe()
        super().__init__(
            index=index,
            label=str(index),
            outputs=(out[0], err[0]),
            writes=(out[1], err[1]),
        )

    def say(self, data: bytes, stream: int = 1) -> None:
        os.write(self.writes[stream - 1], data)

    def end(self) -> None:
        for file in self.writes:
            os.close(file)


def test_streams_stay_apart_and_the_tail_has_both(capfd) -> None:
    workers = [FakeWorker(0), FakeWorker(1)]
    log = logs.Log(workers)
    workers[0].say(b"out\n")
    workers[1].say(b"err\n", 2)
    workers[1].say(b"partial")
    log.start()
    for worker in workers:
        worker.end()
    log.join(10)
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == ["[0] out", "[1] partial"]
    assert err == "[1] err\n"
    assert log.tail(0) == b"[0] out\n"
    assert sorted(log.tail(1).splitlines()) == [b"[1] err", b"[1] partial"]


def test_the_tail_is_short() -> None:
    worker = FakeWorker(0)
    log = logs.Log([worker])
    worker.say(b"".join(b"%d\n" % i for i in range(100)))
    worker.end()
    log.start()
    log.join(10)
    kept = log.tail(0).split()[1::2]
    assert kept == [b"%d" % i for i in range(80, 100)]


def test_write_waits_for_a_reader_that_is_slow() -> None:
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    data = bytes(range(256)) * 4096
    received = bytearray()

    def read() -> None:
        while len(received) < len(data):
            received.extend(os.read(readable, 65536))

    reader = threading.Thread(target=read)
    reader.start()
    logs.write(writable, data)
    reader.join(10)
    assert received == data
    os.close(readable)
    logs.write(writable, b"nobody reads this")
    os.close(writable)
