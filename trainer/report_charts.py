"""Charts of the report: inline SVG that takes its colours from the page."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree

import numpy as np

from trainer.report_text import THIN_SPACE, scientific

# Only who draws waits for matplotlib: no worker, no dry run, no --help.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Each colour stands for a CSS variable of the page, so that one drawing
# serves light, dark and print; the values are only keys and never shown.
_COLORS = {
    "train": "#010101",
    "eval": "#020202",
    "other": "#030303",
    "muted": "#040404",
    "rule": "#050505",
}
_POINTS_PER_INCH = 72
_FONT_SIZE = 10.5
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 16.0, 22.0  # margins in points
_STEPS = (1, 2, 2.5, 5, 10)  # of the ticks
DENSE = 60  # so many noisy values also get their running mean
_MOST_POINTS = 800  # more than a chart has pixels
_LOG_FROM = 50.0  # ratio of largest to smallest value

Scale = Literal["value", "linear", "accuracy", "share"]


@dataclasses.dataclass(frozen=True)
class Line:
    """One quantity over the steps.

    Attributes:
      color: "train", "eval" or "other".
      style: "exact" draws the values; "noisy" draws them pale under their
        running mean; "points" marks each of them.
      steps: int64 [n], ascending.
      values: float64 [n]; NaN is a gap.
    """

    color: str
    style: Literal["exact", "noisy", "points"]
    steps: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
      lines: drawn in this order.
      scale: "linear" starts at 0; so does "value", unless the values span
        a factor of 50 and it is logarithmic; "accuracy" ends at 100 %;
        "share" starts at 0 %.
      title: what is shown, "" if the page says so.
      weight: height relative to the other panels of the chart.
    """

    lines: Sequence[Line]
    scale: Scale = "value"
    title: str = ""
    weight: float = 1.0


def draw(
    name: str,
    panels: Sequence[Panel],
    *,
    size: tuple[float, float],
    last_step: int,
    restarts: Sequence[int],
    rollbacks: Sequence[int],
    description: str,
) -> str:
    """Draws panels over a common axis of steps.

    Margins are fixed: charts of one size align on a page.

    Args:
      name: unique on the page; ids inside the drawing derive from it.
      panels: from top to bottom.
      size: width and height in points before the page scales it.
      last_step: right end of the axis.
      restarts: steps that get a thin dashed vertical line.
      rollbacks: steps that get a thin dotted one.
      description: alternative text.

    Returns:
      One `<svg>` element that refers to nothing outside, text as text.
    """
    import matplotlib

    buffer = io.BytesIO()
    # The SVG backend takes these two from the global settings alone.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure = _figure(panels, size, last_step, restarts, rollbacks)
        figure.savefig(buffer, format="svg", transparent=True)
    return _for_page(buffer.getvalue(), description)


def running_mean(values: np.ndarray) -> np.ndarray:
    """Centred mean over a thirtieth of the values, NaN left out.

    Args:
      values: float [n], n >= 1. At the ends the window is cut, not padded.

    Returns:
      float64 [n]; NaN where the whole window is NaN.
    """
    window = np.ones(2 * (len(values) // 60) + 1)
    finite = np.isfinite(values)
    total = np.convolve(np.where(finite, values, 0.0), window, "same")
    count = np.convolve(finite, window, "same")
    result = np.full(len(values), np.nan)
    return np.divide(total, count, out=result, where=count > 0.5)


def thin(
    steps: np.ndarray, values: np.ndarray, most: int = _MOST_POINTS
) -> tuple[np.ndarray, np.ndarray]:
    """Keeps the smallest and largest value of each of `most / 2` stretches.

    The outline of the curve stays as it was, whatever the number of points.
    """
    if len(values) <= most:
        return steps, values
    kept: list[int] = []
    for part in np.array_split(np.arange(len(values)), most // 2):
        finite = part[np.isfinite(values[part])]
        # A stretch without any finite value stays in as a gap.
        ends = (
            {finite[values[finite].argmin()], finite[values[finite].argmax()]}
            if len(finite)
            else {part[0]}
        )
        kept.extend(sorted(int(i) for i in ends))
    return steps[kept], values[kept]


def short_number(value: float, _position: int | None = None) -> str:
    """An axis label: 0.05, 1.5, 8,000, 20k, 1.5M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.4g}{unit}"
    if 0 < abs(value) < 1e-3:
        return scientific(value)
    return f"{value:,.4g}".replace("-", "−")


def _figure(
    panels: Sequence[Panel],
    size: tuple[float, float],
    last_step: int,
    restarts: Sequence[int],
    rollbacks: Sequence[int],
) -> Figure:
    from matplotlib import figure as figures

    width, height = size
    figure = figures.Figure(
        (width / _POINTS_PER_INCH, height / _POINTS_PER_INCH)
    )
    all_axes = figure.subplots(
        len(panels),
        1,
        squeeze=False,
        sharex=True,
        height_ratios=[panel.weight for panel in panels],
    )[:, 0]
    figure.subplots_adjust(
        left=_LEFT / width,
        right=1 - _RIGHT / width,
        top=1 - _TOP / height,
        bottom=_BOTTOM / height,
        hspace=0.45,
    )
    for axes, panel in zip(all_axes, panels, strict=True):
        for steps, dashes in ((restarts, (3, 3)), (rollbacks, (1, 2))):
            for step in sorted(set(steps)):
                axes.axvline(
                    step,
                    color=_COLORS["muted"],
                    linewidth=0.8,
                    linestyle=(0, dashes),
                )
        for line in panel.lines:
            _plot(axes, line)
        axes.set_xlim(0, max(last_step, 1))
        _style(axes, panel)
    return figure


def _plot(axes: Axes, line: Line) -> None:
    color = _COLORS[line.color]
    finite = int(np.isfinite(line.values).sum())
    steps, values = thin(line.steps, line.values)
    if line.style == "points" or finite == 1:
        axes.plot(
            steps,
            values,
            color=color,
            linewidth=1.2,
            marker="o",
            markersize=3.6 if len(steps) <= 40 else 2.0,
            clip_on=False,
            zorder=4,
        )
    elif line.style == "noisy" and finite >= DENSE:
        axes.plot(steps, values, color=color, linewidth=0.6, alpha=0.35)
        smooth = thin(line.steps, running_mean(line.values))
        axes.plot(*smooth, color=color, linewidth=1.4, zorder=3)
    else:
        # A line at the very bottom or top is not cut in half.
        axes.plot(steps, values, color=color, linewidth=1.4, clip_on=False)


def _style(axes: Axes, panel: Panel) -> None:
    from matplotlib import ticker

    muted = _COLORS["muted"]
    values = np.concatenate([line.values for line in panel.lines])
    logarithmic = _set_scale(axes, panel.scale, values[np.isfinite(values)])
    title = ", ".join(
        part for part in (panel.title, "log scale" * logarithmic) if part
    )
    if title:
        axes.set_title(
            title, loc="left", pad=4, color=muted, fontsize=_FONT_SIZE
        )
    for side in ("left", "top", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_COLORS["rule"])
    axes.grid(axis="y", color=_COLORS["rule"], linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(
        ticker.MaxNLocator(nbins=5, steps=_STEPS, integer=True, min_n_ticks=1)
    )
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(short_number))
    axes.tick_params(
        length=0, pad=5, labelcolor=muted, labelsize=_FONT_SIZE, which="both"
    )


def _set_scale(axes: Axes, scale: Scale, values: np.ndarray) -> bool:
    """Sets limits and ticks of the vertical axis; True if logarithmic."""
    from matplotlib import ticker

    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    axis = axes.yaxis
    if scale == "value" and low > 0 and high / low >= _LOG_FROM:
        axes.set_yscale("log")
        axis.set_minor_locator(ticker.NullLocator())
        axis.set_major_formatter(ticker.FuncFormatter(short_number))
        return True
    axis.set_major_locator(
        ticker.MaxNLocator(nbins=3 if scale == "share" else 5, steps=_STEPS)
    )
    axis.set_major_formatter(ticker.FuncFormatter(short_number))
    if scale in ("value", "linear"):
        if low >= 0:
            axes.set_ylim(0, 1.08 * high or 1.0)
        return False
    axis.set_major_formatter(ticker.FuncFormatter(_percent))
    if scale == "accuracy":
        # Below one half, the lower end is 0: the whole climb is of interest.
        axes.set_ylim(0 if low < 0.5 else np.floor(low * 9.99) / 10, 1.0)
    else:
        axes.set_ylim(0, min(1.0, max(0.05, 1.2 * high)))
    return False


def _percent(value: float, _position: int | None = None) -> str:
    return f"{100 * value:.3g}{THIN_SPACE}%"


def _for_page(svg: bytes, description: str) -> str:
    """Makes a matplotlib drawing fit to stand inside an HTML page."""
    root = ElementTree.fromstring(svg)
    parents = {child: parent for parent in root.iter() for child in parent}
    referenced = set(re.findall(r"#(\w+)", svg.decode("utf-8")))
    for element in list(root.iter()):
        element.tag = re.sub(r"^{.*}", "", element.tag)
        # Its rule `* {...}` would reach the whole page; the other is empty.
        if element.tag in ("style", "metadata"):
            parents[element].remove(element)
        for key in list(element.attrib):
            value = element.attrib.pop(key)
            if key != "id" or value in referenced:
                element.set(re.sub(r"^{.*}", "", key), _themed(value))
    view_box = root.attrib["viewBox"]
    root.attrib = {"class": "chart", "viewBox": view_box}
    root.attrib |= {"role": "img", "aria-label": description}
    return ElementTree.tostring(root, encoding="unicode")


def _themed(value: str) -> str:
    """The page's fonts and colours in place of matplotlib's."""
    value = re.sub(r"font-family: [^;]*; ", "", value)
    for name, color in _COLORS.items():
        value = value.replace(color, f"var(--{name})")
    return value
