"""How much of each test answer stands word for word in the rows that a model is trained on.

It reports and drops nothing: a proverb or a list of months is shared by right.

Source: 13-grams as in Brown et al. (2020), Language Models are Few-Shot Learners, appendix C.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from .ngrams import ngrams, normalise, words

WORDS = 13
"""Words in a row that chance alone hardly ever repeats."""


class Overlap(NamedTuple):
    """What one answer shares with the training texts."""

    grams: int
    """Different runs of 13 words in the answer; 0 for one that is too short to tell."""
    shared: int
    """How many of them stand in a training text."""
    text: int | None
    """Place of the first training text that shares one, from 0; None when none does."""
    words: str
    """The first shared run of that text; "" when there is none."""

    @property
    def verdict(self) -> str:
        """One of "too short to tell", "shared", "none shared"."""
        if not self.grams:
            return "too short to tell"
        return "shared" if self.shared else "none shared"

    @property
    def share(self) -> float | None:
        """Share of the answer's runs that are shared, in [0, 1]; None when too short to tell."""
        return self.shared / self.grams if self.grams else None


def overlaps(
    answers: Sequence[str],
    texts: Iterable[str],
    *,
    n: int = WORDS,
    seen: Callable[[], object] = lambda: None,
) -> list[Overlap]:
    """Compare each answer's runs of `n` words with those of every training text.

    Words are those of `ngrams.words`: case, spaces, punctuation and signs do not hide a copy.

    Args:
        answers: Test answers.
        texts: Training texts: instruction, input and output of a row in one.
        n: Words in a run.
        seen: Called once per training text, for a progress bar.

    Returns:
        One `Overlap` per answer, in their order.

    Example:
        >>> overlaps(["to be, or not", "no"], ["He said: To be or."], n=3)[0].share
        0.5
    """
    grams = [set(_runs(answer, n)) for answer in answers]
    owners = defaultdict(list)
    for place, own in enumerate(grams):
        for gram in own:
            owners[gram].append(place)
    shared: list[set[tuple[str, ...]]] = [set() for _ in answers]
    first: dict[int, tuple[int, tuple[str, ...]]] = {}
    for number, text in enumerate(texts):
        seen()
        for gram in _runs(text, n):
            for place in owners.get(gram, ()):
                shared[place].add(gram)
                first.setdefault(place, (number, gram))
    return [
        Overlap(len(own), len(shared[place]), *_found(first.get(place)))
        for place, own in enumerate(grams)
    ]


def _runs(text: str, n: int) -> Iterable[tuple[str, ...]]:
    # Without signs: eight tags of a web page are not thirteen words.
    return ngrams(words(normalise(text), signs=False), n)


def _found(first: tuple[int, tuple[str, ...]] | None) -> tuple[int | None, str]:
    return (None, "") if first is None else (first[0], " ".join(first[1]))
