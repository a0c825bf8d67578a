"""A server on loopback that speaks chat completions, and misbehaves in whatever way a test asks for."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from servers import served

SHOWN = re.compile(r"\[(\w{12}) (question|answer 1|answer 2|answer)\]\n(.*?)\n\[\1 end\]", re.DOTALL)
Behave = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    """One request. `server.behave` says what comes back."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.server.behave(self, body)

    do_GET = do_POST

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def say(self, text: Any, finish: str = "stop") -> None:
        """A chat completion as vLLM sends it."""
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        self.send(json.dumps({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage}).encode())

    def log_message(self, *_: Any) -> None:
        pass


def shown(body: Mapping[str, Any]) -> dict[str, str]:
    """{"question", "answer 1", "answer 2"} or {"question", "answer"} as the judge was shown them."""
    return {name: text for _, name, text in SHOWN.findall(body["messages"][1]["content"])}


def honest(worth: Callable[[str, str], float]) -> Behave:
    """A judge that prefers what is worth more; worth: of (question, answer), from 0 to 1."""

    def behave(handler: Handler, body: dict[str, Any]) -> None:
        parts = shown(body)
        if "answer" in parts:
            handler.say(f"Let me see.\nSCORE: {1 + round(9 * worth(parts['question'], parts['answer']))}")
            return
        one, two = (worth(parts["question"], parts[f"answer {i}"]) for i in (1, 2))
        handler.say(f"Let me see.\n**VERDICT: {'tie' if one == two else 1 if one > two else 2}**")

    return behave


@contextmanager
def chat_server(behave: Behave, context: ssl.SSLContext | None = None) -> Iterator[Any]:
    """A server with `behave` (may be changed), `seen` (requests so far) and `address`. context: of TLS."""
    with served(Handler, context) as server:
        server.behave, server.seen = behave, []
        server.address += "/v1"
        yield server
