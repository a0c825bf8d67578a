"""A judge in this house: a model of one's own through the engine that all others are asked by."""

from __future__ import annotations

from collections.abc import Sequence

from ...config import Config
from ...errors import BadInput
from ...records import Sampling
from ...rollout.models import open_model
from ...rollout.places import Place
from ...rollout.positions import positions_of
from ...storage import fetch, manifest
from .source import Keep, Spent, Unusable
from .wording import Request, read


class Local:
    """The model in the folder that judge.model names; its identity is the digest of its files."""

    def __init__(self, config: Config):
        self.config = config
        self.folder = fetch(config.judge.model)
        self.identity = {"model": config.judge.model, "root": manifest(self.folder)["root"]}
        self._speaker = None

    def __call__(self, requests: Sequence[Request], spent: Spent, keep: Keep) -> None:
        """Asks all, some at a time, so that a budget ends in between. What does not fit the model's window is not read. Raises
        Unusable, where the model cannot be opened, too."""
        try:
            self._speaker = self._speaker or open_model(self.folder, self.config)
        except BadInput as error:
            raise Unusable(error.line, error.remedy) from None
        speaker, tokens = self._speaker, self.config.judge.reply_tokens
        window = positions_of(speaker.model.config.to_dict()) or 2**31
        prompts = [
            speaker.prompt([{"role": "system", "content": r.system}, {"role": "user", "content": r.user}], "judge", i)
            for i, r in enumerate(requests)
        ]
        fitting = [i for i, prompt in enumerate(prompts) if len(prompt.ids) + tokens <= window]
        for i in sorted(set(range(len(requests))) - set(fitting)):
            keep(i, None)
        engine, at_once = speaker.engine(self.config), self.config.rollout.slots
        sampling = Sampling(0.0, tokens, self.config.seed, Place.JUDGE)
        for start in range(0, len(fitting), at_once):
            spent.check()
            places = fitting[start : start + at_once]
            for i, (written,) in zip(places, engine.generate([prompts[i] for i in places], 1, sampling), strict=True):
                spent.add(len(prompts[i].ids), len(written.ids))
                keep(i, read(requests[i].kind, speaker.text(written.ids)) if written.finish == "stop" else None)
