"""Charts as inline SVG: they get as wide as there is room, and their texts stand beside them.

All charts of a page have one axis of time. It is cut into equal parts, and a chart is drawn by
steps: one value for each part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from d4pcwl.pages.html import escaped
from d4pcwl.trace import units

PARTS = 160
"""Into how many parts the time is cut: each is some pixels wide."""

_HEIGHT = 100
_TICKS = 6
_LAST_TICK = 0.96
"""After this part of the axis, there is no room for the text of a tick."""

_ROUND_SECONDS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)


@dataclass
class Row:
    """One chart, with what stands beside it.

    :param label: whose it is
    :param note: small, below the label
    :param layers: by class of the style sheet, values in parts of the height, drawn on one another
    :param told: what is shown where the mouse is: names, and a text for each part of the time
    :param figure: what stands at the right
    :param hot: it stands out
    :param tall: a curve, which wants more height than a bar
    """

    label: str
    layers: Mapping[str, Sequence[float]]
    note: str = ""
    told: Mapping[str, Sequence[str]] = field(default_factory=dict)
    figure: str = ""
    hot: bool = False
    tall: bool = False


def drawn(row: Row) -> Iterator[str]:
    """A row in HTML."""
    kinds = " ".join(["row"] + ["hot"] * row.hot + ["tall"] * row.tall)
    yield f'<div class="{kinds}"><div class="label">{escaped(row.label)}'
    if row.note:
        yield f" <small>{escaped(row.note)}</small>"
    told = "\n".join("\t".join([_in_one_line(name), *row.told[name]]) for name in row.told)
    yield f'</div><div class="plot" data-label="{escaped(row.label)}" data-told="{escaped(told)}">'
    yield f'<svg viewBox="0 0 {PARTS} {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
    bottom = [0.0] * PARTS
    for style, values in row.layers.items():
        top = [min(1.0, low + value) for low, value in zip(bottom, values, strict=True)]
        path = area(bottom, top)
        if path:
            yield f'<path class="{style}" d="{path}"/>'
        bottom = top
    yield "</svg></div>"
    yield f'<div class="figure">{escaped(row.figure)}</div></div>'


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def area(bottom: Sequence[float], top: Sequence[float]) -> str:
    """The path of what is between two lines of steps; empty where they meet.

    :param bottom: heights from 0 to 1

    >>> area([0, 0, 0], [1, 1, 0.5])
    'M0 0H2V50H3V100H0Z'
    """
    upper = [round(_HEIGHT * (1 - value)) for value in top]
    lower = [round(_HEIGHT * (1 - value)) for value in bottom]
    if upper == lower:
        return ""
    forth = _steps(upper, range(len(upper) + 1))
    back = _steps(lower[::-1], range(len(lower), -1, -1))
    return f"M0 {upper[0]}{forth}V{lower[-1]}{back}Z"


def _steps(heights: Sequence[int], places: Sequence[int]) -> str:
    """Along steps: to each place where the height changes, and up or down to the new one."""
    path = []
    for number, height in enumerate(heights):
        if number + 1 == len(heights) or heights[number + 1] != height:
            path.append(f"H{places[number + 1]}")
            if number + 1 < len(heights):
                path.append(f"V{heights[number + 1]}")
    return "".join(path)


def axis(until: float) -> str:
    """The axis of time below charts."""
    ticks = "".join(
        f'<span style="left:{100 * at / until:.2f}%">{escaped(units.seconds(at))}</span>'
        for at in _round_steps(until)
    )
    return f'<div class="row axis"><div class="label"></div><div class="ticks">{ticks}</div></div>'


def _round_steps(until: float) -> Iterator[float]:
    """Round times from 0 on, about as many as there is room for."""
    rough = until / _TICKS
    if rough < 5:
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= 0.999 * rough)
    else:
        days = 86400.0 * math.ceil(rough / 86400)
        step = next((step for step in _ROUND_SECONDS if step >= rough), days)
    for number in range(int(_LAST_TICK * until / step) + 1):
        yield number * step
