"""Judged pairs chosen for a person to read: from all of training, with every kind of outcome among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .charts import short
from .reading import Record

PER_PERIOD = 20
PERIODS = ("early", "middle", "late")
LONGEST = 1600  # characters of one text; of a longer one the middle is left out


def pairs(record: Record) -> list[dict[str, Any]]:
    """Judged pairs to read, from early, middle and late steps, every kind of outcome among them."""
    rows = [row for row in record.pairs if isinstance(row.get("step"), int)]
    if not rows:
        return []
    last = max([row["step"] for row in rows] + [1])
    chosen = []
    for number, period in enumerate(PERIODS):
        inside = [row for row in rows if min(2, 3 * row["step"] // (last + 1)) == number]
        chosen += [_pair(row, period) for row in _mixed(inside, PER_PERIOD)]
    return chosen


def _mixed(rows: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """At most `most` rows, the rare outcomes first to be kept, spread over the steps; in the order of the steps."""
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.get("outcome", ""), []).append(i)
    kept: list[int] = []
    for number, group in enumerate(sorted(groups.values(), key=len)):
        share = (most - len(kept)) // (len(groups) - number)
        kept += group if len(group) <= share else [group[i * len(group) // share] for i in range(share)]
    return [rows[i] for i in sorted(kept)]


def _pair(row: Mapping[str, Any], period: str) -> dict[str, Any]:
    named = {
        "expert": "caught: named the expert's",
        "policy": "fooled: named the policy's",
        "tie": "could not tell",
        "malformed": "no readable verdict",
    }
    reward = row.get("policy_reward")
    texts = {key: cut(row.get(key)) for key in ("question", "expert", "policy", "policy_thought", "critic_thought")}
    return texts | {
        "step": row["step"],
        "period": period,
        "first": "expert" if row.get("expert_first") else "policy",
        "verdict": row.get("verdict", ""),
        "outcome": row.get("outcome", ""),
        "told": named.get(row.get("outcome", ""), ""),
        "reward": "not judged" if reward is None else short(reward),
        "age": row.get("age", 0),
    }


def cut(text: Any, most: int = LONGEST) -> str:
    """The text, or its head and tail where it is longer than `most` characters."""
    text = "" if text is None else str(text)
    if len(text) <= most:
        return text
    head, tail = text[: most * 2 // 3], text[-(most // 3) :]
    return f"{head}\n[… {len(text) - len(head) - len(tail):,} characters left out …]\n{tail}"
