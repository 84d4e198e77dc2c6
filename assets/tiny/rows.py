"""Which questions become rows: all of them, less those too close to an earlier one."""

import re
from functools import cache
from random import Random

from questions import KINDS, Row

MAX_JACCARD = 0.6
"""Questions this alike are not both kept: near-duplicates begin at 0.7, and estimates need room."""


def question(entry: Row) -> str:
    """Return what a row asks: instruction and input."""
    return f"{entry['instruction']} {entry['input']}".strip()


@cache
def trigrams(text: str) -> frozenset[tuple[str, ...]]:
    """Return the word 3-grams of a text, case and punctuation aside; a shorter text is one gram."""
    words = re.findall(r"\w+", text.lower())
    return frozenset(zip(words, words[1:], words[2:], strict=False)) or frozenset({tuple(words)})


def similarity(one: Row, two: Row) -> float:
    """Return the Jaccard similarity of two questions, over their word 3-grams."""
    x, y = trigrams(question(one)), trigrams(question(two))
    return len(x & y) / len(x | y)


def rows_by_kind(seed: int = 0) -> dict[str, list[Row]]:
    """Return all rows, grouped by kind, in the order of `KINDS`.

    A question too close to an earlier one is left out, whatever its kind.

    Args:
        seed: Each kind draws from its own generator, so a new last kind moves no other row.
    """
    kept: list[Row] = []
    grouped: dict[str, list[Row]] = {}
    for kind, make in KINDS.items():
        grouped[kind] = []
        for entry in make(Random(f"{kind}:{seed}")):
            if all(similarity(entry, other) < MAX_JACCARD for other in kept):
                kept.append(entry)
                grouped[kind].append(entry)
    return grouped
