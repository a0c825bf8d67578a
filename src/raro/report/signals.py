"""Which blind signals are read at the end of training, and by which thresholds.

A reading is the median of the last `guards.window` values against two thresholds; where the guard looks otherwise, the guard's
figure. Red is the guards' own where a guard watches the figure; where none does it is our choice, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..config import Guards
from ..game.guards import RISE
from ..game.rewards import EVEN

Points = Sequence[tuple[int, float]]
TONES = ("green", "amber", "red")


@dataclass(frozen=True)
class Signal:
    """name, how: for people. value: of the figures' recent medians, None where one is missing. amber, red: where those readings
    begin. below: whether low values are the bad ones. source: of the thresholds."""

    name: str
    how: str
    value: Callable[[Mapping[str, float]], float | None]
    amber: float
    red: float
    source: str = "our choice"
    below: bool = False

    def tone(self, value: float) -> str:
        reached = [value < limit if self.below else value > limit for limit in (self.amber, self.red)]
        return TONES[2 if reached[1] else 1 if reached[0] else 0]


def signals(s: Guards) -> list[Signal]:
    """What is read. Where a guard watches the figure amber begins half-way to red: from its best, and of what is best even from
    there; but of the critic's accuracy, whose best depends on the policy, at chance."""

    def one(name: str) -> Callable[[Mapping[str, float]], float | None]:
        return lambda now: now.get(name)

    def of(first: str, second: str, how: Callable[[float, float], float]) -> Callable[[Mapping[str, float]], float | None]:
        return lambda now: how(now[first], now[second]) if first in now and second in now else None

    return [
        Signal(
            "Ties",
            "Two right answers can only tie, so some ties are good news; near 1 the game is a stalemate and nobody learns.",
            one("critic/tie"),
            s.tie * 5 / 6,
            s.tie,
            "guards.tie; sound runs of the miniature end at .3 to .45",
        ),
        Signal(
            "Policy malformed or cut off",
            "Unreadable rollouts teach nothing but the format.",
            of("policy/malformed", "policy/truncated", lambda a, b: a + b),
            s.flood / 2,
            s.flood,
            "guards.flood",
        ),
        Signal(
            "Critic malformed or cut off",
            "Unreadable verdicts pay nobody, and few are left to judge the policy.",
            one("critic/malformed"),
            s.flood / 2,
            s.flood,
            "guards.flood",
        ),
        Signal(
            "Length of the policy's rollouts, as a share of the budget",
            "Longer thoughts may be better ones; near 1 they are cut off before they answer.",
            of("policy/tokens", "set:budget", lambda tokens, budget: tokens / budget),
            0.75,
            0.9,
        ),
        Signal(
            "KL of the policy, nats a token",
            "How far it has moved from the warm start; far out, nobody has checked what it does.",
            one("policy/kl"),
            s.drift_policy / 2,
            s.drift_policy,
            "guards.drift_policy",
        ),
        Signal(
            "KL of the critic, nats a token",
            "A critic that moves away fast forgets what it knew, and so does the policy that shares its weights.",
            one("critic/kl"),
            s.drift_critic / 2,
            s.drift_critic,
            "guards.drift_critic",
        ),
        Signal(
            f"Rise of a KL within {RISE} steps, nats a token",
            "The faster of the two roles: a game that learns moves far over time, one that breaks moves far at once.",
            lambda now: max((now[name] for name in ("rise:policy", "rise:critic") if name in now), default=None),
            s.drift_rise / 2,
            s.drift_rise,
            "guards.drift_rise",
        ),
        Signal(
            "Worth of best paid answers, asked again",
            "The critic judges them a second time: near .5 the policy's pay is random, whatever it says.",
            one("pooled:retest"),
            (1 + s.lottery) / 2,
            s.lottery,
            "guards.lottery",
            below=True,
        ),
        Signal(
            "Entropy, as a share of its start",
            "A policy that always says the same has nothing left to choose from.",
            of("policy/entropy", "start:policy/entropy", lambda now, start: now / start if start else 1.0),
            (1 + s.entropy) / 2,
            s.entropy,
            "guards.entropy",
            below=True,
        ),
        Signal(
            "Critic's accuracy on fresh pairs",
            "Near .5 the policy is the experts' equal, or the critic knows nothing; below it the critic is fooled.",
            one("playing:accuracy"),
            0.5,
            s.fooled,
            "guards.fooled",
            below=True,
        ),
        Signal(
            "Critic's health",
            "Experts' answers beside the same made worse: near 1 the critic knows good from bad, .5 is chance.",
            one("health/accuracy"),
            (1 + s.chance) / 2,
            s.chance,
            "guards.chance",
            below=True,
        ),
        Signal(
            "Ties of experts with themselves",
            "Where both answers are the same only a tie is right; a critic that never says tie has forgotten how.",
            one("health/tie"),
            0.7,
            0.3,
            below=True,
        ),
        Signal(
            "Roles' gradients, cosine",
            "Well below 0, one role undoes what the other learns in the shared weights.",
            one("learn/role_cosine"),
            -0.2,
            -0.5,
            below=True,
        ),
        Signal(
            "Best older snapshot's answers beside the present ones",
            "As the present critic judges: above .5 the policy was better before, and is going in circles or down.",
            one("game/older"),
            (EVEN + s.cycling) / 2,
            s.cycling,
            "guards.cycling",
        ),
        Signal(
            "Strongest snapshot beside the candidate",
            "Bradley-Terry strength by the last critic: above .5 another snapshot, earlier or later, is stronger, beyond "
            "its 95 % interval; within it counts as .5.",
            one("end:strongest"),
            0.6,
            0.7,
        ),
        Signal(
            "Duality gap of the candidate",
            "What another of the run's snapshots would still gain against it; near 0 the game has settled.",
            one("end:gap"),
            0.15,
            0.3,
        ),
        Signal(
            "Told from experts by a critic trained afresh",
            "At .5 it cannot tell the candidate from the experts. Errors give it away fairly: see the next line too.",
            one("end:fresh"),
            0.75,
            0.9,
        ),
        Signal(
            "The same, less what the run's own critic tells",
            "Above 0 the candidate exploits its critic's blind spots: another critic sees what its own does not.",
            one("end:exploited"),
            0.05,
            0.15,
        ),
        Signal(
            "Told from experts by length alone, AUC",
            "Above .5 the answers' length gives them away, and the critic may judge by it without reading.",
            one("end:length"),
            0.65,
            0.8,
        ),
        Signal(
            "Told from experts by words and signs, AUC",
            "Above .5 habits of wording give the answers away; fair if they are wrong, a shortcut if not.",
            one("end:ngrams"),
            0.75,
            0.9,
        ),
        Signal(
            "Gap between positions",
            "If large, the critic goes by the order of the answers, not by what they say.",
            of("critic/accuracy_first", "critic/accuracy_second", lambda a, b: abs(a - b)),
            0.2,
            0.4,
        ),
        Signal(
            "Older answers less fresh ones",
            "Below 0 the critic catches old answers less often than new ones: it forgets, and the policy may go back to them.",
            of("critic/accuracy_replay", "critic/accuracy", lambda old, new: old - new),
            -0.1,
            -0.2,
            below=True,
        ),
        Signal(
            "Policy's groups without a signal",
            "Near 1 all answers to a question earn the same, and the policy learns nothing.",
            one("playing:idle"),
            0.6,
            0.9,
        ),
        Signal(
            "Steps with the gate shut",
            "While it is shut the policy does not learn: its critic tells too few answers from the experts' (raro.gate). Near "
            "1 the candidate is little more than the warm start; train longer, or from a base that judges better.",
            one("shut"),
            0.5,
            0.9,
        ),
    ]
