"""Histograms as inline SVG: drawn by hand, so that one is a few KB and follows the page's colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 130
_BINS = 40
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 8, 18, 20
_TAIL = 0.005
"""Share of the values at each end that may fall into the outermost bar."""
_LOG_RATIO = 40
"""A scale is logarithmic if the bulk of the values, from 5 % to 95 % of them, and the bounds differ by more."""


@dataclass(frozen=True)
class Scale:
    """From values to 0..1, linear or logarithmic; what lies outside goes to the ends."""

    low: float
    high: float
    log: bool

    def __call__(self, values: np.ndarray) -> np.ndarray:
        if self.log:
            values = np.log(np.maximum(values, self.low))
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        return np.clip((values - low) / (high - low), 0, 1)


def histogram(values: np.ndarray, bounds: Sequence[float], low_is_bad: bool | None, label: str) -> Markup:
    """An SVG histogram of finite ``values`` (n,), n > 0, with a line at each of ``bounds``.

    Bars on the bad side of the outermost bound have the class ``bad``. A bar's height is the square root of its count,
    so that the few on the bad side are seen.
    """
    scale = value_scale(values, bounds)
    counts, _ = np.histogram(scale(values), bins=_BINS, range=(0, 1))
    cut = None
    if bounds and low_is_bad is not None:
        cut = float(scale(np.array([max(bounds) if low_is_bad else min(bounds)]))[0])
    inner_width, inner_height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    step = inner_width / _BINS
    parts = []
    for number, count in enumerate(counts.tolist()):
        if not count:
            continue
        height = max(2.0, inner_height * math.sqrt(count / counts.max()))
        middle = (number + 0.5) / _BINS
        bad = cut is not None and (middle < cut if low_is_bad else middle > cut)
        parts.append(
            f'<rect class="{"bad" if bad else "good"}" x="{_LEFT + number * step:.1f}" '
            f'y="{_TOP + inner_height - height:.1f}" width="{step - 0.8:.1f}" height="{height:.1f}">'
            f"<title>{count}</title></rect>"
        )
    for bound in bounds:
        x = _LEFT + inner_width * float(scale(np.array([bound]))[0])
        parts.append(f'<line class="bound" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 4}" y2="{_TOP + inner_height}"/>')
    parts += _texts(scale, bounds, inner_width, low_is_bad)
    base = _TOP + inner_height
    return Markup(
        f'<svg class="histogram" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>{"".join(parts)}</svg>'
    )


def value_scale(values: np.ndarray, bounds: Sequence[float]) -> Scale:
    """A scale for almost all of the values, and all bounds."""
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL]).tolist()
    low, high = min([low, *bounds]), max([high, *bounds])
    positive = values[values > 0]
    if (values >= 0).all() and len(positive) > len(values) / 2:
        bounds = [bound for bound in bounds if bound > 0]
        bulk = [*np.quantile(positive, [0.05, 0.95]).tolist(), *bounds]
        if max(bulk) / min(bulk) > _LOG_RATIO:
            return Scale(min([float(np.quantile(positive, _TAIL)), *bounds]), high, log=True)
    if low == high:
        spread = abs(low) / 2 or 0.5
        return Scale(low - spread, high + spread, log=False)
    return Scale(low, high, log=False)


def number(value: float) -> str:
    """Three digits of a number, for people."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def _texts(scale: Scale, bounds: Sequence[float], inner_width: float, low_is_bad: bool | None) -> list[str]:
    y = HEIGHT - 6
    end = f"{number(scale.high)}{' (log)' if scale.log else ''}"
    texts = [
        f'<text x="{_LEFT}" y="{y}">{number(scale.low)}</text>',
        f'<text x="{WIDTH - _RIGHT}" y="{y}" text-anchor="end">{end}</text>',
    ]
    if not bounds:
        return texts
    first, last = min(bounds), max(bounds)
    sign = {True: "≥ ", False: "≤ ", None: ""}[low_is_bad]
    words = f"{sign}{number(first)}" + (f" to {number(last)}" if last != first else "")
    x = _LEFT + inner_width * float(scale(np.array([(first + last) / 2]))[0])
    anchor = "start" if x < WIDTH / 3 else "end" if x > WIDTH * 2 / 3 else "middle"
    return [*texts, f'<text class="bound" x="{x:.1f}" y="{_TOP - 7}" text-anchor="{anchor}">{words}</text>']
