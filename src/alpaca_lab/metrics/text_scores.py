"""Every score that an answer and its reference decide: text in, numbers out; no model, no file.

Pass the answer alone, prompt and special tokens removed: prompt and reference share words, so
scoring prompt + answer rewards copying the prompt. Every score has its recipe in `SIGNATURES`.
"""

import math
from collections.abc import Sequence

from . import bleu_chrf, rouge

SIGNATURES: dict[str, str] = {
    **rouge.SIGNATURES,
    **bleu_chrf.SIGNATURES,
    "length_ratio": "length_ratio|answer/reference|words:whitespace|unit:corpus",
    "finish_rate": "finish_rate|ended by EOS/answers|unit:corpus",
    "empty_rate": "empty_rate|nothing but whitespace/answers|unit:corpus",
    "distinct_1": "distinct|n:1|words:whitespace|unit:answer",
    "distinct_2": "distinct|n:2|words:whitespace|unit:answer",
    "repeated_4grams": "repeated|n:4|words:whitespace|unit:answer",
    "unique_answers": "unique_answers|different texts/answers|unit:question",
    "nll": "nll|nats/response token, EOS included|unit:corpus",
    "bits_per_character": "bits_per_character|bits/character of the reference|unit:corpus",
}
"""Recipe of each number in a table: the library's with its version, or how it is counted."""


def _ngrams(words: Sequence[str], order: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(order)), strict=False))


def distinct(answer: str, *, order: int) -> float:
    """Return the share of an answer's word n-grams that are different from each other.

    It falls with length for any text: compare answers of like length only.

    Args:
        answer: Model answer, split at whitespace.
        order: n, at least 1.

    Returns:
        Share in (0, 1]; NaN for an answer of fewer than n words, which has no n-gram.

    Source:
        Li et al. (2016), https://aclanthology.org/N16-1014, taken per answer.

    Example:
        >>> distinct("a b a b a b", order=2)
        0.4
    """
    ngrams = _ngrams(answer.split(), order)
    return len(set(ngrams)) / len(ngrams) if ngrams else math.nan


def text_scores(answer: str, *, reference: str) -> dict[str, float | bool]:
    """Return every score that needs the two texts alone, by the column it has in scores.parquet.

    Args:
        answer: Model answer. Nothing but whitespace scores 0: it is an answer.
        reference: Gold answer, not empty.

    Returns:
        What `rouge`, `bleu` and `chrf` return, on 0-100; the lengths n_words and n_ref_words in
        words; shares of the answer's own n-grams, on 0-1: distinct_1, distinct_2 and
        repeated_4grams; and whether ROUGE (rouge_defined) and ROUGE-2 (rouge2_defined) can see the
        reference. What is undefined is NaN, never 0.

    Raises:
        ValueError: If the reference is empty: no score against it means anything.
    """
    if not reference.strip():
        raise ValueError("the reference is empty; drop the question when the data are validated")
    overlap = rouge.rouge(answer, reference=reference)
    return {
        **overlap,
        **bleu_chrf.bleu(answer, reference=reference),
        **bleu_chrf.chrf(answer, reference=reference),
        "n_words": float(len(answer.split())),
        "n_ref_words": float(len(reference.split())),
        "distinct_1": distinct(answer, order=1),
        "distinct_2": distinct(answer, order=2),
        "repeated_4grams": 1 - distinct(answer, order=4),
        "rouge_defined": not math.isnan(overlap["rouge1"]),
        "rouge2_defined": not math.isnan(overlap["rouge2"]),
    }
