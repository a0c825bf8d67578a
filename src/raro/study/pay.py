"""How much of what the policy is paid tells right from wrong, by the weights of finished runs.

    python -m raro.study.pay runs/study-countdown-mini/raro/seed-* --step 60 --set raro.judged=rollouts --set raro.ceiling=1

For benchmarks with a checker only. The policy answers dev questions, K rollouts each; the method pays them as in training, by
the same weights. Prints one JSON object per run: {"run", "step", "set", "questions", "rollouts", "right": share of answers that
are, "pay_right", "pay_wrong": mean pay, "share": of the pay's variance within a question that rightness explains (1: an exact
checker's pay; 0: a coin's), "low", "high": its 95 % interval over the questions}. --set: other settings than the run's own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..benchmarks.scoring import CHECKED, scorer
from ..config import Config, agreed, overridden, stored
from ..demonstrations import load_split
from ..errors import BadInput, RaroError
from ..learning import checkpoints
from ..learning.update import Learner
from ..methods import method_of
from ..methods.method import Answer, optimisation_of
from ..methods.raro import Raro
from ..methods.rewarded import Rewarded
from ..printing import enduring
from ..rollout.models import open_model
from ..steps.claim import CONFIG
from ..steps.harness import explained
from ..storage import read_json


def told(run: Path, settings: Sequence[str] = (), step: int | None = None, items: int = 400) -> dict[str, Any]:
    """What the module's first lines say, of one run. step: a snapshot's, the last one's by default."""
    from safetensors.torch import load_file

    config = stored(overridden(read_json(run / CONFIG), settings))
    if settings:
        agreed(config)
    if config.base.lora_rank or config.evaluation.benchmark not in CHECKED:
        raise BadInput(f"'{run}' has adapters, or no checker", "measure runs of whole weights on " + ", ".join(CHECKED))
    kind = method_of(config.method)
    if not issubclass(kind, (Raro, Rewarded)):
        raise BadInput("this method pays no answer", "measure RARO or a method with a reward")
    if issubclass(kind, Raro) and (config.raro.critic_model == "separate" or config.raro.control == "frozen"):
        raise BadInput(f"the critic of '{run}' is not among its snapshots", "measure runs of one model that plays both roles")
    kept = dict(checkpoints.snapshots(run / "checkpoints"))
    step = max(kept, default=None) if step is None else step
    if step not in kept:
        raise BadInput(f"'{run}' kept no weights of step {step}", f"name one of {sorted(kept)}")
    speaker = open_model(run / "train" / "model", config)
    engine = speaker.engine(config)
    engine.load(load_file(kept[step]))
    asked = load_split(run / "ingest", "dev")[:items]
    learner = Learner(speaker.model, None, optimisation_of(config), speaker.pad_id)
    game = kind(config, speaker, engine, learner, asked)
    answers = game.answer(range(len(asked)), step)
    score = scorer(asked, config)
    right = [float(a.text is not None and score(asked[a.item], a.text)) for a in answers]
    shape = (len(asked), config.raro.rollouts)
    pay = [0.0 if reward is None else reward for reward in paid(game, answers, step)]
    return {"run": f"{run.parent.name}/{run.name}", "step": step, "set": list(settings)} | explained_share(
        np.reshape(pay, shape), np.reshape(right, shape), config
    )


def paid(game: Raro | Rewarded, answers: Sequence[Answer], step: int) -> list[float | None]:
    """What the method pays each answer, as in a step of training in which its critic is asked about every one."""
    if isinstance(game, Rewarded):
        return game.earned(answers)
    asked = [pair for pair in game.pair(answers, step) if pair.rollout_id >= 0]
    return game.earned(answers, game.judge(asked, step), step)


def explained_share(pay: np.ndarray, right: np.ndarray, config: Config) -> dict[str, Any]:
    """pay, right: Q x K. The share is r squared of both, each less its question's mean."""
    centred = [values - values.mean(axis=1, keepdims=True) for values in (pay, right)]
    # a question's products: their sums over questions are all that r squared needs
    products = np.stack([(a * b).sum(axis=1) for a, b in ((centred[0], centred[0]), (centred[1], centred[1]), tuple(centred))])
    drawn = np.random.default_rng(config.seed).integers(0, len(pay), (config.evaluation.bootstrap, len(pay)))
    low, high = np.quantile([_share(products[:, some].sum(axis=1)) for some in drawn], (0.025, 0.975))
    mean = lambda chosen: float(pay[chosen].mean()) if chosen.any() else None  # noqa: E731
    return {
        "questions": len(pay),
        "rollouts": pay.shape[1],
        "right": float(right.mean()),
        "pay_right": mean(right == 1),
        "pay_wrong": mean(right == 0),
        "share": _share(products.sum(axis=1)),
        "low": float(low),
        "high": float(high),
    }


def _share(products: np.ndarray) -> float:
    """0 where nothing differs within a question."""
    of_pay, of_right, both = products
    return float(both**2 / (of_pay * of_right)) if of_pay > 0 and of_right > 0 else 0.0


@enduring()
def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m raro.study.pay", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--step", type=int, help="a snapshot's; the last by default")
    parser.add_argument("--items", type=int, default=400, help="dev questions")
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="as in raro run")
    args = parser.parse_args(arguments)
    try:
        for run in args.runs:
            print(json.dumps(told(run, args.set, args.step, args.items)), flush=True)
    except RaroError as error:
        print(explained(error), file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
