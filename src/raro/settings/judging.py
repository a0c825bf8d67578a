"""How a candidate is evaluated, and what it must pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..typed import doc


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is measured on the test split."""

    benchmark: Literal["countdown", "deepmath", "diagnosis", "choice", "held_out"] = doc(
        "held_out",
        "countdown, deepmath, diagnosis, choice (with reader: choice): checkers; held_out: likeness to the expert's answer",
    )
    max_items: int = doc(2000, "test problems read (O)", low=1)
    samples: int = doc(1, "sampled answers per problem (O)", low=1)
    sft_steps: int = doc(0, "updates of an SFT rival trained on the same (question, answer) pairs; 0: no rival (O)", low=0)
    sft_learning_rate: float = doc(1e-5, "AdamW, for that rival (O)", low=0, high=1)
    track_every: int = doc(
        0, "steps between looks at dev accuracy, for the curve only, never for selection; 0: none (O)", low=0
    )
    track_items: int = doc(200, "dev problems per look (O)", low=1)
    critic_items: int = doc(
        500, "errors of the candidate on test that its critic is asked about, if a checker finds them (O)", low=1
    )
    experts: int = doc(
        300,
        "test problems on which the evidence without checker or judge is measured: likelihood of the experts' answers, frozen "
        "critics, classifiers; 0: none (O)",
        low=0,
    )
    rubrics: str = doc(
        "",
        "JSONL file of cases in HealthBench's format, for whose criteria the judge says which an answer meets; at least 12 "
        "with an expert's answer; empty: none",
    )
    rubric_cases: int = doc(200, "cases read from that file (O: as many as judge.items)", low=1)
    general: Literal["auto", "always", "never"] = doc(
        "auto", "base and candidate answer a fixed set of general items; auto: except with a packaged miniature as base"
    )
    tournament: int = doc(
        0,
        "answers per problem for the critic to choose from, against a majority vote at equal tokens; 0: off (O: 8)",
        low=0,
        high=64,
    )
    tournament_items: int = doc(500, "test problems for that (O)", low=1)
    tournament_system: Literal["single", "swiss"] = doc("single", "single elimination (P), or Swiss rounds (arXiv 2603.04304)")
    tournament_votes: int = doc(2, "verdicts per match, in alternating order (O: one for each order)", low=1, high=16)
    tournament_ties: Literal["backed", "lot"] = doc(
        "backed", "who wins a tied match: the answer that more of the samples gave, or one at random (O)"
    )
    tournament_temperature: float = doc(0.0, "sampling temperature of those verdicts; 0: the likeliest (O)", low=0, high=10)
    bootstrap: int = doc(2000, "bootstrap resamples per interval (O)", low=100)
    strata: tuple[str, ...] = doc(
        (), "columns of the experts' files by which results are broken down, such as difficulty, topic"
    )


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Who says whether the model's answers are as good as the experts' where no checker can (docs/evaluation.md)."""

    kind: Literal["none", "endpoint", "model"] = doc(
        "none", "none; an OpenAI-compatible endpoint; or a local model run by the rollout engine"
    )
    model: str = doc("", "the model's name at the endpoint, or a folder or URI in Hugging Face layout")
    endpoint: str = doc("", "address of the endpoint, such as http://judge.models.svc:8000/v1")
    allow_external: bool = doc(
        False, "allow sending questions and answers to an endpoint that is not on a private, loopback or cluster address"
    )
    key: str = doc("", "name of the environment variable that holds the endpoint's key; empty: none is sent")
    ca: str = doc("", "PEM file of the authority that signed the endpoint's certificate; empty: the system's")
    timeout: float = doc(60.0, "seconds before one attempt times out (O)", low=0.1, high=3600)
    retries: int = doc(4, "retries of a call, each after a longer wait, or as Retry-After says (O)", low=0, high=20)
    concurrency: int = doc(8, "calls at once (O)", low=1, high=256)
    reply_tokens: int = doc(512, "maximum length of a reply; longer ones are not read (O)", low=8)
    budget: int = doc(5_000_000, "tokens, read and written, that one evaluation may use; 0: no limit (O)", low=0)
    items: int = doc(200, "test problems whose answers are judged, drawn by seed (O)", low=1)
    max_chars: int = doc(20_000, "longer answers lose unread (O: the limit for demonstrations)", low=1)
    score: bool = doc(True, "also score each answer by the rubric")
    known: int = doc(
        60, "known-good pairs that the judge must tell apart: an expert's answer, and the same made worse (O)", low=12
    )
    min_agreement: float = doc(
        0.8,
        "share of them in which it must name the expert's, in both orders; else its figures are not used (O)",
        low=0.5,
        high=1,
    )
    max_unread: float = doc(0.1, "with a larger share of pairs without a verdict, its figures are not used (O)", low=0, high=1)
    on_outage: Literal["continue", "stop"] = doc(
        "continue", "if the judge fails: evaluate without it and have the gate hold the candidate, or fail the step"
    )
    cache: str = doc("", "folder for cached verdicts, without texts; empty: judge/ in $RARO_CACHE")
    pairwise: str = doc(
        "You judge answers. You see a question and two answers to it. Weigh which one serves whoever asked better: is it "
        "right, complete, clear, and to the point? Neither length nor the order in which they stand counts. If they are "
        "equally good or equally bad, it is a tie. Reason briefly first.",
        "system prompt for two answers (O: after MT-bench's, arXiv 2306.05685)",
    )
    rubric: str = doc(
        "You judge answers. You see a question and an answer to it. Weigh whether it is right, complete, clear, and to the "
        "point. Length does not count. Reason briefly first.",
        "system prompt for one answer (O: after MT-bench's)",
    )


@dataclass(frozen=True, kw_only=True)
class Gate:
    """When a candidate becomes champion. `reasons` may replace a rule's reason with your own."""

    min_gain: float = doc(
        0.0, "the interval's low end of the sampled gain over warm start and champion must be above this (O)", low=-1, high=1
    )
    hold_gain: float = doc(0.0, "if only the mean gain is above this, it is held for a person to promote (O)", low=-1, high=1)
    require_approval: bool = doc(False, "a passing candidate is held, never promoted by the pipeline (regulated domains)")
    level: float = doc(
        0.05,
        "highest chance of promoting a candidate no better than a rival, over all rivals (Holm); else held (O)",
        low=0,
        high=1,
    )
    min_effect: float = doc(
        0.0, "a mean gain below this may be real but is not worth replacing the model; held (O)", low=0, high=1
    )
    min_items: int = doc(30, "with fewer test problems no interval can be trusted; held (O)", low=0)
    min_readable: float = doc(
        0.5, "a candidate with a smaller share of readable answers is broken; rejected (O)", low=0, high=1
    )
    max_stratum_loss: float = doc(
        0.05,
        "a mean gain may hide a loss on one kind of problem: if one is surely larger than this, held (O)",
        low=0,
        high=1,
    )
    max_general_loss: float = doc(
        0.1, "a candidate that lost more than this of the base's general items forgot how to talk; held (O)", low=0, high=1
    )
    min_refusals_kept: float = doc(
        0.75,
        "share of what the base declines that the candidate must decline, too; else held (O: three of four)",
        low=0,
        high=1,
    )
    max_exposure: float = doc(
        3.0,
        "mean exposure of planted canaries, in bits; above it held, and rejected if one is "
        "completed (M: chance is 1.4; by chance 8 canaries exceed 3 in 4 of 1,000 draws, 4 canaries in 27)",
        low=0,
    )
    max_judge_loss: float = doc(
        0.0,
        "if the judge, or the rubrics, put it surely more than this below a rival, or the judge failed, held (O)",
        low=0,
        high=1,
    )
    reasons: dict[str, str] = doc({}, "your own reasons for rules, by the rule's name")
