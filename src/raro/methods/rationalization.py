"""Rationalization: the policy's own thoughts that lead to the known answer, then supervised fine-tuning on thought and answer.

After STaR (arXiv 2203.14465), without its hint: of K own thoughts for a question the one under which the expert's answer is
likeliest is kept and taught, followed by that answer.
"""

from __future__ import annotations

from ..config import Config
from ..learning.losses import cross_entropy
from ..records import Sample
from .figures import policy_figures
from .method import Answer, Method
from .rl_logit import expert_logprobs


class Rationalization(Method):
    """Q questions, K thoughts each, one lesson per question."""

    @classmethod
    def needs_reference(cls, config: Config) -> bool:
        return False

    def step(self, step: int) -> tuple[dict[str, float], list[dict]]:
        """One update on the step's own best thoughts."""
        self.begin()
        answers = self.answer(self.draw(step), step)
        read = [a for a in answers if a.text is not None]
        likely = {id(a): sum(values) for a, values in zip(read, expert_logprobs(self, read), strict=True)}
        k = self.config.raro.rollouts
        groups = [[a for a in answers[i : i + k] if id(a) in likely] for i in range(0, len(answers), k)]
        samples = [self.lesson(max(group, key=lambda a: likely[id(a)])) for group in groups if group]
        figures = policy_figures(answers, [], samples)
        return figures | self.update(samples, {"policy": self.stream("policy", 1.0, 0.0)}, step, cross_entropy), []

    def lesson(self, answer: Answer) -> Sample:
        """The thought, and the expert's answer after it."""
        expert = self.demonstrations[answer.item].answer
        written = self.speaker.thinking(answer.thought, expert)
        return Sample(answer.prompt.ids, written, (), 1.0, 1.0, "policy")
