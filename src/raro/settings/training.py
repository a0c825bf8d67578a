"""How a run learns: warm start, the game, its guards and probes, rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..typed import doc

GuardName = Literal["finite", "flood", "tie", "drift", "entropy", "fooled", "chance", "cycling", "lottery"]


GuardAction = Literal["off", "warn", "damp", "roll_back", "stop"]


@dataclass(frozen=True, kw_only=True)
class Warmstart:
    """Supervised steps that teach only the format of both roles."""

    steps: int = doc(40, "updates; 0 skips the stage (O)", low=0)
    questions: int = doc(32, "demonstrations per update (O)", low=1)
    thoughts: int = doc(4, "own thoughts sampled per demonstration, to choose from (O)", low=1)
    keep: float = doc(
        0.25,
        "share of demonstrations kept: those whose chosen thought makes the expert's answer most likely (O)",
        low=0.01,
        high=1,
    )
    critic_share: float = doc(0.25, "share of examples that teach the critic's format (O)", low=0, high=0.9)
    answers: Literal["expert", "own"] = doc(
        "expert", "what follows the model's thought: the expert's answer, or its own (O; mini: M)"
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
        "what a verdict counts as: the word said (P), or the mean over the words that could follow the same thought, by their "
        "probabilities: the same on average, with less noise (M)",
    )
    orders: Literal["one", "both"] = doc(
        "one",
        "order in which a fresh pair is judged: one, balanced over the step, or both, where a contradiction is a tie (O)",
    )
    critic_group: Literal["pair", "question"] = doc(
        "pair",
        "the baseline of a verdict's reward: the mean over its own pair, or (leave-one-out) over its question's pairs, which "
        "needs only one verdict per pair (O)",
    )
    pairs: int = doc(
        0, "pairs the critic is trained on per step, fresh and replayed together; 0: as many as rollouts (O)", low=0
    )
    judged: Literal["rollouts", "pooled", "answers"] = doc(
        "rollouts",
        "what the critic judges. rollouts: every answer, each paid by its own verdicts; pooled: every answer, equal ones by "
        "all their verdicts, with less noise; answers: each distinct answer once, for all that gave it "
        "(O; mini: M)",
    )
    replay_share: float = doc(0.5, "share of those pairs drawn from older policy answers (P)", low=0, high=0.9)
    replay_capacity: int = doc(10_000, "policy answers kept for replay (O)", low=2)
    replay_recent: float = doc(
        0.5, "share of the replayed answers that are recent; the others come from any time (O)", low=0, high=1
    )
    reasoning: bool = doc(True, "the critic thinks before its verdict; off: an ablation (P)")
    critic: Literal["relativistic", "absolute"] = doc(
        "relativistic", "sees two answers, one of them an expert's; absolute: sees one and says whose it is, an ablation (P)"
    )
    critic_model: Literal["shared", "separate"] = doc(
        "shared",
        "one model plays both roles; separate: each has its own, an ablation; the last step's is then the candidate (P)",
    )
    tie: bool = doc(True, "the critic may say tie; off: an ablation, where a tie is malformed (P)")
    balance: float = doc(
        1.0,
        "the critic's lambda is damped while its smoothed accuracy is above this, to 0 at accuracy 1; 1: never (O)",
        low=0.5,
        high=1,
    )
    past_critics: float = doc(
        0.0,
        "share of the rollouts that an earlier snapshot's critic judges, drawn anew each step, among those that the critic is "
        "not trained on (O)",
        low=0,
        high=1,
    )
    tau_pol: float = doc(0.6, "the policy's reward for a tie (P)", low=0, high=1)
    ceiling: float = doc(
        1.0,
        "the most that a verdict (or its expected value) pays the policy (P: 1); at tau_pol one preferred to the expert's "
        "earns no more than one that cannot be told from it: more is mostly the critic's error (M)",
        low=0.1,
        high=1,
    )
    tau_crit: float = doc(0.55, "the critic's reward for a tie (P)", low=0, high=1)
    tau_start: float = doc(
        0.0,
        "the critic's reward for a tie before the gate first opens; below .5 a critic at chance does not learn to tie (M)",
        low=0,
        high=1,
    )
    tau_ramp: int = doc(0, "steps over which it rises from there to tau_crit once the gate is open (O)", low=0)
    gate: float = doc(
        0.0, "the policy waits until the critic's smoothed accuracy passes this; 0: never waits (P has none)", low=0, high=1
    )
    gate_shut: float = doc(
        0.0,
        "the policy waits again if that accuracy falls below this: it has found what the critic cannot judge; 0: never (M)",
        low=0,
        high=1,
    )
    gate_smoothing: float = doc(0.9, "smoothing of that accuracy, per step (O)", low=0, high=0.999)
    lambda_pol: float = doc(1 / 9, "weight of the policy's stream (P)", low=0)
    lambda_crit: float = doc(8 / 9, "weight of the critic's stream (P)", low=0)
    kl_pol: float = doc(1e-3, "KL to the reference on the policy's tokens, not multiplied by lambda_pol (P)", low=0)
    kl_crit: float = doc(1e-3, "KL to the reference on the critic's tokens, not multiplied by lambda_crit (P)", low=0)
    kl_held: float = doc(0.035, "KL on the policy's tokens while the gate is shut, to hold it where it is (M)", low=0)
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
    decay: Literal["constant", "linear"] = doc("constant", "schedule of the learning rate over the steps (O)")
    lr_warmup: int = doc(0, "steps of linear warm-up of the learning rate (O)", low=0)
    weight_decay: float = doc(0.0, "AdamW (O)", low=0)
    max_grad_norm: float = doc(1.0, "gradient norm is clipped to this (O)", low=0)
    tokens: int = doc(
        0, "training ends after this many rollout tokens of both roles, for comparisons at equal cost; 0: no limit", low=0
    )
    control: Literal["none", "shuffled", "frozen"] = doc(
        "none",
        "controls that must not learn. shuffled: the policy's rewards are dealt among its answers at random; frozen: the "
        "warm start stays the critic",
    )
    dpo_beta: float = doc(0.1, "for method dpo: how far a preference may lead from the round's start (DPO)", low=0)
    dpo_rounds: int = doc(3, "for method dpo: rounds, each from where the last one ended (P)", low=1)
    snapshots: int = doc(8, "evenly spaced snapshots from which the candidate is chosen; 0: it is the last step's (O)", low=0)
    kl_budget: float = doc(
        0.0,
        "KL of the policy to the warm start, nats a token, above which a snapshot is not chosen; 0: none (O: not measured)",
        low=0,
    )
    early_stop: int = doc(
        0,
        "training ends after so many snapshots in a row, since the policy began to learn, whose answers the critic likes no "
        "better than an older one's; 0: never (O: not measured)",
        low=0,
    )
    checkpoint_every: int = doc(20, "steps between checkpoints (O)", low=1)
    keep_checkpoints: int = doc(2, "newest checkpoints kept on disk, besides those that a guard may roll back to (O)", low=1)

    @property
    def pairs_per_step(self) -> int:
        """Pairs the critic is trained on per step."""
        return self.pairs or self.questions * self.rollouts


@dataclass(frozen=True, kw_only=True)
class Guards:
    """How a training that goes wrong is noticed without a verifier, and what is done then. Thresholds marked M lie outside
    the range of the miniature's runs that learnt, and within that of provoked collapses (docs/collapse-gallery.md)."""

    actions: dict[GuardName, GuardAction] = doc(
        {},
        "for each guard: off; warn; damp the learning rate; roll_back to the last good checkpoint and damp; stop there. Others "
        "warn, except finite, which fails the run",
    )
    window: int = doc(3, "a figure is the median of this many last values (M)", low=1, high=100)
    flood: float = doc(0.5, "share of a role's rollouts that are malformed or cut off (M)", low=0, high=1)
    tie: float = doc(0.6, "share of ties among the verdicts on fresh pairs (M)", low=0, high=1)
    drift_policy: float = doc(0.6, "KL of the policy to the warm start, nats a token (M)", low=0)
    drift_critic: float = doc(
        0.5,
        "KL of the critic to the warm start, nats a token (M: .12 at most in runs that learn, .20 to 1.9 in collapses)",
        low=0,
    )
    drift_rise: float = doc(
        0.15,
        "rise of either KL within five steps, nats a token (M: .10 at most in games that learn on the packaged base, .26 at "
        "least in collapses; at .2 one had lost a third of its accuracy at the alarm)",
        low=0,
    )
    entropy: float = doc(0.2, "share of its initial entropy below which the policy has collapsed (O)", low=0, high=1)
    fooled: float = doc(
        0.4, "accuracy on fresh pairs below which the critic prefers the policy to the experts (O)", low=0, high=1
    )
    chance: float = doc(
        0.75,
        "accuracy on the critic's health set, ties counting half, below which it is too near chance, .5 (M: .83 at least in "
        "runs that learn on the packaged base)",
        low=0,
        high=1,
    )
    cycling: float = doc(
        0.7,
        "win rate of the best older snapshot's answers against the present ones, above which the policy was better before; .5: "
        "even (M: .69 at most in runs that learn, .72 and more once accuracy has fallen)",
        low=0,
        high=1,
    )
    lottery: float = doc(
        0.57,
        "the best paid answers' share when the critic is asked about best and worst paid again, below which pay is too near "
        "random, .5 (M: on the packaged base .77 at least with a gate, .60 without one, whose critic begins near chance; with "
        "random pay .36 to .56 at the alarm)",
        low=0,
        high=1,
    )
    damp: float = doc(0.5, "what damping multiplies the learning rate by (O)", low=0.01, high=1)
    rollbacks: int = doc(2, "roll-backs in one run; the next one stops (O)", low=0)


@dataclass(frozen=True, kw_only=True)
class Probes:
    """What is measured beside the game, without a verifier. Nothing is learnt from it: the weights are the same, bit by bit,
    without it. docs/metrics.md says what it costs."""

    health_every: int = doc(
        10,
        "steps between checks of the critic's health: experts' answers beside the same made worse, and beside themselves; "
        "0: never (O)",
        low=0,
    )
    health_items: int = doc(32, "dev demonstrations per check (M: cost)", low=1)
    retest_every: int = doc(
        10,
        "steps between checks that the critic, asked again, still prefers the best paid answers to the worst paid; also at "
        "each of the first eight steps in which the policy learns; 0: never (O)",
        low=0,
    )
    gradients_every: int = doc(10, "steps between measurements of the angle between both roles' gradients; 0: never (O)", low=0)
    gradient_samples: int = doc(32, "samples of each role for that (M: cost)", low=1)
    older_items: int = doc(
        16,
        "dev questions on which the present critic compares each snapshot's answers with older snapshots'; 0: never (M: cost)",
        low=0,
    )
    matrix_items: int = doc(
        16,
        "dev questions on which, at the end, every snapshot's critic judges every snapshot's policy, and the last compares "
        "the policies; 0: none (M: cost)",
        low=0,
    )
    select_items: int = doc(
        500,
        "dev questions, drawn by seed, on which the candidate is chosen at the end: all snapshots' policies, judged by three "
        "critics in both orders; 0: all (O: the cost grows with them)",
        low=0,
    )
    select_level: float = doc(
        1.5,
        "the candidate is the latest snapshot whose worst win rate is within this many standard errors of the best; 0: the "
        "best itself, often just the luckiest (M)",
        low=0,
    )
    exploit_steps: int = doc(
        0,
        "updates of a fresh critic that evaluate trains against the frozen candidate; 0: none; try 20 (O)",
        low=0,
    )
    exploit_learning_rate: float = doc(
        0.0, "its learning rate; 0: that of training, at which a large model hardly moves in so few updates (O)", low=0
    )
    exploit_pairs: int = doc(48, "pairs per such update (O)", low=2)
    exploit_items: int = doc(400, "test problems for that, half to train on, half to test on (O)", low=1)


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How both roles write."""

    engine: Literal["slots", "plain", "vllm"] = doc(
        "slots", "slots: our slot engine; plain: transformers' generate, its slow twin; vllm: a vLLM server (docs/cluster.md)"
    )
    vllm_memory: float = doc(
        0.4, "share of the GPU's memory (of the machine's, on a CPU) that the vLLM server may hold (O)", low=0.01, high=0.95
    )
    slots: int = doc(256, "sequences decoded at once (M: more is faster, if memory allows)", low=1)
    temperature: float = doc(1.0, "sampling temperature of both roles (O)", low=0, high=10)
    critic_temperature: float = doc(0.0, "the critic's, if different; 0: the same (O)", low=0, high=10)
    importance_cap: float = doc(0.0, "most that a token counts for sampler and learner differing; 0: 1; vllm: try 2 (O)", low=0)
    policy_tokens: int = doc(2048, "token budget of a policy rollout (P)", low=1)
    critic_tokens: int = doc(2048, "token budget of a critic rollout (P)", low=1)

    @property
    def judging_temperature(self) -> float:
        """The critic's sampling temperature."""
        return self.critic_temperature or self.temperature
