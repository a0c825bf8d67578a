"""A judge behind an OpenAI-compatible endpoint: chat completions by the `openai` client, which retries with backoff.

What an endpoint sends is bounded in size and in time before it is read, and redirects are not followed: an address in the house
must not lead out of it. Without judge.allow_external the environment's proxies are not used either.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...config import Judge
from ...storage import first_line
from .address import context_of, key_of
from .source import Keep, Spent, Unusable
from .wording import Request, pair, read

LONGEST = 2**20
"""Bytes of one reply, more than any reply of judge.reply_tokens has."""
LOST = 5
"""Calls lost one after another, each with all its retries, after which the endpoint is taken to be down."""
WRONG_SET_UP = {
    301: "it redirects elsewhere",
    302: "it redirects elsewhere",
    307: "it redirects elsewhere",
    308: "it redirects elsewhere",
    401: "it rejects the key",
    403: "it denies access",
    404: "it does not know the path or the model",
    405: "it does not speak chat completions",
}


def probe(settings: Judge) -> None:
    """Asks once, for what would otherwise be found out after the training. Raises Unusable where no chat completion comes."""
    quick = replace(settings, retries=min(1, settings.retries), timeout=min(20.0, settings.timeout))
    Endpoint(quick, lost=1)([pair("1 + 1", "2", "3", quick)], Spent(0), lambda place, said: None)


class Unreadable(Exception):
    """A reply that is no chat completion."""


class Endpoint:
    """The endpoint that judge.endpoint names."""

    def __init__(self, settings: Judge, lost: int = LOST):
        self.settings, self.most_lost = settings, lost
        self.identity: dict[str, Any] = {"endpoint": settings.endpoint.rstrip("/"), "model": settings.model}
        self._lost = 0

    def __call__(self, requests: Sequence[Request], spent: Spent, keep: Keep) -> None:
        """Asks all, `judge.concurrency` at a time. Raises Unusable."""
        try:
            asyncio.run(self._all(requests, spent, keep))
        except BaseExceptionGroup as group:
            told = [error for error in group.exceptions if isinstance(error, Unusable)]
            raise (told or group.exceptions)[0] from None

    async def _all(self, requests: Sequence[Request], spent: Spent, keep: Keep) -> None:
        import openai

        wait = openai.Timeout(self.settings.timeout, connect=min(10.0, self.settings.timeout))
        transport = openai.DefaultAsyncHttpxClient(
            verify=context_of(self.settings), trust_env=self.settings.allow_external, follow_redirects=False, timeout=wait
        )
        client = openai.AsyncOpenAI(
            api_key=key_of(self.settings) or "none",
            base_url=self.settings.endpoint,
            max_retries=self.settings.retries,
            timeout=wait,
            http_client=transport,
        )
        left = list(enumerate(requests))[::-1]

        async def worker() -> None:
            while left and not spent.gone:  # what is under way is paid for: it may end
                place, request = left.pop()
                keep(place, await self._one(client, request, spent))

        async with client, asyncio.TaskGroup() as group:
            for _ in range(min(self.settings.concurrency, len(requests))):
                group.create_task(worker())
        if left:
            spent.check()

    async def _one(self, client: Any, request: Request, spent: Spent) -> str | None:
        """What one reply says; None where it is lost or cannot be read. Raises Unusable."""
        import httpx2
        import openai

        try:
            whole = self.settings.timeout * (self.settings.retries + 1)
            text, tokens = reply(await asyncio.wait_for(self._body(client, request), whole))
        except openai.APIStatusError as error:
            if error.status_code in WRONG_SET_UP:
                line = f"the judge's endpoint answers {error.status_code}: {WRONG_SET_UP[error.status_code]}"
                raise Unusable(line, "see judge.endpoint, judge.model and judge.key") from None
            return self._missed(
                f"answers {error.status_code}", error.status_code >= 500 or error.status_code in (408, 409, 429)
            )
        except (openai.APIConnectionError, httpx2.HTTPError, TimeoutError) as error:
            slow = isinstance(error, (openai.APITimeoutError, httpx2.TimeoutException, TimeoutError))
            return self._missed("does not answer in time" if slow else "cannot be reached", True)
        except openai.APIError as error:
            return self._missed(f"fails: {first_line(error)}", True)
        except Unreadable:
            spent.add(_estimate(request.system + request.user), self.settings.reply_tokens)
            return None
        self._lost = 0
        spent.add(*(tokens or (_estimate(request.system + request.user), _estimate(text))))
        return read(request.kind, text)

    async def _body(self, client: Any, request: Request) -> bytes:
        messages = [{"role": "system", "content": request.system}, {"role": "user", "content": request.user}]
        body = bytearray()
        asked = client.chat.completions.with_streaming_response.create(
            model=self.settings.model, messages=messages, temperature=0.0, max_tokens=self.settings.reply_tokens
        )
        async with asked as response:
            async for chunk in response.iter_bytes():
                body += chunk
                if len(body) > LONGEST:
                    raise Unreadable
        return bytes(body)

    def _missed(self, how: str, outage: bool) -> None:
        """A call without a reply. Raises Unusable where that is the rule now."""
        self._lost += outage
        if self._lost >= self.most_lost:
            line = f"the judge's endpoint {how}" + (f": {self._lost} calls in a row failed" if self._lost > 1 else "")
            raise Unusable(line, "see judge.endpoint; its verdicts so far are kept", passes=True)


def reply(body: bytes) -> tuple[str, tuple[int, int] | None]:
    """(text, (tokens read, tokens written) or None where they are not told) of a chat completion that ended by itself. Raises
    Unreadable for anything else."""
    try:
        data = json.loads(body)
        choice = data["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise Unreadable from None
    if not isinstance(text, str) or choice.get("finish_reason") not in ("stop", None):
        raise Unreadable
    usage = data.get("usage")
    told = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")] if isinstance(usage, dict) else []
    sound = len(told) == 2 and all(type(n) is int and 0 <= n < 10**9 for n in told)
    return text, (told[0], told[1]) if sound else None


def _estimate(text: str) -> int:
    """Tokens of a text where nobody tells: one for three characters, rather too many than too few (O)."""
    return len(text) // 3 + 1
