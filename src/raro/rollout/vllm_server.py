"""The vLLM server behind `vllm.VllmEngine`: its process, the weights it is handed, and what it is asked, over a Unix socket."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ..errors import BadInput, ServiceFailed
from .positions import positions_of

COMMAND = "RARO_VLLM"
"""Of the environment: the command that starts the server, where it is not `vllm serve`."""
INHERITED = re.compile(r"PATH|HOME|USER|LANG|TMPDIR|LD_LIBRARY_PATH|(?!VLLM_API_KEY)(CUDA|NVIDIA|NCCL|VLLM|TRITON|OMP|XDG)_\w+")
"""What the server gets of this process's environment: no secret, and nothing of torch's launcher."""
STARTING = 1800.0
"""Seconds within which the server must be ready: it may have kernels to compile."""
SHOWN = 60
"""Lines of the server's log that are shown where it fails."""


@functools.cache
def server(slots: int, dtype: str, memory: float) -> Server:
    """This process's server: several would each want a share of the same memory."""
    return Server(slots, dtype, memory)


class Server:
    """Starts when weights are first handed over; ends with `stop`, or with this process."""

    def __init__(self, slots: int, dtype: str, memory: float):
        self.slots, self.dtype, self.memory = slots, dtype, memory
        self._folder = tempfile.TemporaryDirectory(prefix="raro-vllm-")  # of mode 0700
        home = Path(self._folder.name)
        self._weights, self._socket, self._log = home / "model", home / "socket", home / "log"
        self._held: tuple[str, list[int]] | None = None
        self._room = 0
        self._process: subprocess.Popen | None = None

    def hold(self, model: torch.nn.Module, least: int, likely: int) -> bool:
        """Makes the server write with the model's present weights, sequences of `least` tokens at least; where it has to start
        for that, of `likely` ones. Returns whether it had others, or less room. More positions than the model has are not
        given: the server refuses what is longer."""
        wanted, most = (model.config.to_json_string(), _fingerprint(model)), positions_of(model.config.to_dict())
        grows = self._room < (min(least, most) if most else least)
        if self._held == wanted and not grows:
            return False
        if self._held != wanted:
            _write(model, getattr(torch, self.dtype), self._weights)
        if self._process is None or self._held is None or self._held[0] != wanted[0] or grows:
            self._room = room(max(least, likely), most)
            self._start(next(model.parameters()).device)
        else:
            self.ask("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(self._weights)}})
            self.ask("/reset_prefix_cache")
        self._held = wanted
        return True

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the server answers to this request, from JSON. Raises BadInput where it refuses it, ServiceFailed."""
        connection = _Connection(self._socket)
        try:
            connection.request("POST", path, json.dumps(body or {}), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = json.loads(answer.read() or b"null")
        except (OSError, HTTPException, ValueError) as error:
            raise self._lost(str(error)) from error
        finally:
            connection.close()
        if answer.status == 400:
            line = f"the vLLM server refuses a request: {_message(content)}"
            raise BadInput(line, "it takes no longer sequences than the model's configuration says: see rollout's budgets")
        if answer.status != 200:
            raise self._lost(_message(content))
        return content

    def _lost(self, said: str) -> ServiceFailed:
        if self._held:  # of many requests that fail together the first
            self._held = None
            self._show_log()
        return ServiceFailed(
            f"the vLLM server failed: {self._cause() or said}", "try again: training goes on from its checkpoint"
        )

    def stop(self) -> None:
        """Ends the server; it starts again where it is needed."""
        if self._process:
            self._end()
        self._process, self._held = None, None

    def _start(self, device: torch.device) -> None:
        self.stop()
        command = shlex.split(os.environ.get(COMMAND, "vllm serve"))
        if not (command and shutil.which(command[0])):
            remedy = f"install it in an environment of its own and name its command in {COMMAND}, or set rollout.engine=slots"
            raise BadInput(f"rollout.engine is vllm, and there is no command '{' '.join(command)}'", remedy)
        self._socket.unlink(missing_ok=True)  # of a server before, which may have been killed
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *self._options(device)],
                env=_environment(device),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for this process, which ends the server
                preexec_fn=_ending_with_parent(),
            )
        self._end = weakref.finalize(self, _end_group, self._process)
        deadline = time.monotonic() + STARTING
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = self._cause() or f"nothing within {STARTING:g} s"
                self._show_log()
                self.stop()
                remedy = (
                    "its log's end stands above; rollout.vllm_memory is its share of the memory; or set rollout.engine=slots"
                )
                raise BadInput(f"the vLLM server did not start: {words}", remedy)
            time.sleep(0.5)

    def _options(self, device: torch.device) -> list[str]:
        return [
            *(("--enforce-eager",) if device.type == "cpu" else ()),  # nothing is compiled, which takes a compiler and minutes
            *("--model", str(self._weights), "--load-format", "safetensors", "--dtype", self.dtype),
            *("--uds", str(self._socket), "--tokens-only", "--disable-uvicorn-access-log"),
            *("--gpu-memory-utilization", str(self.memory), "--max-num-seqs", str(self.slots)),
            *("--max-model-len", str(self._room)),  # else the model's positions, for which memory must suffice
            *("--generation-config", "vllm"),  # not the folder's: it may cut the distribution (top_p, penalties)
            *("--logprobs-mode", "processed_logprobs"),  # of the distribution sampled from, the temperature in it
        ]

    def _ready(self) -> bool:
        connection = _Connection(self._socket)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _show_log(self) -> None:
        """Its last lines, for who reads this process's log: it is removed with the server."""
        sys.stderr.write("".join(self._log.read_text(errors="replace").splitlines(keepends=True)[-SHOWN:]))

    def _cause(self) -> str:
        """The first error in the log, of which later ones are consequences; or its last line."""
        lines = [
            line for line in self._log.read_text(errors="replace").splitlines() if line.strip() and " WARNING " not in line
        ]
        errors = [found[1] for line in lines if (found := re.search(r"(?:^|\] )([\w.]*(?:Error|Exception): \S.*)", line))]
        return (errors[:1] or lines[-1:] or [""])[0].strip()[:300]


def room(tokens: int, positions: int) -> int:
    """Positions that a server keeps for one sequence: the next power of two, so that it seldom starts again for a longer one,
    but no more than the model has (0: it does not say)."""
    return min(1 << max(tokens - 1, 0).bit_length(), positions or 2**31)


def _write(model: torch.nn.Module, dtype: torch.dtype, folder: Path) -> None:
    """Weights and configuration as vLLM opens them. On a CPU a tied head is untied: vLLM 0.32 packs it there at the start, and
    not again when it reads other weights for the embedding."""
    weights = {name: value.detach().to("cpu", dtype).contiguous() for name, value in model.named_parameters()}
    told = json.loads(model.config.to_json_string()) | {"architectures": [type(model).__name__]}
    head = model.get_output_embeddings().weight
    if head.device.type == "cpu" and head is model.get_input_embeddings().weight:
        weights |= {"lm_head.weight": head.detach().to("cpu", dtype, copy=True)}
        told["tie_word_embeddings"] = False
    folder.mkdir(exist_ok=True)
    save_file(weights, folder / "partial", {"format": "pt"})
    (folder / "partial").replace(folder / "model.safetensors")  # the server may still hold the old file open
    (folder / "config.json").write_text(json.dumps(told), encoding="utf-8")


class _Connection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path):
        super().__init__("localhost")
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


def _fingerprint(model: torch.nn.Module) -> list[int]:
    """A sum over the bits of each parameter: another after every update. (Tensors count their changes, but not the fused
    optimiser's.)"""
    kinds = {4: torch.int32, 2: torch.int16}
    return torch.stack(
        [p.detach().view(kinds[p.element_size()]).sum(dtype=torch.int64).cpu() for p in model.parameters()]
    ).tolist()


def _environment(device: torch.device) -> dict[str, str]:
    """Of the server: offline, on the GPU of the model that asks."""
    own = {name: value for name, value in os.environ.items() if INHERITED.fullmatch(name)}
    if device.type == "cuda":
        visible = own.get("CUDA_VISIBLE_DEVICES", "").split(",")
        own["CUDA_VISIBLE_DEVICES"] = visible[device.index or 0] if visible[0] else str(device.index or 0)
    told = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return own | told | {"VLLM_SERVER_DEV_MODE": "1", "VLLM_HOST_IP": "127.0.0.1"}  # reload_weights is the development server's


def _message(content: Any) -> str:
    error = content.get("error", content) if isinstance(content, dict) else content
    return " ".join(str(error.get("message", error) if isinstance(error, dict) else error).split())[:300]


def _ending_with_parent() -> Callable[[], Any] | None:
    """What a child does first, so that the kernel ends it where this process is killed and cannot."""
    if sys.platform != "linux":
        return None
    pr_set_pdeathsig = 1  # prctl.h
    return functools.partial(ctypes.CDLL(None).prctl, pr_set_pdeathsig, signal.SIGTERM)


def _end_group(process: subprocess.Popen, patience: float = 30.0) -> None:
    """Ends a process and those it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return
