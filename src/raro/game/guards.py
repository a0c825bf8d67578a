"""Guards: what tells, from a step's figures alone and without a verifier, that training is going wrong.

Each guard watches the median of a figure's last `window` values, so that one odd step raises no alarm; some figures are
measured at every step, some at every tenth. Where a threshold comes from stands in config.Guards. What happens then is the
loop's affair (steps/guarding.py): a guard only says that, why, and since when. Plain state, saved in every checkpoint.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import median

from ..config import GuardAction, GuardName, Guards

FINITE: GuardName = "finite"


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
    """All guards of one run. recent: each figure's last values, (step, value). raised: guards whose alarm stands; it is told
    once, and again after the figure was well between. start: median entropy of the first `window` steps. rollbacks: how often
    the run was rolled back."""

    settings: Guards
    recent: dict[str, deque[tuple[int, float]]] = field(default_factory=dict)
    start: float | None = None
    raised: list[str] = field(default_factory=list)
    rollbacks: int = 0
    alarms: list[dict] = field(default_factory=list)

    def observe(self, step: int, figures: Mapping[str, float]) -> list[Alarm]:
        """Takes one step's figures and returns the alarms that it raises, the gravest action first."""
        for name, value in _watched(figures).items():
            self.recent.setdefault(name, deque(maxlen=self.settings.window)).append((step, value))
        full = {name: values for name, values in self.recent.items() if len(values) == self.settings.window}
        now = {name: median(value for _, value in values) for name, values in full.items()}
        if self.start is None and "entropy" in now:
            self.start = now["entropy"]
        wrong = self._wrong(now)
        new = [
            Alarm(name, step, full[figure][0][0], why, action)
            for name, (figure, why) in wrong.items()
            if name not in self.raised and (action := self.action(name)) != "off"
        ]
        self.raised = list(wrong)
        self.alarms += map(asdict, new)
        return sorted(new, key=lambda a: -GRAVITY.index(a.action))

    def not_finite(self, step: int, why: str) -> Alarm:
        """The alarm for a step whose gradient was not finite: its update was not made."""
        alarm = Alarm(FINITE, step, step, why, self.action(FINITE))
        self.alarms.append(asdict(alarm))
        return alarm

    def action(self, name: GuardName) -> GuardAction:
        """What this guard does: `guards.actions`, else `warn`; a gradient that is not finite ends the run unless told
        otherwise."""
        return self.settings.actions.get(name, "stop" if name == FINITE else "warn")

    def restore(self, state: Mapping) -> None:
        """Goes on from what a checkpoint holds."""
        window = self.settings.window
        self.recent = {name: deque(map(tuple, values), maxlen=window) for name, values in state["recent"].items()}
        self.start, self.raised = state["start"], list(state["raised"])
        self.rollbacks, self.alarms = state["rollbacks"], list(state["alarms"])

    def forget(self) -> None:
        """Starts to watch anew, after a roll-back."""
        self.recent, self.raised = {}, []

    def _wrong(self, now: Mapping[str, float]) -> dict[GuardName, tuple[str, str]]:
        """{guard: (the figure that tells, why)} of what is going wrong, from the figures' medians."""
        s, found = self.settings, {}

        def above(name: GuardName, figure: str, limit: float, words: str) -> None:
            if now.get(figure, 0.0) > limit:
                found.setdefault(name, (figure, f"{words}: {now[figure]:.2f}, above {limit:g}"))

        above("flood", "policy", s.flood, "share of the policy's rollouts that are malformed or cut off")
        above("flood", "critic", s.flood, "share of the critic's rollouts that are malformed or cut off")
        above("tie", "tie", s.tie, "share of ties among the verdicts on fresh pairs")
        above("cycling", "older", s.cycling, "what an older snapshot's answers get beside the present ones")
        above("drift", "policy_kl", s.drift_policy, "KL of the policy to the warm start, nats a token")
        above("drift", "critic_kl", s.drift_critic, "KL of the critic to the warm start, nats a token")
        if self.start and now.get("entropy", self.start) < s.entropy * self.start:
            why = f"the policy's entropy: {now['entropy']:.3f} nats a token, under {s.entropy:g} of {self.start:.3f}"
            found["entropy"] = "entropy", why
        if now.get("accuracy", 1.0) < s.fooled:
            why = f"the critic prefers the policy to the experts: its accuracy is {now['accuracy']:.2f}"
            found["fooled"] = "accuracy", why
        if now.get("chance", 1.0) < s.chance:
            why = f"the critic on its health set, experts beside themselves made worse: {now['chance']:.2f}, under {s.chance:g}"
            found["chance"] = "chance", why
        return found


GRAVITY: tuple[GuardAction, ...] = ("off", "warn", "damp", "roll_back", "stop")


def _watched(figures: Mapping[str, float]) -> dict[str, float]:
    """What the guards look at, of those of a step's figures that there are."""
    found = {
        short: figures[name]
        for short, name in (
            ("tie", "critic/tie"),
            ("policy_kl", "policy/kl"),
            ("critic_kl", "critic/kl"),
            ("entropy", "policy/entropy"),
            ("chance", "health/accuracy"),
            ("older", "game/older"),
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
