"""One way to ask a judge, wherever it is: replies it gave before cost nothing, what it may spend has an end.

Kept on disk is the verdict under the digest of all that was asked (model, wording, texts), never a text: the cache may lie
where the texts may not. A reply that could not be read is not kept, and is asked for again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...config import Config, Judge
from ...errors import BadInput, ServiceFailed
from ...shared import own_folder
from ...storage import beside, cache_folder, canonical, digest_text, writing
from .address import check
from .endpoint import Endpoint
from .source import Source, Spent, Unusable
from .wording import ENDINGS, VERSION, Request, read

Progress = Callable[[int, int], None]


@dataclass
class Juror:
    """A judge that can be asked. cache: folder of what it said before. before: tokens of its budget that are spent already."""

    source: Source
    settings: Judge
    cache: Path
    before: int = 0
    spent: Spent = field(init=False)

    def __post_init__(self) -> None:
        self.spent = Spent(self.settings.budget, self.before)

    def ask(self, requests: Sequence[Request], progress: Progress | None = None) -> list[str | None]:
        """What each reply says, in order; None where it cannot be read. Raises Unusable."""
        said: list[str | None] = [self._before(request) for request in requests]
        missing = [i for i, one in enumerate(said) if one is None]
        self.spent.kept += len(said) - len(missing)
        done = len(said) - len(missing)

        def keep(place: int, value: str | None) -> None:
            nonlocal done
            said[missing[place]] = value
            if value is not None:
                self._remember(requests[missing[place]], value)
            done += 1
            if progress:
                progress(done, len(said))

        if missing:
            self.source([requests[i] for i in missing], self.spent, keep)
        return said

    def _path(self, request: Request) -> Path:
        asked = [request.kind, request.system, request.user, self.settings.reply_tokens]
        key = digest_text(canonical([VERSION, self.source.identity, asked]))
        return self.cache / key[:2] / f"{key[2:]}.json"

    def _remember(self, request: Request, value: str) -> None:
        """By a rename, without waiting for the disk as others wait for their replies: what is damaged is asked for again."""
        path = self._path(request)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = beside(path, "tmp")
            temporary.write_text(json.dumps({"said": value}), encoding="utf-8")
            temporary.replace(path)

    def _before(self, request: Request) -> str | None:
        try:
            said = json.loads(self._path(request).read_text(encoding="utf-8"))["said"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        ending = ENDINGS[request.kind]
        spelt = {"first": "1", "second": "2"}.get(said, said)
        return said if isinstance(said, str) and read(request.kind, f"{ending}: {spelt}") == said else None


def opened(config: Config, before: int = 0) -> Juror:
    """The judge that the settings name. before: tokens of its budget that are spent already. Raises BadInput where it must not
    be used, or cannot be opened."""
    check(config.judge)
    if config.judge.kind == "endpoint":
        source: Source = Endpoint(config.judge)
    else:
        from .local import Local

        source = Local(config)
    cache = Path(config.judge.cache) if config.judge.cache else own_folder(cache_folder()) / "judge"
    return Juror(source, config.judge, cache, before)


def engaged(config: Config, before: int = 0) -> Juror:
    """The same for an evaluation, which goes on without a judge. Raises Unusable."""
    try:
        return opened(config, before)
    except (BadInput, ServiceFailed) as error:
        raise Unusable(error.line, error.remedy, passes=not error.permanent) from None


def ticking(progress: Callable[[str, int, int], None] | None) -> Callable[[str], Progress]:
    """By the words for a part of the work, what tells how far it is."""
    return lambda what: lambda done, of: progress(what, done, of) if progress else None
