"""ROUGE of one answer: Google's tokens, n-grams and formulas, with a faster longest subsequence.

rouge_score fills a table of words x words in Python: seconds for two texts of 2,000 words, and
gigabytes for two of 20,000. Here a column of that table is one integer with a bit per word of the
reference. The scores are the same to the last bit, which the tests hold against rouge_score.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import chain, islice

from rouge_score.scoring import fmeasure
from rouge_score.tokenize import tokenize

from .overlap import shared_ngrams

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
SIGNATURES: dict[str, str] = {
    name: f"{name}|f1|stem:no|unit:answer|{sentences}lib:rouge_score-{version('rouge_score')}"
    for name, sentences in zip(ROUGE_TYPES, ("", "", "", "sentences:newline|"), strict=True)
}
"""Recipe of each score, with the version of the library that it is equal to."""


def rouge_defined(reference: str, *, order: int = 1) -> bool:
    """Return whether ROUGE can see an n-gram in a reference.

    Its tokenizer keeps runs of a-z and 0-9 only: a Cyrillic or Chinese text would score 0
    against itself, which says nothing about the answer. Of "Париж, 2024" it sees the number, and
    scores that alone. A reference of one word has no bigram: ROUGE-2 is undefined there.

    Args:
        reference: Gold answer.
        order: n; ROUGE-1, L and Lsum need 1, ROUGE-2 needs 2.

    Example:
        >>> rouge_defined("Paris"), rouge_defined("Париж"), rouge_defined("Paris", order=2)
        (True, False, False)
    """
    return len(tokenize(reference, None)) >= order


def rouge(answer: str, *, reference: str) -> dict[str, float]:
    """Return ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum of one answer, without stemming.

    ROUGE-L looks at the whole text as one sequence of words. ROUGE-Lsum compares sentence with
    sentence, and a sentence is a line: text is split at newlines, and nowhere else.

    Args:
        answer: Model answer; empty scores 0.
        reference: Gold answer.

    Returns:
        F1 in [0, 100] by name. NaN where the reference has no n-gram to find: all four if it has
        no word that ROUGE can see, "rouge2" if it has one such word; see `rouge_defined`.

    Source:
        Lin (2004), https://aclanthology.org/W04-1013, as google-research `rouge_score` has it.

    Example:
        >>> round(rouge("The cat on the mat.", reference="the cat sat on the mat")["rougeL"], 2)
        90.91
    """
    gold_lines, lines = _sentences(reference), _sentences(answer)
    gold, words = list(chain(*gold_lines)), list(chain(*lines))
    if not gold:
        return dict.fromkeys(ROUGE_TYPES, math.nan)
    single, double = shared_ngrams(words, gold, orders=2)
    common = lcs_length(gold, words)
    union = _union_hits(gold_lines, lines)
    return {
        "rouge1": 100 * _f1(single, len(words), len(gold)),
        "rouge2": 100 * _f1(double, len(words) - 1, len(gold) - 1) if len(gold) > 1 else math.nan,
        "rougeL": 100 * _f1(common, len(words), len(gold)),
        "rougeLsum": 100 * _f1(union, len(words), len(gold)),
    }


def _f1(hits: int, n_ours: int, n_gold: int) -> float:
    return fmeasure(hits / n_ours, hits / n_gold) if n_ours > 0 else 0.0


def _sentences(text: str) -> list[list[str]]:
    return [tokenize(line, None) for line in text.split("\n")]


def lcs_length(gold: Sequence[str], words: Sequence[str]) -> int:
    """Return the length of the longest common subsequence of two sequences of words.

    Source:
        Hyyrö (2004), "Bit-parallel LCS-length computation revisited", AWOCA 2004.

    Example:
        >>> lcs_length("the cat sat on the mat".split(), "the cat on the mat".split())
        5
    """
    last = every = (1 << len(gold)) - 1
    for column in _columns(_where(gold), words, every):
        last = column
    return (last ^ every).bit_count()


def lcs_positions(gold: Sequence[str], words: Sequence[str]) -> set[int]:
    """Return where in `gold` a longest common subsequence stands.

    There may be several. This is the one that rouge_score reads from its table, walking back from
    the ends of both: a word they share is taken, else the table is followed to where its value
    stays, to the shorter `gold` if both do.

    Example:
        >>> sorted(lcs_positions(["a", "b", "a"], ["a", "c", "a"]))
        [0, 2]
    """
    return _positions(gold, words, _where(gold))


SHORT = 1024
"""Words of a text whose columns are kept all at once."""


def _positions(gold: Sequence[str], words: Sequence[str], where: Mapping[str, int]) -> set[int]:
    """Return what `lcs_positions` does, from the places of each word of `gold`."""
    found: set[int] = set()
    every, last = (1 << len(gold)) - 1, len(gold) - 1
    if len(words) <= SHORT:
        _walk(gold, words, list(_columns(where, words, every)), last, found)
        return found
    # All columns of a long text would fill the memory: the one before each block is kept, and
    # those within are computed again when the walk, which begins at the end, is there.
    step = math.isqrt(len(words))
    starts = range(0, len(words), step)
    before = [every, *islice(_columns(where, words, every), step - 1, None, step)]
    for start, same in reversed(list(zip(starts, before, strict=False))):
        block = words[start : start + step]
        last = _walk(gold, block, list(_columns(where, block, every, same=same)), last, found)
    return found


def _walk(
    gold: Sequence[str], words: Sequence[str], columns: Sequence[int], last: int, found: set[int]
) -> int:
    """Walk back from `gold[last]` and the last word to the first; return where in `gold` it ends.

    The positions it takes are added to `found`.
    """
    i, j = last, len(words) - 1
    while i >= 0 and j >= 0:
        if gold[i] == words[j]:
            found.add(i)
            i, j = i - 1, j - 1
        elif columns[j] >> i & 1:
            i -= 1
        else:
            j -= 1
    return i


def _where(gold: Sequence[str]) -> dict[str, int]:
    """Return the places of each word as the bits of an integer."""
    places: defaultdict[str, bytearray] = defaultdict(bytearray)
    if len(gold) > SHORT:  # an integer would be copied for each of its bits
        for i, word in enumerate(gold):
            bits = places[word]
            bits.extend(bytes(i // 8 + 1 - len(bits)))
            bits[i // 8] |= 1 << i % 8
        return {word: int.from_bytes(bits, "little") for word, bits in places.items()}
    where: dict[str, int] = {}
    for i, word in enumerate(gold):
        where[word] = where.get(word, 0) | 1 << i
    return where


def _columns(
    where: Mapping[str, int], words: Sequence[str], every: int, *, same: int | None = None
) -> Iterator[int]:
    """Yield the columns of the table of subsequence lengths, one per word.

    Bit i of column j says that gold[: i + 1] and words[: j + 1] have no longer common subsequence
    than gold[:i] and words[: j + 1].

    Args:
        where: The places of each word of `gold`.
        words: The other text, or the rest of it after the column `same`.
        every: A bit for each word of `gold`: the column before the first word.
        same: The column to go on from; None begins.
    """
    same = every if same is None else same
    for word in words:
        if word in where:
            matched = same & where[word]
            same = (same + matched | same - matched) & every
        yield same


def _union_hits(gold: Sequence[Sequence[str]], sentences: Sequence[Sequence[str]]) -> int:
    """Return how many words of `gold` the sentences account for, each of their words once.

    Per sentence of `gold`, the union of its longest common subsequences with every sentence, as
    section 3.2 of Lin (2004) has it. That no word counts twice is ROUGE-1.5.5's, not the paper's.
    """
    left = Counter(word for sentence in sentences for word in sentence)
    different = {tuple(sentence) for sentence in sentences}  # a loop of 1,000 lines is one line
    hits = 0
    for line in gold:
        where = _where(line)
        union = set().union(
            *(
                _positions(line, other, where)
                for other in different
                if not where.keys().isdisjoint(other)
            )
        )
        for word in (line[i] for i in sorted(union)):
            if left[word] > 0:
                left[word] -= 1
                hits += 1
    return hits
