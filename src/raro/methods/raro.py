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

import dataclasses
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..game import advantages, controllers, pairs, prompts, rewards
from ..game.replay import Replay, Replayed
from ..game.verdicts import outcome, read_verdict
from ..records import Completion, Demonstration, Outcome, Pair, Prompt, Sample, Verdict
from ..rollout.engine import Engine
from ..text import split_thought
from .figures import critic_figures, policy_figures, said_of_rollouts
from .method import Answer, Method
from .selection import Selection, select


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
class Raro(Method):
    """The game's state between steps: older answers, and the gate. critic: the engine that judges, the policy's own but for one
    control."""

    replay: Replay = field(init=False)
    gate: controllers.CriticGate = field(init=False)
    critic: Engine = field(init=False)

    def __post_init__(self) -> None:
        settings = self.config.raro
        self.replay = Replay(settings.replay_capacity, self.config.seed)
        self.gate = controllers.CriticGate(settings.gate, settings.gate_smoothing, settings.gate_shut)
        self.critic = self.engine
        if settings.control == "frozen":
            self.critic = dataclasses.replace(self.speaker, model=self.learner.reference).engine(self.config)

    def step(self, step: int) -> tuple[dict[str, float], list[dict]]:
        """One step of the game and one update. Returns its figures and the judged pairs, to be looked at."""
        settings, playing = self.config.raro, self.gate.open
        self.begin()
        opened = 0 if settings.gate <= 0 else self.gate.step_opened
        tau_crit = controllers.ramp(step, opened, settings.tau_ramp, settings.tau_crit, settings.tau_start)
        answers = self.answer(self.draw(step), step)
        fresh = self.pair(answers, step)
        trained = self.chosen(fresh, step)
        replayed = self.recall(step)
        judged = self.judge([*(fresh if playing else trained), *replayed], step)
        lessons = set(map(id, trained)) | set(map(id, replayed))
        earned = self.earned(answers, judged, step)
        samples = [
            *(self.policy_samples(answers, earned) if playing else self.held_samples(answers)),
            *self.critic_samples([group for group in judged if id(group[0].pair) in lessons], tau_crit),
        ]
        streams = {
            "policy": self.stream("policy", settings.lambda_pol, settings.kl_pol if playing else settings.kl_held),
            "critic": self.stream("critic", settings.lambda_crit, settings.kl_crit),
        }
        learned = self.update(samples, streams, step)
        self.replay.add([Replayed(step, a.item, a.text) for a in answers if a.text is not None])
        named = [j.outcome for group in judged for j in group if j.pair.age == 0]
        self.gate.observe(step, named.count("expert"), named.count("policy"))
        figures = policy_figures(answers, earned, samples) | critic_figures(judged, samples, tau_crit) | learned
        figures |= {
            "game/gate_share": self.gate.share,
            "game/gate_open": float(playing),
            "game/tau_crit": tau_crit,
            "game/replay_size": float(len(self.replay)),
        }
        return figures, self.transcripts(step, answers, judged)

    def pair(self, answers: Sequence[Answer], step: int) -> list[Pair]:
        """Each well-formed answer beside its expert's."""
        shown = [self.demonstrations[a.item] for a in answers]
        questions, experts, texts = [d.question for d in shown], [d.answer for d in shown], [a.text for a in answers]
        return pairs.fresh_pairs(questions, experts, texts, self.config.seed, step, self.config.raro.orders == "both")

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
        written = self.write(asked, self.config.raro.verdicts, "critic", step, self.critic)
        return [[self._read(pair, prompt, c) for c in cs] for pair, prompt, cs in zip(shown, asked, written, strict=True)]

    def earned(self, answers: Sequence[Answer], judged: Sequence[Sequence[Judgement]], step: int) -> list[float | None]:
        """What each answer earns: the mean over the verdicts on its pair, 0 where it is malformed; None where it is filtered or
        was not judged."""
        said = said_of_rollouts(judged)
        if self.config.raro.control == "shuffled":
            dealt = random.Random(f"shuffled-{self.config.seed}-{step}").sample(list(said.values()), len(said))
            said = dict(zip(said, dealt, strict=True))

        def reward(i: int, answer: Answer) -> float | None:
            if self.filtered(answer):
                return None
            return 0.0 if answer.text is None else rewards.policy_reward(said.get(i, ()), self.config.raro.tau_pol)

        return [reward(i, answer) for i, answer in enumerate(answers)]

    def held_samples(self, answers: Sequence[Answer]) -> list[Sample]:
        """The policy's stream while the gate is shut: no answer earns more than another, the samples only carry the KL that
        holds the policy where it is, since training the critic alone moves the shared weights under it."""
        if not self.config.raro.kl_held:
            return []
        return self.policy_samples(answers, [None if self.filtered(answer) else 0.0 for answer in answers])

    def critic_samples(self, judged: Sequence[Sequence[Judgement]], tau_crit: float) -> list[Sample]:
        """The critic's stream: whether each verdict named the expert, less the mean over its group's verdicts."""
        if not self.config.raro.lambda_crit:
            return []
        by_pair = self.config.raro.critic_group == "pair"
        baseline = advantages.centred if by_pair else advantages.leave_one_out
        samples: list[Sample] = []
        for group in judged if by_pair else self._by_question(judged):
            earned = [None if self.filtered(j) else rewards.critic_reward(j.outcome, tau_crit) for j in group]
            samples += self.centred(group, earned, "critic", baseline)
        return samples

    @staticmethod
    def _by_question(judged: Sequence[Sequence[Judgement]]) -> list[list[Judgement]]:
        """The verdicts on each question's fresh pairs together; those on replayed pairs, of many questions, in one group."""
        groups: dict[str | None, list[Judgement]] = {}
        for judgement in itertools.chain.from_iterable(judged):
            groups.setdefault(judgement.pair.question if judgement.pair.age == 0 else None, []).append(judgement)
        return list(groups.values())

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

    def select(
        self, snapshots: Sequence[tuple[int, Path]], held_out: Sequence[Demonstration], progress: Callable | None = None
    ) -> Selection | None:
        """The snapshot that its worst frozen critic likes best, of those since the gate opened."""
        opened = self.gate.step_opened or 0
        known = [(step, path) for step, path in snapshots if step > opened]
        return select(self.speaker, known, held_out, self.config, progress=progress) if held_out and len(known) > 1 else None

    def state(self) -> dict:
        """The game's state as plain JSON."""
        return super().state() | {"replay": self.replay.state(), "gate": dataclasses.asdict(self.gate)}

    def restore(self, state: dict) -> None:
        super().restore(state)
        self.replay.restore(state["replay"])
        self.gate = controllers.CriticGate(**state["gate"])

    def _read(self, pair: Pair, prompt: Prompt, completion: Completion) -> Judgement:
        raw = self.speaker.text(completion.ids)
        verdict = read_verdict(raw, completion.finish == "stop")
        thought, _ = split_thought(raw) or (raw, "")
        return Judgement(pair, prompt, completion, verdict, outcome(verdict, pair), thought)
