"""The charts of a study's page as one picture, for where no page can stand: the dots of the test split above the curves of dev.

    python -m raro.study.picture results/study-countdown-mini

writes results/study-countdown-mini.png from the page beside it, by the Chromium that is installed here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

WIDTH, BESIDE, ARM = 1160, 560, 35
"""Pixels: of the picture's width, and of its height for all but the dots and for each arm's dot."""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_STYLE = (
    "main { padding: 20px 24px; } main > h3 { margin: 18px 0 0; } main > h3:first-child { margin: 0; } "
    ".two { margin-top: 10px; }"
)


def charts_alone(html: str) -> str:
    """The page with nothing but its two rows of charts, each with its heading, in the light."""
    head = html[: html.index("</style>")].replace("(prefers-color-scheme: dark)", "not all")
    measure = re.search(r"<h2>(.*) on the test split</h2>", html)[1]
    titles = {
        "accuracy": f"Test {measure.lower()} by arm, %: mean over the seeds, 95 % interval",
        "progress": f"On the way there: dev {measure.lower()} by thousands of rollout tokens, %",
    }
    rows = []
    for section, title in titles.items():
        if f'<section id="{section}">' in html:
            told = html[html.index(f'<section id="{section}">') :]
            figures = re.findall(r"<figure>.*?</figure>", told[: told.index("</section>")], re.S)
            rows.append(f'<h3>{title}</h3><div class="two">{"".join(figures)}</div>')
    return f"{head}{_STYLE}</style></head><body><main>{''.join(rows)}</main></body></html>"


def write(target: Path, browser: str) -> Path:
    """Writes TARGET.png from TARGET.html, and returns its path."""
    picture = target.with_name(f"{target.name}.png").resolve()
    alone = charts_alone(target.with_name(f"{target.name}.html").read_text(encoding="utf-8"))
    arms = re.search(r'aria-label="[^"]*"', alone)[0].count(";") + 1
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(alone, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/browser"]
        shot = [f"--window-size={WIDTH},{BESIDE + ARM * arms}", f"--screenshot={picture}", page.as_uri()]
        subprocess.run([browser, *options, *shot], check=True, capture_output=True, timeout=120)
    return picture


def main(arguments: Sequence[str]) -> int:
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if len(arguments) != 1 or not Path(f"{arguments[0]}.html").is_file() or not browser:
        what = "no Chromium is installed here" if not browser else "no page was named, or it does not exist"
        print(f"raro: {what}\n  remedy: python -m raro.study.picture results/study-countdown-mini", file=sys.stderr)
        return 2
    write(Path(arguments[0]), browser)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
