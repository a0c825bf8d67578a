"""Where a run works and what it leaves behind: registry, tracking, notices, resources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..typed import doc


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
class Resources:
    """The machine."""

    device: Literal["auto", "cpu", "cuda"] = doc("auto", "auto: a GPU where there is one")
    processes: int = doc(1, "processes that train together; each takes a GPU, or `threads` cores (M)", low=1)
    sharding: Literal["none", "full"] = doc(
        "none",
        "full: each process holds a part of the weights, gradients and moments (FSDP2), for models too large for one GPU; what "
        "samples is whole on each, in base.dtype",
    )
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
