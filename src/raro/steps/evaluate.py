"""Evaluation on the test split, read once: every arm greedy and sampled, with intervals, and paired with the candidate."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config
from ..errors import BadInput, GateRefused, RaroError, ServiceFailed
from ..registry.bases import base_folder
from ..storage import MANIFEST, first_line, read_json
from ..tracking import server
from .harness import Step

UNTRAINED = ("base", "warmstart")
"""Arms that think whatever the run's method is."""

if TYPE_CHECKING:
    from ..benchmarks.measure import Measured
    from ..registry.models import Champion
    from ..rollout.models import Speaker
    from .evidence import Evidence


def run(config: Config, run: Path) -> dict:
    """From the models of the run (and the champion, where there is one) to STEP/evaluation.json and STEP/items.jsonl."""
    champion = cache(lambda: _champion(config, run))  # asked within the step: what is wrong with it is the step's failure
    with Step("evaluate", config, run, given=lambda: _given(champion(), run)) as step:
        if step.skipped:
            return step.outputs
        from ..benchmarks.comparison import by_stratum, compared
        from ..benchmarks.measure import CHECKED, measure, scorer
        from ..benchmarks.strata import labels
        from ..demonstrations import load_split
        from ..demonstrations.shown import Shown
        from .evidence import Evidence

        started, shown = time.perf_counter(), Shown.of(config)
        data = step.input("ingest")
        items = load_split(data, "test")[: config.evaluation.max_items]
        if not items:
            raise BadInput("the test split holds no problem: nothing can be measured", "raise demonstrations.test_share")
        folders = {
            "base": base_folder(config, run),
            "warmstart": step.input("warmstart") / "model",
            "candidate": step.input("train") / "model",
        }
        if previous := champion():
            folders["champion"] = previous.path
        ways = {"greedy": (0.0, 1), "sampled": (config.rollout.temperature, config.evaluation.samples)}
        total = (len(folders) + bool(config.evaluation.sft_steps)) * len(items) * sum(n for _, n in ways.values())
        step.events.start(total, f"{len(items)} test problems")
        score = scorer(items, config)
        results: dict[str, dict[str, Measured]] = {}
        behind = 0
        evidence = Evidence(items, data, config)
        for arm, speaker, thinking in _arms(folders, config, data, step):
            results[arm] = {}
            for way, (temperature, samples) in ways.items():
                tick = partial(_tick, step, behind, total, f"{arm}, {way}")
                results[arm][way] = measure(speaker, items, config, temperature, samples, thinking, tick, score)
                behind += len(items) * samples
            evidence.take(arm, speaker, results[arm]["greedy"], thinking)
        resamples, seed = config.evaluation.bootstrap, config.seed
        report: dict = {"benchmark": config.evaluation.benchmark, "n": len(items), "samples": config.evaluation.samples}
        checked = config.evaluation.benchmark in CHECKED
        report |= compared(results, checked, config.gate.min_gain, resamples, seed)
        strata = labels(items, config)
        report["strata"] = by_stratum(results, strata, resamples, seed)
        report["well_formed"] = {arm: found["sampled"].well_formed for arm, found in results.items()}
        report["tokens"] = {arm: sum(m.tokens for m in found.values()) for arm, found in results.items()}
        report["critic"] = _critics(results["candidate"]["sampled"], items, folders, config, step)
        if config.evaluation.tournament:
            report["tournament"] = _tournament(items, folders["candidate"], config, step)
        report |= evidence.report(folders, step.events.progress)
        judged, verdicts = _judged(results, items, config, step)
        report |= judged | _rubrics(evidence, judged, config, step)
        report["seconds"] = time.perf_counter() - started
        (step.folder / "evaluation.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
        with (step.folder / "items.jsonl").open("w", encoding="utf-8") as file:
            for i, item in enumerate(items):
                row: dict = {way: {arm: found[way].scores[i] for arm, found in results.items()} for way in ways}
                if verdicts:
                    row["judge"] = {arm: found.get(i) for arm, found in verdicts.items()}
                row["strata"] = {name: given[i] for name, given in strata.items()}
                answers = {arm: found["greedy"].answers[i] for arm, found in results.items()}
                texts = {"question": item.question, "expert": item.answer, "answers": answers}
                (row,) = shown.rows([texts | row], texts)
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        step.outputs |= {way: report[way]["candidate"][0] for way in ways}
        return step.outputs


def _arms(folders: dict[str, Path], config: Config, data: Path, step: Step) -> Iterator[tuple]:
    """(arm, its speaker, whether it thinks), one model in memory at a time. The SFT rival is trained here, from the base."""
    from ..demonstrations import load_split
    from ..methods import method_of
    from ..methods.sft import answer_examples, supervise
    from ..rollout.models import open_model

    for arm, folder in folders.items():
        speaker = _champion_model(folder, config) if arm == "champion" else open_model(folder, config)
        yield arm, speaker, arm in UNTRAINED or method_of(config.method).thinks
    if config.evaluation.sft_steps:
        speaker = open_model(folders["base"], config)
        examples = answer_examples(speaker, load_split(data, "train"), config)

        def tick(done: int, steps: int, figures: dict[str, float]) -> None:
            step.events.progress(done, steps, "training the SFT rival")

        batch = config.raro.questions * config.raro.rollouts
        supervise(speaker, examples, config, config.evaluation.sft_steps, batch, config.evaluation.sft_learning_rate, tick)
        yield "sft", speaker, False


def _champion_model(folder: Path, config: Config) -> Speaker:
    """The champion's model. Raises GateRefused where it does not load, whatever the reason."""
    from ..rollout.models import open_model

    with _usable(config):
        return open_model(folder, config)


@contextmanager
def _usable(config: Config) -> Iterator[None]:
    """A candidate that was not compared with the champion must not take its place: what cannot be used ends the step, with
    GateRefused. An outage stays one, worth retrying."""
    try:
        yield
    except ServiceFailed:
        raise
    except Exception as error:
        told, remedy = (error.line, error.remedy) if isinstance(error, RaroError) else (first_line(error), "")
        line = f"the champion of '{config.registry.model}' cannot be used: {told}"
        move = "move the alias `champion` to a version that loads, or delete it"
        raise GateRefused(line, f"{remedy}, or {move}" if remedy else move) from error


def _critics(own: Measured, items: list, folders: dict[str, Path], config: Config, step: Step) -> dict[str, dict]:
    """What the critics of warm start and candidate say of the candidate's errors, its sampled answers that the benchmark's
    checker finds wrong, beside the experts'. Empty where nothing can say what an error is, or there is none."""
    from ..benchmarks.judging import accuracy, verdicts
    from ..benchmarks.measure import CHECKED
    from ..rollout.models import open_model

    if config.evaluation.benchmark not in CHECKED:
        return {}
    wrong = [(item, answer) for item, answer, score in zip(items, own.answers, own.first, strict=True) if answer and not score]
    wrong = wrong[: config.evaluation.critic_items]
    if not wrong:
        return {}
    found, temperature = {}, config.rollout.critic_temperature or config.rollout.temperature
    asked, answers = [item for item, _ in wrong], [answer for _, answer in wrong]
    for done, arm in enumerate(("warmstart", "candidate")):
        step.events.progress(done, 2, "the critics, on the candidate's errors")
        speaker = open_model(folders[arm], config)
        engine = speaker.engine(config)
        said = [verdicts(speaker, engine, asked, answers, config, t) for t in (0.0, temperature)]
        found[arm] = accuracy(said[1]) | {"greedy_accuracy": accuracy(said[0])["accuracy"]}
    return found


def _tournament(items: list, folder: Path, config: Config, step: Step) -> dict:
    """What the candidate's critic makes of several of its answers, against the same tokens spent otherwise. Only for a method
    whose model judges and thinks."""
    from ..benchmarks.scaling import compare
    from ..methods import method_of
    from ..rollout.models import open_model

    if not method_of(config.method).thinks:
        return {}
    step.events.progress(0, 1, "the critic's tournament")
    items = items[: config.evaluation.tournament_items]
    tick = partial(_tick, step, 0, len(items), "the tournament's rivals")
    found = compare(open_model(folder, config), items, config, config.evaluation.tournament, progress=tick)
    return {key: value for key, value in found.items() if key not in ("per_item", "spent")}


def _judged(results: dict[str, dict[str, Measured]], items: list, config: Config, step: Step) -> tuple[dict, dict]:
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
    return {"rubrics": ticked(evidence.cases, evidence.to_cases, config, _seldom(step))}


def _seldom(step: Step) -> Callable[[str, int, int], None]:
    """Tells a judge's progress in twenty lines: an event a reply would drown the others."""

    def tick(text: str, done: int, of: int) -> None:
        if done == of or done % max(1, of // 20) == 0:
            step.events.progress(done, of, text)

    return tick


def _tick(step: Step, before: int, total: int, text: str, done: int, of: int) -> None:
    step.events.progress(before + done, total, text)


def _champion(config: Config, run: Path) -> Champion | None:
    """The champion that the candidate must beat; None where there is none, or no tracking store to ask. A run that is started
    again after it registered its own candidate does not meet itself."""
    if not server.installed():
        return None
    from ..registry.models import champion

    with _usable(config):
        found = champion(config, run)
    registered = run / "register" / "registration.json"
    own = found and registered.exists() and read_json(registered)["root"] == found.root
    return None if own else found


def _given(previous: Champion | None, run: Path) -> dict[str, str]:
    """Another champion makes the step run again, but not the run's own candidate having become it."""
    before = run / "evaluate" / MANIFEST
    if previous is None and before.exists() and (run / "register" / MANIFEST).exists():
        return read_json(before)["given"]
    return {"champion": previous.root if previous else ""}
