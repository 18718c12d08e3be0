"""Rates of the stages, and what is made of them."""

import dataclasses
import math
import pathlib
import re

import pytest

from input import (
    advice,
    crops,
    memory,
    pipeline,
    probe,
    sources,
    spec,
)
from tests.input.slow import PAUSE, Slow

HOST = spec.HostShare(0, 1, 1)


def split(directory: pathlib.Path, **kwargs) -> pipeline.TrainData:
    return pipeline.TrainData(
        source=sources.TFRecords(str(directory)), **kwargs
    )


def test_a_slow_decoder_is_seen_as_slow(tiny_data: pathlib.Path) -> None:
    rates = probe.measure(split(tiny_data, decode=Slow()), seconds=0.05)
    # However many threads there are: the rate is that of one.
    assert 0 < rates.decode < 1 / PAUSE
    assert rates.read > rates.decode
    assert rates.cores > 0


def test_nothing_is_read_of_made_up_pictures() -> None:
    data = pipeline.TrainData(source=sources.Synthetic())
    rates = probe.measure(data, seconds=0.01)
    assert rates.read == math.inf
    assert rates.decode > 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000\n", None), ("50000 100000\n", 0.5), ("nonsense", None)],
)
def test_cores_by_quota(
    tmp_path: pathlib.Path, text: str, expected: float | None
) -> None:
    all_cores = probe.cores(tmp_path / "missing")
    assert all_cores >= 1
    (tmp_path / "cpu.max").write_text(text)
    found = probe.cores(tmp_path / "cpu.max")
    assert found == (expected or all_cores)


def give(data, read: float, decode_: float, host=HOST, cores=2.0) -> str:
    return advice.give(
        data,
        host,
        advice.Starved(wait=0.4, delivered=600.0, needed=1000.0),
        probe.Rates(read, decode_, cores),
    )


CROP = {"decode": crops.RandomResizedCrop(2)}


@pytest.mark.parametrize(
    ("kwargs", "read", "decoded", "first", "absent"),
    [
        ({}, 9e9, 300, 'Decoding .*first: train_data.cache = "decoded"', "xyz"),
        # A random crop is made of other pixels each time.
        (CROP, 9e9, 300, "Decoding .*first: more cores", "decoded"),
        (
            {},
            500,
            900,
            'Reading .*first: train_data.cache = "encoded"',
            "core;",
        ),
        ({"cache": "encoded"}, 500, 900, "Reading .*first: a faster", "cache"),
        (CROP, 9e9, 900, "Each stage .*first: data servers on other", "cache"),
        ({"service": "auto"}, 9e9, 300, "start more data servers", "limit"),
        ({"cache_bytes": 1}, 9e9, 300, "Decoding .*first: more", "cache ="),
    ],
)
def test_the_remedy_follows_from_the_rates(
    tiny_data: pathlib.Path,
    kwargs: dict,
    read: float,
    decoded: float,
    first: str,
    absent: str,
) -> None:
    text = give(split(tiny_data, **kwargs), read, decoded)
    assert text.startswith(
        "Input is too slow: waiting 40% of the time, 600 images/s of the 1,000"
    )
    assert f"decoding {decoded:,.0f} images/s a core on 2 cores" in text
    assert re.search(first, text), text
    assert absent not in text
    assert "\n" not in text


def test_no_limit_below_what_comes_in(tiny_data: pathlib.Path) -> None:
    """Measured beside the step, a stage seems slower than it is."""
    text = give(split(tiny_data, decode=crops.RandomResizedCrop(2)), 9e9, 100)
    assert "decoding 300 images/s a core on 2 cores. Decoding is" in text


def test_hosts_that_all_read_everything(tiny_data: pathlib.Path) -> None:
    """1,000 images/s of four hosts' rows are 4,000 records/s."""
    host = spec.HostShare(0, 4, 1)
    text = give(split(tiny_data, shard_by="record"), 3000, 900, host)
    assert "Reading is the limit" in text
    assert 'train_data.shard_by = "file"' in text
    host = spec.HostShare(0, 3, 1)
    text = give(split(tiny_data, shard_by="file"), 3000, 900, host)
    assert "Each stage is fast enough" in text


def test_large_pictures_should_be_stored_smaller(
    tiny_data: pathlib.Path, monkeypatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 0)
    data = split(tiny_data)
    info = dataclasses.replace(data.source.info, largest_image=(9, 5))
    data.source.__dict__["info"] = info
    assert "first: smaller records" in give(data, 9e9, 300)
