"""Which columns of the pool are free, and which belong to whom. Pure numpy, on the host."""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int32]

TRASH = 0
"""The column that rows without a token write to; it belongs to nobody."""


class OutOfColumns(RuntimeError):
    """More columns were asked for than are free. The caller makes room, or has a bug."""


class Columns:
    """The pool's columns: a stack of free ones, and a table of those in use.

    `table[sequence, position]` is the column that holds the keys and values of the token at that
    position of a sequence. The device holds a copy, written by each step for its own rows.
    """

    def __init__(self, count: int, *, sequences: int, length: int) -> None:
        """Make `count` columns, of which all but `TRASH` are free.

        Args:
            count: Columns in the pool, >= 2.
            sequences: Rows of the table.
            length: Most tokens in a sequence.
        """
        self.count = count
        self.table = np.zeros((sequences, length), np.int32)
        self.reset()

    def reset(self) -> None:
        """Make all columns free again, whoever has them."""
        # Descending, taken from the end: neighbours in time are neighbours in memory at first.
        self._stack = np.arange(self.count - 1, TRASH, -1, dtype=np.int32)
        self._free = self.count - 1

    @property
    def free(self) -> int:
        """Columns that nobody has."""
        return self._free

    @property
    def used(self) -> int:
        """Columns that somebody has."""
        return self.count - 1 - self._free

    def take(self, sequences: Indices, positions: Indices) -> Indices:
        """Give one free column to each (sequence, position), and return them.

        Raises:
            OutOfColumns: If fewer are free; nothing is taken then.
        """
        n = len(sequences)
        if n > self._free:
            raise OutOfColumns(f"{n} columns asked for, {self._free} of {self.count} are free")
        taken = self._stack[self._free - n : self._free][::-1].copy()
        self._free -= n
        self.table[sequences, positions] = taken
        return taken

    def give(self, columns: Indices) -> None:
        """Take columns back. They must have been taken, and must not be given twice."""
        self._stack[self._free : self._free + len(columns)] = columns
        self._free += len(columns)
