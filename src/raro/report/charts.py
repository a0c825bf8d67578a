"""Charts as inline SVG: drawn by matplotlib, coloured by the page.

Every colour is a CSS variable, so that one drawing serves light, dark and print; text stays text, in the page's font.
Legends stand outside, in HTML, where they cannot cover a line. Nothing here reads a file or decides what is shown.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from .reading import signed as signed_points
from .series import Points, smoothed, thinned

NAMES = ("ink", "soft", "grid", "policy", "critic", "tie", "malformed", "other", "accent", "bad", "paper")
_COLOUR = {name: f"#0a0b{i:02x}" for i, name in enumerate(NAMES, 16)}  # stand-ins, replaced by var(--name)
_RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "raro",
    "font.size": 11,
    "axes.edgecolor": _COLOUR["grid"],
    "grid.color": _COLOUR["grid"],
    "grid.linewidth": 0.7,
    "axes.labelcolor": _COLOUR["soft"],
    "xtick.color": _COLOUR["soft"],
    "ytick.color": _COLOUR["soft"],
    "text.color": _COLOUR["ink"],
    "path.simplify_threshold": 0.3,
}
Unit = Literal["percent", "points", "plain"]
WIDTH, HEIGHT, NARROW = 360, 178, 380
_DOTS = {"marker": "o", "markersize": 4.5, "markeredgewidth": 0, "clip_on": False}
_DASHES = {"solid": "-", "dashed": (0, (4, 2)), "dotted": (0, (1, 1.6))}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart. colour: of NAMES. exact: a setting, not a measurement, so that nothing is smoothed. spread: (x, low,
    high), intervals to be drawn."""

    label: str
    points: Points
    colour: str
    style: str = "solid"
    exact: bool = False
    spread: Sequence[tuple[float, float, float]] = ()

    @property
    def mean(self) -> list[tuple[float, float]]:
        """What is drawn strong."""
        return list(self.points) if self.exact else smoothed(self.points)


def curves(
    lines: Sequence[Line],
    *,
    title: str,
    kind: str = "number",
    mark: tuple[float, str] | None = None,
    level: float | None = None,
) -> str:
    """Lines over training steps: each value faint, their moving mean strong.

    kind: `share` (drawn in percent, 0 to 100 or less) or `number`. mark: (step, what happened there). level: a value to compare
    with.
    """
    with rc_context(_RC):
        figure, axes = _figure(WIDTH, HEIGHT)
        for line in lines:
            ink = {"color": _COLOUR[line.colour], "linestyle": _DASHES[line.style], "solid_capstyle": "round"}
            points, mean = thinned(line.points), thinned(line.mean)
            if len(points) > 12 and len(lines) < 4 and not line.exact:
                axes.plot(*_axes(points), color=_COLOUR[line.colour], linewidth=0.7, alpha=0.28)
            axes.plot(*_axes(mean), linewidth=1.9, **ink, **(_DOTS if len(points) <= 12 else {}))
            for x, low, high in line.spread:
                axes.plot([x, x], [low, high], color=_COLOUR[line.colour], linewidth=3.2, alpha=0.35, clip_on=False)
        if level is not None:
            axes.axhline(level, color=_COLOUR["ink"], linewidth=0.9, zorder=1.5)
        if kind == "share":
            _share_axis(axes, lines, level)
        else:
            _number_axis(axes)
        _steps_axis(axes, [point for line in lines for point in line.points])
        if mark:
            _note_mark(axes, *mark)
        return _svg(figure, title)


def stacked(parts: Sequence[Line], *, title: str, mark: tuple[float, str] | None = None) -> str:
    """Shares of one whole over training steps, the first part at the bottom; smoothed, always 0 to 100 %."""
    with rc_context(_RC):
        figure, axes = _figure(WIDTH, HEIGHT)
        steps = sorted({step for part in parts for step, _ in part.points})
        tables = [dict(part.points) for part in parts]
        rows = [thinned(smoothed([(step, table.get(step, 0.0)) for step in steps])) for table in tables]
        whole = [sum(values) or 1.0 for values in zip(*([v for _, v in row] for row in rows), strict=True)]
        heights = [[v / w for (_, v), w in zip(row, whole, strict=True)] for row in rows]
        colours = [_COLOUR[part.colour] for part in parts]
        axes.stackplot([s for s, _ in rows[0]], *heights, colors=colours, linewidth=0.6, edgecolor=_COLOUR["paper"])
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.5, 1])
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0, " %"))
        axes.grid(visible=False)
        _steps_axis(axes, [(step, 0.0) for step in steps])
        if mark:
            _note_mark(axes, *mark, inverse=True)
        return _svg(figure, title)


def intervals(
    rows: Sequence[tuple[str, float, float, float, str]], *, title: str, limits: tuple[float, float], unit: Unit = "percent"
) -> str:
    """Dots with their 95 % intervals, one row each, the value written beside it.

    rows: (label, mean, low, high, colour), shares; `soft` recedes, any other colour stands out. limits: of the axis, so that
    charts side by side share it. unit: shares in percent, their differences in points, or numbers as they are.
    """
    with rc_context(_RC):
        height = 30 + 27 * len(rows)
        left = 14 + 6.4 * max(len(label) for label, *_ in rows)
        figure, axes = _figure(NARROW, height, left=left, right=58, top=6, bottom=24)
        for y, (_, mean, low, high, tone) in enumerate(rows):
            colour, counts = _COLOUR[tone], tone != "soft"
            axes.plot([low, high], [y, y], color=colour, linewidth=3.2 if counts else 2.2, alpha=0.45, solid_capstyle="round")
            axes.plot([mean], [y], marker="o", markersize=7.5 if counts else 6, color=colour, linestyle="none", clip_on=False)
            value = {"percent": f"{100 * mean:.1f} %", "points": signed_points(mean), "plain": f"{mean:+.2f}"}[unit]
            axes.annotate(
                value,
                (1, y),
                xycoords=("axes fraction", "data"),
                xytext=(54, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                color=_COLOUR["ink"],
                weight="bold" if counts and unit != "points" else "normal",
                annotation_clip=False,
            )
        axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
        for label, row in zip(axes.get_yticklabels(), rows, strict=True):
            label.set_color(_COLOUR["ink"])
            label.set_fontweight("bold" if row[4] != "soft" and unit != "points" else "normal")
        axes.set_ylim(len(rows) - 0.45, -0.55)
        axes.set_xlim(*limits)
        if unit != "percent":
            axes.axvline(0, color=_COLOUR["ink"], linewidth=0.9, zorder=1)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.spines["bottom"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        form, scale = {"percent": ("{:.0f} %", 100), "points": ("{:+.0f}", 100), "plain": ("{:+g}", 1)}[unit]
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: "0" if abs(v) < 1e-9 else form.format(scale * v)))
        return _svg(figure, title, "chart intervals")


def _axes(points: Points) -> tuple[list[float], list[float]]:
    return [step for step, _ in points], [value for _, value in points]


# -------------------------------------------------------------------------------------------------------------------- drawing


def _figure(
    width: float, height: float, left: float = 40, right: float = 12, top: float = 9, bottom: float = 22
) -> tuple[Figure, Axes]:
    """A figure of width x height SVG units with one bare axes; the margins are in the same units."""
    figure = Figure(figsize=(width / 72, height / 72))
    figure.patch.set_visible(False)
    axes = figure.add_axes((left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height))
    axes.patch.set_visible(False)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(bottom=False, left=False, pad=4)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    return figure, axes


def _share_axis(axes: Axes, lines: Sequence[Line], level: float | None) -> None:
    """From 0 to a round number of percent above everything drawn."""
    drawn = [line.points for line in lines] + [[(x, high) for x, _, high in line.spread] for line in lines]
    highest = max([value for points in drawn for _, value in points] + [level or 0.0, 0.01])
    upper = next((top for top in (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8) if highest <= top), 1.0)
    axes.set_ylim(-0.02 * upper, 1.02 * upper)
    axes.set_yticks([0, upper / 2, upper])
    digits = 0 if upper >= 0.1 else 1
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.{digits}f} %" if v else "0"))


def _number_axis(axes: Axes) -> None:
    """From 0 where nothing lies far below it, to the round number above everything drawn."""
    low, high = axes.get_ylim()
    ticks = MaxNLocator(3, min_n_ticks=2).tick_values(0 if low > -0.08 * high else low, high)
    axes.set_ylim(ticks[0], ticks[-1])
    axes.set_yticks(ticks)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: short(v)))


def _steps_axis(axes: Axes, points: Points) -> None:
    steps = [step for step, _ in points]
    low, high = min(steps, default=0), max(steps, default=1)
    if high == low:
        axes.set_xlim(low - 1, high + 1)
        axes.set_xticks([low])
    else:
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 4, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))


def _note_mark(axes: Axes, step: float, text: str, inverse: bool = False) -> None:
    """A vertical line; its words on the side with more room, at the foot, where curves of shares are rare."""
    low, high = axes.get_xlim()
    left = (step - low) > 0.6 * (high - low)
    ink = _COLOUR["paper" if inverse else "ink"]
    axes.axvline(step, color=ink, linewidth=1.1, linestyle=_DASHES["dashed"])
    axes.annotate(
        text,
        (step, 0),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if left else 4, 5),
        textcoords="offset points",
        ha="right" if left else "left",
        color=ink,
        size=10,
    )


def short(value: float) -> str:
    """A number in few characters: 0, 0.25, 12, 3.4k, 5e-04."""
    if value == 0:
        return "0"
    if abs(value) < 0.001:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    if abs(value) >= 10_000:
        return f"{value / 1000:,.0f}k"
    if abs(value) >= 1000:
        return f"{value / 1000:.1f}".removesuffix(".0") + "k"
    return f"{value:.3g}"


def _svg(figure: Figure, title: str, kind: str = "chart") -> str:
    """The drawing as an inline element: no ids but those it needs, coordinates to a tenth, colours and font the page's."""
    buffer = io.StringIO()
    salt = re.sub(r"\W+", "-", title.lower())[:60]
    with rc_context({"svg.hashsalt": salt}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = buffer.getvalue()
    box = re.search(r'viewBox="([^"]+)"', drawn)[1]
    body = drawn[drawn.index(">", drawn.index("<svg")) + 1 : drawn.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|<title>.*?</title>", "", body, flags=re.S)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r'(?<= [dxy]=")[^"]+|(?<=transform=")[^"]+', lambda m: re.sub(r"-?\d+\.\d+", _tenth, m[0]), body)
    body = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", body)
    body = re.sub(r"font: ((?:bold )?[\d.]+px) [^;\"]*", r"font: \g<1> var(--sans)", body)
    for name, stand_in in _COLOUR.items():
        body = body.replace(stand_in, f"var(--{name})")
    body = re.sub(r">\s+<", "><", body).replace("\n", " ").strip()
    told = escape(title)
    return f'<svg class="{kind}" viewBox="{box}" role="img" aria-label="{told}"><title>{told}</title>{body}</svg>'


def _tenth(number: re.Match) -> str:
    return f"{round(float(number[0]), 1) + 0.0:g}"  # adding zero takes the sign from -0.0


def legend(lines: Sequence[Line], kind: str = "number") -> list[dict[str, str]]:
    """What the page writes above a chart: {"label", "colour", "style", "last" (its value at the end)}."""
    return [
        {
            "label": line.label,
            "colour": line.colour,
            "style": line.style,
            "last": _last(line.mean[-1][1], kind) if line.points else "",
        }
        for line in lines
    ]


def _last(value: float, kind: str) -> str:
    if kind == "share":
        return f"{100 * value:.{1 if 0 < value < 0.0995 else 0}f}\u00a0%"
    return f"{value:.2f}" if 0.01 <= abs(value) < 10 else f"{value:,.0f}" if 10 <= abs(value) < 1000 else short(value)
