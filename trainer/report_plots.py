"""Small drawings of shares over shares, as SVG that the page colours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape

import numpy as np
from markupsafe import Markup

from trainer import report_text as text

_SIDE = 240.0  # units of the square
_LEFT, _TOP, _RIGHT, _BOTTOM = 46.0, 8.0, 14.0, 40.0
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_LEAST_RADIUS, _LARGEST_RADIUS = 1.5, 9.0
_WHISKER = 120.0  # units of its scale of 0 to 100 %


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A line in the unit square.

    Attributes:
      color: a CSS variable of the page, such as "train".
      x: float [n], in [0, 1].
      y: the same; NaN is a gap.
      style: "bold", "thin" or "points", which are marked by `weights`.
      weights: float [n], share of the data that a point stands for.
    """

    color: str
    x: np.ndarray
    y: np.ndarray
    style: str = "bold"
    weights: np.ndarray | None = None


def square(
    curves: Sequence[Curve],
    *,
    x_title: str,
    y_title: str,
    diagonal: bool,
    description: str,
) -> Markup:
    """Draws curves over the unit square.

    Args:
      curves: in the order of drawing.
      x_title: below the horizontal axis.
      y_title: beside the vertical one.
      diagonal: whether to draw it, dashed.
      description: alternative text.

    Returns:
      One `<svg>` element that refers to nothing outside.
    """
    width, height = _LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM
    parts = [
        f'<svg class="chart plot" role="img" aria-label="{escape(description)}"'
        f' viewBox="0 0 {width:g} {height:g}">',
        *_axes(x_title, y_title),
    ]
    if diagonal:
        parts.append(
            f'<path class="diagonal" d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}"/>'
        )
    for curve in curves:
        parts += _curve(curve)
    return Markup("".join([*parts, "</svg>"]))


def whisker(
    value: float, interval: tuple[float, float] | None, color: str = "train"
) -> Markup:
    """A share on a scale of 0 to 100 %, with its interval as a bar."""
    bar = ""
    if interval is not None:
        low, high = (_WHISKER * end for end in interval)
        bar = (
            f'<path d="M{low:.1f} 5H{high:.1f}M{low:.1f} 2V8M{high:.1f} 2V8" '
            f'style="stroke:var(--{color})"/>'
        )
    return Markup(
        '<svg class="whisker" aria-hidden="true" '
        f'viewBox="-4 0 {_WHISKER + 8:g} 10">'
        f'<path class="scale" d="M0 5H{_WHISKER:g}"/>{bar}'
        f'<circle cx="{_WHISKER * value:.1f}" cy="5" r="3" '
        f'style="fill:var(--{color})"/></svg>'
    )


def _axes(x_title: str, y_title: str) -> list[str]:
    parts = []
    for tick in _TICKS:
        label = f"{100 * tick:g}{text.THIN_SPACE}%"
        parts.append(
            f'<path class="grid" d="M{_x(0)} {_y(tick)}H{_x(1)}"/>'
            f'<text x="{_LEFT - 6:g}" y="{_y(tick)}" text-anchor="end" '
            f'dominant-baseline="central">{label}</text>'
            f'<text x="{_x(tick)}" y="{_TOP + _SIDE + 17:g}" '
            f'text-anchor="middle">{label}</text>'
        )
    middle = _TOP + _SIDE / 2
    parts.append(
        f'<text x="{_x(0.5)}" y="{_TOP + _SIDE + 34:g}" text-anchor="middle">'
        f"{escape(x_title)}</text>"
        f'<text transform="translate(8 {middle:g}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_title)}</text>'
    )
    return parts


def _curve(curve: Curve) -> list[str]:
    known = ~np.isnan(curve.y)
    points = [
        f"{_x(x)} {_y(y)}"
        for x, y in zip(curve.x[known], curve.y[known], strict=True)
    ]
    if not points:
        return []
    color = f"var(--{curve.color})"
    line = (
        f'<path class="line {curve.style}" style="stroke:{color}" '
        f'd="M{"L".join(points)}"/>'
    )
    if curve.style != "points" or curve.weights is None:
        return [line]
    # The area of a point, not its width, is what it stands for.
    sizes = np.sqrt(curve.weights[known] / max(curve.weights.max(), 1e-9))
    return [line] + [
        f'<circle cx="{point.split()[0]}" cy="{point.split()[1]}" '
        f'r="{max(_LEAST_RADIUS, _LARGEST_RADIUS * size):.1f}" '
        f'style="fill:{color}"/>'
        for point, size in zip(points, sizes, strict=True)
    ]


def _x(share: float) -> str:
    return f"{_LEFT + _SIDE * share:.1f}"


def _y(share: float) -> str:
    return f"{_TOP + _SIDE * (1 - share):.1f}"
