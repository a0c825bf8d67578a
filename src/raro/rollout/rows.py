"""Laying token sequences out for one forward pass, with as little padding as may be.

Two layouts of the same sequences, tested to give the same log-probabilities:
rows    one sequence a row, sorted by length, padded to the right. Causal attention needs no mask for it.
packed  several sequences a row, each with positions of its own, kept apart by a block-causal mask: no padding but the last row's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Layout = Literal["rows", "packed"]


@dataclass(frozen=True, slots=True)
class Rows:
    """One micro-batch. B rows of T tokens hold N completion tokens to be predicted.

    input_ids, position_ids: [B, T]. mask: [B, 1, T, T] bool (True: may be seen), or None for plain causal. predictors: [N], index into
    the flattened [B * T] of the position whose output predicts the token. target_ids: [N]. owner: [N], index of the token's sequence.
    place: [N], the token's place in its completion. padding: share of the B * T positions that hold nothing.
    """

    input_ids: Tensor
    position_ids: Tensor
    mask: Tensor | None
    predictors: Tensor
    target_ids: Tensor
    owner: Tensor
    place: Tensor
    padding: float

    def to(self, device: torch.device) -> Rows:
        """The same, on another device."""
        return Rows(*(x.to(device) if isinstance(x, Tensor) else x for x in (getattr(self, name) for name in self.__slots__)))


def lay_out(
    sequences: Sequence[tuple[Sequence[int], Sequence[int]]], batch_tokens: int, pad_id: int, layout: Layout = "rows"
) -> list[Rows]:
    """Micro-batches of at most batch_tokens positions each (a longer sequence gets one of its own), the longest first.

    sequences: (prompt ids, completion ids), neither empty.
    """
    order = sorted(range(len(sequences)), key=lambda i: -(len(sequences[i][0]) + len(sequences[i][1])))
    size = lambda i: len(sequences[i][0]) + len(sequences[i][1])  # noqa: E731
    if layout == "rows":
        batches, current = [], []
        for i in order:
            if current and (len(current) + 1) * size(current[0]) > batch_tokens:
                batches.append([[j] for j in current])
                current = []
            current.append(i)
        batches += [[[j] for j in current]] if current else []
    else:
        rows: list[list[int]] = []
        room: list[int] = []
        capacity = max([batch_tokens, *(size(i) for i in order)])
        for i in order:  # first fit, longest first
            fit = next((r for r, left in enumerate(room) if left >= size(i)), None)
            if fit is None:
                rows.append([])
                room.append(capacity)
                fit = len(rows) - 1
            rows[fit].append(i)
            room[fit] -= size(i)
        batches = [[row] for row in rows]
    return [_tensors(sequences, batch, pad_id) for batch in batches]


def _tensors(sequences: Sequence[tuple[Sequence[int], Sequence[int]]], batch: list[list[int]], pad_id: int) -> Rows:
    width = max(sum(len(sequences[i][0]) + len(sequences[i][1]) for i in row) for row in batch)
    ids, positions, segments = [], [], []
    predictors, targets, owner, place = [], [], [], []
    for r, row in enumerate(batch):
        row_ids: list[int] = []
        row_positions: list[int] = []
        row_segments: list[int] = []
        for s, i in enumerate(row):
            prompt, completion = sequences[i]
            start = r * width + len(row_ids) + len(prompt) - 1
            predictors += range(start, start + len(completion))
            targets += completion
            owner += [i] * len(completion)
            place += range(len(completion))
            row_ids += [*prompt, *completion]
            row_positions += range(len(prompt) + len(completion))
            row_segments += [s] * (len(prompt) + len(completion))
        empty = width - len(row_ids)
        ids.append(row_ids + [pad_id] * empty)
        positions.append(row_positions + [0] * empty)
        segments.append(row_segments + [-1] * empty)
    mask = None
    if any(len(row) > 1 for row in batch):
        segment = torch.tensor(segments)
        mask = (segment[:, None, :, None] == segment[:, None, None, :]).tril()
    filled = sum(len(sequences[i][0]) + len(sequences[i][1]) for row in batch for i in row)
    return Rows(
        torch.tensor(ids),
        torch.tensor(positions) if mask is not None else torch.arange(width).expand(len(batch), width),
        mask,
        torch.tensor(predictors),
        torch.tensor(targets),
        torch.tensor(owner),
        torch.tensor(place),
        1 - filled / (len(batch) * width),
    )
