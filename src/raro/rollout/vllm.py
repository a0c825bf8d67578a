"""Rollouts by vLLM: a server process in a Python environment of its own, since what vLLM depends on excludes kfp's.

* The server listens on a Unix socket in a folder that no other user can enter, so nothing of it can be reached over a network.
  Token ids and log-probabilities pass as JSON, weights as safetensors in a folder beside the socket; nothing is unpickled.
* One server for a process, whatever models it holds. Before it writes for another model, or after an update, the weights are
  written to that folder, the server reads them in place, and forgets what it had computed of prompts. Then a few of its
  completions are scored by the model itself: a server that computes something else is refused.
* The server keeps room for sequences as long as the roles' budgets ask for, not for all positions of the model: 128k of them
  need more memory than most have. Where a prompt is longer than those before the server starts again with more room.
* Each completion has a seed of its own, from the same key as the slot engine's noise: it does not depend on order or number of
  processes. But vLLM draws other numbers from it than the slot engine, and its arithmetic depends on what else is decoded: a
  repeated run may differ in a token here and there, and diverges from there.

Written for vLLM 0.32: `/inference/v1/generate` (token ids in and out) and the development server's `reload_weights`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from ..errors import BadInput
from ..records import Completion, Prompt, Sampling
from .engine import seed
from .scoring import Scoring
from .vllm_server import server

CHECKED = 4
"""So many completions are scored after weights were handed over."""
TOLERANCE = {"float32": 0.01, "bfloat16": 0.1}
"""Their mean difference, in nats a token, is at most this (M: .001 at most in float32; O: bfloat16)."""


class VllmEngine(Scoring):
    """What is sampled comes from the server; what is scored, from the model in this process. budget: tokens that may come
    behind a question, whatever is asked about it."""

    def __init__(
        self, model: torch.nn.Module, end_ids: Sequence[int], pad_id: int, slots: int, dtype: str, memory: float, budget: int
    ):
        self.budget = budget
        self.model, self.end_ids, self.pad_id, self.slots, self.dtype = model, sorted(set(end_ids)), pad_id, slots, dtype
        self.server = server(slots, dtype, memory)

    def generate(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Completion]]:
        """n completions for each prompt, in the prompts' order. Raises BadInput where the server cannot write for this model,
        ServiceFailed where it is lost."""
        longest = max((len(prompt.ids) for prompt in prompts), default=0)
        handed = self.server.hold(self.model, longest + sampling.max_new_tokens, longest + self.budget)
        asked = [(prompt, sample) for prompt in prompts for sample in range(n)]
        written: list[Completion] = []
        with ThreadPoolExecutor(max(1, min(self.slots, len(asked)))) as pool:
            for completion in pool.map(lambda one: self._write(*one, sampling), asked):
                written.append(completion)
                if progress:
                    progress(len(written), len(asked))
        if handed:
            self._check([prompt for prompt, _ in asked[:CHECKED]], written[:CHECKED], sampling.temperature)
        return [written[i : i + n] for i in range(0, len(written), n)]

    def score(
        self, prompts: Sequence[Prompt], completions: Sequence[tuple[int, ...]], temperature: float = 1.0
    ) -> list[list[float]]:
        """Natural log-probabilities of each completion's tokens after its prompt."""
        device = next(self.model.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.dtype == "bfloat16"):
            return super().score(prompts, completions, temperature)

    def _write(self, prompt: Prompt, sample: int, sampling: Sampling) -> Completion:
        wanted = {
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_new_tokens,
            "seed": seed(prompt, sample, sampling),
            "stop_token_ids": self.end_ids,
            "logprobs": 0,  # of the token that was chosen, and of no other
            "detokenize": False,
        }
        answer = self.server.ask("/inference/v1/generate", {"token_ids": list(prompt.ids), "sampling_params": wanted})
        choice = answer["choices"][0]
        ids = tuple(choice["token_ids"])
        logprobs = tuple(token["logprob"] for token in choice["logprobs"]["content"])
        return Completion(ids, logprobs, "stop" if ids[-1] in self.end_ids else "length")

    def _check(self, prompts: Sequence[Prompt], written: Sequence[Completion], temperature: float) -> None:
        own = self.score(prompts, [completion.ids for completion in written], temperature)
        gaps = [
            abs(a - b) for mine, theirs in zip(own, written, strict=True) for a, b in zip(mine, theirs.logprobs, strict=True)
        ]
        if not sum(gaps) <= TOLERANCE[self.dtype] * len(gaps):
            line = f"vLLM's log-probabilities differ from the model's own by {sum(gaps) / len(gaps):.2g} nats a token"
            raise BadInput(line, "this vLLM computes another model: try another version, or rollout.engine=slots")
