"""Scores of whole texts, prompt and answer together, as the first study took them.

What is wrong with them is kept: this module says what its tables were, not how good an answer is.
"""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from nltk.translate.bleu_score import sentence_bleu
from rouge import Rouge

from ..config import SettingError, require

MARKER = "### Response:"
"""Ends a prompt; the answer is what follows."""
SPECIAL = (
    "<s>", "</s>", "<pad>", "<unk>", "[PAD]", "<|pad|>", "<|endoftext|>", "<|begin_of_text|>",
    "<|end_of_text|>", "<|eot_id|>", "<|im_end|>", "<eos>", "<bos>",
)  # fmt: skip
"""Special tokens that a tokenizer may have left in a text; dropped at its ends, never within."""
_BEFORE = re.compile(rf"(?:\s|{'|'.join(map(re.escape, SPECIAL))})*")
_AFTER = re.compile(rf"(?:\s|{'|'.join(re.escape(token[::-1]) for token in SPECIAL)})*")
"""Of a text read backwards: a search for the end of one would begin at each of its letters."""
LARGEST_TABLE = 4_000_000
"""Most cells (words of a sentence times words of another) that the rouge package may fill: 1 GiB"""
LARGEST_WORK = 25 * LARGEST_TABLE
"""Most cells that it may fill one after the other, for two texts of many sentences: a minute."""

SIGNATURES = {
    "bleu": "bleu|nltk sentence_bleu|references: the letters of each reference word (as published)|"
    f"words:whitespace|smoothing:none|unit:prompt + answer|lib:nltk-{version('nltk')}",
    "bleu_corrected": "bleu|nltk sentence_bleu|references: the reference|words:whitespace|"
    f"smoothing:none|unit:prompt + answer|lib:nltk-{version('nltk')}",
    "rougeL": f"rouge-l|f|sets of words, sentences end at a full stop|unit:prompt + answer|"
    f"lib:rouge-{version('rouge')}",
}
"""Recipe of each score, with the version of the library that computes it."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A reference and a candidate text, each split where its prompt ends."""

    prompt: str
    """The reference's prompt, to the end of its marker: with an empty answer, the floor."""
    reference: str
    """The reference's answer, special tokens at its ends dropped."""
    answer: str
    """The candidate's answer, special tokens at its ends dropped."""
    same_prompt: bool
    """Whether both prompts have the same words."""


def split(reference_text: str, candidate_text: str) -> Parts:
    r"""Split two whole texts into prompt and answer.

    The prompt ends at the last marker up to which both texts have the same words: a model that
    runs on and writes further prompts has them counted as its answer. Where the prompts differ,
    the reference is split at its last marker, the candidate at the one of the same number.

    Args:
        reference_text: Prompt and reference; line ends may be "\n" or "\r\n".
        candidate_text: Prompt and answer, which may be empty.

    Raises:
        SettingError: If a text has no marker.

    Example:
        >>> split("Say it.\n### Response:\nYes.", "<s> Say it.\n### Response:\nNo.</s>").answer
        'No.'
    """
    target, text = _bare(reference_text), _bare(candidate_text)
    target_ends, ends = list(_ends(target)), list(_ends(text))
    for name, found in (("reference_text", target_ends), ("candidate_text", ends)):
        require(
            bool(found),
            f'no "{MARKER}" in `{name}`: the protocol scores whole texts, prompt and answer; '
            "for answers alone take the canonical protocol",
        )
    pairs = list(zip(target_ends, ends, strict=False))
    shared = [(a, b) for a, b in pairs if target[:a].split() == text[:b].split()]
    # Without a shared prompt: the reference's last marker, and the candidate's that matches it.
    end, cut = shared[-1] if shared else (target_ends[-1], ends[: len(target_ends)][-1])
    return Parts(
        prompt=target[:end],
        reference=target[end:].strip(),
        answer=text[cut:].strip(),
        same_prompt=bool(shared),
    )


def _bare(text: str) -> str:
    r"""Return a text with "\n" line ends, and without special tokens at its ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text[_BEFORE.match(text).end() :]
    return text[: len(text) - _AFTER.match(text[::-1]).end()]


def _ends(text: str) -> Iterator[int]:
    """Yield the position after each marker."""
    place = text.find(MARKER)
    while place >= 0:
        yield place + len(MARKER)
        place = text.find(MARKER, place + len(MARKER))


def scores(candidate_text: str, *, reference_text: str) -> dict[str, float]:
    """Return the first study's text scores of one row, on 0-1.

    Args:
        candidate_text: Prompt and answer. A text without a word scores 0; the study's own code
            would have stopped there.
        reference_text: Prompt and reference, not empty.

    Returns:
        "bleu" as published: nltk takes a list of references, got the list of the reference's
        words, and so counted each word as a reference of letters. "bleu_corrected": the same call
        with the reference in a list. "rougeL": F of the `rouge` package, which counts distinct
        words and takes a full stop for the end of a sentence: not Google's ROUGE.

    Raises:
        SettingError: If the reference has no word, or a sentence is too long for the package.
    """
    words, target = candidate_text.split(), reference_text.split()
    require(bool(_sentences(reference_text)), "`reference_text` has no word to score against")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nltk warns of orders without a match: that is the finding
        published = float(sentence_bleu(target, words))
        corrected = float(sentence_bleu([target], words))
    return {
        "bleu": published,
        "bleu_corrected": corrected,
        "rougeL": _rouge_l(candidate_text, reference_text),
    }


@cache
def _scorer() -> Rouge:
    return Rouge(metrics=["rouge-l"], stats=["f"])


def _rouge_l(candidate: str, reference: str) -> float:
    # The package splits both at every full stop, and refuses a text of which nothing is left.
    if not _sentences(candidate):
        return 0.0
    longest = [max(len(s.split()) for s in _sentences(text)) for text in (candidate, reference)]
    if longest[0] * longest[1] > LARGEST_TABLE:
        raise SettingError(
            f"a sentence of {longest[0]:,} words against one of {longest[1]:,}: the rouge package "
            "would fill the memory; shorten the text, or leave the row out"
        )
    words, target = len(candidate.split()), len(reference.split())
    if words * target > LARGEST_WORK:
        raise SettingError(
            f"a text of {words:,} words against one of {target:,}: the rouge package would take "
            "minutes; shorten the text, or leave the row out"
        )
    with _recursion(sum(longest)):
        return float(_scorer().get_scores(candidate, reference)[0]["rouge-l"]["f"])


def _sentences(text: str) -> list[str]:
    return [part for part in text.split(".") if part.strip()]


@contextmanager
def _recursion(depth: int) -> Iterator[None]:
    """Allow `depth` calls more: the package walks back through a sentence one call per word."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + depth)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
