"""Charts as inline SVG: drawn by matplotlib, coloured by the page.

Every colour is a CSS variable, so that one drawing serves light, dark and print; text stays text, in the page's font.
Legends stand outside, in HTML, where they cannot cover a line. Nothing here reads a file or decides what is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from .reading import signed as signed_points
from .series import Points, smoothed, thinned
from .svg import COLOUR, STYLE, inline

Unit = Literal["percent", "points", "plain"]
WIDTH, HEIGHT, NARROW = 360, 178, 380
LARGE, ENDS = (440, 240), 92
"""Of a chart whose lines are named at their ends, and the margin for the names, in SVG units."""
_DOTS = {"markersize": 4.5, "markeredgewidth": 0, "clip_on": False}
_SHAPES = {"solid": "o", "dashed": "s", "dotted": "^"}
_DASHES = {"solid": "-", "dashed": (0, (4, 2)), "dotted": (0, (1, 1.6))}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart. colour: of svg.NAMES. exact: nothing is smoothed. strong: drawn thicker, above the others. spread:
    (x, low, high), intervals to be drawn."""

    label: str
    points: Points
    colour: str
    style: str = "solid"
    exact: bool = False
    strong: bool = False
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
    x_label: str = "",
    top: float = 0.0,
    ends: bool = False,
) -> str:
    """Lines over training steps: each value faint, their moving mean strong.

    kind: `share` (drawn in percent, 0 to 100 or less) or `number`. mark: (step, what happened there). level: a value to compare
    with. x_label: what is counted to the right, with its unit. top: a share that the axis must reach, so that charts side by
    side have one scale. ends: each line is named at its end too, in a larger chart.
    """
    with rc_context(STYLE):
        width, height = LARGE if ends else (WIDTH, HEIGHT)
        margins = {"right": ENDS if ends else 12, "top": 20 if mark else 9, "bottom": 36 if x_label else 22}
        figure, axes = _figure(width, height, **margins)
        for line in lines:
            over = {"zorder": 3 if line.strong else 2}
            ink = {"color": COLOUR[line.colour], "linestyle": _DASHES[line.style], "solid_capstyle": "round", **over}
            points, mean = thinned(line.points), thinned(line.mean)
            if len(points) > 12 and len(lines) < 4 and not line.exact:
                axes.plot(*_axes(points), color=COLOUR[line.colour], linewidth=0.7, alpha=0.28)
            dots = {"marker": _SHAPES[line.style], **_DOTS} if len(points) <= 12 else {}
            axes.plot(*_axes(mean), linewidth=3.0 if line.strong else 1.9, **ink, **dots)
            for x, low, high in line.spread:
                axes.plot([x, x], [low, high], color=COLOUR[line.colour], linewidth=3.2, alpha=0.35, clip_on=False)
        if level is not None:
            axes.axhline(level, color=COLOUR["ink"], linewidth=0.9, zorder=1.5)
        if kind == "share":
            _share_axis(axes, lines, max(level or 0.0, top))
        else:
            _number_axis(axes)
        _steps_axis(axes, [point for line in lines for point in line.points])
        axes.set_xlabel(x_label, labelpad=3, fontsize=10)
        if mark:
            _note_mark(axes, *mark)
        if ends:
            _name_ends(axes, lines, height - margins["top"] - margins["bottom"])
        return inline(figure, title)


def stacked(parts: Sequence[Line], *, title: str, mark: tuple[float, str] | None = None) -> str:
    """Shares of one whole over training steps, the first part at the bottom; smoothed, always 0 to 100 %."""
    with rc_context(STYLE):
        figure, axes = _figure(WIDTH, HEIGHT, top=20 if mark else 9)
        steps = sorted({step for part in parts for step, _ in part.points})
        tables = [dict(part.points) for part in parts]
        rows = [thinned(smoothed([(step, table.get(step, 0.0)) for step in steps])) for table in tables]
        whole = [sum(values) or 1.0 for values in zip(*([v for _, v in row] for row in rows), strict=True)]
        heights = [[v / w for (_, v), w in zip(row, whole, strict=True)] for row in rows]
        colours = [COLOUR[part.colour] for part in parts]
        axes.stackplot([s for s, _ in rows[0]], *heights, colors=colours, linewidth=0.6, edgecolor=COLOUR["paper"])
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.5, 1])
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0, " %"))
        axes.grid(visible=False)
        _steps_axis(axes, [(step, 0.0) for step in steps])
        if mark:
            _note_mark(axes, *mark, inverse=True)
        return inline(figure, title)


def intervals(
    rows: Sequence[tuple[str, float, float, float, str]], *, title: str, limits: tuple[float, float], unit: Unit = "percent"
) -> str:
    """Dots with their 95 % intervals, one row each, the value written beside it.

    rows: (label, mean, low, high, colour), shares; `soft` recedes, any other colour stands out. limits: of the axis, so that
    charts side by side share it. unit: shares in percent, their differences in points, or numbers as they are.
    """
    with rc_context(STYLE):
        height = 30 + 27 * len(rows)
        left = 14 + 6.4 * max(len(label) for label, *_ in rows)
        figure, axes = _figure(NARROW, height, left=left, right=58, top=6, bottom=24)
        for y, (_, mean, low, high, tone) in enumerate(rows):
            colour, counts = COLOUR[tone], tone != "soft"
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
                color=COLOUR["ink"],
                weight="bold" if counts and unit != "points" else "normal",
                annotation_clip=False,
            )
        axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
        for label, row in zip(axes.get_yticklabels(), rows, strict=True):
            label.set_color(COLOUR["ink"])
            label.set_fontweight("bold" if row[4] != "soft" and unit != "points" else "normal")
        axes.set_ylim(len(rows) - 0.45, -0.55)
        axes.set_xlim(*limits)
        if unit != "percent":
            axes.axvline(0, color=COLOUR["ink"], linewidth=0.9, zorder=1)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.spines["bottom"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        form, scale = {"percent": ("{:.0f} %", 100), "points": ("{:+.0f}", 100), "plain": ("{:+g}", 1)}[unit]
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: "0" if abs(v) < 1e-9 else form.format(scale * v)))
        return inline(figure, title, "chart intervals")


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


def _share_axis(axes: Axes, lines: Sequence[Line], least: float) -> None:
    """From 0 to a round number of percent above everything drawn."""
    drawn = [line.points for line in lines] + [[(x, high) for x, _, high in line.spread] for line in lines]
    highest = max([value for points in drawn for _, value in points] + [least, 0.01])
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
    """A vertical line, its words above the drawing, where no curve is."""
    low, high = axes.get_xlim()
    place = (step - low) / (high - low)
    axes.axvline(step, color=COLOUR["paper" if inverse else "ink"], linewidth=1.1, linestyle=_DASHES["dashed"])
    axes.annotate(
        text,
        (step, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 4),
        textcoords="offset points",
        ha="left" if place < 0.2 else "right" if place > 0.8 else "center",
        color=COLOUR["ink"],
        size=10,
    )


def _name_ends(axes: Axes, lines: Sequence[Line], height: float, gap: float = 12.5) -> None:
    """Each line's name in the right margin, at the height of its end, or as near to it as the other names leave room; a thin
    line leads there. height: of the axes, in SVG units."""
    low, high = axes.get_ylim()
    placed = sorted((line for line in lines if line.points), key=lambda line: line.mean[-1][1])
    at = [height * (line.mean[-1][1] - low) / (high - low) for line in placed]
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + gap)
    for i in reversed(range(len(at))):
        at[i] = min(at[i], at[i + 1] - gap if i + 1 < len(at) else height)
    for line, y in zip(placed, at, strict=True):
        end, edge = line.mean[-1], (1 + 8 / (axes.bbox.width * 72 / axes.figure.dpi), y / height)
        lead = {"arrowstyle": "-", "color": COLOUR[line.colour], "linewidth": 0.7, "alpha": 0.6, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", end, xytext=edge, textcoords="axes fraction", arrowprops=lead, annotation_clip=False)
        weight = "bold" if line.strong else "normal"
        told = {"color": COLOUR[line.colour], "weight": weight, "size": 10, "va": "center", "annotation_clip": False}
        axes.annotate(line.label, edge, xycoords="axes fraction", xytext=(3, 0), textcoords="offset points", **told)


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


def legend(lines: Sequence[Line], kind: str = "number") -> list[dict[str, str]]:
    """What the page writes above a chart: {"label", "colour", "style" (CSS classes), "last" (its value at the end)}."""
    return [
        {
            "label": line.label,
            "colour": line.colour,
            "style": f"{line.style} strong" if line.strong else line.style,
            "last": _last(line.mean[-1][1], kind) if line.points else "",
        }
        for line in lines
    ]


def _last(value: float, kind: str) -> str:
    if kind == "share":
        return f"{100 * value:.{1 if 0 < value < 0.0995 else 0}f}\u00a0%"
    return f"{value:.2f}" if 0.01 <= abs(value) < 10 else f"{value:,.0f}" if 10 <= abs(value) < 1000 else short(value)
