"""How every page is rendered: a template beside its package's code, escaped, and no name in it that nobody gave."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def rendered(package: str, template: str, content: Mapping[str, Any], filters: Mapping[str, Callable] | None = None) -> str:
    """The page as text. package: where the template lies, for example `raro.report`."""
    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"unbroken": unbroken, **(filters or {})}
    return environment.get_template(template).render(content)


def unbroken(text: str) -> str:
    """The text with figures and their percent signs on one line."""
    return re.sub(r"(?<=\d) %", "\u00a0%", text)


def embedded(data: Any) -> str:
    """JSON to stand in a page's <script>: nothing in it can end the script, whatever models and users wrote."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)
