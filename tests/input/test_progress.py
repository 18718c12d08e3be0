"""Tests of input/progress.py."""

import logging
from concurrent import futures

import pytest

from input import progress


def count_to(number):
    with (
        progress.progress(number, "images") as advance,
        futures.ThreadPoolExecutor(4) as pool,
    ):
        for _ in range(number):
            pool.submit(advance)


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    count_to(1000)
    text = capsys.readouterr().err
    assert "100%" in text
    assert "1.00k/1.00k" in text
    assert "images/s]" in text


def test_lines_elsewhere(capsys, monkeypatch, caplog):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, "absl"):
        count_to(1000)
    assert len(caplog.messages) == 1000
    assert caplog.messages[499].startswith("500 of 1,000 images, ")
    assert caplog.messages[-1].endswith(" a second, 0 seconds left")
    assert "%" not in capsys.readouterr().err


def test_no_lines_for_what_is_quick(caplog):
    with caplog.at_level(logging.INFO, "absl"):
        count_to(100)
    assert caplog.messages == []


def test_an_error_passes_through():
    with (
        pytest.raises(RuntimeError, match="stop"),
        progress.progress(3, "images") as advance,
    ):
        advance()
        raise RuntimeError("stop")
