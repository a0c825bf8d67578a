"""What all tests share: one thread per process, and a tiny real decoder that speaks the miniature's language."""

from __future__ import annotations

import os
import signal
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.pop("MLFLOW_TRACKING_URI", None)  # a developer's own server is not the tests' to write to

import pytest
from audited import golden, world  # noqa: F401
from component_run import before, whole_run  # noqa: F401
from hypothesis import settings

# A shell's background job ignores Ctrl-C, and whatever it starts would: tests that send one need it to arrive.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("no clock", deadline=None)  # no test asserts a time: machines are busy
settings.load_profile("no clock")


LONGEST = (
    "training", "pipeline", "guards", "guarding", "study", "variants", "trainjob", "spread", "exploit", "safety", "tracking",
)  # fmt: skip
"""Files whose tests really train: they go first, so that no worker is left with one of them when the others are done."""


def pytest_collection_modifyitems(items):
    places = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def tracking_address():
    """No test leaves MLflow an address: the next one of the same worker would speak to it."""
    yield
    mlflow = sys.modules.get("mlflow")
    assert mlflow is None or not mlflow.is_tracking_uri_set(), f"left behind: {mlflow.get_tracking_uri()}"


@pytest.fixture
def blank():
    """An untrained decoder of the miniature's shape with its tokenizer: a Speaker."""
    from raro.models.make_countdown_mini import blank_model, tokenizer
    from raro.rollout.models import Speaker

    words = tokenizer()
    model = blank_model(0, len(words))
    model.generation_config.eos_token_id = None
    return Speaker(model, words, (words.eos_token_id,), words.pad_token_id)
