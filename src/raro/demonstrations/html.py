"""HTML of posts as plain text: code keeps its lines between fences, mathematics its signs, lists and quotes their marks."""

from __future__ import annotations

from typing import Any

from ..errors import BadInput

_BLOCKS = {"p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "dl", "blockquote", "hr", "section", "article"}
_LINES = {"br", "tr", "dt", "dd"}
_SILENT = {"script", "style", "template", "head", "noscript", "iframe", "object"}
DEEPEST = 20  # quotes and lists within each other that are shown as such; deeper ones only cost time
_MARKS = {"sup": "^", "sub": "_"}


def as_text(html: str) -> str:
    """The text of an HTML fragment. Links keep their words, images their description; TeX between dollars passes unchanged.

    `pre` becomes lines between ``` fences, `code` stands between backticks, a list's points begin with `-` or their number, a
    quote's lines with `>`. Scripts and styles are left away. Raises BadInput where selectolax is not installed.
    """
    if "<" not in html and "&" not in html:
        return html
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ImportError:
        raise BadInput("posts in HTML need selectolax", "pip install 'raro-pipelines[formats]'") from None
    body = LexborHTMLParser(html).body
    return "" if body is None else _written(body)


class _Sheet:
    """Text under construction: asked for an empty line or a new one, it writes what is still missing."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.pending = 0  # line feeds due before the next text
        self.code = 0  # open `pre`s: blanks count
        self.lists: list[int] = []  # for each open list the next number, 0 for points

    def apart(self, lines: int) -> None:
        self.pending = max(self.pending, lines)

    def write(self, text: str) -> None:
        if text:
            if self.parts:
                self.parts.append("\n" * self.pending)
            self.pending = 0
            self.parts.append(text)


def _written(body: Any) -> str:
    """Walks the tree with a stack of its own: HTML may be nested deeper than Python's calls."""
    sheet, node, within = _Sheet(), body.first_child, []
    quotes: list[_Sheet] = []
    while True:
        while node is not None:
            tag = node.tag
            if tag == "-text":
                _said(node.text_content or "", sheet)
            elif tag not in _SILENT and not tag.startswith("-"):
                sheet = _opened(node, tag, sheet, quotes)
                within.append((node, tag))
                node = node.first_child
                continue
            node = node.next
        if not within:
            return "".join(sheet.parts).strip()
        node, tag = within.pop()
        sheet = _closed(tag, sheet, quotes)
        node = node.next


def _said(text: str, sheet: _Sheet) -> None:
    if sheet.code:
        sheet.write(text)
    elif not text.isspace():
        sheet.write(text.replace("\n", " "))
    elif sheet.parts and not sheet.pending:
        sheet.write(" ")


def _opened(node: Any, tag: str, sheet: _Sheet, quotes: list[_Sheet]) -> _Sheet:
    if tag == "pre":
        sheet.apart(2)
        sheet.write("```\n")
        sheet.code += 1
    elif tag == "code" and not sheet.code:
        sheet.write("`")
    elif tag in _MARKS:
        sheet.write(_MARKS[tag])
    elif tag == "img":
        sheet.write(f"[image: {node.attributes.get('alt') or 'no description'}]")
    elif tag == "li":
        sheet.apart(1)
        number = sheet.lists[-1] if sheet.lists else 0
        sheet.write("  " * min(len(sheet.lists) - 1, DEEPEST) + (f"{number}. " if number else "- "))
        if number:
            sheet.lists[-1] += 1
    elif tag in _LINES:
        sheet.apart(1)
    elif tag in _BLOCKS and not (sheet.parts and sheet.parts[-1].endswith((". ", "- ")) and sheet.lists):
        sheet.apart(1 if tag in ("ul", "ol") and sheet.lists else 2)
    if tag in ("ul", "ol"):
        sheet.lists.append(1 if tag == "ol" else 0)
    if tag == "blockquote":
        quotes.append(sheet)
        return _Sheet() if len(quotes) <= DEEPEST else sheet
    return sheet


def _closed(tag: str, sheet: _Sheet, quotes: list[_Sheet]) -> _Sheet:
    if tag == "pre":
        if sheet.parts and not sheet.parts[-1].endswith("\n"):
            sheet.write("\n")
        sheet.write("```")
        sheet.code -= 1
        sheet.apart(2)
    elif tag == "code" and not sheet.code:
        sheet.write("`")
    elif tag in ("ul", "ol"):
        sheet.lists.pop()
        sheet.apart(1 if sheet.lists else 2)
    elif tag in ("td", "th"):
        sheet.write(" ")
    elif tag in _LINES or tag == "li":
        sheet.apart(1)
    elif tag == "blockquote":
        outer = quotes.pop()
        if outer is sheet:
            return sheet
        outer.write("\n".join(f"> {line}".rstrip() for line in "".join(sheet.parts).strip().split("\n")))
        outer.apart(2)
        return outer
    elif tag in _BLOCKS:
        sheet.apart(2)
    return sheet
