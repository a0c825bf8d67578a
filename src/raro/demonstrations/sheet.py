"""The data card for people: data.json as data-card.md and data-card.html, with samples where they may be shown.

Both are drawn from the same sections, so that neither says more than the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ..records import Demonstration
from ..storage import write_atomic
from .screens import REASONS
from .shapes import LEFT_OUT
from .splits import SPLITS

MARKDOWN, HTML = "data-card.md", "data-card.html"
LONGEST = 600  # characters of a sample's question or answer that are shown
MOST = 50  # files, licences and settings that are listed; data.json has them all

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
  --line:#d8dee6;color:#1c2430;background:#fff;overflow-wrap:anywhere}
@media (prefers-color-scheme:dark){body{--line:#343b42;color:#e9ebee;background:#14171a}}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
th,td{text-align:start;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
td,blockquote{unicode-bidi:plaintext}
th,.number{overflow-wrap:normal}.number{text-align:right;font-variant-numeric:tabular-nums}
blockquote{white-space:pre-wrap;margin:.2rem 0}
@media (max-width:40rem){th,td{padding:.3rem .3rem}}
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, a sentence, and a table, each of which may be empty."""

    title: str
    text: str = ""
    head: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()


def write(folder: Path, content: Mapping[str, Any], samples: Sequence[Demonstration], title: str) -> None:
    """Writes both files. content: of data.json. samples: empty where no text may be shown."""
    drawn = sections(content, samples)
    write_atomic(folder / MARKDOWN, markdown(title, drawn))
    write_atomic(folder / HTML, html(title, drawn))


def sections(content: Mapping[str, Any], samples: Sequence[Demonstration]) -> list[Section]:
    """What the card says, in order; parts that were not asked for are left away."""
    rows, left = content["rows"], sum(content["left_out"].values())
    counted = f"{rows:,} rows were read: {content['kept']:,} became demonstrations, {content['quarantined']:,} are quarantined"
    found = [
        Section(
            "Rows", f"{counted}, {left:,} were not asked for.", ("split", "demonstrations"), _counts(content["splits"], SPLITS)
        ),
        Section("Lengths", "In characters.", ("part", "mean", "median", "95 %", "longest"), _lengths(content)),
        Section("Licences", "", ("licence", "demonstrations"), _counts(content["licences"])),
    ]
    if content["reasons"]:
        told = [(reason, count, REASONS[reason]) for reason, count in _counts(content["reasons"])]
        found.append(Section("Quarantined", "Each row and why: quarantine.jsonl.", ("reason", "rows", "what helps"), told))
    if left:
        told = [(reason, count, LEFT_OUT[reason]) for reason, count in _counts(content["left_out"])]
        found.append(Section("Not asked for", "", ("reason", "rows", "meaning"), told))
    if asked := content["settings"].get("personal_data"):
        told = [(kind, action, content["personal_data"].get(kind, 0)) for kind, action in asked.items()]
        line = (
            "Found by patterns and check digits; names in running text are not found. Places in demonstrations that were kept."
        )
        found.append(Section("Personal data", line, ("kind", "action", "places"), told))
    if content["benchmarks"]:
        told = [(one["benchmark"], one["rows"], one["same_words"], one["alike"]) for one in content["benchmarks"]]
        head = ("benchmark", "its questions", "refused: same words", "refused: alike")
        found.append(Section("Benchmarks kept out", "", head, told))
    if content.get("drift"):
        told = [(name, value) for name, value in content["drift"]["figures"].items()]
        found.append(Section("Drift", f"Against {content['drift']['against']}.", ("figure", "value"), told))
    files = [(one["uri"], one["size"], one.get("version", ""), one["sha256"]) for one in content["sources"][:MOST]]
    found.append(Section("Files", _more(len(content["sources"])), ("file", "bytes", "version", "sha256"), files))
    if unread := content.get("unread"):
        line = "They are beside the files read: of another format, or .json among other formats."
        found.append(Section("Files not read", _more(len(unread)) or line, ("file",), [(uri,) for uri in unread[:MOST]]))
    told = sorted(content["versions"].items())
    found.append(Section("Made with", f"Digest of all rows kept: {content['digest']}", ("what", "version"), told))
    shown = [(one.question[:LONGEST], one.answer[:LONGEST], one.attribution or one.source) for one in samples]
    line = "" if shown else "No text is shown (privacy.show_text)."
    found.append(Section("Samples", line, ("question", "answer", "from") if shown else (), shown))
    return found


def _counts(counts: Mapping[str, int], order: Sequence[str] = ()) -> list[tuple[str, int]]:
    """By the order given, else the largest first."""
    if order:
        return [(name, counts[name]) for name in order]
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:MOST]


def _lengths(content: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return [(part, *(of[key] for key in ("mean", "median", "p95", "longest"))) for part, of in content["lengths"].items()]


def _more(count: int) -> str:
    return f"The first {MOST} of {count:,}; data.json has all." if count > MOST else ""


def markdown(title: str, drawn: Sequence[Section]) -> str:
    """The card as Markdown. Text of demonstrations is escaped: it must not become a heading or a link."""
    lines = [f"# Data card: {marked(title)}", ""]
    for section in drawn:
        lines += [f"## {section.title}", "", *([section.text, ""] if section.text else [])]
        if section.rows:
            lines += [_row(section.head), _row(["---"] * len(section.head))]
            lines += [_row([marked(_shown(cell)) for cell in row]) for row in section.rows]
            lines.append("")
    return "\n".join(lines)


def html(title: str, drawn: Sequence[Section]) -> str:
    """The card as one HTML page that loads nothing."""
    parts = []
    for section in drawn:
        parts.append(f"<h2>{escape(section.title)}</h2>" + (f"<p>{escape(section.text)}</p>" if section.text else ""))
        if section.rows:
            head = "".join(map(_head, section.head, section.rows[0]))
            body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in section.rows)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    heading = escape(f"Data card: {title}")
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    screen = (
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
    )
    head = f'<meta charset="utf-8">{policy}{screen}<title>{heading}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body><h1>{heading}</h1>{"".join(parts)}</body></html>\n'


def _head(name: str, below: Any) -> str:
    """A column's name, over its numbers at the right."""
    return f'<th class="number">{escape(name)}</th>' if _is_number(below) else f"<th>{escape(name)}</th>"


def _cell(value: Any) -> str:
    if _is_number(value):
        return f'<td class="number">{_shown(value)}</td>'
    return f"<td><blockquote>{escape(value)}</blockquote></td>" if "\n" in value else f"<td>{escape(value)}</td>"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _shown(value: Any) -> str:
    return f"{value:,}" if _is_number(value) else str(value)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def marked(text: str) -> str:
    """Text as Markdown shows it unchanged, on one line of a table."""
    escaped = "".join(f"\\{sign}" if sign in "\\`*_[]|#!" else sign for sign in text)
    return escape(escaped, quote=False).replace("\n", "<br>")
