"""`raro chat`: a registered model answers on this machine; of several answers its own critic chooses one.

The critic has learned to tell an expert's answer from a policy's, so between two answers it names the one that looks more like
an expert's. `knockout` plays the answers against each other, both orders of every pair; another chooser of the same signature
can take its place.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..config import Config, parse
from ..errors import BadInput, GateRefused
from ..game.prompts import critic_messages, policy_messages
from ..game.verdicts import read_verdict
from ..records import Pair, Sampling
from ..registry.audit import audited
from ..registry.desk import Desk
from ..rollout.engine import Engine
from ..rollout.models import Speaker

Preference = Callable[[str, list[tuple[str, str]]], list[int]]
"""(question, pairs of answers) -> for each pair 0 or 1, the better one."""
Chooser = Callable[[str, Sequence[str], Preference], int]
"""(question, answers, preference) -> the chosen answer's place."""
MOST = 64


def knockout(question: str, answers: Sequence[str], prefers: Preference) -> int:
    """Rounds of pairs until one is left; equal answers stand as one, the most frequent first."""
    counted = Counter(answers)
    standing = [answers.index(answer) for answer, _ in counted.most_common()]
    while len(standing) > 1:
        pairs = list(zip(standing[::2], standing[1::2], strict=False))
        won = prefers(question, [(answers[first], answers[second]) for first, second in pairs])
        odd = standing[2 * len(pairs) :]
        standing = [pair[winner] for pair, winner in zip(pairs, won, strict=True)] + odd
    return standing[0]


def critic_of(speaker: Speaker, engine: Engine, config: Config) -> Preference:
    """What the model's own critic prefers: each pair is shown in both orders, and a tie goes to the first."""

    def prefers(question: str, pairs: list[tuple[str, str]]) -> list[int]:
        shown = [
            Pair(question, first, second, expert_first, 0, at)
            for at, (first, second) in enumerate(pairs)
            for expert_first in (True, False)
        ]
        asked = [speaker.prompt(critic_messages(pair, config.prompts.critic), "judging", i) for i, pair in enumerate(shown)]
        written = engine.generate(asked, 1, Sampling(0.0, config.rollout.critic_tokens, config.seed, 0))
        points = [0] * len(pairs)
        for pair, (completion,) in zip(shown, written, strict=True):
            said = read_verdict(speaker.text(completion.ids), completion.finish == "stop")
            if said in ("first", "second"):
                points[pair.rollout_id] += 1 if (said == "first") == pair.expert_first else -1
        return [1 if point < 0 else 0 for point in points]

    return prefers


def answers_to(
    speaker: Speaker, engine: Engine, config: Config, question: str, n: int, temperature: float
) -> list[tuple[str, str]]:
    """n pairs (thought, answer), fewer where some could not be read."""
    prompt = speaker.prompt(policy_messages(question, config.prompts.policy), "chat", 0)
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
    chooser: Chooser = knockout,
) -> int:
    """Audits the version, opens it and answers until there are no more questions. Raises BadInput, GateRefused."""
    if not 1 <= best_of <= MOST:
        raise BadInput(f"--best-of {best_of} is out of bounds", f"write 1 to {MOST}")
    if temperature is not None and not 0 <= temperature <= 10:
        raise BadInput(f"--temperature {temperature:g} is out of bounds", "write 0 to 10")
    with audited(desk, standing_at) as made:
        if not made.whole:
            raise GateRefused(f"{made.reference} does not answer: {made.breaks[0]}", "raro audit verify tells more")
        config = parse(made.found["config"])
        speaker = _opened(Path(made.found["path"]), config)
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
                chosen = chooser(question, [answer for _, answer in found], critic_of(speaker, engine, config))
            if show_thoughts:
                print(f"({found[chosen][0].strip()})")
            print(found[chosen][1], flush=True)
    return 0


def _opened(path: Path, config: Config) -> Speaker:
    from ..rollout.models import open_model

    return open_model(path, replace(config, resources=replace(config.resources, device="auto")))


def _questions(asked: Iterable[str] | None) -> Iterator[str]:
    if asked:
        yield from asked
        return
    prompt = sys.stdin.isatty()
    while True:
        if prompt:
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()
