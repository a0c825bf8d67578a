"""An evaluation spends its time in the engine: `pytest -s -m check tests/test_evaluation_speed.py` prints the shares."""

from __future__ import annotations

import statistics
import time

import pytest

from raro.benchmarks.measure import measure
from raro.benchmarks.scoring import scorer
from raro.config import load
from raro.demonstrations import collect, load_split, sources
from raro.records import Sampling
from raro.roles import asking
from raro.rollout.models import open_model
from raro.storage import fetch


@pytest.mark.check
@pytest.mark.parametrize(("way", "samples"), [("greedy", 1), ("sampled", 4)])
def test_evaluation_writes_at_least_80_percent_of_the_engines_tokens_per_second(way, samples, tmp_path):
    """The worst case: a model so small that all else weighs. Processor seconds, in turns: a busy machine does not count."""
    config = load("countdown-mini", ["resources.threads=1"])
    collect(config.demonstrations, sources(config.demonstrations.source), tmp_path)
    items = load_split(tmp_path, "test")[:200]
    speaker, temperature = open_model(fetch(config.base.uri), config), config.rollout.temperature * (way == "sampled")
    asked = [asking.policy(speaker, item.question, config, "evaluation", i) for i, item in enumerate(items)]
    sampling, score = Sampling(temperature, config.rollout.policy_tokens, config.seed, 0), scorer(items, config)

    def raw() -> int:
        """The engine alone, on prompts that are made already."""
        return sum(len(one.ids) for group in speaker.engine(config).generate(asked, samples, sampling) for one in group)

    def whole() -> int:
        return measure(speaker, items, config, temperature, samples, score=score).tokens

    assert raw() == whole()  # the same tokens; and both are warm
    shares = []
    for turn in range(6):
        spent = {}
        for work in (raw, whole) if turn % 2 else (whole, raw):  # who comes first may find a colder cache
            started = time.process_time()
            work()
            spent[work] = time.process_time() - started
        shares.append(spent[raw] / spent[whole])
    print(f"{way}: median {statistics.median(shares):.2f} of {sorted(round(share, 2) for share in shares)}")
    assert statistics.median(shares) >= 0.8
