"""What a step is told of its rows: one array, written by the host and sent in one copy."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FIELDS = (
    "token", "position", "column", "sequence", "shared", "shared_length", "parent",
    "index", "top_k", "key_low", "key_high", "temperature", "score", "first", "count",
)  # fmt: skip
FLOATS = ("temperature", "score")
LOAD = 256
"""Columns of their own at which rows that attend together are split."""


class Rows(NamedTuple):
    """B rows of a step, each a token of some sequence. Tensors of shape (B,), int32."""

    token: Tensor
    """The token that the row reads; -1: the one that its sequence drew last."""
    position: Tensor
    """Its place in prompt + answer, from 0."""
    column: Tensor
    """Where in the pool its keys and values go."""
    sequence: Tensor
    """Whose row of the table names its own columns."""
    shared: Tensor
    """Whose row of the table names the columns before `shared_length`: its prompt's."""
    shared_length: Tensor
    """How many columns are the prompt's."""
    parent: Tensor
    """Whose columns the sequence goes on from: another beam's after a beam search's choice."""
    index: Tensor
    """Index of the token to draw in its answer, from 0."""
    top_k: Tensor
    """Draw from so many tokens; 0 is all."""
    key_low: Tensor
    """Low 32 bits of the key of its noise, see `sampling.row_key`."""
    key_high: Tensor
    """High 32 bits."""
    temperature: Tensor
    """Float32; 0 is greedy."""
    score: Tensor
    """Float32: what the beam scored so far."""
    first: Tensor
    """Not of a row but of a group of neighbours with the same shared columns: its first row."""
    count: Tensor
    """How many rows the group has; 0 beyond the last group."""


class RowBuffer:
    """The rows of a step on the host and on the device.

    The host has two copies and fills them in turn: the device may still be fetching the one of the
    last step while the next is filled.
    """

    def __init__(self, rows: int, *, together: int, trash: int, device: torch.device) -> None:
        """Make room for rows.

        Args:
            rows: Most rows of a step.
            together: Most neighbours with the same shared columns that attend together.
            trash: The sequence of rows that are not filled.
            device: Where steps are computed.
        """
        self.together = together
        size, pinned = (len(FIELDS), rows), device.type == "cuda"
        self._hosts = [torch.zeros(size, dtype=torch.int32, pin_memory=pinned) for _ in range(2)]
        self._device = torch.zeros(size, dtype=torch.int32, device=device)
        self._trash = trash
        self.clear()

    def clear(self) -> None:
        """Begin the next step without rows."""
        self._hosts.reverse()
        whole = self._hosts[0].numpy()
        self._views: dict[str, NDArray[Any]] = {
            name: whole[i].view(np.float32) if name in FLOATS else whole[i]
            for i, name in enumerate(FIELDS)
        }
        self.filled = 0

    def add(self, **values: Any) -> None:
        """Append rows: an array or a number for each field; fields left out are 0."""
        count = len(values["token"])
        place = slice(self.filled, self.filled + count)
        for name, view in self._views.items():
            view[place] = values.get(name, 0)
        if "parent" not in values:
            self._views["parent"][place] = values["sequence"]
        self.filled += count

    def send(self, size: int) -> None:
        """Bring the first `size` rows to the device, those beyond `filled` as rows of nobody."""
        rest = slice(self.filled, size)
        for name in FIELDS:
            self._views[name][rest] = 0
        for name in ("sequence", "shared", "parent"):
            self._views[name][rest] = self._trash
        shared, lengths, position = (
            self._views[name][: self.filled] for name in ("shared", "shared_length", "position")
        )
        first, count = groups(shared, lengths, position + 1 - lengths, together=self.together)
        self._views["count"][:] = 0
        self._views["first"][: len(first)] = first
        self._views["count"][: len(first)] = count
        self._device.copy_(self._hosts[0], non_blocking=True)

    def send_nobody(self) -> None:
        """Make all rows on the device those of nobody; the host's stay as they are."""
        self._device.zero_()
        for name in ("sequence", "shared", "parent"):
            self._device[FIELDS.index(name)] = self._trash

    def rows(self, size: int) -> Rows:
        """Return the first `size` rows as the device has them."""
        return Rows(
            *(
                part[:size].view(torch.float32) if name in FLOATS else part[:size]
                for name, part in zip(FIELDS, self._device, strict=True)
            )
        )

    def seen(self) -> int:
        """Return how many columns the filled rows see, each counted for every row that does."""
        return int(self._views["position"][: self.filled].sum()) + self.filled

    def longest(self) -> int:
        """Return how many columns the longest sequence of the filled rows has."""
        return int(self._views["position"][: self.filled].max(initial=0)) + 1


def groups(
    shared: NDArray[np.int32],
    lengths: NDArray[np.int32],
    own: NDArray[np.int32],
    *,
    together: int,
) -> tuple[NDArray, NDArray]:
    """Return the first row and the count of each group of neighbours that attend together.

    They have the same shared columns, are at most `together`, and have not many columns of their
    own: a group is one program's work, and a step waits for the longest.

    Args:
        shared: (rows,) whose columns come before a row's own.
        lengths: (rows,) how many these are.
        own: (rows,) how many are a row's own.
        together: Most rows of a group.

    Example:
        >>> own = np.array([20, 250, 30, 1])
        >>> groups(np.array([7, 7, 7, 3]), np.array([5, 5, 5, 4]), own, together=4)
        (array([0, 2, 3]), array([2, 1, 1]))
    """
    rows = np.arange(len(shared))
    other = np.ones(len(rows), bool)
    other[1:] = (shared[1:] != shared[:-1]) | (lengths[1:] != lengths[:-1])
    before = np.cumsum(own) - own
    load = (before - before[_since(other)]) // LOAD
    other[1:] |= load[1:] != load[:-1]
    first = np.flatnonzero((rows - _since(other)) % together == 0)
    return first, np.diff(np.append(first, len(rows)))


def _since(begins: NDArray[np.bool_]) -> NDArray:
    """Return for each place the last one at or before it where something begins."""
    return np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))
