"""How every page is rendered: a template beside its package's code, escaped, and no name in it that nobody gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def rendered(package: str, template: str, content: Mapping[str, Any], filters: Mapping[str, Callable] | None = None) -> str:
    """The page as text. package: where the template lies, for example `raro.report`."""
    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(filters or {})
    return environment.get_template(template).render(content)
