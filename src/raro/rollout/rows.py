"""Laying token sequences out for one forward pass, with as little padding as may be.

Three layouts of the same sequences, tested to give the same log-probabilities and gradients:
rows    one sequence a row, sorted by length, padded to the right. Causal attention needs no mask for it.
packed  several sequences a row, each with positions of its own, kept apart by a block-causal mask: no padding but at
        the end of the last row.
shared  completions of one prompt follow it in one row, each seeing the prompt and itself: the prompt is computed once for all.
        Only where the prompt is at least as long as its completions, as a critic's is; otherwise longer rows cost more than
        they save.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Layout = Literal["rows", "packed", "shared"]
Sequences = Sequence[tuple[Sequence[int], Sequence[int]]]
"""(prompt ids, completion ids), neither empty."""


@dataclass(frozen=True, slots=True)
class Rows:
    """One micro-batch. B rows of T tokens hold N completion tokens to be predicted.

    input_ids, position_ids: [B, T]. group, segment: [B, T], or None for plain causal: a position sees those before it of its
    group that are of its own segment, or of segment 0, the prompt. logit_positions: [N], index into the flattened [B * T] of
    the position whose output predicts the token. target_ids: [N]. sequence: [N], index of the token's sequence. token: [N], its
    index in that sequence's completion. padding: share of the B * T positions that hold nothing.
    """

    input_ids: Tensor
    position_ids: Tensor
    group: Tensor | None
    segment: Tensor | None
    logit_positions: Tensor
    target_ids: Tensor
    sequence: Tensor
    token: Tensor
    padding: float

    @property
    def mask(self) -> Tensor | None:
        """[B, 1, T, T] bool (True: may be seen), or None for plain causal. Made anew for each pass, where the tensors lie: of
        all micro-batches at once it would be gigabytes, and seconds of one core."""
        if self.group is None:
            return None
        own = (self.segment[:, :, None] == self.segment[:, None, :]) | (self.segment[:, None, :] == 0)
        return ((self.group[:, :, None] == self.group[:, None, :]) & own).tril()[:, None]

    def to(self, device: torch.device) -> Rows:
        """The same, on another device."""
        return Rows(*(x.to(device) if isinstance(x, Tensor) else x for x in (getattr(self, name) for name in self.__slots__)))


def lay_out(sequences: Sequences, batch_tokens: int, pad_id: int, layout: Layout = "rows") -> list[Rows]:
    """Micro-batches of at most batch_tokens positions each (a longer sequence gets one of its own), the longest first."""
    size = lambda i: len(sequences[i][0]) + len(sequences[i][1])  # noqa: E731
    order = sorted(range(len(sequences)), key=lambda i: -size(i))
    if layout == "packed":
        # A row is a list of groups, a group a list of sequences that share one prompt.
        return [_tensors(sequences, [[[i] for i in row]], pad_id) for row in _first_fit(order, size, batch_tokens)]
    groups = _by_prompt(sequences, order, batch_tokens) if layout == "shared" else [[i] for i in order]
    length = lambda group: len(sequences[group[0]][0]) + sum(len(sequences[i][1]) for i in group)  # noqa: E731
    groups.sort(key=lambda group: -length(group))
    batches: list[list[list[list[int]]]] = []
    for group in groups:
        if not batches or (len(batches[-1]) + 1) * length(batches[-1][0][0]) > batch_tokens:
            batches.append([])
        batches[-1].append([group])
    return [_tensors(sequences, batch, pad_id) for batch in batches]


def _first_fit(order: Sequence[int], size, batch_tokens: int) -> list[list[int]]:
    """Sequences into rows of batch_tokens, longest first, each into the first row with room for it."""
    rows: list[list[int]] = []
    room: list[int] = []
    for i in order:
        fit = next((r for r, left in enumerate(room) if left >= size(i)), len(rows))
        if fit == len(rows):
            rows.append([])
            room.append(batch_tokens)
        rows[fit].append(i)
        room[fit] -= size(i)
    return rows


def _by_prompt(sequences: Sequences, order: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Sequences of one prompt together, where the prompt is at least as long as their completions are on average; as many of
    them as a row of batch_tokens holds."""
    same: dict[tuple[int, ...], list[int]] = {}
    for i in order:
        same.setdefault(tuple(sequences[i][0]), []).append(i)
    groups: list[list[int]] = []
    for prompt, members in same.items():
        worth = len(prompt) * len(members) >= sum(len(sequences[i][1]) for i in members)
        room = 0
        for i in members:
            if not worth or room < len(sequences[i][1]):
                groups.append([])
                room = batch_tokens - len(prompt)
            groups[-1].append(i)
            room -= len(sequences[i][1])
    return groups


def _tensors(sequences: Sequences, batch: list[list[list[int]]], pad_id: int) -> Rows:
    """One micro-batch. batch: rows, each a list of groups, each a list of sequences that share their prompt."""
    rows: list[
        tuple[list[int], list[int], list[int], list[int]]
    ] = []  # ids, positions, groups, segments (0: seen by its whole group)
    predicted: list[tuple[int, int, int, int, int]] = []  # row, column, target, sequence, token
    for r, groups in enumerate(batch):
        ids: list[int] = []
        positions: list[int] = []
        group_of: list[int] = []
        segments: list[int] = []
        for g, members in enumerate(groups):
            prompt = sequences[members[0]][0]
            last = len(ids) + len(prompt) - 1
            ids += prompt
            positions += range(len(prompt))
            segments += [0] * len(prompt)
            for s, i in enumerate(members, start=1):
                completion = sequences[i][1]
                columns = [last, *range(len(ids), len(ids) + len(completion) - 1)]
                predicted += zip([r] * len(columns), columns, completion, [i] * len(columns), range(len(columns)), strict=True)
                ids += completion
                positions += range(len(prompt), len(prompt) + len(completion))
                segments += [s] * len(completion)
            group_of += [g] * (len(ids) - len(group_of))
        rows.append((ids, positions, group_of, segments))
    width = max(len(ids) for ids, *_ in rows)
    padded = lambda part, fill: torch.tensor([row[part] + [fill] * (width - len(row[0])) for row in rows])  # noqa: E731
    group = segment = None
    if any(len(groups) > 1 or len(groups[0]) > 1 for groups in batch):
        group, segment = padded(2, -1), padded(3, -1)
    row, column, target, sequence, token = (torch.tensor(values) for values in zip(*predicted, strict=True))
    filled = sum(len(ids) for ids, *_ in rows)
    input_ids, position_ids = padded(0, pad_id), padded(1, 0)
    padding = 1 - filled / (len(rows) * width)
    return Rows(input_ids, position_ids, group, segment, row * width + column, target, sequence, token, padding)
