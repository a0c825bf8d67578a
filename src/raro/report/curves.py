"""Which curves of training the page shows, in which order, and the one sentence that says how to read each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import charts
from .charts import Line
from .reading import Record

Series = dict[str, list[tuple[int, float]]]
ROLES = (("policy", "policy"), ("critic", "critic"))


def panels(record: Record) -> list[dict[str, Any]]:
    """Groups of panels, [{"title", "panels": [{"title", "reading", "legend", "svg"}]}]; what was not measured is left out."""
    series = record.series("train") | record.series("warmstart")
    mark = gate_opened(series)
    groups = [
        ("The game", _game(series, record, mark)),
        ("What both roles write", _writing(series)),
        ("Learning", _learning(series, mark)),
    ]
    return [{"title": title, "panels": found} for title, some in groups if (found := [panel for panel in some if panel])]


def gate_opened(series: Series) -> tuple[float, str] | None:
    """Where the gate opened, where it was ever shut."""
    opened = series.get("game/gate_open", [])
    shut = [step for step, value in opened if value < 0.5]
    after = [step for step, value in opened if value >= 0.5]
    return (after[0], "gate opens") if shut and after else None


def _game(series: Series, record: Record, mark: tuple[float, str] | None) -> list[dict[str, Any] | None]:
    gate = record.config.get("raro", {}).get("gate") or 0
    shares = _lines(
        series,
        ("critic/expert", "expert", "critic"),
        ("critic/tie", "tie", "tie"),
        ("critic/malformed", "malformed", "malformed"),
        ("critic/policy", "policy", "policy"),
    )
    return [
        _panel(
            "Rewards",
            "A lasting gap means that one role has the upper hand; both flat means that neither learns.",
            _lines(series, *((f"{role}/reward", role, colour) for role, colour in ROLES)),
            mark=mark,
        ),
        _panel(
            "Whom the critic names",
            "Orange grows while the critic catches the policy, blue while the policy passes for the expert; ties alone are "
            "a stalemate.",
            shares,
            kind="stack",
            mark=mark,
        ),
        _panel(
            "Critic: fresh and older answers",
            "Decided verdicts that name the expert; 50 % is chance. A fall on fresh answers is the policy catching up; "
            "on older ones, the critic forgetting.",
            _lines(
                series,
                ("critic/accuracy", "fresh", "critic"),
                ("critic/accuracy_replay", "replayed", "other", "dashed"),
                ("game/gate_share", "smoothed", "soft", "dotted", "exact") if gate else (),
            ),
            kind="share",
            mark=mark,
            level=(gate, f"gate at {100 * gate:.0f}\u00a0%") if gate else None,
        ),
        _panel(
            "Critic: by position",
            "The two lines should run together. Far apart, the critic goes by the order in which answers are shown.",
            _lines(
                series,
                ("critic/accuracy_first", "expert shown first", "critic"),
                ("critic/accuracy_second", "shown second", "other", "dashed"),
            ),
            kind="share",
            mark=mark,
        ),
        _panel(
            "Critic's health",
            "Where the right verdict is known: experts' answers beside the same made worse should stay near 100 %, 50 % is "
            "chance; beside themselves only a tie is right.",
            _lines(
                series,
                ("health/accuracy", "experts made worse", "critic"),
                ("health/tie", "tie with itself", "tie", "dashed"),
            ),
            kind="share",
            mark=mark,
        ),
        _panel(
            f"Dev {record.measure[0]}",
            "On problems held out from training, for this curve only: it selects nothing. It should rise.",
            _lines(series, ("dev/greedy", "greedy", "other", "dashed"), ("dev/sampled", "sampled", "accent")),
            kind="share",
            mark=mark,
        ),
        _panel(
            "Reward of a tie",
            "What the critic earns by saying tie: its first value while the gate is shut, then up to its full value.",
            _lines(series, ("game/tau_crit", "critic", "critic", "exact")) if _varies(series.get("game/tau_crit", [])) else [],
            mark=mark,
        ),
    ]


def _writing(series: Series) -> list[dict[str, Any] | None]:
    return [
        _panel(
            "Length",
            "Mean tokens per rollout, thought included. Growth without accuracy is rambling; a collapse means that "
            "it stopped thinking.",
            _lines(series, *((f"{role}/tokens", role, colour) for role, colour in ROLES)),
        ),
        _panel(
            "Malformed and cut off",
            "Rollouts that could not be read, and those that ran out of budget. Both should stay near 0.",
            _lines(
                series,
                ("policy/malformed", "policy malformed", "policy"),
                ("policy/truncated", "cut off", "policy", "dashed"),
                ("critic/malformed", "critic malformed", "critic"),
                ("critic/truncated", "cut off", "critic", "dashed"),
            ),
            kind="share",
        ),
        _panel(
            "Groups without a signal",
            "Share of rollouts that teach nothing, as all of their group earned the same; all of the policy's while the gate "
            "is shut. Otherwise near 100 % means that the role has stopped learning.",
            _lines(series, *((f"{role}/zero_advantage", role, colour) for role, colour in ROLES)),
            kind="share",
        ),
        _panel(
            "Entropy",
            "Nats per token. A slow fall is a model making up its mind; a sudden one is collapse, a rise is noise.",
            _lines(series, *((f"{role}/entropy", role, colour) for role, colour in ROLES)),
        ),
        _panel(
            "Distance from the warm start",
            "KL per token. It grows as the model learns; a steep climb means that it is leaving what it knew.",
            _lines(series, *((f"{role}/kl", role, colour) for role, colour in ROLES)),
        ),
    ]


def _learning(series: Series, mark: tuple[float, str] | None) -> list[dict[str, Any] | None]:
    return [
        _panel(
            "Warm start loss",
            "Cross-entropy of the format lessons, before the game. It should fall and level off.",
            _lines(series, ("warmstart/loss", "loss", "other")),
        ),
        _panel("Learning rate", "As given to the optimiser.", _lines(series, ("learn/rate", "rate", "other", "exact"))),
        _panel(
            "Gradient norm",
            "Before clipping. Single spikes are clipped; a lasting rise comes before divergence.",
            _lines(series, ("learn/grad_norm", "norm", "other")),
        ),
        _panel(
            "Angle between the roles",
            "Cosine between both roles' gradients, on some samples of each. Near 0 they do not interfere; well below, "
            "one undoes what the other learns in the weights they share.",
            _lines(series, ("learn/role_cosine", "cosine", "accent")),
            mark=mark,
        ),
        _panel(
            "Speed",
            "Tokens per second. A slow decline follows longer rollouts; a sudden drop is the machine's.",
            _lines(
                series,
                ("engine/generate_tokens_per_second", "generating", "other"),
                ("learn/tokens_per_second", "learning", "accent", "dashed"),
            ),
        ),
        _panel("Seconds per step", "Rollouts of both roles and one update.", _lines(series, ("time/step", "seconds", "other"))),
    ]


def _lines(series: Series, *wanted: tuple) -> list[Line]:
    """Lines of (metric, label, colour[, style][, "exact"]); those never measured are left out."""
    found = []
    for metric, label, colour, *more in filter(None, wanted):
        if series.get(metric):
            style = next((word for word in more if word != "exact"), "solid")
            found.append(Line(label=label, points=series[metric], colour=colour, style=style, exact="exact" in more))
    return found


def _panel(
    title: str, how: str, lines: Sequence[Line], *, kind: str = "number", mark=None, level=None
) -> dict[str, Any] | None:
    if not lines:
        return None
    legend = charts.legend(lines, "number" if kind == "number" else "share")
    told = f"{title} over training steps, at the end: " + ", ".join(f"{entry['label']} {entry['last']}" for entry in legend)
    if kind == "stack":
        svg = charts.stacked(lines, title=told, mark=mark)
    else:
        svg = charts.curves(lines, title=told, kind=kind, mark=mark, level=level[0] if level else None)
    if level:
        legend.append({"label": level[1], "colour": "ink", "style": "thin", "last": ""})
    return {"title": title, "reading": how, "legend": legend, "svg": svg, "stack": kind == "stack"}


def _varies(points: Sequence[tuple[int, float]]) -> bool:
    return len({value for _, value in points}) > 1
