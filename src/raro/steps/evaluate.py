"""Evaluation on the test split, read once: every arm greedy and sampled, with intervals, and paired with the candidate."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Config
from ..registry.bases import base_folder
from ..storage import write_json
from . import incumbent
from .harness import Step

UNTRAINED = ("base", "warmstart")
"""Arms that think whatever the run's method is."""

if TYPE_CHECKING:
    from ..benchmarks.measure import Measured
    from ..records import Demonstration
    from .evidence import Evidence

    Items = Sequence[Demonstration]
    Results = dict[str, dict[str, Measured]]
    """By arm, by way (greedy, sampled)."""


def run(config: Config, run: Path) -> dict:
    """From the models of the run (and the champion, where there is one) to STEP/evaluation.json and STEP/items.jsonl."""
    champion = cache(lambda: incumbent.found(config, run))  # asked within the step: what is wrong with it is the step's failure
    with Step("evaluate", config, run, given=lambda: incumbent.given(champion(), config, run)) as step:
        if step.skipped:
            return step.outputs
        from ..benchmarks.strata import labels
        from ..demonstrations import load_split
        from .evidence import Evidence

        started = time.perf_counter()
        data = step.input("ingest")
        items = load_split(data, "test")[: config.evaluation.max_items]
        folders = _folders(config, run, step, champion())
        evidence = Evidence(items, data, config)
        strata = labels(items, config)  # before hours of answers: it reads the experts' files, which may have changed
        results = _answered(items, folders, evidence, config, data, step)
        report = _compared(results, items, strata, config)
        report["critic"] = _critics(results["candidate"]["sampled"], items, folders, config, step)
        report |= _exploitability(results["candidate"]["sampled"], items, folders, config, step)
        report |= _tournament(items, folders["candidate"], config, step)
        report |= evidence.report(folders, step.events.progress)
        judged, verdicts = _judged(results, items, config, step)
        report |= judged | _rubrics(evidence, judged, config, step)
        report["seconds"] = time.perf_counter() - started
        write_json(step.folder / "evaluation.json", report)
        _write_items(step.folder / "items.jsonl", results, items, strata, verdicts, config)
        step.outputs |= {way: report[way]["candidate"][0] for way in _ways(config)}
        return step.outputs


def _folders(config: Config, run: Path, step: Step, champion: incumbent.Champion | None) -> dict[str, Path]:
    """Every arm's model. The champion comes first: one that cannot be used is not to be found after hours of answers."""
    return ({"champion": champion.path} if champion else {}) | {
        "base": base_folder(config, run),
        "warmstart": step.input("warmstart") / "model",
        "candidate": step.input("train") / "model",
    }


def _ways(config: Config) -> dict[str, tuple[float, int]]:
    """(temperature, samples) of each way to answer."""
    return {"greedy": (0.0, 1), "sampled": (config.rollout.temperature, config.evaluation.samples)}


def _answered(items: Items, folders: dict[str, Path], evidence: Evidence, config: Config, data: Path, step: Step) -> Results:
    """Every arm's answers to all items, scored; what can only be asked of an open model goes to the evidence."""
    from ..benchmarks.measure import measure
    from ..benchmarks.scoring import scorer

    ways, score = _ways(config), scorer(items, config)
    total = (len(folders) + bool(config.evaluation.sft_steps)) * len(items) * sum(n for _, n in ways.values())
    step.events.start(total, f"{len(items)} test problems")
    results: Results = {}
    behind = 0
    for arm, speaker, thinking in _arms(folders, config, data, step):
        results[arm] = {}
        for way, (temperature, samples) in ways.items():
            tick = partial(_tick, step, behind, total, f"{arm}, {way}")
            results[arm][way] = measure(speaker, items, config, temperature, samples, thinking, tick, score)
            behind += len(items) * samples
        evidence.take(arm, speaker, results[arm]["greedy"], thinking)
    return results


def _compared(results: Results, items: Items, strata: Mapping[str, list[str]], config: Config) -> dict[str, Any]:
    """What evaluation.json holds of the arms' scores."""
    from ..benchmarks.comparison import by_stratum, compared
    from ..benchmarks.scoring import CHECKED

    settings = config.evaluation
    scored = compared(results, settings.benchmark in CHECKED, config.gate.min_gain, settings.bootstrap, config.seed)
    return {
        "benchmark": settings.benchmark,
        "n": len(items),
        "samples": settings.samples,
        **scored,
        "strata": by_stratum(results, strata, settings.bootstrap, config.seed),
        "well_formed": {arm: found["sampled"].well_formed for arm, found in results.items()},
        "tokens": {arm: sum(one.tokens for one in found.values()) for arm, found in results.items()},
    }


def _write_items(
    path: Path,
    results: Results,
    items: Items,
    strata: Mapping[str, list[str]],
    verdicts: Mapping[str, Mapping[int, float]],
    config: Config,
) -> None:
    """One line an item: its texts as they may be shown, and every arm's scores. verdicts: the judge's, by arm, by place."""
    from ..demonstrations.shown import Shown

    shown = Shown.of(config)
    with path.open("w", encoding="utf-8") as file:
        for i, item in enumerate(items):
            row: dict = {way: {arm: found[way].scores[i] for arm, found in results.items()} for way in _ways(config)}
            if verdicts:
                row["judge"] = {arm: found.get(i) for arm, found in verdicts.items()}
            row["strata"] = {name: given[i] for name, given in strata.items()}
            answers = {arm: found["greedy"].answers[i] for arm, found in results.items()}
            texts = {"question": item.question, "expert": item.answer, "answers": answers}
            (row,) = shown.rows([texts | row], texts)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _arms(folders: dict[str, Path], config: Config, data: Path, step: Step) -> Iterator[tuple]:
    """(arm, its speaker, whether it thinks), one model in memory at a time. The SFT rival is trained here, from the base."""
    from ..demonstrations import load_split
    from ..methods import method_of
    from ..methods.sft import answer_examples, supervise
    from ..rollout.models import open_model

    for arm, folder in folders.items():
        speaker = incumbent.opened(folder, config) if arm == "champion" else open_model(folder, config)
        yield arm, speaker, arm in UNTRAINED or method_of(config.method).thinks
    if config.evaluation.sft_steps:
        speaker = open_model(folders["base"], config)
        examples = answer_examples(speaker, load_split(data, "train"), config)

        def tick(done: int, steps: int, figures: dict[str, float]) -> None:
            step.events.progress(done, steps, "training the SFT rival")

        batch = config.raro.questions * config.raro.rollouts
        supervise(speaker, examples, config, config.evaluation.sft_steps, batch, config.evaluation.sft_learning_rate, tick)
        yield "sft", speaker, False


def _critics(own: Measured, items: Items, folders: dict[str, Path], config: Config, step: Step) -> dict[str, dict]:
    """What the critics of warm start and candidate, where its run trained one, say of the candidate's errors, its sampled
    answers that the benchmark's checker finds wrong, beside the experts'. Empty where nothing can say what an error is, or
    there is none."""
    from ..benchmarks.scoring import CHECKED
    from ..roles.judging import accuracy, verdicts
    from ..rollout.models import open_model
    from .evidence import critics_of

    if config.evaluation.benchmark not in CHECKED:
        return {}
    wrong = [(item, answer) for item, answer, score in zip(items, own.answers, own.first, strict=True) if answer and not score]
    wrong = wrong[: config.evaluation.critic_items]
    if not wrong:
        return {}
    found, temperature = {}, config.rollout.judging_temperature
    asked, answers = [item for item, _ in wrong], [answer for _, answer in wrong]
    judges = critics_of(folders, config)
    for done, (arm, folder) in enumerate(judges.items()):
        step.events.progress(done, len(judges), "the critics, on the candidate's errors")
        speaker = open_model(folder, config)
        engine = speaker.engine(config)
        said = [verdicts(speaker, engine, asked, answers, config, t) for t in (0.0, temperature)]
        found[arm] = accuracy(said[1]) | {"greedy_accuracy": accuracy(said[0])["accuracy"]}
    return found


def _exploitability(own: Measured, items: Items, folders: dict[str, Path], config: Config, step: Step) -> dict:
    """{"exploitability": what a critic trained afresh tells of the candidate's sampled answers (methods/exploit.py)}. Empty
    where the settings ask for none, or the method's model judges nothing."""
    from ..methods import method_of
    from ..methods.exploit import exploitability
    from ..rollout.models import open_model

    if not (config.probes.exploit_steps and method_of(config.method).thinks):
        return {}
    warm, candidate = (partial(open_model, folders[arm], config) for arm in ("warmstart", "candidate"))

    def tick(done: int, steps: int) -> None:
        step.events.progress(done, steps, "a critic trained afresh, against the candidate")

    return {"exploitability": exploitability(warm, candidate, items, own.answers, config, tick)}


def _tournament(items: Items, folder: Path, config: Config, step: Step) -> dict:
    """{"tournament": what the candidate's critic makes of several of its answers, against the same tokens spent otherwise}.
    Empty where the settings ask for none, or the method's model does not judge and think."""
    from ..benchmarks.scaling import compare
    from ..methods import method_of
    from ..rollout.models import open_model

    if not config.evaluation.tournament or not method_of(config.method).thinks:
        return {}
    step.events.progress(0, 1, "the critic's tournament")
    items = items[: config.evaluation.tournament_items]
    tick = partial(_tick, step, 0, len(items), "the tournament's rivals")
    n = config.evaluation.tournament
    fewer = [2**power for power in range(n.bit_length()) if 2**power < n]
    found = compare(open_model(folder, config), items, config, n, progress=tick, fewer=fewer)
    return {"tournament": {key: value for key, value in found.items() if key not in ("per_item", "spent")}}


def _judged(results: Results, items: Items, config: Config, step: Step) -> tuple[dict, dict]:
    """({"judge": what it says of every arm's greedy answers}, each judged item's score by arm); both empty without a judge."""
    if config.judge.kind == "none":
        return {}, {}
    from ..benchmarks.judge import judged

    report, scores = judged(items, {arm: found["greedy"].answers for arm, found in results.items()}, config, _seldom(step))
    if report["status"] != "used":
        step.events.note(f"the judge's figures cannot be used: {report['why']}", "warning")
    return {"judge": report}, scores


def _rubrics(evidence: Evidence, judged: dict, config: Config, step: Step) -> dict:
    """{"rubrics": the arms' scores by the criteria of evaluation.rubrics}; no figures of a judge that is not believed."""
    if not evidence.cases:
        return {}
    from ..benchmarks.judge import ticked

    judge = judged.get("judge", {"status": "refused", "why": "there is no judge"})
    if judge["status"] != "used":
        return {"rubrics": {"status": "refused", "why": judge["why"]}}
    before = judge["spent"]["read"] + judge["spent"]["written"]
    found = ticked(evidence.cases, evidence.to_cases, config, _seldom(step), before)
    if found["status"] != "used":
        step.events.note(f"the rubrics' figures cannot be used: {found['why']}", "warning")
    return {"rubrics": found}


def _seldom(step: Step) -> Callable[[str, int, int], None]:
    """Tells a judge's progress in twenty lines: an event a reply would drown the others."""

    def tick(text: str, done: int, of: int) -> None:
        if done == of or done % max(1, of // 20) == 0:
            step.events.progress(done, of, text)

    return tick


def _tick(step: Step, before: int, total: int, text: str, done: int, of: int) -> None:
    step.events.progress(before + done, total, text)
