"""The whole run's configuration: typed, frozen, digestible. One YAML file, one `Config`, one canonical JSON string.

Class defaults are for a pretrained LLM; where the paper gives a value it is the paper's. Each field says what it means and
where its default comes from (P: the paper as far as known, its confidence in docs/method.md; M: measured; O: our choice).
`configs/*.yaml` say why they depart.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from .errors import BadInput
from .typed import built, doc

SCHEMA = 1


class ShowText(enum.StrEnum):
    """What may be shown of questions and answers; demonstrations/shown.py acts on it. `true` and `false` are read as `full` and
    `none`."""

    full = "full"
    masked = "masked"
    none = "none"

    @classmethod
    def _missing_(cls, value: object) -> ShowText | None:
        return {True: cls.full, False: cls.none}.get(value) if isinstance(value, bool) else None


PersonalKind = Literal[
    "name", "address", "date", "age", "phone", "email", "national_id", "record_number", "account", "url", "ip", "device"
]
PersonalAction = Literal["drop", "mask", "keep"]
GuardName = Literal["finite", "flood", "tie", "drift", "entropy", "fooled", "chance", "cycling"]
GuardAction = Literal["off", "warn", "damp", "roll_back", "stop"]
Reader = Literal["auto", "columns", "chat", "stackexchange", "squad", "choice", "countdown"]


@dataclass(frozen=True, kw_only=True)
class Base:
    """The model the run starts from."""

    uri: str = doc(
        "package://countdown-mini",
        "folder, package://NAME, s3://bucket/prefix or hf://repo@revision, in Hugging Face layout; or models:/NAME@ALIAS or "
        "models:/NAME/VERSION, a version that was registered before",
    )
    dtype: Literal["float32", "bfloat16"] = doc(
        "float32", "of arithmetic and of the weights written; those that learn are float32 all the while (O: bfloat16 on a GPU)"
    )
    lora_rank: int = doc(
        0, "rank of the adapters that learn on every linear layer, merged at the end; 0: all weights learn", low=0
    )
    lora_alpha: float = doc(32.0, "what scales them, over their rank (LoRA)", low=0)
    licence: str = doc("unknown", "SPDX id of the base's licence, carried into the model card")


@dataclass(frozen=True, kw_only=True)
class Demonstrations:
    """Where the experts' work lies, and how it is cut."""

    source: str = doc(
        "package://countdown-mini.jsonl", "file, folder, glob or URI of JSONL, CSV, Parquet, SQuAD JSON or a Posts.xml"
    )
    reader: Reader = doc(
        "auto", "what a row means (docs/data.md); auto: question and answer columns, and in .xml a Stack Exchange dump's posts"
    )
    question: str = doc("question", "name of the column that holds the question")
    answer: str = doc("answer", "name of the column that holds the expert's answer; reader choice: that names the right choice")
    template: str = doc("", "the question's text, {column} standing for a column's value; empty: the question column as it is")
    filters: tuple[str, ...] = doc((), "rows to take, all must hold: `column OP value`, OP one of == != < <= > >=")
    max_rows: int = doc(0, "rows read at most, in their order, for a first trial; 0: all", low=0)
    messages: str = doc("messages", "reader chat: column of the messages")
    choices: str = doc("choices", "reader choice: column of the choices, a list or an object of letters")
    window: int = doc(3000, "reader squad: characters of the context shown around the answer (O)", low=200)
    min_score: int = doc(1, "reader stackexchange: least score of a best answer where none was accepted (O)")
    site: str = doc("", "reader stackexchange: the site's host, for the address of each post, which attribution asks for")
    group: str = doc("", "name of the column whose equal values must stay in one split; empty: the question itself")
    licence: str = doc("unknown", "SPDX id of the demonstrations' licence")
    licence_column: str = doc("", "name of a column with each row's own licence; empty: `licence` for all")
    split: str = doc("", "name of a column that names the split (train, dev, test); empty: by hash of the group")
    dev_share: float = doc(0.05, "share of groups held out for tuning (O)", low=0, high=0.5)
    test_share: float = doc(0.10, "share of groups held out for the one last reading (O)", low=0, high=0.5)
    max_question_chars: int = doc(20_000, "longer questions are quarantined (O)", low=1)
    max_answer_chars: int = doc(20_000, "longer answers are quarantined (O)", low=1)
    leak_chars: int = doc(
        20, "longer answers must not stand in their question; shorter ones may by chance (yes, 42); 0: not screened (O)", low=0
    )
    licences: tuple[str, ...] = doc((), "SPDX ids that are allowed; rows of another are quarantined; empty: all (O)")
    languages: tuple[str, ...] = doc((), "ISO 639-1 codes that are allowed, such as en; empty: not screened (O)")
    personal_data: dict[PersonalKind, PersonalAction] = doc(
        {}, "for each kind: drop the row, mask the place, or keep and count it; a kind that is not named is not looked for"
    )
    phone_region: str = doc("US", "ISO country whose phone numbers are known without a country code")
    near_duplicates: float = doc(
        0.0,
        "rows are quarantined whose question and answer are this alike to an earlier row's (Jaccard); 0: off (O: .8)",
        low=0,
        high=1,
    )
    forget: str = doc("", "file of digests that `raro forget` wrote: those rows are never taken again")
    benchmarks: tuple[str, ...] = doc((), "test sets that must not be trained on, each FILE#COLUMN (any source) (O)")
    benchmark_words: int = doc(13, "a run of so many words shared with a benchmark's question (O: as for GPT-3)", low=4)
    benchmark_similarity: float = doc(0.8, "or so alike to one (Jaccard of word triples) (O)", low=0.5, high=1)
    max_quarantined_share: float = doc(0.05, "above it the run stops before training (O)", low=0, high=1)
    min_train: int = doc(16, "fewer demonstrations stop the run before training (O)", low=1)
    drift_against: str = doc("champion", "data.json to compare with: champion (that of its run), or a URI; empty: none")
    max_length_drift: float = doc(0.5, "change of the mean length of questions or answers that stops the run (O)", low=0)
    max_vocabulary_drift: float = doc(0.3, "Jensen-Shannon distance of the words that stops the run (O)", low=0, high=1)
    max_source_drift: float = doc(1.0, "share of rows from other files than before that stops it; 1: any (O)", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The system texts of the two roles."""

    policy: str = doc(
        "Answer the user's question. First reason between <think> and </think>, then write only the final answer.",
        "system text of the policy (O: the paper's is not known)",
    )
    critic: str = doc(
        "You see a question and two answers. One was written by an expert, the other by a student. First reason between "
        "<think> and </think> about which is the expert's, then write one word: first, second, or tie if you cannot tell.",
        "system text of the critic (O: the paper's is not known)",
    )
    critic_alone: str = doc(
        "You see a question and an answer, by an expert or by a student. First reason between <think> and </think> about who "
        "wrote it, then write one word: first if the expert did, second if the student did, or tie if you cannot tell.",
        "system text of the absolute critic, an ablation (O)",
    )


@dataclass(frozen=True, kw_only=True)
class Warmstart:
    """Supervised steps that teach the format both roles speak, and no more."""

    steps: int = doc(40, "updates; 0 skips the stage (O)", low=0)
    questions: int = doc(32, "demonstrations per update (O)", low=1)
    thoughts: int = doc(4, "own thoughts sampled per demonstration, to choose from (O)", low=1)
    keep: float = doc(
        0.25,
        "share of demonstrations kept, those whose chosen thought makes the expert's answer likeliest (O)",
        low=0.01,
        high=1,
    )
    critic_share: float = doc(0.25, "share of examples that teach the critic's format (O)", low=0, high=0.9)
    answers: Literal["expert", "own"] = doc(
        "expert", "after the own thought: the expert's answer, or the model's own (O; mini: M)"
    )
    learning_rate: float = doc(1e-5, "AdamW (O)", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class Raro:
    """The game: every part of the method is a setting here."""

    steps: int = doc(300, "updates (O: not known from the paper)", low=1)
    questions: int = doc(32, "questions per step (O)", low=1)
    rollouts: int = doc(16, "policy rollouts per question (P)", low=2)
    verdicts: int = doc(4, "critic rollouts per pair (O)", low=1)
    verdict: Literal["said", "expected"] = doc(
        "said",
        "what a verdict counts as: the word that was said (P), or the mean over the words that could have been said after the "
        "same thought, by their probabilities: the same on average, with less noise (M)",
    )
    orders: Literal["one", "both"] = doc(
        "one",
        "order in which a fresh pair is judged: one, balanced over the step, or both, a contradiction being a tie (O)",
    )
    critic_group: Literal["pair", "question"] = doc(
        "pair",
        "whose mean a verdict is measured by: the verdicts on its own pair, or (leave-one-out) those on its question's pairs, "
        "which needs but one verdict a pair (O)",
    )
    pairs: int = doc(
        0, "pairs the critic is trained on per step, fresh and replayed together; 0: as many as rollouts (O)", low=0
    )
    replay_share: float = doc(0.5, "share of those pairs drawn from older policy answers (P)", low=0, high=0.9)
    replay_capacity: int = doc(10_000, "policy answers remembered (O)", low=2)
    replay_recent: float = doc(
        0.5, "share of the replayed that come from the latest, the others from all times alike (O)", low=0, high=1
    )
    reasoning: bool = doc(True, "the critic thinks before its verdict; off: an ablation (P)")
    critic: Literal["relativistic", "absolute"] = doc(
        "relativistic", "it sees two answers, one of them an expert's; absolute: one, and says whose it is, an ablation (P)"
    )
    critic_model: Literal["shared", "separate"] = doc(
        "shared",
        "one model plays both roles; separate: each has its own, an ablation; the last step's is then the candidate (P)",
    )
    tie: bool = doc(True, "the critic may say tie; off: an ablation, a tie is then malformed (P)")
    balance: float = doc(
        1.0,
        "the critic's lambda is damped while its smoothed accuracy is above this, to nothing at 1; 1: never (O)",
        low=0.5,
        high=1,
    )
    past_critics: float = doc(
        0.0,
        "share of the rollouts judged by the critic of an earlier snapshot, drawn anew each step, of those that the critic is "
        "not trained on (O)",
        low=0,
        high=1,
    )
    tau_pol: float = doc(0.6, "the policy's reward for a tie (P)", low=0, high=1)
    tau_crit: float = doc(0.55, "the critic's reward for a tie (P)", low=0, high=1)
    tau_start: float = doc(
        0.0,
        "the critic's reward for a tie before the gate first opens; below one half a critic at chance does not take to it (M)",
        low=0,
        high=1,
    )
    tau_ramp: int = doc(0, "steps over which it rises from there to tau_crit once the gate is open (O)", low=0)
    gate: float = doc(
        0.0, "the policy waits until the critic's smoothed accuracy passes this; 0: never waits (P has none)", low=0, high=1
    )
    gate_shut: float = doc(
        0.0,
        "it waits again when that accuracy falls below this: it has found what the critic cannot judge; 0: never (M)",
        low=0,
        high=1,
    )
    gate_smoothing: float = doc(0.9, "of that accuracy, per step (O)", low=0, high=0.999)
    lambda_pol: float = doc(1 / 9, "weight of the policy's stream (P)", low=0)
    lambda_crit: float = doc(8 / 9, "weight of the critic's stream (P)", low=0)
    kl_pol: float = doc(1e-3, "KL to the reference on the policy's tokens (P)", low=0)
    kl_crit: float = doc(1e-3, "KL to the reference on the critic's tokens (P)", low=0)
    kl_held: float = doc(0.05, "KL on the policy's tokens while the gate is shut, to hold it where it is (M)", low=0)
    clip_low: float = doc(0.20, "ratio clip below 1 (P, .5)", low=0, high=1)
    clip_high: float = doc(0.28, "ratio clip above 1 (P, .5)", low=0)
    updates: int = doc(1, "optimiser updates per step's rollouts (O: on-policy)", low=1)
    overlong: Literal["filter", "zero"] = doc(
        "filter", "truncated rollouts: left out of the gradient, or rewarded 0 (P: filter)"
    )
    normalise: Literal["constant", "tokens"] = doc(
        "constant", "a stream's loss is divided by rollouts x budget (P), or by its tokens"
    )
    learning_rate: float = doc(1e-6, "AdamW (P)", low=0, high=1)
    decay: Literal["constant", "linear"] = doc("constant", "of the learning rate over the steps (O)")
    lr_warmup: int = doc(0, "steps of linear warm-up of the learning rate (O)", low=0)
    weight_decay: float = doc(0.0, "AdamW (O)", low=0)
    max_grad_norm: float = doc(1.0, "gradient norm is clipped to this (O)", low=0)
    tokens: int = doc(
        0, "rollout tokens of both roles after which training ends, for comparisons at equal cost; 0: none", low=0
    )
    control: Literal["none", "shuffled", "frozen"] = doc(
        "none",
        "controls that must not learn. shuffled: what the policy is told of its answers is dealt among them at random; "
        "frozen: the warm start judges for ever",
    )
    dpo_beta: float = doc(0.1, "of the method dpo: how far a preference may lead from the round's start (DPO)", low=0)
    dpo_rounds: int = doc(3, "of the method dpo: rounds, each from where the last one ended (P)", low=1)
    snapshots: int = doc(
        8, "weights kept on the way, evenly spaced, among which the candidate is chosen; 0: the last step's (O)", low=0
    )
    kl_budget: float = doc(
        0.0,
        "KL of the policy to the warm start, nats a token, above which a snapshot is not chosen; 0: none (O: not measured)",
        low=0,
    )
    early_stop: int = doc(
        0,
        "snapshots in a row, since the policy plays, whose answers the critic likes no better than an older one's, after which "
        "training ends; 0: never (O: not measured)",
        low=0,
    )
    checkpoint_every: int = doc(20, "steps between checkpoints (O)", low=1)
    keep_checkpoints: int = doc(2, "newest checkpoints kept on disk (O)", low=1)

    @property
    def pairs_per_step(self) -> int:
        """Pairs the critic is trained on per step."""
        return self.pairs or self.questions * self.rollouts


@dataclass(frozen=True, kw_only=True)
class Guards:
    """When training is going wrong, seen without a verifier, and what is done then. Thresholds marked M lie outside all that
    20 healthy runs of the miniature showed, 5 of them RARO's, and inside what provoked collapses did
    (docs/collapse-gallery.md)."""

    actions: dict[GuardName, GuardAction] = doc(
        {},
        "for each guard: off; warn; damp the learning rate; roll_back to the last good checkpoint and damp; stop there. One "
        "that is not named warns, but for finite, which stops",
    )
    window: int = doc(3, "a figure is the median of its last values, so many (M)", low=1, high=100)
    flood: float = doc(0.5, "share of a role's rollouts that are malformed or cut off (M)", low=0, high=1)
    tie: float = doc(0.6, "share of ties among the verdicts on fresh pairs (M)", low=0, high=1)
    drift_policy: float = doc(0.6, "KL of the policy to the warm start, nats a token (M)", low=0)
    drift_critic: float = doc(0.3, "KL of the critic to the warm start, nats a token (M)", low=0)
    entropy: float = doc(0.2, "share of the entropy of its first steps under which the policy has collapsed (O)", low=0, high=1)
    fooled: float = doc(
        0.4, "accuracy on fresh pairs, under which the policy beats the experts in the critic's eyes (O)", low=0, high=1
    )
    chance: float = doc(
        0.75,
        "of the critic's health, ties counting half, under which it knows nothing: .5 is chance (M: .91 at least in 5 runs)",
        low=0,
        high=1,
    )
    cycling: float = doc(
        0.65,
        "what an older snapshot's answers get beside the present ones, above which the policy was better before; .5: even (O)",
        low=0,
        high=1,
    )
    damp: float = doc(0.5, "what damping multiplies the learning rate by (O)", low=0.01, high=1)
    rollbacks: int = doc(2, "roll-backs in one run; the next one stops (O)", low=0)


@dataclass(frozen=True, kw_only=True)
class Probes:
    """What is looked at beside the game, without a verifier. Nothing is learnt from it: the weights are the same, bit by bit,
    without it. What it costs stands in docs/metrics.md."""

    health_every: int = doc(
        10,
        "steps between looks at the critic's health: experts' answers beside themselves made worse, and beside themselves; "
        "0: never (O)",
        low=0,
    )
    health_items: int = doc(32, "dev demonstrations of such a look (M: cost)", low=1)
    gradients_every: int = doc(10, "steps between measurements of the angle between both roles' gradients; 0: never (O)", low=0)
    gradient_samples: int = doc(32, "samples of each role for that (M: cost)", low=1)
    older_items: int = doc(
        16,
        "dev questions on which each snapshot's answers are compared with the older ones' by the present critic; 0: never "
        "(M: cost)",
        low=0,
    )
    matrix_items: int = doc(
        16,
        "dev questions on which, at the end, all snapshots' policies are judged by all snapshots' critics, and among "
        "themselves by the last; 0: not (M: cost)",
        low=0,
    )


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How both roles write."""

    engine: Literal["slots", "plain"] = doc("slots", "slots: our slot engine; plain: transformers' generate, its slow twin")
    slots: int = doc(256, "sequences decoded at once (M: memory permitting, more is faster)", low=1)
    temperature: float = doc(1.0, "of both roles' samples (O)", low=0, high=10)
    critic_temperature: float = doc(0.0, "of the critic's, where it differs; 0: the same (O)", low=0, high=10)
    policy_tokens: int = doc(2048, "budget of a policy rollout (P)", low=1)
    critic_tokens: int = doc(2048, "budget of a critic rollout (P)", low=1)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is measured on the test split."""

    benchmark: Literal["countdown", "deepmath", "diagnosis", "choice", "held_out"] = doc(
        "held_out",
        "countdown, deepmath, diagnosis, choice (with reader: choice): checkers; held_out: likeness to the expert's answer",
    )
    max_items: int = doc(2000, "test problems read (O)", low=1)
    samples: int = doc(1, "sampled answers per problem (O)", low=1)
    sft_steps: int = doc(0, "updates of the SFT rival trained on the same (question, answer) pairs; 0: none (O)", low=0)
    sft_learning_rate: float = doc(1e-5, "AdamW, of that rival (O)", low=0, high=1)
    track_every: int = doc(
        0, "steps between looks at dev accuracy, for the curve only, never for selection; 0: none (O)", low=0
    )
    track_items: int = doc(200, "dev problems of such a look (O)", low=1)
    critic_items: int = doc(
        500, "of the candidate's errors on test that its critic is asked about, where a checker tells them (O)", low=1
    )
    experts: int = doc(
        300,
        "test problems on which the evidence without checker or judge is measured: likelihood of the experts' answers, frozen "
        "critics, classifiers; 0: none (O)",
        low=0,
    )
    rubrics: str = doc(
        "", "JSONL file of cases in HealthBench's format, of whose criteria the judge says which an answer meets; empty: none"
    )
    rubric_cases: int = doc(200, "cases of that file which are read (O: as many as judge.items)", low=1)
    general: Literal["auto", "always", "never"] = doc(
        "auto", "base and candidate answer a fixed set of general items; auto: unless the base is a packaged miniature"
    )
    tournament: int = doc(
        0,
        "answers per problem among which the critic chooses, against majority vote at equal tokens; 0: not measured (O: 8)",
        low=0,
        high=64,
    )
    tournament_items: int = doc(500, "test problems on which that is measured (O)", low=1)
    tournament_system: Literal["single", "swiss"] = doc("single", "single elimination (P), or Swiss rounds (arXiv 2603.04304)")
    tournament_votes: int = doc(2, "verdicts of a match, orders taking turns (O: one for either order)", low=1, high=16)
    tournament_ties: Literal["backed", "lot"] = doc(
        "backed", "who wins a match without a winner: whom more of the answers said, or one drawn by lot (O)"
    )
    tournament_temperature: float = doc(0.0, "of those verdicts; 0: the likeliest (O)", low=0, high=10)
    bootstrap: int = doc(2000, "resamples of an interval (O)", low=100)
    strata: tuple[str, ...] = doc(
        (), "columns of the experts' files by which results are told apart, such as difficulty, topic"
    )


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Who says whether the model's answers are as good as the experts' where no checker can (docs/evaluation.md)."""

    kind: Literal["none", "endpoint", "model"] = doc(
        "none", "none; an OpenAI-compatible endpoint; or a model of one's own through the rollout engine"
    )
    model: str = doc("", "the model's name at the endpoint, or the folder or URI of one in Hugging Face layout")
    endpoint: str = doc("", "address of the endpoint, such as http://judge.models.svc:8000/v1")
    allow_external: bool = doc(
        False, "questions and answers may be sent to an endpoint that is not on a private, loopback or cluster address"
    )
    key: str = doc("", "name of the environment variable that holds the endpoint's key; empty: none is sent")
    ca: str = doc("", "PEM file of the authority that signed the endpoint's certificate; empty: the system's")
    timeout: float = doc(60.0, "seconds that one try of a call may take (O)", low=0.1, high=3600)
    retries: int = doc(4, "more tries of a call, waiting longer each time, as long as Retry-After says (O)", low=0, high=20)
    concurrency: int = doc(8, "calls under way at once (O)", low=1, high=256)
    reply_tokens: int = doc(512, "longest reply; a longer one is not read (O)", low=8)
    budget: int = doc(5_000_000, "tokens, read and written, that one evaluation may spend; 0: no limit (O)", low=0)
    items: int = doc(200, "test problems whose answers are judged, drawn by seed (O)", low=1)
    max_chars: int = doc(20_000, "a longer answer loses unread (O: as long as a demonstration's may be)", low=1)
    score: bool = doc(True, "each answer is scored by the rubric, too")
    known: int = doc(60, "known-good pairs that the judge must tell apart: an expert's answer, and it made worse (O)", low=12)
    min_agreement: float = doc(
        0.8,
        "share of them in which it must name the expert's, in both orders; else its figures are not used (O)",
        low=0.5,
        high=1,
    )
    max_unread: float = doc(0.1, "share of pairs without a verdict above which its figures are not used (O)", low=0, high=1)
    on_outage: Literal["continue", "stop"] = doc(
        "continue", "when the judge fails: evaluate without it, and the gate holds the candidate; or fail the step"
    )
    cache: str = doc("", "folder of the verdicts it gave, without texts; empty: judge/ in $RARO_CACHE")
    pairwise: str = doc(
        "You judge answers. You see a question and two answers to it. Weigh which one serves whoever asked better: is it "
        "right, complete, clear, and to the point? Neither length nor the order in which they stand counts. If they are "
        "equally good or equally bad, it is a tie. Reason briefly first.",
        "system text for two answers (O: after MT-bench's, arXiv 2306.05685)",
    )
    rubric: str = doc(
        "You judge answers. You see a question and an answer to it. Weigh whether it is right, complete, clear, and to the "
        "point. Length does not count. Reason briefly first.",
        "system text for one answer (O: after MT-bench's)",
    )


@dataclass(frozen=True, kw_only=True)
class Gate:
    """When a candidate becomes champion. Every rule has its reason here; `reasons` may put a house's own in its place."""

    min_gain: float = doc(
        0.0, "the candidate's sampled score must beat warm start and champion by this, interval's low end (O)", low=-1, high=1
    )
    hold_gain: float = doc(0.0, "with only its mean above this it is held for a person to promote (O)", low=-1, high=1)
    require_approval: bool = doc(False, "a passing candidate is held, never promoted by the pipeline (regulated domains)")
    level: float = doc(
        0.05,
        "chance at most that a candidate no better than a rival is promoted, over all rivals together (Holm); else held (O)",
        low=0,
        high=1,
    )
    min_effect: float = doc(
        0.0, "a mean gain below this is real, perhaps, but not worth a change of the model that serves; held (O)", low=0, high=1
    )
    min_items: int = doc(30, "on fewer test problems no interval is to be believed; held (O)", low=0)
    min_readable: float = doc(
        0.5, "a candidate with a smaller share of readable answers is broken; rejected (O)", low=0, high=1
    )
    max_stratum_loss: float = doc(
        0.05,
        "a mean gain may hide a loss on one kind of problem: with one surely above this the candidate is held (O)",
        low=0,
        high=1,
    )
    max_general_loss: float = doc(
        0.1, "a candidate that lost this much of the base's general items forgot how to talk; held (O)", low=0, high=1
    )
    min_refusals_kept: float = doc(
        0.75, "of what the base declines it must decline this share; held (O: three of four)", low=0, high=1
    )
    max_exposure: float = doc(
        3.0,
        "bits by which planted canaries are likelier than chance, on average; above it held, and rejected where one is "
        "completed (M: chance is 1.4; with 8 canaries it passes 3 in 4 of 1,000 draws, with 4 in 27)",
        low=0,
    )
    max_judge_loss: float = doc(
        0.0,
        "with a mean score in the judge's eyes surely this far below a rival's, or a judge that failed, held (O)",
        low=0,
        high=1,
    )
    reasons: dict[str, str] = doc({}, "a rule's reason in the house's own words, by the rule's name")


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Where models are registered."""

    model: str = doc("raro-model", "name of the registered model")
    store: str = doc(
        "", "folder or s3:// prefix for weights and the audit log; empty: the run's own folder, or the tracking server"
    )
    intended_use: str = doc("", "of the model, in the card; empty: research on reasoning from expert demonstrations")
    limits: str = doc("", "what the model must not be used for or is known to get wrong, in the card")
    policy: str = doc("", "file with the keys that count and what is demanded (docs/audit.md); empty: $RARO_POLICY, else none")
    signing_key: str = doc(
        "", "signs model and log: file:PATH, env:NAME or exec:COMMAND (a KMS hook); empty: $RARO_SIGNING_KEY, else unsigned"
    )
    approvals: int = doc(0, "people who must approve before a version is champion; the policy may ask for more", low=0, high=9)
    lock_days: int = doc(
        0,
        "S3 object lock keeps each record of the audit log for so many days, and nobody can shorten it (the EU AI Act, article "
        "18, asks for ten years of documentation: 3653); 0: as the bucket's own rule says",
        low=0,
        high=36_525,
    )


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """MLflow."""

    uri: str = doc("", "tracking server; empty: SQLite in the run's folder")
    experiment: str = doc("raro", "name of the experiment")
    on_outage: Literal["continue", "stop"] = doc(
        "continue", "when the server does not answer: buffer and go on, or fail the step"
    )


@dataclass(frozen=True, kw_only=True)
class Notify:
    """Who is told how a run ended."""

    webhook: str = doc(
        "", "env:NAME or file:PATH where its address stands, which is a secret; empty: $RARO_WEBHOOK, else nobody is told"
    )
    format: Literal["json", "slack"] = doc("json", "what it takes: plain JSON, or Slack's incoming webhooks")
    when: Literal["always", "failure"] = doc("always", "after every run, or after those that failed")


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """What may be shown."""

    show_text: ShowText = doc(
        ShowText.full,
        "of questions and answers in quarantine, data card, judged pairs, report and MLflow. full: all; masked: with personal "
        "data masked; none: figures only. true and false mean full and none",
    )
    canaries: int = doc(
        0,
        "made-up secrets planted in the training split, which evaluation then tries to get out of the model; 0: none (O: 8; "
        "fewer say little)",
        low=0,
        high=1000,
    )


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The machine."""

    device: Literal["auto", "cpu", "cuda"] = doc("auto", "auto: a GPU where there is one")
    processes: int = doc(1, "processes that train together; each takes a GPU, or `threads` cores (M)", low=1)
    threads: int = doc(1, "torch threads per process on a CPU (M: two threads beside another busy process collapse)", low=1)
    ingest_processes: int = doc(
        0, "processes that examine demonstrations; 1: the step's own alone; 0: one for each core, 4 at most (M)", low=0, high=64
    )
    batch_tokens: int = doc(16_384, "tokens of a micro-batch, padding included (M)", low=16)
    packing: Literal["rows", "packed", "shared"] = doc(
        "shared", "rows: one sample a row; packed: several; shared: a long prompt once for its completions (M)"
    )
    gradient_checkpointing: bool = doc(False, "trade compute for memory")
    gpu_hour_price: float = doc(0.0, "of one GPU, in `currency`, for the bill; 0: no money is told", low=0)
    cpu_hour_price: float = doc(0.0, "of one core", low=0)
    currency: str = doc("EUR", "of the prices")


@dataclass(frozen=True, kw_only=True)
class Config:
    """One run."""

    schema: int = doc(SCHEMA, "version of this layout", low=SCHEMA, high=SCHEMA)
    name: str = doc("raro", "what this configuration is for")
    seed: int = doc(0, "of everything random", low=0, high=2**31 - 1)
    method: Literal["raro", "sft", "rationalization", "dpo", "rl_logit", "similarity", "rlvr"] = doc(
        "raro", "what trains: raro, or a rival on the same loop (docs/methods.md)"
    )
    base: Base = doc(Base(), "the model the run starts from")
    demonstrations: Demonstrations = doc(Demonstrations(), "the experts' work")
    prompts: Prompts = doc(Prompts(), "system texts of both roles")
    warmstart: Warmstart = doc(Warmstart(), "supervised format lessons")
    raro: Raro = doc(Raro(), "the game")
    guards: Guards = doc(Guards(), "when training is going wrong, and what is done then")
    probes: Probes = doc(Probes(), "what is looked at beside the game")
    rollout: Rollout = doc(Rollout(), "how both roles write")
    evaluation: Evaluation = doc(Evaluation(), "what is measured")
    judge: Judge = doc(Judge(), "who compares answers with the experts' where no checker can")
    gate: Gate = doc(Gate(), "when a candidate becomes champion")
    registry: Registry = doc(Registry(), "where models are registered")
    tracking: Tracking = doc(Tracking(), "MLflow")
    notify: Notify = doc(Notify(), "who is told how a run ended")
    privacy: Privacy = doc(Privacy(), "what may be shown")
    resources: Resources = doc(Resources(), "the machine")

    def canonical(self) -> str:
        """The configuration as one line of JSON with sorted keys: what travels, and what the digest is of."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON, hexadecimal."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    @property
    def asks_general(self) -> bool:
        """Whether general items are asked: a packaged miniature cannot talk, and is asked only where the settings say so."""
        setting = self.evaluation.general
        return setting == "always" or setting == "auto" and not self.base.uri.startswith("package://")


# ---------------------------------------------------------------------------------------------------------------- reading


def load(source: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a YAML file, or of a packaged one by its bare name, with `section.key=value` overrides.

    Raises BadInput naming the key, the value and the remedy.
    """
    path = Path(source)
    if not path.exists() and path.name == str(source) and not path.suffix:
        packaged = resources.files("raro.configs") / f"{source}.yaml"
        if not packaged.is_file():
            raise BadInput(f"config '{source}' does not exist", f"give a YAML file, or one of: {', '.join(packaged_names())}")
        text = packaged.read_text(encoding="utf-8")
    elif not path.is_file():
        raise BadInput(f"config file '{path}' does not exist", "check the path")
    else:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise BadInput(f"config file '{path}' is not UTF-8 text", "give a YAML file") from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise BadInput(f"config '{source}' is not valid YAML{where}", "mend the YAML") from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise BadInput(f"config '{source}' holds a {type(data).__name__}, not a mapping", "write `key: value` lines")
    return parse(overridden(data, overrides))


def overridden(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The mapping itself, changed by `section.key=value` overrides. Raises BadInput."""
    for override in overrides:
        _override(data, override)
    return data


def packaged_names() -> list[str]:
    """Names of the packaged configurations."""
    names = (path.name for path in resources.files("raro.configs").iterdir())
    return sorted(n.removesuffix(".yaml") for n in names if n.endswith(".yaml") and not n.startswith("study-"))


def parse(data: Mapping[str, Any] | str) -> Config:
    """A Config from a mapping or from canonical JSON. Raises BadInput."""
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except json.JSONDecodeError:
            raise BadInput("the configuration is not valid JSON", "pass the canonical JSON that preflight wrote") from None
    config = built(Config, data)
    if config.raro.verdict == "expected" and config.raro.updates > 1:
        raise BadInput(
            "raro.verdict is expected, and raro.updates is above 1", "an expectation is learnt from once: set raro.updates=1"
        )
    if config.raro.kl_budget and not config.raro.kl_pol:
        raise BadInput("raro.kl_budget is set, and no KL is measured: raro.kl_pol is 0", "set raro.kl_pol, be it to 1e-6")
    if config.raro.early_stop and not (config.probes.older_items and config.raro.snapshots):
        line = "raro.early_stop is set, and no snapshots are compared"
        raise BadInput(line, "set raro.snapshots and probes.older_items above 0")
    if config.raro.lambda_pol == config.raro.lambda_crit == 0:
        raise BadInput("raro.lambda_pol and raro.lambda_crit are both 0", "give at least one role a weight")
    if 0 < config.raro.gate < config.raro.gate_shut:
        raise BadInput("raro.gate_shut is above raro.gate, so the gate could never stay open", "lower raro.gate_shut")
    if config.demonstrations.dev_share + config.demonstrations.test_share >= 1:
        raise BadInput("demonstrations.dev_share and test_share leave nothing to train on", "lower them")
    return config


def _override(data: dict, text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadInput(f"--set '{text}' is not key=value", "write for example --set raro.steps=100")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise BadInput(f"--set {key}: the value '{value}' is not valid YAML", "quote it") from None
    *sections, last = key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise BadInput(f"--set {key}: '{section}' is not a section", "its settings stand in src/raro/config.py")
    data[last] = parsed
