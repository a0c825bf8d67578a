"""What matplotlib draws, as an element of the page: inline SVG whose colours and font are the page's own."""

from __future__ import annotations

import io
import re
from html import escape

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

NAMES = ("ink", "soft", "grid", "policy", "critic", "tie", "malformed", "other", "accent", "bad", "paper")
COLOUR = {name: f"#0a0b{i:02x}" for i, name in enumerate(NAMES, 16)}  # stand-ins, replaced by var(--name)
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "raro",
    "font.size": 11,
    "axes.edgecolor": COLOUR["grid"],
    "grid.color": COLOUR["grid"],
    "grid.linewidth": 0.7,
    "axes.labelcolor": COLOUR["soft"],
    "xtick.color": COLOUR["soft"],
    "ytick.color": COLOUR["soft"],
    "text.color": COLOUR["ink"],
    "path.simplify_threshold": 0.3,
}


def inline(figure: Figure, title: str, kind: str = "chart") -> str:
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
    for name, stand_in in COLOUR.items():
        body = body.replace(stand_in, f"var(--{name})")
    body = re.sub(r">\s+<", "><", body).replace("\n", " ").strip()
    told = escape(title)
    return f'<svg class="{kind}" viewBox="{box}" role="img" aria-label="{told}"><title>{told}</title>{body}</svg>'


def _tenth(number: re.Match) -> str:
    return f"{round(float(number[0]), 1) + 0.0:g}"  # adding zero takes the sign from -0.0
