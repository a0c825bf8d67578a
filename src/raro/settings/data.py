"""What a run starts from: base model, demonstrations, prompts, and what may be shown of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

from ..typed import doc


class ShowText(enum.StrEnum):
    """How much of questions and answers may be shown; demonstrations/shown.py applies it. `true` and `false` are read as `full`
    and `none`."""

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
        "float32", "for arithmetic and written weights; the weights being trained stay float32 (O: bfloat16 on a GPU)"
    )
    lora_rank: int = doc(0, "rank of LoRA adapters on every linear layer, merged at the end; 0: all weights are trained", low=0)
    lora_alpha: float = doc(32.0, "their scale, divided by their rank (LoRA)", low=0)
    licence: str = doc("unknown", "SPDX id of the base's licence, carried into the model card")


@dataclass(frozen=True, kw_only=True)
class Demonstrations:
    """Where the experts' answers are, and how they are screened and split."""

    source: str = doc(
        "package://countdown-mini.jsonl", "file, folder, glob or URI of JSONL, CSV, Parquet, SQuAD JSON or a Posts.xml"
    )
    reader: Reader = doc(
        "auto", "how a row is read (docs/data.md); auto: question and answer columns, and in .xml a Stack Exchange dump's posts"
    )
    question: str = doc("question", "name of the column that holds the question")
    answer: str = doc("answer", "name of the column that holds the expert's answer; with reader choice: the right choice")
    template: str = doc(
        "",
        "the question's text, with {column} for a column's value, {column?} where a row may have none; empty: the question "
        "column as it is",
    )
    filters: tuple[str, ...] = doc((), "conditions that every row must meet: `column OP value`, OP one of == != < <= > >=")
    max_rows: int = doc(0, "read only the first rows, for a trial; 0: all", low=0)
    messages: str = doc("messages", "reader chat: column of the messages")
    choices: str = doc("choices", "reader choice: column of the choices, a list or an object of letters")
    window: int = doc(3000, "reader squad: characters of the context shown around the answer (O)", low=200)
    min_score: int = doc(1, "reader stackexchange: minimum score of the best answer if none was accepted (O)")
    site: str = doc("", "reader stackexchange: the site's host, for the address of each post (attribution needs it)")
    group: str = doc("", "name of the column whose equal values must stay in one split; empty: the question itself")
    licence: str = doc("unknown", "SPDX id of the demonstrations' licence")
    licence_column: str = doc("", "name of a column with each row's own licence; empty: `licence` for all")
    split: str = doc("", "name of a column that names the split (train, dev, test); empty: by hash of the group")
    dev_share: float = doc(0.05, "share of groups held out for tuning (O)", low=0, high=0.5)
    test_share: float = doc(0.10, "share of groups held out for the final evaluation (O)", low=0, high=0.5)
    max_question_chars: int = doc(20_000, "longer questions are quarantined (O)", low=1)
    max_answer_chars: int = doc(20_000, "longer answers are quarantined (O)", low=1)
    leak_chars: int = doc(
        20, "longer answers must not occur in their question; shorter ones may by chance (yes, 42); 0: not screened (O)", low=0
    )
    licences: tuple[str, ...] = doc((), "allowed SPDX ids; rows with others are quarantined; empty: all (O)")
    languages: tuple[str, ...] = doc((), "allowed ISO 639-1 codes, such as en; empty: not screened (O)")
    personal_data: dict[PersonalKind, PersonalAction] = doc(
        {}, "for each kind: drop the row, mask the text found, or keep and count it; kinds not named are not looked for"
    )
    phone_region: str = doc("US", "ISO country whose phone numbers are recognised without a country code")
    near_duplicates: float = doc(
        0.0,
        "quarantine rows whose question and answer are this similar to an earlier row's (Jaccard); 0: off (O: .8)",
        low=0,
        high=1,
    )
    forget: str = doc("", "file of digests written by `raro forget`: those rows are never used again")
    benchmarks: tuple[str, ...] = doc((), "test sets that must not be trained on, each FILE#COLUMN (any source) (O)")
    benchmark_words: int = doc(13, "so many words in a row shared with a benchmark's question (O: as for GPT-3)", low=4)
    benchmark_similarity: float = doc(0.8, "or this similar to one (Jaccard of word triples) (O)", low=0.5, high=1)
    max_quarantined_share: float = doc(0.05, "with a larger share the run stops before training (O)", low=0, high=1)
    min_train: int = doc(16, "fewer demonstrations stop the run before training (O)", low=1)
    drift_against: str = doc("champion", "data.json to compare with: champion (that of its run), or a URI; empty: none")
    max_length_drift: float = doc(0.5, "change in the mean length of questions or answers that stops the run (O)", low=0)
    max_vocabulary_drift: float = doc(0.3, "Jensen-Shannon distance between the words that stops the run (O)", low=0, high=1)
    max_source_drift: float = doc(1.0, "share of rows from other files than before that stops it; 1: any (O)", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The system prompts of the two roles."""

    policy: str = doc(
        "Answer the user's question. First reason between <think> and </think>, then write only the final answer.",
        "system prompt of the policy (O: the paper's is not known)",
    )
    critic: str = doc(
        "You see a question and two answers. One was written by an expert, the other by a student. First reason between "
        "<think> and </think> about which is the expert's, then write one word: first, second, or tie if you cannot tell.",
        "system prompt of the critic (O: the paper's is not known)",
    )
    critic_alone: str = doc(
        "You see a question and an answer, by an expert or by a student. First reason between <think> and </think> about who "
        "wrote it, then write one word: first if the expert did, second if the student did, or tie if you cannot tell.",
        "system prompt of the absolute critic, an ablation (O)",
    )


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """What may be shown."""

    show_text: ShowText = doc(
        ShowText.full,
        "questions and answers shown in quarantine, data card, judged pairs, report and MLflow. full: all; masked: personal "
        "data masked; none: only figures. true and false mean full and none",
    )
    canaries: int = doc(
        0,
        "made-up secrets planted in the training split, which evaluation then tries to extract; 0: none (O: 8; fewer "
        "say little)",
        low=0,
        high=1000,
    )
