"""RARO: Relativistic Adversarial Reasoning Optimization (arXiv 2511.21667), one training step.

One model plays two roles. The policy thinks and answers; the critic sees a question and two answers in unlabelled, balanced
order, one of them an expert's, thinks, and says first, second or tie. Each is rewarded by what the critic says
(game/rewards.py). Half of the critic's pairs show older policy answers, so that it does not forget. Then ONE update of the one
model on both roles' rollouts:

    lambda_pol * J_pol + lambda_crit * J_crit - beta * KL(model || warm start)

Both J are policy gradients with group-relative advantages, without division by the group's deviation or by length.

Where the paper is silent we chose, and each choice is a setting: a malformed answer gets 0 and never reaches the critic; a
malformed verdict gets 0 and is left out of the policy's mean; each stream is normalised before its lambda. Two additions for a
base whose critic starts at chance, off by default: the policy waits at a gate until the critic is better than chance, and the
tie's reward ramps up after. Dimensions: Q questions, K rollouts each, P pairs, V verdicts each.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..config import Config
from ..game import advantages, controllers, pairs, prompts, rewards
from ..game.replay import Replay, Replayed
from ..game.verdicts import outcome, read_verdict
from ..learning.losses import on_policy, policy_gradient
from ..learning.update import Learner, Stream
from ..records import Completion, Demonstration, Outcome, Pair, Prompt, Sample, Sampling, Verdict
from ..rollout.engine import Engine
from ..rollout.models import Speaker
from ..text import split_thought
from .figures import said_of_rollouts, step_figures


@dataclass(frozen=True, slots=True)
class Answer:
    """One policy rollout, read. text, thought: None and the raw text where it is malformed."""

    item: int
    prompt: Prompt
    completion: Completion
    text: str | None
    thought: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """One critic rollout, read."""

    pair: Pair
    prompt: Prompt
    completion: Completion
    verdict: Verdict
    outcome: Outcome
    thought: str


@dataclass
class Raro:
    """The game's state between steps: everything that a checkpoint must hold beside weights and optimiser."""

    config: Config
    speaker: Speaker
    engine: Engine
    learner: Learner
    demonstrations: Sequence[Demonstration]
    replay: Replay = field(init=False)
    gate: controllers.CriticGate = field(init=False)

    def __post_init__(self) -> None:
        settings = self.config.raro
        self.replay = Replay(settings.replay_capacity, self.config.seed)
        self.gate = controllers.CriticGate(settings.gate, settings.gate_smoothing)

    def step(self, step: int) -> tuple[dict[str, float], list[dict]]:
        """One step of the game and one update. Returns its figures and the judged pairs, to be looked at."""
        settings, playing = self.config.raro, self.gate.open
        self._clock = [0, 0.0]  # tokens written, and seconds
        tau_crit = controllers.ramp(step, self.gate.step_opened or 0, settings.tau_ramp, settings.tau_crit) if playing else 0.0
        answers = self.answer(self.draw(step), step)
        fresh = self.pair(answers, step)
        trained = self.chosen(fresh, step)
        replayed = self.recall(step)
        judged = self.judge([*(fresh if playing else trained), *replayed], step)
        lessons = set(map(id, trained)) | set(map(id, replayed))
        samples = [
            *self.policy_samples(answers, judged, playing),
            *self.critic_samples([group for group in judged if id(group[0].pair) in lessons], tau_crit),
        ]
        kl_pol = settings.kl_pol if playing else settings.kl_held
        streams = {
            "policy": Stream(coefficient=settings.lambda_pol, kl=kl_pol, budget=self._budget("policy")),
            "critic": Stream(coefficient=settings.lambda_crit, kl=settings.kl_crit, budget=self._budget("critic")),
        }
        learned = self._update(samples, streams, step)
        self.replay.add([Replayed(step, a.item, a.text) for a in answers if a.text is not None])
        named = [j.outcome for group in judged for j in group if j.pair.age == 0]
        self.gate.observe(step, named.count("expert"), named.count("policy"))
        figures = step_figures(answers, judged, samples, settings.tau_pol, tau_crit) | learned
        figures |= {
            "engine/generate_tokens_per_second": self._clock[0] / self._clock[1],
            "game/gate_share": self.gate.share,
            "game/gate_open": float(playing),
            "game/tau_crit": tau_crit,
            "game/replay_size": float(len(self.replay)),
        }
        return figures, self.transcripts(step, answers, judged)

    def draw(self, step: int) -> list[int]:
        """Q demonstrations: whole shuffled epochs, one after another, so that the place in the data follows from the step
        alone."""
        n, start = len(self.demonstrations), step * self.config.raro.questions
        epochs: dict[int, list[int]] = {}
        for position in range(start, start + self.config.raro.questions):
            if position // n not in epochs:
                epochs[position // n] = random.Random(f"epoch-{self.config.seed}-{position // n}").sample(range(n), n)
        return [epochs[p // n][p % n] for p in range(start, start + self.config.raro.questions)]

    def answer(self, items: Sequence[int], step: int) -> list[Answer]:
        """K policy rollouts for each question, read: Q * K answers, those of a question together."""
        asked = [
            self.speaker.prompt(
                prompts.policy_messages(self.demonstrations[item].question, self.config.prompts.policy), "policy", group
            )
            for group, item in enumerate(items)
        ]
        written = self._write(asked, self.config.raro.rollouts, "policy", step)
        answers = []
        for item, prompt, completion in ((i, p, c) for i, p, cs in zip(items, asked, written, strict=True) for c in cs):
            raw = self.speaker.text(completion.ids)
            thought, text = (split_thought(raw) if completion.finish == "stop" else None) or (raw, None)
            answers.append(Answer(item, prompt, completion, text, thought))
        return answers

    def pair(self, answers: Sequence[Answer], step: int) -> list[Pair]:
        """Each well-formed answer beside its expert's."""
        shown = [self.demonstrations[a.item] for a in answers]
        texts = [a.text for a in answers]
        return pairs.fresh_pairs([d.question for d in shown], [d.answer for d in shown], texts, self.config.seed, step)

    def chosen(self, fresh: Sequence[Pair], step: int) -> list[Pair]:
        """The fresh pairs that the critic is trained on: all, or `pairs` less the replayed."""
        settings = self.config.raro
        wanted = round((settings.pairs or settings.questions * settings.rollouts) * (1 - settings.replay_share))
        return random.Random(f"fresh-{self.config.seed}-{step}").sample(fresh, min(wanted, len(fresh)))

    def recall(self, step: int) -> list[Pair]:
        """Pairs with older policy answers."""
        settings = self.config.raro
        entries = self.replay.draw(round((settings.pairs or settings.questions * settings.rollouts) * settings.replay_share))
        shown = [self.demonstrations[entry.item] for entry in entries]
        return pairs.replayed_pairs(entries, [d.question for d in shown], [d.answer for d in shown], self.config.seed, step)

    def judge(self, shown: Sequence[Pair], step: int) -> list[list[Judgement]]:
        """V critic rollouts for each pair, read: P groups of V."""
        asked = [
            self.speaker.prompt(prompts.critic_messages(pair, self.config.prompts.critic), "critic", group)
            for group, pair in enumerate(shown)
        ]
        written = self._write(asked, self.config.raro.verdicts, "critic", step)
        return [[self._read(pair, prompt, c) for c in cs] for pair, prompt, cs in zip(shown, asked, written, strict=True)]

    def policy_samples(self, answers: Sequence[Answer], judged: Sequence[Sequence[Judgement]], playing: bool) -> list[Sample]:
        """The policy's stream: what the critic said of each answer, less the mean over its question's answers.

        While the gate is shut no answer earns anything: the samples only carry the KL that holds the policy where it is, since
        training the critic alone moves the shared weights under it."""
        if not playing and not self.config.raro.kl_held:
            return []
        said = said_of_rollouts(judged)
        earned: list[float | None] = []
        for i, answer in enumerate(answers):
            if answer.completion.finish == "length" and self.config.raro.overlong == "filter":
                earned.append(None)
            elif not playing:
                earned.append(0.0)
            else:
                earned.append(0.0 if answer.text is None else rewards.policy_reward(said[i], self.config.raro.tau_pol))
        k = self.config.raro.rollouts
        groups = [range(i, i + k) for i in range(0, len(answers), k)]
        return [s for group in groups for s in self._centred([answers[i] for i in group], [earned[i] for i in group], "policy")]

    def critic_samples(self, judged: Sequence[Sequence[Judgement]], tau_crit: float) -> list[Sample]:
        """The critic's stream: whether each verdict named the expert, less the mean over its pair's verdicts."""
        drop = self.config.raro.overlong == "filter"
        samples = []
        for group in judged:
            earned = [
                None if drop and j.completion.finish == "length" else rewards.critic_reward(j.outcome, tau_crit) for j in group
            ]
            samples += self._centred(group, earned, "critic")
        return samples

    def transcripts(
        self, step: int, answers: Sequence[Answer], judged: Sequence[Sequence[Judgement]], most: int = 4
    ) -> list[dict]:
        """A few fresh pairs of this step, whole, for people to read. Their step counts from 1, as the figures' does."""
        rows = []
        for group in itertools.islice((g for g in judged if g[0].pair.age == 0), most):
            judgement = group[0]
            rows.append(
                {
                    "step": step + 1,
                    "question": judgement.pair.question,
                    "expert": judgement.pair.expert,
                    "policy": judgement.pair.policy,
                    "policy_thought": answers[judgement.pair.rollout_id].thought,
                    "expert_first": judgement.pair.expert_first,
                    "verdict": judgement.verdict,
                    "outcome": judgement.outcome,
                    "critic_thought": judgement.thought,
                    "policy_reward": rewards.policy_reward([j.outcome for j in group], self.config.raro.tau_pol),
                    "age": judgement.pair.age,
                }
            )
        return rows

    def state(self) -> dict:
        """The game's state as plain JSON."""
        return {"replay": self.replay.state(), "gate": {"share": self.gate.share, "step_opened": self.gate.step_opened}}

    def restore(self, state: dict) -> None:
        self.replay.restore(state["replay"])
        self.gate.share, self.gate.step_opened = state["gate"]["share"], state["gate"]["step_opened"]

    def _write(self, asked: Sequence[Prompt], n: int, role: str, step: int) -> list[list[Completion]]:
        """n completions for each prompt, and note of the time they took."""
        started = time.perf_counter()
        written = self.engine.generate(asked, n, self._sampling(role, step)) if asked else []
        self._clock[0] += sum(len(c.ids) for completions in written for c in completions)
        self._clock[1] += time.perf_counter() - started
        return written

    def _update(self, samples: Sequence[Sample], streams: dict[str, Stream], step: int) -> dict[str, float]:
        settings = self.config.raro
        rate = learning_rate(settings.learning_rate, step, settings.steps, settings.lr_warmup, settings.decay)
        loss = on_policy if settings.updates == 1 else policy_gradient(settings.clip_low, settings.clip_high)
        for _ in range(settings.updates):
            learned = self.learner.update(samples, streams, loss, rate)
        renamed = {"tokens": "learn/tokens", "tokens_per_second": "learn/tokens_per_second", "loss": "learn/loss"}
        renamed |= {"grad_norm": "learn/grad_norm", "padding": "learn/padding"}
        return {renamed.get(name, name): value for name, value in learned.items()} | {"learn/rate": rate}

    def _read(self, pair: Pair, prompt: Prompt, completion: Completion) -> Judgement:
        raw = self.speaker.text(completion.ids)
        verdict = read_verdict(raw, completion.finish == "stop")
        thought, _ = split_thought(raw) or (raw, "")
        return Judgement(pair, prompt, completion, verdict, outcome(verdict, pair), thought)

    def _centred(self, group: Sequence[Answer | Judgement], earned: Sequence[float | None], stream: str) -> list[Sample]:
        """Samples with group-relative advantages; None (filtered, or never judged) has weight 0 and no part in the mean."""
        centred = iter(advantages.centred([reward for reward in earned if reward is not None]))
        keep_logprobs = self.config.raro.updates > 1
        return [
            Sample(
                member.prompt.ids,
                member.completion.ids,
                member.completion.logprobs if keep_logprobs else (),
                0.0 if reward is None else next(centred),
                0.0 if reward is None else 1.0,
                stream,
            )
            for member, reward in zip(group, earned, strict=True)
        ]

    def _sampling(self, role: str, step: int) -> Sampling:
        rollout = self.config.rollout
        budget = rollout.policy_tokens if role == "policy" else rollout.critic_tokens
        return Sampling(rollout.temperature, budget, self.config.seed, step)

    def _budget(self, role: str) -> int:
        rollout = self.config.rollout
        return (
            0
            if self.config.raro.normalise == "tokens"
            else rollout.policy_tokens
            if role == "policy"
            else rollout.critic_tokens
        )


def learning_rate(peak: float, step: int, steps: int, warmup: int, decay: str) -> float:
    """The learning rate at `step`: linear warm-up, then constant or linear to a tenth of the peak at the last step."""
    rate = peak * min(1.0, (step + 1) / warmup) if warmup else peak
    return rate if decay == "constant" else rate * (1 - 0.9 * step / max(1, steps - 1))
