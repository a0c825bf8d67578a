"""Guards: what tells, from a step's figures alone and without a verifier, that training is going wrong.

Each guard watches the median of a figure's last `window` values, so that one odd step raises no alarm; some figures are
measured at every step, some at every tenth. KL is also watched for how fast it rises, whatever its level: a game that learns
moves far over time, one that breaks moves far at once. config.Guards says where each threshold comes from. What happens after
an alarm is up to the loop (steps/guarding.py): a guard only says that, why, and since when. Plain state, saved in every
checkpoint.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from ..config import GuardAction, GuardName, Guards

FINITE: GuardName = "finite"
FIGURES: Mapping[GuardName, tuple[str, ...]] = {
    "flood": ("policy", "critic"),
    "tie": ("tie",),
    "drift": ("policy_kl", "critic_kl"),
    "entropy": ("entropy",),
    "fooled": ("accuracy",),
    "chance": ("chance",),
    "cycling": ("older",),
    "lottery": ("retest",),
}
"""The remembered figures that each guard watches."""
RISE = 5
"""Values over which the rise of a KL is taken."""
TRIALS = 150
"""Questions, from the latest looks, that `lottery` needs (O)."""
EASE = 0.2
"""A guard speaks again only after its figure has come back by this share of the way from its threshold to its best, 0 or 1: one
that swings around the threshold raises one alarm (O)."""
PLAYING = ("accuracy", "older", "retest", "retested")
"""Figures measured only while the policy plays: when the gate shuts they are forgotten, and their alarms end."""

Look = tuple[int, float, float]
"""(step, share, of how many): one retest of what the policy is paid."""


def trials(looks: Sequence[Look]) -> Sequence[Look]:
    """The latest looks that make up TRIALS comparisons; empty of fewer."""
    enough = (k for k in range(1, len(looks) + 1) if sum(n for *_, n in looks[-k:]) >= TRIALS)
    return looks[-k:] if (k := next(enough, 0)) else ()


def pooled(looks: Sequence[Look]) -> float:
    """The share over all their comparisons."""
    return sum(share * n for _, share, n in looks) / sum(n for *_, n in looks)


def rise(values: Sequence[float], window: int) -> float | None:
    """How far a figure has risen over its last RISE values, from median to median of `window`; None of too few."""
    last = values[-window - RISE :]
    return median(last[-window:]) - median(last[:window]) if len(last) == window + RISE else None


@dataclass(frozen=True, slots=True)
class Alarm:
    """guard: its name. step: counted from 1, where it was raised. since: the first step of those it was raised for. why: one
    sentence."""

    guard: GuardName
    step: int
    since: int
    why: str
    action: GuardAction


@dataclass
class Watch:
    """All guards of one run. recent: each figure's last values, (step, value). raised: guards whose alarm is active: each
    alarms once, and again only after its figure has recovered, by EASE. start: the first median of the policy's entropy.
    rollbacks: how often the run was rolled back. alarms: all that were raised, as plain data; `undone`: their steps were rolled
    back."""

    settings: Guards
    recent: dict[str, deque[tuple[int, float]]] = field(default_factory=dict)
    start: dict[str, float] = field(default_factory=dict)
    raised: list[str] = field(default_factory=list)
    rollbacks: int = 0
    alarms: list[dict] = field(default_factory=list)

    def observe(self, step: int, figures: Mapping[str, float]) -> list[Alarm]:
        """Takes one step's figures and returns the alarms that it raises, the gravest action first."""
        if not figures.get("game/gate_open", 1.0):
            self.recent = {name: values for name, values in self.recent.items() if name not in PLAYING}
        for name, value in _watched(figures).items():
            self.recent.setdefault(name, deque(maxlen=self._kept(name))).append((step, value))
        n = self.settings.window
        full = {name: list(values)[-n:] for name, values in self.recent.items() if len(values) >= n}
        now = {name: median(value for _, value in values) for name, values in full.items()}
        if "entropy" in now:
            self.start.setdefault("entropy", now["entropy"])
        now.pop("retest", None)
        if looks := self._trials():
            now["retest"], full["retest"] = pooled(looks), [(step, share) for step, share, _ in looks]
        for role in ("policy", "critic"):
            values = self.recent.get(f"{role}_kl", ())
            if (risen := rise([value for _, value in values], n)) is not None:
                now[f"{role}_rise"], full[f"{role}_rise"] = risen, values
        wrong = self._wrong(now)
        new = [
            Alarm(name, step, full[figure][0][0], why, action)
            for name, (figure, why) in wrong.items()
            if name not in self.raised and (action := self.action(name)) != "off"
        ]
        self.raised = [name for name in self._wrong(now, EASE) if name in wrong or name in self.raised]
        self.alarms += map(asdict, new)
        return sorted(new, key=lambda a: -GRAVITY.index(a.action))

    def not_finite(self, step: int, why: str) -> Alarm:
        """The alarm for a step whose gradient was not finite: that update was not made. One before it in the same step stands:
        of a critic with a model of its own, or of `raro.updates`."""
        alarm = Alarm(FINITE, step, step, why, self.action(FINITE))
        if alarm.action != "off":
            self.alarms.append(asdict(alarm))
        return alarm

    def action(self, name: GuardName) -> GuardAction:
        """What this guard does: `guards.actions`, else `warn`."""
        return self.settings.actions.get(name, "warn")

    def doubted(self, guards: Collection[GuardName]) -> list[int]:
        """For each of these guards that remembers anything, the first step that it could yet raise an alarm for."""
        first = {name: values[0][0] for name, values in self.recent.items()}
        if looks := self._trials():
            first["retest"] = looks[0][0]
        known = ([first[figure] for figure in FIGURES.get(name, ()) if figure in first] for name in guards)
        return sorted({min(steps) for steps in known if steps})

    def restore(self, state: Mapping) -> None:
        """Goes on from what a checkpoint holds."""
        self.recent = {name: deque(map(tuple, values), maxlen=self._kept(name)) for name, values in state["recent"].items()}
        self.start, self.raised = dict(state["start"]), list(state["raised"])
        self.rollbacks, self.alarms = state["rollbacks"], list(state["alarms"])

    def undone(self, step: int) -> None:
        """Marks the alarms raised after this step: their steps no longer exist."""
        for alarm in self.alarms:
            if alarm["step"] > step:
                alarm["undone"] = True

    def forget(self) -> None:
        """Starts to watch anew, after a roll-back."""
        self.recent, self.raised = {}, []

    def _kept(self, name: str) -> int:
        """Values of a figure that are remembered."""
        return TRIALS if name.startswith("retest") else self.settings.window + (RISE if name.endswith("_kl") else 0)

    def _trials(self) -> Sequence[Look]:
        pairs = zip(self.recent.get("retest", ()), self.recent.get("retested", ()), strict=True)
        return trials([(step, share, n) for (step, share), (_, n) in pairs])

    def _wrong(self, now: Mapping[str, float], ease: float = 0.0) -> dict[GuardName, tuple[str, str]]:
        """{guard: (the figure that tells, why)} of what is going wrong, from the figures' medians. ease: the share of the way
        from each threshold to the figure's best by which it must be better than the threshold."""
        s, found = self.settings, {}

        def above(name: GuardName, figure: str, limit: float, words: str) -> None:
            if now.get(figure, 0.0) > limit - ease * limit:
                found.setdefault(name, (figure, f"{words}: {now[figure]:.2f}, above {limit:g}"))

        def below(figure: str, limit: float, whole: float = 1.0) -> bool:
            return figure in now and now[figure] < whole * (limit + ease * (1 - limit))

        above("flood", "policy", s.flood, "share of the policy's rollouts that are malformed or cut off")
        above("flood", "critic", s.flood, "share of the critic's rollouts that are malformed or cut off")
        above("tie", "tie", s.tie, "share of ties among the verdicts on fresh pairs")
        above("cycling", "older", s.cycling, "win rate of the best older snapshot's answers against the present ones")
        above("drift", "policy_kl", s.drift_policy, "KL of the policy to the warm start, nats a token")
        above("drift", "critic_kl", s.drift_critic, "KL of the critic to the warm start, nats a token")
        for role in ("policy", "critic"):
            above("drift", f"{role}_rise", s.drift_rise, f"rise of the {role}'s KL within {RISE} steps, nats a token")
        if below("entropy", s.entropy, start := self.start.get("entropy", 0.0)):
            why = f"the policy's entropy: {now['entropy']:.3f} nats a token, below {s.entropy:g} of its initial {start:.3f}"
            found["entropy"] = "entropy", why
        if below("retest", s.lottery):
            why = "the best paid answers' share when the critic is asked about best and worst paid again"
            found["lottery"] = "retest", f"{why}: {now['retest']:.2f}, below {s.lottery:g}; random pay gives .5"
        if below("accuracy", s.fooled):
            why = f"the critic prefers the policy to the experts: its accuracy is {now['accuracy']:.2f}"
            found["fooled"] = "accuracy", why
        if below("chance", s.chance):
            why = "the critic's accuracy on its health set, experts' answers beside the same made worse"
            found["chance"] = "chance", f"{why}: {now['chance']:.2f}, below {s.chance:g}"
        return found


GRAVITY: tuple[GuardAction, ...] = ("off", "warn", "damp", "roll_back", "stop")


def _watched(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures of a step that the guards watch, as far as it has them."""
    found = {
        short: figures[name]
        for short, name in (
            ("tie", "critic/tie"),
            ("policy_kl", "policy/kl"),
            ("critic_kl", "critic/kl"),
            ("entropy", "policy/entropy"),
            ("chance", "health/accuracy"),
            ("older", "game/older"),
            ("retest", "game/retest"),
            ("retested", "game/retested"),
        )
        if name in figures
    }
    for role in ("policy", "critic"):
        if f"{role}/malformed" in figures or f"{role}/truncated" in figures:
            found[role] = figures.get(f"{role}/malformed", 0.0) + (
                figures.get(f"{role}/truncated", 0.0) if role == "policy" else 0.0
            )
    if figures.get("game/gate_open", 1.0) and "critic/accuracy" in figures:
        found["accuracy"] = figures["critic/accuracy"]
    return found
