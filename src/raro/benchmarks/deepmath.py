"""DeepMath and its kin: short mathematical answers, checked by math-verify in a process that may be killed.

What an answer says is found here, by plain rules that do not let it hedge: the one boxed formula, or the one formula between
dollars, or the whole of a short text. Two different boxed formulas say nothing. Equality of text is settled here too; only the
rest goes to the worker (`math_worker`), with limits of time and memory.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import re
import select
import subprocess
import sys
import threading
from functools import lru_cache

from ..errors import BadInput, ServiceFailed
from ..text import normalise

MAX_CHARS = 2000
"""Longer answers are wrong unread: the prompt asks for the final answer alone."""
MAX_DEPTH = 30
"""Deeper nested brackets are nobody's answer."""
SECONDS = 5.0
"""For one comparison; an honest one takes some milliseconds."""
STARTUP = 120.0
"""For the worker to import sympy, on a busy machine."""
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_SPANS = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_LEAD = re.compile(
    r"^(?:so |thus |therefore |hence )?(?:the )?(?:final )?(?:answer|result|solution|value)(?: is| =|:)+\s*:?\s*", re.I
)
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|operatorname)\s*\{([^{}]*)\}")
_TOWER = re.compile(
    r"(?:\*\*|\^)\s*\{?\(?\s*[0-9.]+\s*\)?\}?\s*(?:\*\*|\^)|(?:\*\*|\^)\s*\{?\(?\s*[0-9]{5,}|[0-9]{3,}\s*!|!\s*!"
)
_UNCLEAR = re.compile(
    r"\?|^\s*[<>]|\\(?:sum|prod|i*int|lim)(?![a-z])|[0-9]\s+[0-9]|\\infty\s*[-+*/^]|[0-9A-Za-z)}]\s*[-+*/]\s*\\infty"
)
"""What math-verify would read generously (two numbers as one, a question as an answer, a bound as a number, infinity less
infinity as nothing), or work out for as long as it takes (sums, products, integrals, limits): right only as it is written."""


def correct(expert: str, answer: str) -> bool:
    """Whether the answer is the expert's, as mathematics. Never raises for what an answer holds, never runs it."""
    said, wanted = final(answer), final(expert)
    if said is None or wanted is None:
        return False
    if _plain(said) == _plain(wanted):
        return True
    if not _formula(said) or not _formula(wanted):
        return False
    return _worker().equal(wanted, said)


def saying(answer: str) -> str:
    """One spelling for answers that are written alike but for their dress; the answer itself where it gives no formula."""
    return _plain(final(answer) or answer)


def final(text: str) -> str | None:
    """The formula that an answer gives as its own; None where it gives none, or more than one."""
    if len(text) > MAX_CHARS or _depth(text) > MAX_DEPTH or any(ord(c) < 32 and c not in "\n\t" for c in text):
        return None
    text = normalise(text)
    if boxed := [_braced(text, match.end()) for match in _BOXED.finditer(text)]:
        return boxed[0] if len({_plain(one or "") for one in boxed}) == 1 else None
    spans = [next(filter(None, groups)) for groups in _SPANS.findall(text)]
    if spans:
        return spans[0].strip() if len({_plain(one) for one in spans}) == 1 else None
    bare = _LEAD.sub("", text).strip().rstrip(".").strip()
    return bare or None


def _formula(text: str) -> bool:
    """Whether it can be given to sympy: no prose, and no power or factorial that would fill the memory."""
    bare = re.sub(r"\\[a-zA-Z]+", " ", _TEXT.sub(" ", text))
    prose = [word for word in re.findall(r"[A-Za-z]{3,}", bare) if word.lower() not in _FUNCTIONS]
    return bool(
        text.isascii() and len(prose) <= 1 and not _TOWER.search(text) and not _UNCLEAR.search(text) and "," * 64 not in text
    )


_FUNCTIONS = frozenset(
    [
        *("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"),
        *("log", "exp", "sqrt", "max", "min", "gcd", "lcm", "det", "mod", "inf", "sup", "lim", "infty"),
    ]
)


def _plain(text: str) -> str:
    """Text by which equal writing is known: no blanks, no sizes, no \\text, no case of words."""
    bare = _TEXT.sub(r"\1", text)
    bare = re.sub(r"\\(?:left|right|displaystyle|,|;|!|:|quad|qquad)(?![a-zA-Z])", "", bare).replace("\\dfrac", "\\frac")
    bare = re.sub(r"(?<=[0-9])\s+(?=[0-9])", "_", bare)
    bare = re.sub(r"\s+", "", bare.replace("\\tfrac", "\\frac").replace("$", "")).rstrip(".")
    return bare.casefold() if bare.isalpha() and len(bare) > 1 else bare


def _depth(text: str) -> int:
    deepest = depth = 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _braced(text: str, start: int) -> str | None:
    """What stands from `start` to the brace that closes it; None where none does."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[start:place].strip()
    return None


class Worker:
    """A `math_worker` process, begun again whenever one had to be killed. One question at a time."""

    def __init__(self, seconds: float = SECONDS):
        self.seconds = seconds
        self.killed = 0
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()
        atexit.register(self.close)

    def equal(self, expert: str, answer: str) -> bool:
        """What math-verify says; False where it said nothing in time, or died of it."""
        with self._lock:
            process = self._process if self._process and self._process.poll() is None else self._start()
            try:
                asked = {"expert": expert, "answer": answer, "seconds": self.seconds}
                process.stdin.write(json.dumps(asked) + "\n")
                process.stdin.flush()
            except OSError:
                return self._give_up()
            reply = self._line(process, self.seconds)
            return bool(reply["correct"]) if reply else self._give_up()

    def _start(self) -> subprocess.Popen:
        command = [sys.executable, "-m", "raro.benchmarks.math_worker"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, text=True, start_new_session=True, **pipes)
        if self._line(self._process, STARTUP) != {"ready": True}:
            self.close()
            raise ServiceFailed("the checker of mathematics did not start", "python -m raro.benchmarks.math_worker says why")
        return self._process

    def _line(self, process: subprocess.Popen, seconds: float) -> dict | None:
        """The process's next line; None where none comes in time, or it ended. It writes whole lines."""
        if not select.select([process.stdout], [], [], seconds)[0]:
            return None
        line = process.stdout.readline()
        return json.loads(line) if line else None

    def _give_up(self) -> bool:
        self.killed += 1
        self.close()
        return False

    def close(self) -> None:
        """Kills the process, where there is one."""
        if self._process:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):  # what was still to be written
                    pipe.close()
            self._process = None


@lru_cache(maxsize=1)
def _worker() -> Worker:
    check_installed()
    return Worker()


def check_installed() -> None:
    """Raises BadInput where math-verify is not installed."""
    from importlib.util import find_spec

    if find_spec("math_verify") is None:
        raise BadInput("the benchmark deepmath needs math-verify", "pip install 'raro-pipelines[evaluation]'")
