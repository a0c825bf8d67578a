"""Where a run works and where its results go: registry, tracking, notices, resources."""

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
    intended_use: str = doc("", "intended use, for the model card; empty: research on reasoning from expert demonstrations")
    limits: str = doc("", "what the model must not be used for, or is known to get wrong, for the model card")
    policy: str = doc("", "file with the accepted keys and the requirements (docs/audit.md); empty: $RARO_POLICY, else none")
    signing_key: str = doc(
        "", "signs model and log: file:PATH, env:NAME or exec:COMMAND (a KMS hook); empty: $RARO_SIGNING_KEY, else unsigned"
    )
    approvals: int = doc(0, "people who must approve before a version is champion; the policy may ask for more", low=0, high=9)
    lock_days: int = doc(
        0,
        "days that S3 object lock keeps each record of the audit log, which nobody can shorten (the EU AI Act, article 18, "
        "asks for ten years of documentation: 3653); 0: the bucket's own rule",
        low=0,
        high=36_525,
    )


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """MLflow."""

    uri: str = doc("", "tracking server; empty: SQLite in the run's folder")
    experiment: str = doc("raro", "name of the experiment")
    on_outage: Literal["continue", "stop"] = doc(
        "continue", "if the server does not answer: buffer and continue, or fail the step"
    )


@dataclass(frozen=True, kw_only=True)
class Notify:
    """Who is told how a run ended."""

    webhook: str = doc(
        "", "env:NAME or file:PATH that holds its address, a secret; empty: $RARO_WEBHOOK, else no notice is sent"
    )
    format: Literal["json", "slack"] = doc("json", "message format: plain JSON, or Slack's incoming webhooks")
    when: Literal["always", "failure"] = doc("always", "after every run, or only after failed ones")


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The machine."""

    device: Literal["auto", "cpu", "cuda"] = doc("auto", "auto: a GPU where there is one")
    processes: int = doc(1, "training processes; each takes a GPU, or `threads` cores (M)", low=1)
    sharding: Literal["none", "full"] = doc(
        "none",
        "full: each process holds a part of the weights, gradients and moments (FSDP2), for models too large for one GPU; the "
        "sampling copy is whole on each, in base.dtype",
    )
    threads: int = doc(1, "torch threads per process on a CPU (M: two are very slow beside another busy process)", low=1)
    ingest_processes: int = doc(
        0, "processes that examine demonstrations; 1: the step's own only; 0: one per core, 4 at most (M)", low=0, high=64
    )
    batch_tokens: int = doc(16_384, "tokens per micro-batch, padding included (M)", low=16)
    packing: Literal["rows", "packed", "shared"] = doc(
        "shared", "rows: one sample per row; packed: several; shared: a long prompt only once for its completions (M)"
    )
    gradient_checkpointing: bool = doc(False, "trade compute for memory")
    gpu_hour_price: float = doc(0.0, "price of one GPU-hour, in `currency`, for the cost table; 0: no money is shown", low=0)
    cpu_hour_price: float = doc(0.0, "price of one core-hour", low=0)
    currency: str = doc("EUR", "currency of the prices")
