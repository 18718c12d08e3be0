"""A run that waits for its input says so once, with advice."""

import json
import pathlib

import pytest

from input import pipeline, sources, spec
from tests.conftest import write_dataset
from tests.input.slow import Slow
from trainer import loop, report, starvation, writer

HOST = spec.HostShare(0, 1, 1)


def stretch(step: int, wait: float) -> loop.Progress:
    """Ten seconds of a thousand images."""
    return loop.Progress(
        step=step,
        steps=10,
        loss=1.0,
        top_1_accuracy=0.5,
        examples=1000.0,
        skipped=0.0,
        skipped_in_a_row=0.0,
        gradient_norm=1.0,
        learning_rate=0.1,
        seconds=10.0,
        input_wait_seconds=10 * wait,
    )


def watch(
    directory: pathlib.Path,
    waits: list[float],
    enabled: bool = True,
    from_step: int = -1,
) -> list[dict]:
    """Trains with such waits, two stretches in each interval."""
    write_dataset(directory / "data")
    data = pipeline.TrainData(
        source=sources.TFRecords(str(directory / "data")), decode=Slow()
    )
    watched = starvation.Starvation(
        data, HOST, writer.Writer(str(directory)), enabled, from_step
    )
    for number, wait in enumerate(waits):
        latest = stretch(10 * number, wait)
        watched.gather(latest)
        if number % 2:
            watched(latest)
    path = directory / "metrics.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("waits", "enabled", "steps"),
    [
        ([0.9, 0.9], True, []),  # While the pipeline fills up.
        ([0.9, 0.9, 0.04, 0.05], True, []),
        ([0.0, 0.0, 0.03, 0.09], True, [30]),
        ([0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], True, [30]),
        ([0.0, 0.0, 0.5, 0.5], False, []),
    ],
)
def test_it_is_said_once(
    tmp_path: pathlib.Path,
    caplog,
    waits: list[float],
    enabled: bool,
    steps: list[int],
) -> None:
    with caplog.at_level("WARNING", "absl"):
        lines = watch(tmp_path, waits, enabled)
    assert [line["step"] for line in lines] == steps
    assert caplog.text.count("Input is too slow") == len(steps)


def test_kept_features_are_no_slow_input(tmp_path: pathlib.Path) -> None:
    """The interval after them fills the pipeline up."""
    (line,) = watch(tmp_path, [0.9] * 10, from_step=30)
    assert line["step"] == 70


def test_numbers_and_advice_are_written(tmp_path: pathlib.Path) -> None:
    (line,) = watch(tmp_path, [0.0, 0.0, 0.5, 0.5])
    assert line["kind"] == "input"
    assert line["input_wait_fraction"] == 0.5
    assert line["delivered_images_per_second"] == 100
    assert line["needed_images_per_second"] == 200
    assert 0 < line["decoded_images_per_second_and_core"] < 250
    assert line["cores"] > 0
    assert "waiting 50% of the time, 100 images/s of the 200" in line["advice"]
    page = pathlib.Path(report.write_report(str(tmp_path))).read_text()
    assert "At step 30: Input is too slow: waiting 50% of the time" in page


def test_damage_does_not_end_training_here(
    tmp_path: pathlib.Path, caplog, monkeypatch
) -> None:
    write_dataset(tmp_path)
    (tmp_path / "train-00000-of-00003.tfrecord").write_bytes(b"short")
    data = pipeline.TrainData(source=sources.TFRecords(str(tmp_path)))
    watched = starvation.Starvation(data, HOST, writer.Writer(str(tmp_path)))
    with caplog.at_level("WARNING", "absl"):
        for step in (10, 20):
            watched.gather(stretch(step, 0.5))
            watched(stretch(step, 0.5))
    assert "waiting 50 % of the time. Its stages cannot be" in caplog.text
