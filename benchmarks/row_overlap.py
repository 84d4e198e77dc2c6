"""Which paragraphs share a run of 13 words with a row, fast enough for hundreds of megabytes.

The same words and the same run as `alpaca_lab.rows.contamination`, compared as numbers: each word
of the rows has one, and a run is a 64-bit polynomial of its words' numbers.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from alpaca_lab.rows.contamination import WORDS
from alpaca_lab.rows.ngrams import normalise, words

BASE = np.uint64(0x9E3779B97F4A7C15)
"""An odd number without pattern; the polynomial is taken modulo 2**64."""


class Runs:
    """The runs of 13 words of some texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._numbers: dict[str, int] = {}
        runs = [_hashes(self._known(text))[0] for text in texts]
        self._runs = np.unique(np.concatenate([np.empty(0, np.uint64), *runs]))

    def __len__(self) -> int:
        return len(self._runs)

    def sharing(self, texts: Sequence[str]) -> list[bool]:
        """Return for each text whether it has one, whatever its case, spaces and punctuation."""
        get = self._numbers.get
        numbers, owners = [], []
        for place, text in enumerate(texts):
            own = [get(word, 0) for word in _words(text)]
            numbers += [*own, 0]  # which no run has: none goes on into the next text
            owners += [place] * (len(own) + 1)
        found, starts = _hashes(numbers)
        shared = np.zeros(len(texts), bool)
        shared[np.array(owners, int)[starts[np.isin(found, self._runs)]]] = True
        return shared.tolist()

    def _known(self, text: str) -> list[int]:
        numbers = self._numbers
        return [numbers.setdefault(word, len(numbers) + 1) for word in _words(text)]


def _hashes(numbers: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the hash and the start of each run of words that the rows have, all 13 of them."""
    count = max(len(numbers) - WORDS + 1, 0)
    array = np.array(numbers, np.uint64)
    hashes, known = np.zeros(count, np.uint64), np.ones(count, bool)
    for place in range(WORDS if count else 0):
        part = array[place : place + count]
        hashes = hashes * BASE + part
        known &= part > 0
    return hashes[known], np.flatnonzero(known)


def _words(text: str) -> list[str]:
    return words(normalise(text), signs=False)
