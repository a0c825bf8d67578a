"""`raro chat`: a registered model answers on this machine; of several answers its own critic chooses one.

The critic has learned to tell an expert's answer from a policy's, so between two answers it names the one that looks more like
an expert's. The answers meet in the tournament that the run's own configuration states (benchmarks/tournament.py).

Nothing of what is asked and answered is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..benchmarks import tournament
from ..config import Config, stored
from ..demonstrations.shown import WHOLE, Shown
from ..errors import BadInput, GateRefused, printable
from ..records import Sampling
from ..registry.audit import audited
from ..registry.desk import Desk
from ..roles import asking
from ..rollout.engine import Engine
from ..rollout.models import Speaker, open_model

MOST = 64


def answers_to(
    speaker: Speaker, engine: Engine, config: Config, question: str, n: int, temperature: float
) -> list[tuple[str, str]]:
    """n pairs (thought, answer), fewer where some could not be read."""
    prompt = asking.policy(speaker, question, config, "chat", 0)
    sampling = Sampling(temperature, config.rollout.policy_tokens, config.seed, 0)
    (written,) = engine.generate([prompt], n, sampling)
    return [read for completion in written if (read := speaker.read(completion))]


def main(
    desk: Desk,
    standing_at: str,
    asked: Sequence[str] | None,
    best_of: int,
    show_thoughts: bool,
    temperature: float | None,
) -> int:
    """Audits the version, opens it and answers until there are no more questions. Raises BadInput, GateRefused."""
    if not 1 <= best_of <= MOST:
        raise BadInput(f"--best-of {best_of} is out of bounds", f"write 1 to {MOST}")
    if temperature is not None and not 0 <= temperature <= 10:
        raise BadInput(f"--temperature {temperature:g} is out of bounds", "write 0 to 10")
    with audited(desk, standing_at) as made:
        if not made.whole:
            raise GateRefused(f"{made.reference} does not answer: {made.breaks[0]}", "raro audit verify tells more")
        config = stored(made.found["config"])
        speaker, shown = _opened(Path(made.found["path"]), config), Shown.to_its_asker(config)
        engine = speaker.engine(config)
        heat = config.rollout.temperature if temperature is None and best_of > 1 else temperature or 0.0
        print(
            f"{desk.model} version {made.number}, verified" + (f"; best of {best_of}" if best_of > 1 else ""), file=sys.stderr
        )
        for question in _questions(asked):
            found = answers_to(speaker, engine, config, question, best_of, heat)
            if not found:
                print("(no answer: what it wrote could not be read)")
                continue
            chosen = 0
            if len(found) > 1:
                (best,) = tournament.best_of(speaker, [question], [[answer for _, answer in found]], config)
                chosen = best.chosen or 0
            if show_thoughts:
                print(f"({_plain(shown(found[chosen][0].strip(), WHOLE))})")
            print(_plain(shown(found[chosen][1], WHOLE)), flush=True)
    return 0


def _plain(text: str) -> str:
    """A model's text with escapes for what a terminal would obey: it writes what it was taught."""
    return "\n".join(map(printable, text.split("\n")))


def _opened(path: Path, config: Config) -> Speaker:
    return open_model(path, replace(config, resources=replace(config.resources, device="auto")))


def _questions(asked: Iterable[str] | None) -> Iterator[str]:
    """Raises BadInput for one that is not text in UTF-8, which no tokenizer takes."""
    try:
        for question in asked or _typed():
            question.encode()
            yield question
    except UnicodeError:
        raise BadInput("a question is not text in UTF-8", "convert it first: iconv -f LATIN1 -t UTF-8") from None


def _typed() -> Iterator[str]:
    prompt = sys.stdin.isatty()
    while True:
        if prompt:
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()
