"""What a clean paragraph of English prose is, and the last steps to one."""

import html
import re
from collections.abc import Sequence

LOST = "\0"
"""Stands where a formula, or a link without words, was: its sentence cannot be read without it."""
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u02bc", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        **dict.fromkeys("\u00a0\u2009\u202f\u2003", " "),
        **dict.fromkeys("\u200b\ufeff\u00ad\u2060", None),
        "\u2026": "...",
    }
)  # fmt: skip
COMMON = {
    *("the", "of", "and", "to", "in", "a", "is", "that", "it", "for", "as", "with", "was", "on"),
    *("are", "be", "this", "by", "or", "from", "you", "he", "his", "i"),
}
"""The commonest words of English prose."""
WORD = re.compile(r"[^\W\d_]+")


def tidy(text: str) -> str:
    """Return one paragraph on one line: straight quotes, no empty brackets, no lost sentence."""
    text = " ".join(html.unescape(text).translate(_PLAIN).split())
    text = re.sub(rf"\s*\([^()]*{LOST}[^()]*\)", "", text)
    if LOST in text:
        kept = (part for part in re.split(r"(?<=[.!?:])\s+", text) if LOST not in part)
        text = " ".join(kept)
    text = re.sub(r"\(\s*(?:[;,:]+\s*)+", "(", text)
    text = re.sub(r"([;,])(?:\s*[;,])+", r"\1", text)
    text = re.sub(r"\s*\(\s*\)|\s*\[\s*\]", "", text)
    return re.sub(r"\s+([,.;:!?)])", r"\1", text).strip()


def is_prose(paragraph: str, *, least: int = 60) -> bool:
    """Whether a paragraph is long enough, mostly words, and ends as a sentence does."""
    letters = sum(map(str.isalpha, paragraph)) + paragraph.count(" ")
    return (
        len(paragraph) >= least
        and letters >= 0.8 * len(paragraph)
        and paragraph.rstrip("\"')]*_")[-1:] in tuple(".!?:")
    )


def is_english(paragraphs: Sequence[str]) -> bool:
    """Whether at least an eighth of a document's first thousand words are the commonest English."""
    found = WORD.findall(" ".join(paragraphs)[:6000].lower())
    return bool(found) and sum(word in COMMON for word in found) >= len(found) / 8
