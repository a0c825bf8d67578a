"""`raro bench`: speed of the engine and the learner, beside their peers, in one run and as ratios.

Machines are noisy: each round times every contender once, one after another, and the figure is the median of the rounds'
ratios. The last line is one JSON object.
"""

from __future__ import annotations

import json
import platform
import resource
import statistics
import time
from collections.abc import Callable

from .config import Config

Contender = Callable[[], int]
"""Does the work once and returns how many tokens it wrote or trained on."""


def main(config: Config, rounds: int = 5, compare: bool = False) -> dict:
    """Runs the benchmark on the configuration's base and prints a table; returns what the last line holds.

    compare: also transformers' `generate`, and training on padded rows of random order.
    """
    import torch
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    generation, training = _contenders(config, compare)
    figures: dict[str, list[float]] = {}
    for contenders in (generation, training):
        for name, work in contenders.items():
            work()  # warm-up
            figures[name] = []
        for _ in track(range(rounds), f"timing {', '.join(contenders)}"):
            for name, work in contenders.items():
                started = time.perf_counter()
                figures[name].append(work() / (time.perf_counter() - started))
    table = Table("what", "tokens/s, median", "least", "most", "beside the first, median")
    result: dict = {
        "rounds": rounds,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__,
    }
    for contenders in (generation, training):
        first = next(iter(contenders))
        for name in contenders:
            ratio = statistics.median(a / b for a, b in zip(figures[first], figures[name], strict=True))
            result[name] = {
                "tokens_per_second": round(statistics.median(figures[name])),
                "first_is_times_faster": round(ratio, 2),
            }
            shown = "" if name == first else f"{first} is {ratio:.2f} x as fast"
            table.add_row(
                name,
                f"{statistics.median(figures[name]):,.0f}",
                f"{min(figures[name]):,.0f}",
                f"{max(figures[name]):,.0f}",
                shown,
            )
    result["peak_memory_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    console = Console()
    console.print(table)
    print(json.dumps(result))
    return result


def _contenders(config: Config, compare: bool) -> tuple[dict[str, Contender], dict[str, Contender]]:
    """256 sequences of the policy's own questions to generate; what was generated, to train on."""
    import dataclasses
    import random

    import torch

    from .benchmarks.countdown import problems
    from .benchmarks.measure import measure
    from .benchmarks.scoring import countdown_score
    from .learning.losses import on_policy
    from .learning.update import Learner, Optimisation, Stream
    from .records import Demonstration, Sample, Sampling
    from .roles import asking
    from .rollout.models import open_model
    from .rollout.plain import PlainEngine
    from .rollout.slots import SlotEngine
    from .storage import fetch

    speaker = open_model(fetch(config.base.uri), config)
    known = [problem for found in problems(15).values() for problem in found]
    asked = random.Random(config.seed).sample(known, 32)
    prompts = [asking.policy(speaker, p.question, config, "policy", i) for i, p in enumerate(asked)]
    sampling = Sampling(1.0, config.rollout.policy_tokens, config.seed, 0)
    engine = SlotEngine(speaker.model, speaker.end_ids, speaker.pad_id, 256)
    written = engine.generate(prompts, 8, sampling)
    samples = [
        Sample(p.ids, c.ids, (), 1.0 if i % 2 else -1.0, 1.0, "policy")
        for p, group in zip(prompts, written, strict=True)
        for i, c in enumerate(group)
    ]

    def count(groups: list) -> int:
        return sum(len(c.ids) for group in groups for c in group)

    own = dataclasses.replace(config, rollout=dataclasses.replace(config.rollout, engine="slots", slots=256))
    items = [Demonstration(question=p.question, answer="", source="", licence="", group="") for p in asked]

    def evaluate() -> int:
        """The same questions as an evaluation asks them: prompts made, answers read and checked, everything counted."""
        return measure(speaker, items, own, 1.0, 8, score=countdown_score).tokens

    def generate() -> int:
        """As anyone would call it: left-padded, do_sample, no keyed noise. Tokens after a row's end are not counted."""
        longest = max(len(p.ids) for p in prompts)
        rows = [p.ids for p in prompts for _ in range(8)]
        ids = torch.tensor([[speaker.pad_id] * (longest - len(r)) + list(r) for r in rows])
        mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in rows])
        with torch.inference_mode():
            out = speaker.model.generate(
                input_ids=ids, attention_mask=mask, do_sample=True, top_k=0, top_p=1.0, temperature=1.0,
                max_new_tokens=sampling.max_new_tokens, eos_token_id=list(speaker.end_ids), pad_token_id=speaker.pad_id,
            )[:, longest:]  # fmt: skip
        ended = torch.isin(out, torch.tensor(speaker.end_ids)).int()
        return int((ended.cumsum(1) - ended == 0).sum())

    def trainer(layout: str) -> Contender:
        settings = Optimisation(learning_rate=0.0, batch_tokens=config.resources.batch_tokens, layout=layout)
        learner = Learner(speaker.model, None, settings, speaker.pad_id)
        return lambda: int(learner.update(samples, {"policy": Stream()}, on_policy, 0.0)["tokens"])

    generation: dict[str, Contender] = {
        "slot engine": lambda: count(engine.generate(prompts, 8, sampling)),
        "evaluation": evaluate,
    }
    training: dict[str, Contender] = {f"train, {layout}": trainer(layout) for layout in ("shared", "rows", "packed")}
    if compare:
        twin = PlainEngine(speaker.model, speaker.end_ids, speaker.pad_id, 256)
        generation["transformers generate"] = generate
        generation["generate, keyed noise (the twin)"] = lambda: count(twin.generate(prompts, 8, sampling))
    return generation, training
