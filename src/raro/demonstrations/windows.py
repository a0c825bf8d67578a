"""A window of a long text around the answers that stand in it: contracts of a hundred pages fit no prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence

_BREAK = re.compile(r"\n\s*|(?<=[.;:!?])\s+")


def windowed(context: str, texts: Sequence[str], starts: Sequence[int], size: int) -> tuple[str, str] | None:
    """(the part of the context that is shown, the answer), or None where an answer does not stand where its start says.

    The window is `size` characters long, or as long as the first answer, which lies in its middle; it is cut at a line or a
    sentence where one ends in its outer fifths. Further answers that lie in it and do not overlap an earlier one (annotators
    repeat each other) follow on lines of their own.
    """
    spans = sorted(
        {(start, start + len(text)) for start, text in zip(starts, texts, strict=True) if _stands(context, start, text)}
    )
    if len({(start, text) for start, text in zip(starts, texts, strict=True)}) != len(spans) or not spans:
        return None
    first = (starts[0], starts[0] + len(texts[0]))
    margin = max(0, size - (first[1] - first[0])) // 2
    low, high = max(0, first[0] - margin), min(len(context), first[1] + margin)
    low = _cut(context, low, min(first[0], low + size // 5), first_break=True) if low else 0
    high = _cut(context, max(first[1], high - size // 5), high, first_break=False) if high < len(context) else high
    chosen = [first]
    for span in spans:
        if low <= span[0] and span[1] <= high and all(span[1] <= start or span[0] >= end for start, end in chosen):
            chosen.append(span)
    return context[low:high].strip(), "\n".join(context[start:end].strip() for start, end in sorted(chosen))


def _stands(context: str, start: int, text: str) -> bool:
    if not isinstance(text, str) or not isinstance(start, int) or isinstance(start, bool) or start < 0 or not text.strip():
        return False
    return context[start : start + len(text)] == text


def _cut(context: str, low: int, high: int, first_break: bool) -> int:
    """A place between low and high after which a line or a sentence begins: the first such or the last; else the outer end."""
    ends = [match.end() for match in _BREAK.finditer(context, low, high)]
    if not ends:
        return low if first_break else high
    return ends[0] if first_break else ends[-1]
