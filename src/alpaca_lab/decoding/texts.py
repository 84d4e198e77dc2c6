"""Texts that are given, not drawn: a prompt, or an answer's tokens that must be read again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..engine.columns import Columns
    from ..engine.rows import RowBuffer


@dataclass(kw_only=True)
class Text:
    """Tokens to be read into a sequence's columns."""

    tokens: NDArray[np.int32]
    sequence: int
    shared: int | None = None
    """The sequence of the prompt whose columns come before; None: none do."""
    start: int = 0
    """Position of the first token: how many columns are the prompt's."""
    read: int = 0
    """Tokens read so far."""

    @property
    def is_read(self) -> bool:
        """True when no token is left to read."""
        return self.read == len(self.tokens)

    def read_on(self, batch: RowBuffer, columns: Columns, *, room: int) -> int:
        """Add rows for the next tokens, at most `room`, and return how many."""
        tokens = self.tokens[self.read : self.read + room]
        positions = self.start + self.read + np.arange(len(tokens), dtype=np.int32)
        sequences = np.full(len(tokens), self.sequence, np.int32)
        shared, length = self.shared, self.start
        if shared is None:  # some neighbours at a time share what they have read themselves
            shared, length = self.sequence, positions - np.arange(len(tokens)) % batch.together
        batch.add(
            token=tokens,
            position=positions,
            column=columns.take(sequences, positions),
            sequence=sequences,
            shared=shared,
            shared_length=length,
        )
        self.read += len(tokens)
        return len(tokens)
