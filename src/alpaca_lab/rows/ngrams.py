"""The words of a text, and their n-grams: what near-duplicates and contamination are counted in."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice


def _characters(*categories: str) -> str:
    """Return every character of the basic plane whose Unicode category starts like one of these."""
    found = (chr(c) for c in range(0x10000) if unicodedata.category(chr(c)).startswith(categories))
    return "".join(map(re.escape, found))


OPERATORS = r"%&*/\\@#"
"""Punctuation by Unicode that is read as a word: 6 * 3 does not ask what 6 / 3 asks."""
_SINGLE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Han: written without spaces, so that each character stands as a word."""
_SILENT = _characters("P", "C").translate({ord(sign): None for sign in "%&*/@#"}) + "`"
_RUN = (
    rf"[{_SINGLE}]"
    # A mark belongs to its letter: Hindi would fall to pieces without it.
    rf"|(?:[^\W{_SINGLE}]|[{_characters('M')}])+"
)
_WORDS = re.compile(_RUN)
_WORDS_AND_SIGNS = re.compile(rf"{_RUN}|[{OPERATORS}]|[^\w\s{_SILENT}]")


_MANY_MARKS = re.compile(
    "([{0}]{{30}})(?=[{0}])".format(
        "".join(chr(c) for c in range(0x20000) if unicodedata.combining(chr(c)))
    )
)
"""Thirty marks on one letter, and more to come: no script needs them, and sorting them into their
order takes the square of their number. Source: Unicode Standard Annex 15, section 13."""


def normalise(text: str) -> str:
    r"""Return `text` in Unicode form NFKC, casefolded, each run of white space a single space.

    Example:
        >>> normalise("  Name the\nCAPITAL ")
        'name the capital'
    """
    if not text.isascii():
        text = _MANY_MARKS.sub("\\1\u034f", text)  # a joiner, which ends the run
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words(text: str, *, signs: bool = True) -> list[str]:
    """Return the words of a normalised text, punctuation left out.

    A word is a run of letters, digits and their marks; each Han or kana character is one. Other
    scripts without spaces, such as Thai, are cut at their spaces alone.

    Args:
        text: As `normalise` returns it; other text is taken as it is.
        signs: Whether a sign such as "+", "<" or an emoji stands as a word too.

    Example:
        >>> words("what's 6 + 3, then?")
        ['what', 's', '6', '+', '3', 'then']
    """
    return (_WORDS_AND_SIGNS if signs else _WORDS).findall(text)


def ngrams(items: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """Yield every run of `n` neighbours, in order; none when there are fewer than `n`.

    Example:
        >>> list(ngrams(["a", "b", "c"], 2))
        [('a', 'b'), ('b', 'c')]
    """
    return zip(*(islice(items, start, None) for start in range(n)), strict=False)
