"""What the report is made of: the log sorted out, numbers, drawings."""

import json

import matplotlib
import numpy as np
import pytest

from trainer import report_charts as charts
from trainer import report_run, report_text
from trainer.report_charts import Line, Panel


def train(step, time, **values):
    return {"kind": "train", "step": step, "time": time} | values


def start(step, time):
    return {"kind": "run", "step": step, "time": time}


def test_later_line_wins_after_a_restart():
    log = report_run.sort_lines(
        [
            start(0, 0),
            train(10, 1, loss=3.0),
            train(20, 2, loss=2.0),
            train(30, 3, loss=1.0),
            start(10, 100),
            train(20, 101, loss=2.5),
        ]
    )
    steps, values = report_run.column(log.train, "loss")
    assert steps.tolist() == [10, 20, 30]
    assert values.tolist() == [3.0, 2.5, 1.0]
    assert log.restarts == (10,)
    assert log.last_step == 30


def test_what_a_rollback_undoes_is_forgotten():
    back = {"kind": "rollback", "step": 27, "to_step": 10, "reason": "r"}
    lines = [start(0, 0), train(10, 1), train(20, 2), train(27, 3), back]
    log = report_run.sort_lines([*lines, train(20, 4, loss=1.0)])
    steps, values = report_run.column(log.train, "loss")
    assert (steps.tolist(), values.tolist()) == ([20], [1.0])
    assert [entry["step"] for entry in log.train] == [10, 20]
    assert log.rollbacks == [back]


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([], None),
        ([start(0, 50)], None),
        ([start(0, 50), train(1, 53), train(2, 54.5)], 4.5),
        # The night between the crash and the restart does not count.
        ([start(0, 0), train(1, 9), start(0, 5000), train(1, 5008)], 17),
        # Lines before the first start, a clock set back, no time at all.
        ([train(1, 10), train(2, 12)], 2),
        ([start(0, 100), train(1, 90), train(2, 95)], 5),
        ([start(0, None), train(1, None)], None),
    ],
)
def test_seconds_of_training(lines, seconds):
    assert report_run.sort_lines(lines).seconds == seconds


def test_splits_are_kept_apart():
    def line(split, step):
        return {"kind": "eval", "split": split, "step": step}

    log = report_run.sort_lines(
        [line("test", 5), line("val", 5), line("val", 9), line("val", 5)]
    )
    steps = {
        split: [entry["step"] for entry in entries]
        for split, entries in log.evaluations.items()
    }
    assert steps == {"test": [5], "val": [5, 9]}


def test_restart_survives_behind_half_a_line(tmp_path):
    lines = [start(0, 0), train(1, 1), train(2, 2), start(1, 9), train(2, 10)]
    text = [json.dumps(line) + "\n" for line in lines]
    text[2] = text[2][:17]  # killed while it wrote; no newline
    (tmp_path / "metrics.jsonl").write_text("".join(text))
    run = report_run.read_run(str(tmp_path))
    assert run.log.restarts == (1,)
    assert [entry["time"] for entry in run.log.train] == [1, 10]
    assert any("damaged line 3," in note for note in run.notes)


def test_column_makes_gaps_of_what_is_not_finite():
    entries = [
        train(1, 0, loss=1.0),
        train(2, 0, loss=None),
        train(3, 0),
        train(4, 0, loss=float("inf")),
        train(5, 0, loss="high"),
    ]
    steps, values = report_run.column(entries, "loss")
    assert steps.tolist() == [1, 2, 4, 5]
    np.testing.assert_array_equal(values, [1.0, np.nan, np.nan, np.nan])
    assert report_run.median(entries, "loss") == 1.0
    assert report_run.median(entries, "accuracy") is None


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (report_text.number(None), "–"),
        (report_text.number(float("nan")), "–"),
        (report_text.number(0.07123), "0.0712"),
        (report_text.number(12345.6), "12,346"),
        (report_text.number(0.0000123), "1.23e−5"),
        (report_text.number(-0.00001), "−1e−5"),
        (report_text.number(-1.5), "−1.5"),
        (report_text.percent(None), "–"),
        (report_text.percent(0.98888, 360), "98.9 %"),
        (report_text.percent(0.98888, 10000), "98.89 %"),
        (report_text.percent_range(0.9716, 0.9957, 360), "97.2–99.6 %"),
        (report_text.counted(1, "epoch"), "1 epoch"),
        (report_text.counted(2.54, "epoch"), "2.5 epochs"),
        (report_text.duration(41.26), "41.3 s"),
        (report_text.duration(725), "12 min 5 s"),
        (report_text.duration(11540), "3 h 12 min"),
        (charts.short_number(0), "0"),
        (charts.short_number(0.05), "0.05"),
        (charts.short_number(0.0002), "2e−4"),
        (charts.short_number(-0.5), "−0.5"),
        (charts.short_number(4000), "4,000"),
        (charts.short_number(20000), "20k"),
        (charts.short_number(1.5e6), "1.5M"),
    ],
)
def test_numbers_as_people_read_them(shown, expected):
    assert shown.replace(report_text.THIN_SPACE, " ") == expected


def test_running_mean_cuts_the_window_at_the_ends_and_skips_gaps():
    values = np.arange(120.0) ** 2
    values[50] = np.nan
    expected = [
        np.nanmean(values[max(0, i - 2) : i + 3]) for i in range(len(values))
    ]
    np.testing.assert_allclose(charts.running_mean(values), expected)


def test_running_mean_of_gaps_is_a_gap():
    assert np.isnan(charts.running_mean(np.full(100, np.nan))).all()


def test_thinning_keeps_the_outline():
    rng = np.random.default_rng(0)
    steps, values = np.arange(100_000), rng.normal(size=100_000)
    values[777], values[1000:3000] = 50.0, np.nan
    thin_steps, thin_values = charts.thin(steps, values, 800)
    assert len(thin_values) <= 800
    assert (np.diff(thin_steps) > 0).all()
    assert np.nanmax(thin_values) == 50.0
    assert np.nanmin(thin_values) == np.nanmin(values)
    assert np.isnan(thin_values).any()
    np.testing.assert_array_equal(values[thin_steps], thin_values)


def test_thinning_leaves_short_lines_alone():
    steps, values = np.arange(5), np.ones(5)
    assert charts.thin(steps, values, 800)[1] is values


def draw(values, scale="value", style="noisy"):
    values = np.asarray(values, np.float64)
    line = Line("train", style, np.arange(len(values)), values)
    return charts.draw(
        "name",
        [Panel([line], scale)],
        size=(340, 220),
        last_step=len(values),
        restarts=(2, 2),
        rollbacks=(3,),
        description='a "b" <c>',
    )


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ([3.0], "3"),
        ([0.1] * 5, "0.1"),
        ([0.0] * 5, "1"),
        ([-2.0, 2.0], "−2"),
        (np.geomspace(0.01, 100, 20), "log scale"),
        ([1.0, np.nan, 2.0], "2"),
        ([np.nan, np.nan], "1"),
        (np.linspace(1, 2, 5000), "2"),
    ],
)
@pytest.mark.parametrize("style", ["noisy", "points", "exact"])
def test_drawings_of_all_kinds_of_values(values, label, style):
    assert f">{label}</text>" in draw(values, style=style)


@pytest.mark.parametrize(
    ("values", "scale", "labels"),
    [
        ([0.1, 0.9], "accuracy", ["0", "100"]),
        ([0.97, 0.99], "accuracy", ["90", "100"]),
        ([1.0, 1.0], "accuracy", ["90", "100"]),
        ([0.001, 0.002], "share", ["0"]),
        ([0.9, 1.0], "share", ["0", "100"]),
    ],
)
def test_scales_in_per_cent(values, scale, labels):
    drawing = draw(values, scale)
    assert all(f">{label}\u202f%</text>" in drawing for label in labels)


def test_learning_rates_stay_linear():
    assert "log scale" not in draw([0.1, 1e-8], "linear")
    assert "log scale" in draw([0.1, 1e-8], "value")


def test_drawing_fits_into_a_page_and_leaves_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    drawing = draw(np.arange(100.0))
    assert dict(matplotlib.rcParams) == before
    assert drawing.startswith("<svg ") and "xmlns" not in drawing
    assert 'aria-label="a &quot;b&quot; &lt;c&gt;"' in drawing
    assert "var(--train)" in drawing and "#01" not in drawing
    assert "font-family" not in drawing
    assert "<style" not in drawing and "<metadata" not in drawing
    assert len(drawing) < 15_000
