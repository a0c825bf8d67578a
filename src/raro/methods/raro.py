"""RARO: Relativistic Adversarial Reasoning Optimization (arXiv 2511.21667), one training step.

One model plays two roles. The policy thinks and answers; the critic sees a question and two answers in unlabelled, balanced
order, one of them an expert's, thinks, and says first, second or tie. Each is rewarded by what the critic says
(game/rewards.py). Half of the critic's pairs show older policy answers, so that it does not forget. Then ONE update of the one
model on both roles' rollouts:

    lambda_pol * J_pol + lambda_crit * J_crit - beta * KL(model || warm start)

Both J are policy gradients with group-relative advantages, without division by the group's deviation or by length.

Where the paper is silent we chose: a malformed answer gets 0 and never reaches the critic; a malformed verdict gets 0 and is
left out of the policy's mean; each stream is normalised before its lambda. Ours, each a setting that configs/paper.yaml has off
(docs/method.md says what each was measured to do): a gate, where the policy waits until the critic is better than chance, and a
tie's reward that ramps up after it; verdicts as expected instead of as said; verdicts compared within a question; both orders;
equal answers paid together; a ceiling on what a verdict pays; earlier critics; a critic that is damped where it always wins.
Dimensions: Q questions, K rollouts each, P pairs, V verdicts each.
"""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load_file

from ..config import Config
from ..game import advantages, controllers, pairs, rewards
from ..game.replay import Replay, Replayed
from ..learning import checkpoints
from ..learning.update import Learner, Stream
from ..probes.schedule import Probes
from ..records import Demonstration, OutcomeProbs, Pair, Sample
from ..roles import asking, judgements
from ..roles.judgements import Judgement
from ..rollout.engine import Engine
from .figures import critic_figures, policy_figures, transcripts
from .kl_budget import select_under
from .method import Answer, Method, alike, crossed_mark
from .selection import Alarmed, Selection, Snapshots, Tick


@dataclass
class Raro(Method):
    """The game's state between steps: older answers, and the gate.

    critic: the engine that judges; the policy's own, except in a control (frozen) and an ablation (separate). own: the separate
    critic's learner. past: the engine of the earlier critics that judge a share of the rollouts. kl: {step: the policy's KL to
    the warm start, nats a token} of the steps whose snapshots are kept.
    """

    replay: Replay = field(init=False)
    gate: controllers.CriticGate = field(init=False)
    critic: Engine = field(init=False)
    own: Learner | None = field(init=False, default=None)
    past: Engine | None = field(init=False, default=None)
    probes: Probes = field(init=False)
    kl: dict[int, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        settings = self.config.raro
        self.replay = Replay(settings.replay_capacity, self.config.seed, settings.replay_recent)
        self.gate = controllers.CriticGate(settings.gate, settings.gate_smoothing, settings.gate_shut)
        self.critic = self.engine
        self.probes = Probes(self.config, self.speaker, self.held_out)
        if settings.control == "frozen":
            self.critic = self.engine_on(self.learner.reference)
        if settings.critic_model == "separate":
            self.own = self.learner.twin()
            self.critic = self.engine_on(self.own.model)
        if settings.past_critics:
            self.past = self.engine_on(copy.deepcopy(self.speaker.model).requires_grad_(False))

    def step(self, step: int) -> tuple[dict[str, float], list[dict]]:
        """One step of the game and one update. Returns its figures and the judged pairs, for inspection."""
        settings, playing, before = self.config.raro, self.gate.open, self.progress(step)
        self.begin()
        opened = 0 if settings.gate <= 0 else self.gate.step_opened
        tau_crit = controllers.ramp(step, opened, settings.tau_ramp, settings.tau_crit, settings.tau_start)
        answers = self.answer(self.draw(step), step)
        fresh = self.pair(answers, step)
        trained, others, earlier = self.shared_out(fresh, step)
        replayed = self.recall(step)
        judged = self.judge([*trained, *replayed, *(others if playing else ())], step)
        lessons = judged[: len(trained) + len(replayed)]
        before_earlier = self.judge_before_earlier(earlier, step) if playing else []
        earned = self.earned(answers, [*judged, *before_earlier], step)
        samples = [
            *(self.policy_samples(answers, earned) if playing else self.held_samples(answers)),
            *self.critic_samples(lessons, tau_crit),
        ]
        damped = settings.lambda_crit * controllers.damping(self.gate.share, settings.balance)
        streams = {
            "policy": self.stream("policy", settings.lambda_pol, settings.kl_pol if playing else settings.kl_held),
            "critic": self.stream("critic", damped, settings.kl_crit),
        }
        figures = self.probed_before(answers, judged, earned, samples, streams, step)
        figures |= self.learn(samples, streams, step)
        figures |= self.probed_after(before, figures.get("policy/kl"), step)
        self.replay.add([Replayed(step, a.item, a.text) for a in answers if a.text is not None])
        named = [j.outcome for group in judged for j in group if j.pair.age == 0]
        self.gate.observe(step, named.count("expert"), named.count("policy"))
        figures |= policy_figures(answers, earned, samples) | critic_figures(judged, samples, tau_crit)
        figures |= {
            "game/gate_share": self.gate.share,
            "game/gate_open": float(playing),
            "game/tau_crit": tau_crit,
            "game/replay_size": float(len(self.replay)),
        }
        return figures, transcripts(answers, [*judged, *before_earlier], earned, step)

    def pair(self, answers: Sequence[Answer], step: int) -> list[Pair]:
        """Each well-formed answer that is judged beside its expert's."""
        shown = [self.demonstrations[a.item] for a in answers]
        questions, experts = [d.question for d in shown], [d.answer for d in shown]
        texts = [answers[i].text if i == first else None for i, first in enumerate(self.judged_as(answers))]
        fresh = pairs.fresh_pairs(questions, experts, texts, self.config.seed, step, self.config.raro.orders == "both")
        return pairs.single_answer_pairs(fresh) if self.config.raro.critic == "absolute" else fresh

    def judged_as(self, answers: Sequence[Answer]) -> list[int]:
        """For each rollout, the one whose pair is judged for it: itself, or the first with the same answer to the question."""
        return alike(answers) if self.config.raro.judged == "answers" else list(range(len(answers)))

    def shared_out(self, fresh: Sequence[Pair], step: int) -> tuple[list[Pair], list[Pair], list[Pair]]:
        """(the fresh pairs that the critic is trained on: all, or `pairs` less the replayed ones; of the other pairs that pay a
        rollout, those that it judges; those that an earlier critic judges)."""
        wanted = self.config.raro.pairs_per_step - self.replayed
        order = random.Random(f"fresh-{self.config.seed}-{step}").sample(range(len(fresh)), len(fresh))
        others = [fresh[i] for i in order[wanted:] if fresh[i].rollout_id >= 0]
        paying = sum(pair.rollout_id >= 0 for pair in fresh)
        n = round(self.config.raro.past_critics * paying) if self.earlier(step) else 0
        return [fresh[i] for i in order[:wanted]], others[n:], others[:n]

    def earlier(self, step: int) -> list[Path]:
        """Weights of the earlier critics."""
        return [path for at, path in self.snapshots() if at < step] if self.past else []

    @property
    def replayed(self) -> int:
        """How many of the pairs that the critic is trained on show older answers."""
        return round(self.config.raro.pairs_per_step * self.config.raro.replay_share)

    def recall(self, step: int) -> list[Pair]:
        """Pairs with older policy answers."""
        entries = self.replay.draw(self.replayed)
        shown = [self.demonstrations[entry.item] for entry in entries]
        questions, experts = [d.question for d in shown], [d.answer for d in shown]
        return pairs.replayed_pairs(entries, questions, experts, self.config.seed, step, self.config.raro.critic == "absolute")

    def judge(
        self, shown: Sequence[Pair], step: int, role: str = "critic", engine: Engine | None = None
    ) -> list[list[Judgement]]:
        """V critic rollouts for each pair, read: P groups of V. role: names the noise. engine: another critic's."""
        config, engine = self.config, engine or self.critic
        asked = [asking.critic(self.speaker, pair, config, role, group) for group, pair in enumerate(shown)]
        written = self.write(asked, config.raro.verdicts, "critic", step, engine)
        read = judgements.read_all(shown, asked, written, self.speaker, engine, config)
        return [read[i : i + config.raro.verdicts] for i in range(0, len(read), config.raro.verdicts)]

    def judge_before_earlier(self, shown: Sequence[Pair], step: int) -> list[list[Judgement]]:
        """The same by an earlier critic, drawn anew each step."""
        if not shown:
            return []
        self.past.load(load_file(random.Random(f"past-{self.config.seed}-{step}").choice(self.earlier(step))))
        return self.judge(shown, step, "earlier critic", self.past)

    def learn(self, samples: Sequence[Sample], streams: dict[str, Stream], step: int) -> dict[str, float]:
        """One update of the one model; where the critic has a model of its own, one of each."""
        if self.own is None:
            return self.update(samples, streams, step)
        figures: dict[str, float] = {}
        for role, learner in (("critic", self.own), ("policy", self.learner)):
            figures |= self.update([s for s in samples if s.stream == role], {role: streams[role]}, step, learner=learner)
        return figures

    def probed_before(
        self,
        answers: Sequence[Answer],
        judged: Sequence[Sequence[Judgement]],
        earned: Sequence[float | None],
        samples: Sequence[Sample],
        streams: dict[str, Stream],
        step: int,
    ) -> dict[str, float]:
        """Probes of the weights that played this step."""
        found = {} if self.own else self.probes.angle(self.learner, samples, streams, self.loss(), step)
        if self.gate.open:
            if not self.probes.older:
                self.probes.look_back(self.engine, self.critic, step - 1)  # where the policy starts from
            found |= self.probes.retest(self.critic, judged, self.judged_as(answers), earned, step, self.gate.step_opened)
        return found

    def probed_after(self, before: float, kl: float | None, step: int) -> dict[str, float]:
        """Probes of the updated weights. before: the progress when the step began. kl: the policy's."""
        found = self.probes.health(self.critic, step)
        if crossed_mark(before, self.progress(step + 1), self.config.raro.snapshots):
            if kl is not None:
                self.kl[step + 1] = kl
            if self.gate.open:
                found |= self.probes.look_back(self.engine, self.critic, step)
        return found | self.probes.taken()

    def earned(self, answers: Sequence[Answer], judged: Sequence[Sequence[Judgement]], step: int) -> list[float | None]:
        """What each answer earns: the mean over the verdicts on its pair, or on those of all that equal it, 0 where it is
        malformed; None where it is filtered or was not judged."""
        settings, said = self.config.raro, judgements.by_rollout(judged)
        if settings.control == "shuffled":
            said = judgements.dealt(said, random.Random(f"shuffled-{self.config.seed}-{step}"))
        paid_as = range(len(answers)) if settings.judged == "rollouts" else alike(answers)
        told: dict[int, list[OutcomeProbs]] = {}
        for i, verdicts in said.items():
            told.setdefault(paid_as[i], []).extend(verdicts)
        wellformed = [i for i, answer in enumerate(answers) if answer.text is not None]
        verdicts = [told.get(paid_as[i], ()) for i in wellformed]
        return self.paid(answers, [rewards.policy_reward(one, settings.tau_pol, settings.ceiling) for one in verdicts])

    def held_samples(self, answers: Sequence[Answer]) -> list[Sample]:
        """The policy's stream while the gate is shut: all earn the same, and the KL holds the policy in place, since training
        the critic moves the weights that both share."""
        if not self.config.raro.kl_held:
            return []
        return self.policy_samples(answers, [None if self.filtered(answer) else 0.0 for answer in answers])

    def critic_samples(self, judged: Sequence[Sequence[Judgement]], tau_crit: float) -> list[Sample]:
        """The critic's stream: whether each verdict named the expert, less the mean over its group's verdicts. If
        verdicts are expectations, each possible word is a sample, weighted by its probability. Empty for a fixed critic."""
        if self.config.raro.control == "frozen" or not (self.config.raro.lambda_crit or self.config.raro.kl_crit):
            return []
        by_pair = self.config.raro.critic_group == "pair"
        baseline = advantages.centred if by_pair else advantages.leave_one_out
        samples: list[Sample] = []
        for group in judged if by_pair else judgements.by_question(judged):
            kept = [j for j in group if not self.filtered(j)]
            earned = [rewards.critic_reward(j.probs, tau_crit) for j in kept]
            means = {id(j): e - a for j, e, a in zip(kept, earned, baseline(earned), strict=True)}
            for j in group:
                learnt = id(j) in means
                for word, ids in j.words.items():
                    share = j.probs[word]
                    advantage = rewards.critic_reward({word: 1.0}, tau_crit) - means[id(j)] if learnt else 0.0
                    told = j.completion.logprobs if ids == j.completion.ids else ()  # another word was not sampled
                    samples.append(Sample(j.prompt.ids, ids, told, advantage, share if learnt else 0.0, "critic", share))
        return samples

    @classmethod
    def needs_reference(cls, config: Config) -> bool:
        settings = config.raro
        held = settings.gate > 0 and settings.kl_held > 0
        return settings.kl_pol > 0 or settings.kl_crit > 0 or held or settings.control == "frozen"

    @property
    def gate_opened(self) -> int | None:
        return self.gate.step_opened

    @property
    def plays_from(self) -> int | None:
        opened = self.gate.step_opened  # counts from 0, and the policy plays from the step after
        return opened + 2 if opened is not None else 1 if self.gate.open else None

    def select(
        self, snapshots: Snapshots, held_out: Sequence[Demonstration], progress: Tick = None, alarmed: Alarmed = None
    ) -> Selection | None:
        """As selection.py and kl_budget.py say, among the snapshots in which the policy has played; if the gate never opened,
        among those in which it was held. With a separate critic, which no snapshot holds, the last step's."""
        if self.own is not None:
            return None
        played = [(step, path) for step, path in snapshots if step >= (self.plays_from or 1)]
        return select_under(self.speaker, played, self.kl, held_out, self.config, progress, alarmed)

    def beside(self) -> dict[str, checkpoints.Part]:
        return {} if self.own is None else {"critic": (self.own.model, self.own.optimiser)}

    def state(self) -> dict:
        """The game's state as plain JSON."""
        return super().state() | {
            "replay": self.replay.state(),
            "gate": dataclasses.asdict(self.gate),
            "older": self.probes.older,
            "kl": list(self.kl.items()),
        }

    def restore(self, state: dict) -> None:
        super().restore(state)
        self.replay.restore(state["replay"])
        self.gate = controllers.CriticGate(**state["gate"])
        self.probes.older = list(state["older"])
        self.kl = dict(state.get("kl", ()))  # an earlier version's checkpoint has none

    @property
    def finished(self) -> bool:
        """Whether `raro.early_stop` snapshots in a row were no better than an older one."""
        return 0 < self.config.raro.early_stop <= self.probes.stalled()
