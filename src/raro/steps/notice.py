"""Who is told how a run ended: one message to a webhook, as plain JSON or in Slack's form.

The address is a secret (a Slack webhook's path is its password): it stands in the environment or a file, is never shown, and
no redirect is followed with it. The message holds nothing that experts wrote: figures, names, and why the run failed; what a
reason quotes is left out where texts may not be shown, and the words of a library's exception always. Whether anybody hears it
never changes how the run ended. Slack's form: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

from __future__ import annotations

import html
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import Config
from ..errors import BadInput
from ..settings.reading import host_of

VARIABLE = "RARO_WEBHOOK"
KINDS = {"env": "variable", "file": "file"}
SECONDS, BACKOFF = 10.0, 2.0  # for one request; before the second
# Whose words are ours: every RaroError's that ends a step, and finish's own.
KNOWN = ("BadInput", "GateRefused", "ServiceFailed", "NotFinite", "RaroError", "Lost", "Canceled", "KeyboardInterrupt")
MARKS = {"succeeded": ":white_check_mark:", "nothing-new": ":zzz:", "interrupted": ":double_vertical_bar:", "failed": ":x:"}


def address(config: Config) -> str:
    """The webhook's address, "" where nobody is to be told. Raises BadInput where it is named and missing, or no URL."""
    reference = config.notify.webhook
    scheme, _, rest = (reference or f"env:{VARIABLE}").partition(":")
    try:
        found = os.environ.get(rest, "") if scheme == "env" else Path(rest).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadInput("notify.webhook: its file cannot be read", "check the path and who may read it") from None
    found = found.strip()
    if reference and not found:
        line = f"notify.webhook: its {KINDS[scheme]} is empty"
        raise BadInput(line, "put the webhook's address there, or leave the key empty")
    if found and not host_of(found):
        raise BadInput(f"the webhook's {KINDS[scheme]} holds no address", "put https://... there")
    return found


def message(config: Config, run: Path, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a run, in plain values: who, how it ended, why, what to do, where it goes on."""
    failure = summary["failure"] or {}
    reason, hint = failure.get("line", ""), failure.get("remedy", "")
    if failure and failure["class"] not in KNOWN:
        reason = f"{failure['class']}; its words are in the task's log"
    full = config.shows_all
    return {
        "event": "raro.run.ended",
        "run": run.resolve().name,
        "name": config.name,
        "config_digest": config.digest,
        "state": summary["state"],
        "decision": summary["decision"],
        "reasons": summary["reasons"],
        "seconds": summary["seconds"],
        "cost": {**summary["cost"]["total"], "currency": summary["cost"]["currency"]},
        "stage": failure.get("stage"),
        "reason": (reason if full else _unquoted(reason)) or None,
        "hint": (hint if full else _unquoted(hint)) or None,
        "permanent": failure.get("permanent"),
        "last_checkpoint": failure.get("last_checkpoint"),
    }


def _unquoted(text: str) -> str:
    """Our messages put in quotes what they took from somewhere; as that may hold quotes, all from the first to the last is left
    out."""
    return re.sub(r"'.*'", "'…'", text)


def slack(told: Mapping[str, Any]) -> dict[str, Any]:
    """The same as Slack takes it. Slack reads &, < and > as markup."""
    plain = {key: html.escape(str(value), quote=False) if value is not None else "" for key, value in told.items()}
    head = f"{MARKS[told['state']]} *{plain['name']}*, run `{plain['run']}`: {plain['decision'] or plain['state']}"
    lines = [head + (f" in {plain['stage']}" if told["stage"] else "")]
    lines += [f"> {plain[key]}" for key in ("reason", "hint") if told[key]]
    lines += [] if told["reason"] else [f"> {html.escape(text, quote=False)}" for text in told["reasons"]]
    lines += [f"It goes on from `{plain['last_checkpoint']}`."] if told["last_checkpoint"] else []
    return {"text": "\n".join(lines)}


def tell(config: Config, run: Path, summary: Mapping[str, Any]) -> str | None:
    """Tells it, twice at most. Returns None where it was heard or nobody is to be told, else one line that says why not."""
    if config.notify.when == "failure" and summary["state"] != "failed":
        return None
    try:
        url = address(config)
    except BadInput as wrong:
        return f"nobody was told how the run ended: {wrong.line}"
    if not url:
        return None
    told = message(config, run, summary)
    body = json.dumps(slack(told) if config.notify.format == "slack" else told).encode()
    try:
        again, why = _post(url, body)
        if again:
            time.sleep(BACKOFF)
            _, why = _post(url, body)
    except Exception as error:  # whatever an address of somebody else's can do: the run has ended as it has
        why = type(error).__name__
    return f"nobody was told how the run ended: the webhook at '{host_of(url)}' {why}" if why else None


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A redirected POST arrives as a GET without its message, perhaps at somebody else's."""


def _post(url: str, body: bytes) -> tuple[bool, str]:
    """(whether a second try may help, why it was not heard or "")."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", "User-Agent": "raro"})
    try:
        urllib.request.build_opener(_Stay).open(request, timeout=SECONDS).close()
        return False, ""
    except urllib.error.HTTPError as error:
        error.close()
        return error.code == 429 or error.code >= 500, f"answers {error.code}"
    except urllib.error.URLError as error:
        return True, f"does not answer: {type(error.reason).__name__}"
    except OSError as error:  # in the middle of the answer
        return True, f"does not answer: {type(error).__name__}"
