"""An evaluation spends its time in the engine: `pytest -s -m check tests/test_evaluation_speed.py` prints the shares."""

from __future__ import annotations

import statistics
import time

import pytest

from raro.benchmarks import asking
from raro.benchmarks.measure import measure, scorer
from raro.config import load
from raro.demonstrations import collect, load_split, sources
from raro.records import Sampling
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
    shares = []
    for _ in range(4):  # the first warms up
        started = time.process_time()
        written = speaker.engine(config).generate(asked, samples, sampling)
        raw = time.process_time() - started
        found = measure(speaker, items, config, temperature, samples, score=score)
        shares.append(raw / (time.process_time() - started - raw))
        assert found.tokens == sum(len(completion.ids) for group in written for completion in group)
    print(f"{way}: {[round(share, 2) for share in shares[1:]]}")
    assert statistics.median(shares[1:]) >= 0.8
