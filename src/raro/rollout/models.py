"""Opening a model folder, and building the engine a configuration asks for."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PretrainedConfig

from ..config import Config
from ..errors import BadInput
from ..memory import keep_freed
from ..records import Completion, Prompt
from ..storage import first_line
from ..text import END_THINK, THINK, split_thought
from .chat import prompt_ids, taught, turn_end
from .data_parallel import DataParallelEngine
from .engine import Engine
from .mirrored import MirroredEngine
from .plain import PlainEngine
from .scoring import disagreement
from .slots import SlotEngine
from .vllm import VllmEngine
from .weights import unsharded

FOLDER_ALONE = {"local_files_only": True, "trust_remote_code": False}
"""Of transformers' `from_pretrained`. Unless told so, it asks at the terminal whether to run a folder's code."""
TOLERANCE = 0.05
"""Nats by which the log-probability of a token may differ between `scoring` and the model's own forward, both in float32 (M:
1e-5; a rescaled logit is off by tenths at least)."""


@dataclass(frozen=True)
class Speaker:
    """A model with its tokenizer and what is needed to let it speak. end_ids: any of them ends a completion."""

    model: Any
    tokenizer: Any
    end_ids: tuple[int, ...]
    pad_id: int
    _engines: dict = field(init=False, repr=False, compare=False, default_factory=dict)

    def prompt(self, messages: Sequence[dict[str, str]], role: str, group: int) -> Prompt:
        """Messages through the tokenizer's own chat template, ready for the model to answer."""
        return Prompt(prompt_ids(self.tokenizer, messages), role, group)

    def text(self, ids: Sequence[int]) -> str:
        """A completion's text, without what ended it."""
        ids = list(ids)
        while ids and ids[-1] in self.end_ids:
            ids.pop()
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def completion(self, text: str) -> tuple[int, ...]:
        """The ids of a completion with this text, ended."""
        return (*self.tokenizer.encode(text, add_special_tokens=False), self.end_ids[0])

    def read(self, completion: Completion) -> tuple[str, str] | None:
        """(thought, answer) of what the policy wrote; None where it ran out of budget or is malformed."""
        return split_thought(self.text(completion.ids)) if completion.finish == "stop" else None

    def thinking(self, thought: str, answer: str) -> tuple[int, ...]:
        """The ids of a completion with this thought and this answer, ended."""
        return self.completion(f"{_closed(thought)} {answer}")

    def answer(self, text: str) -> tuple[int, ...]:
        """The ids of an answer as it is written behind a closed thought, ended."""
        return self.completion(f" {text}")

    def after(self, prompt: Prompt, thought: str) -> Prompt:
        """The prompt with this thought behind it, closed: what comes next is the answer."""
        return replace(prompt, ids=(*prompt.ids, *self.completion(_closed(thought))[:-1]))

    def engine(self, config: Config) -> Engine:
        """The engine that `rollout.engine` names, on this very model, made once; over all processes where there are several."""
        processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        wanted = config.rollout.engine, config.rollout.slots, config.base.dtype, processes
        if wanted not in self._engines:
            self._engines[wanted] = self._engine(config, processes)
        return self._engines[wanted]

    def _engine(self, config: Config, processes: int) -> Engine:
        def make(model: torch.nn.Module) -> Engine:
            if rollout.engine == "vllm":
                budget = 2 * rollout.policy_tokens + rollout.critic_tokens  # a verdict's, behind two answers
                return VllmEngine(model, self.end_ids, self.pad_id, rollout.slots, dtype, rollout.vllm_memory, budget)
            kind = PlainEngine if rollout.engine == "plain" else SlotEngine
            return kind(model, self.end_ids, self.pad_id, rollout.slots)

        rollout, dtype = config.rollout, config.base.dtype
        copied = shards(config) or (dtype == "bfloat16" and rollout.engine != "vllm")
        engine = MirroredEngine(self.model, make, getattr(torch, dtype)) if copied else make(self.model)
        return DataParallelEngine(engine, torch.distributed.get_rank(), processes) if processes > 1 else engine


def _closed(thought: str) -> str:
    return f"{THINK} {thought} {END_THINK}" if thought else f"{THINK} {END_THINK}"


def shards(config: Config) -> bool:
    """Whether the weights that learn are sharded over the processes of this training."""
    several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    return several and config.resources.sharding == "full"


def device_of(config: Config) -> torch.device:
    """The device that `resources.device` names, this process's own among several. Raises BadInput where there is none."""
    wanted = config.resources.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise BadInput("resources.device is cuda, and this machine has no GPU that torch can use", "set resources.device=auto")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return own_gpu(int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count())


def named(device: torch.device) -> str:
    """The GPU's name as its maker gives it, or cpu."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def own_gpu(place: int, gpus: int) -> torch.device:
    """The GPU of the process with this place, from 0, among those of its machine that train together. Raises BadInput where
    there are fewer."""
    if place >= gpus:
        line = f"{place + 1} processes or more train on this machine, a GPU for each, and torch finds {gpus} of them"
        raise BadInput(line, "set resources.processes to the number of GPUs, over all nodes, or resources.device=cpu")
    return torch.device("cuda", place)


def open_model(folder: Path, config: Config) -> Speaker:
    """The model and tokenizer of a folder in Hugging Face layout: safetensors only, no code from the folder, no network. Its
    dropout is set to 0, in its configuration too: the game learns from the very probabilities that it sampled from, and a
    resumed run draws the same numbers.

    Raises BadInput naming what the folder lacks, where transformers cannot open it, or where its log-probabilities cannot be
    told as `scoring` tells them.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as chatter

    chatter.disable_progress_bar()
    if not (folder / "config.json").is_file():
        raise BadInput(f"model folder '{folder}' has no config.json", "give a folder in Hugging Face layout")
    if not list(folder.glob("*.safetensors")):
        raise BadInput(
            f"model folder '{folder}' has no *.safetensors", "convert its weights to safetensors; nothing else is ever read"
        )
    torch.set_num_threads(config.resources.threads)
    if (device := device_of(config)).type == "cpu":
        # a third of a small model's time went to the kernel, for every tensor's pages
        keep_freed(mmap_threshold=32 * 2**20, trim_threshold=2**30, top_pad=64 * 2**20)
    else:
        # micro-batches of ever other shapes would leave holes in its memory; read when the first of it is asked for
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
        # cuDNN's attention plans anew for each shape, and nearly every micro-batch has its own; torch has other kernels
        torch.backends.cuda.enable_cudnn_sdp(False)
    with _opening(folder):
        told = AutoConfig.from_pretrained(folder, **FOLDER_ALONE)
    if getattr(told.get_text_config(), "final_logit_softcapping", None):
        raise _rescaled(folder)
    _quieten(told)
    with _opening(folder):
        model, loading = AutoModelForCausalLM.from_pretrained(
            folder,
            config=told,
            dtype=torch.float32,
            use_safetensors=True,
            attn_implementation="sdpa",
            device_map=None if device.type == "cpu" else {"": device},  # straight to the GPU: no process has it in host memory
            output_loading_info=True,
            **FOLDER_ALONE,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, **FOLDER_ALONE)
    if loading["missing_keys"]:  # transformers would draw them at random, and warn
        line = f"the weights in '{folder}' lack '{min(loading['missing_keys'])}'"
        raise BadInput(line, "take the whole model: every file that its index names")
    if not tokenizer.chat_template:
        raise BadInput(
            f"the tokenizer in '{folder}' has no chat template", "choose an instruct model, or add chat_template.jinja"
        )
    held = model.get_input_embeddings().num_embeddings
    unheld = sum(i >= held for i in tokenizer.get_added_vocab().values())
    if (known := len(tokenizer)) - (unheld == 1) > held:  # Gemma 3 of 1b and 270m cannot see; its tokenizer knows images
        line = f"the tokenizer in '{folder}' knows {known:,} tokens, the model {held:,}"
        raise BadInput(line, "take the tokenizer that the model was trained with")
    if not disagreement(model) < TOLERANCE:
        raise _rescaled(folder)
    known = model.generation_config.eos_token_id
    known = [known] if isinstance(known, int) else list(known or [])
    ends = list(dict.fromkeys(e for e in (turn_end(tokenizer), tokenizer.eos_token_id, *known) if e is not None))
    if not ends:
        raise BadInput(f"the tokenizer in '{folder}' has no end token", "set eos_token")
    if set(ends) > set(known):  # what serves the candidate stops where it was taught to
        model.generation_config.eos_token_id = ends
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    if config.resources.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return Speaker(model.to(device), tokenizer, tuple(ends), pad)


@contextmanager
def _opening(folder: Path) -> Iterator[None]:
    """What transformers and its libraries say of a folder that they cannot open, in a line. A fault of the disk stays one."""
    try:
        yield
    except (ValueError, ImportError, SafetensorError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        remedy = "choose a decoder that this transformers knows without code of its own, whole and undamaged"
        raise BadInput(f"model '{folder}' cannot be opened: {first_line(error)}", remedy) from error


def _rescaled(folder: Path) -> BadInput:
    line = f"model '{folder}' rescales its logits, or its layers mix what lies in one row, which is not supported"
    return BadInput(line, "choose a Qwen, Llama or Mistral-like model")


def _quieten(config: Any) -> None:
    """Sets to 0 what a model's configuration asks of noise in training: dropout by all of its names, a router's jitter."""
    for name, value in vars(config).items():
        if isinstance(value, PretrainedConfig):
            _quieten(value)
        elif isinstance(value, float) and ("drop" in name or "jitter" in name):
            setattr(config, name, 0.0)


def save_model(speaker: Speaker, folder: Path, dtype: str = "float32", writes: bool = True) -> None:
    """Writes weights (safetensors, of this dtype), configuration, tokenizer and chat template in flat Hugging Face layout. The
    template gives the prompts that were trained on (`chat.taught`), whoever renders it. The speaker's model is of that dtype
    afterwards. writes: whether this process is the one that does, of several."""
    model = unsharded(speaker.model, writes)
    if writes:
        model.to(getattr(torch, dtype)).save_pretrained(folder)
        words, template = copy.copy(speaker.tokenizer), taught(speaker.tokenizer)
        if template != words.get_chat_template():
            several = words.chat_template if isinstance(words.chat_template, dict) else None
            words.chat_template = {**several, "default": template} if several else template
        words.save_pretrained(folder)
