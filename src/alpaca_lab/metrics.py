"""Scores of one answer against its reference: text in, numbers out; no model, no file.

Pass the answer alone, prompt and special tokens removed: prompt and reference share words, so
scoring prompt + answer rewards copying the prompt. Every score has its recipe in `SIGNATURES`.
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike
from sacrebleu.metrics import BLEU, CHRF

from .overlap import shared_ngrams
from .rouge import ROUGE_TYPES, rouge, rouge_defined
from .rouge import SIGNATURES as ROUGE_SIGNATURES

__all__ = [
    "BLEU_STATISTICS",
    "CHRF_STATISTICS",
    "ROUGE_TYPES",
    "SIGNATURES",
    "bleu",
    "chrf",
    "corpus_bleu",
    "corpus_chrf",
    "distinct",
    "rouge",
    "rouge_defined",
    "text_scores",
]

MAX_ORDER = 4
BLEU_STATISTICS = (
    *(f"bleu_correct_{n}" for n in range(1, MAX_ORDER + 1)),
    *(f"bleu_total_{n}" for n in range(1, MAX_ORDER + 1)),
    "bleu_sys_len",
    "bleu_ref_len",
)
"""Columns whose sums over answers are what `corpus_bleu` takes, in its order."""

CHRF_ORDER, CHRF_BETA = 6, 2
CHRF_STATISTICS = tuple(
    f"chrf_{count}_{n}"
    for n in range(1, CHRF_ORDER + 1)
    for count in ("answer", "reference", "match")
)
"""Columns whose sums over answers are what `corpus_chrf` takes, in its order."""


@cache
def _sentence_bleu() -> BLEU:
    return BLEU(tokenize="13a", smooth_method="exp", effective_order=True)


@cache
def _chrf() -> CHRF:
    return CHRF(char_order=CHRF_ORDER, word_order=0, beta=CHRF_BETA)


def _signatures() -> dict[str, str]:
    # sacreBLEU knows the number of references, and so its signature, only once it has scored.
    corpus, sentence, letters = BLEU(tokenize="13a", smooth_method="exp"), _sentence_bleu(), _chrf()
    corpus.corpus_score(["a"], [["a"]])
    sentence.sentence_score("a", ["a"])
    letters.sentence_score("a", ["a"])
    return ROUGE_SIGNATURES | {
        "bleu": f"bleu|unit:answer|{sentence.get_signature().format()}",
        "corpus_bleu": f"bleu|unit:corpus|{corpus.get_signature().format()}",
        "chrf": f"chrf|unit:answer|{letters.get_signature().format()}",
        "corpus_chrf": f"chrf|unit:corpus|{letters.get_signature().format()}",
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


SIGNATURES: dict[str, str] = _signatures()
"""Recipe of each number in a table: the library's with its version, or how it is counted."""


def bleu(answer: str, *, reference: str) -> dict[str, float]:
    """Return the sentence BLEU of one answer, and the statistics corpus BLEU is summed from.

    Args:
        answer: Model answer; empty scores 0.
        reference: Gold answer.

    Returns:
        "bleu" in [0, 100] (13a tokens, exp smoothing, effective order), and `BLEU_STATISTICS`
        as counts: matched and proposed n-grams, and the lengths in 13a tokens. "bleu" is NaN
        where the reference has no 13a token, such as "<skipped>", which 13a deletes.

    Source:
        Papineni et al. (2002), https://aclanthology.org/P02-1040; Post (2018),
        https://aclanthology.org/W18-6319.
    """
    metric = _sentence_bleu()
    words, gold = (metric.tokenizer(text.rstrip()).split() for text in (answer, reference))
    correct = shared_ngrams(words, gold, orders=MAX_ORDER)
    total = _totals(words, MAX_ORDER)
    lengths = (len(words), len(gold))
    # The score is sacreBLEU's own from here on: only the counting is ours.
    score = metric.compute_bleu(
        list(correct), list(total), *lengths, smooth_method="exp", effective_order=True
    ).score
    return {"bleu": score if gold else math.nan} | dict(
        zip(BLEU_STATISTICS, map(float, (*correct, *total, *lengths)), strict=True)
    )


def corpus_bleu(statistics: ArrayLike) -> float | np.ndarray:
    """Return the BLEU of a corpus from its summed statistics; many corpora at once if asked.

    The same number as `sacrebleu.corpus_bleu` of the texts, without the texts: tables can be
    redrawn, and corpora resampled, from the rows of a run.

    Args:
        statistics: Sums of `BLEU_STATISTICS` over the answers, shape (..., 10), in that order.

    Returns:
        BLEU in [0, 100]: a float for shape (10,), else an array of shape (...).

    Raises:
        ValueError: If the last axis is not 10 long, or a sum is NaN.

    Source:
        Post (2018); the steps of sacreBLEU's `BLEU.compute_bleu` with smoothing "exp".
    """
    sums = _checked_sums(statistics, BLEU_STATISTICS, "BLEU")
    correct, total = sums[..., :MAX_ORDER], sums[..., MAX_ORDER : 2 * MAX_ORDER]
    answer_length, reference_length = sums[..., -2], sums[..., -1]
    # Smoothing "exp": the k-th order without a match counts as 1 / 2**k matches.
    missed = np.cumsum(correct == 0, axis=-1)
    matches = np.where(correct > 0, correct, 0.5**missed)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_log = np.log(np.where(total > 0, matches / total, 0.0)).mean(axis=-1)
        penalty = np.exp(np.minimum(0.0, 1 - reference_length / answer_length))
    some_match = (correct > 0).any(axis=-1)
    score = np.where(some_match, 100 * penalty * np.exp(mean_log), 0.0)
    return float(score) if score.ndim == 0 else score


def chrf(answer: str, *, reference: str) -> dict[str, float]:
    """Return the chrF2 of one answer, and the statistics corpus chrF is summed from.

    Args:
        answer: Model answer; empty scores 0.
        reference: Gold answer.

    Returns:
        "chrf" in [0, 100], the F-score of 1- to 6-grams of letters without whitespace, recall
        weighing twice; and `CHRF_STATISTICS` as counts, for each n those of the answer, of the
        reference and of both. "chrf" is NaN where the reference is empty.

    Source:
        Popović (2015), https://aclanthology.org/W15-3049, as sacreBLEU has it.
    """
    letters, gold = ("".join(text.split()) for text in (answer, reference))
    ours, theirs = (_totals(text, CHRF_ORDER) for text in (letters, gold))
    # sacreBLEU counts an answer's n-grams only where the reference has some of that order.
    ours = [n if known else 0 for n, known in zip(ours, theirs, strict=True)]
    counts = zip(ours, theirs, shared_ngrams(letters, gold, orders=CHRF_ORDER), strict=True)
    found = dict(zip(CHRF_STATISTICS, map(float, chain.from_iterable(counts)), strict=True))
    score = corpus_chrf(list(found.values())) if gold else math.nan
    return {"chrf": score} | found


def corpus_chrf(statistics: ArrayLike) -> float | np.ndarray:
    """Return the chrF2 of a corpus from its summed statistics; many corpora at once if asked.

    Args:
        statistics: Sums of `CHRF_STATISTICS` over the answers, shape (..., 18), in that order.

    Returns:
        chrF2 in [0, 100]: a float for shape (18,), else an array of shape (...).

    Raises:
        ValueError: If the last axis is not 18 long, or a sum is NaN.

    Source:
        Popović (2015); the steps of sacreBLEU's `CHRF` with its default, effective order: an n
        that the answers or the references have no n-gram of is left out of the means.
    """
    sums = _checked_sums(statistics, CHRF_STATISTICS, "chrF")
    answer, reference, match = np.moveaxis(sums.reshape(*sums.shape[:-1], CHRF_ORDER, 3), -1, 0)
    counted = (answer > 0) & (reference > 0)
    orders = np.maximum(counted.sum(axis=-1), 1)
    precision = (match / np.where(counted, answer, np.inf)).sum(axis=-1) / orders
    recall = (match / np.where(counted, reference, np.inf)).sum(axis=-1) / orders
    weighted = CHRF_BETA**2 * precision + recall
    score = 100 * (1 + CHRF_BETA**2) * precision * recall / np.where(weighted > 0, weighted, 1)
    return float(score) if score.ndim == 0 else score


def _checked_sums(statistics: ArrayLike, names: Sequence[str], metric: str) -> np.ndarray:
    sums = np.asarray(statistics, dtype=float)
    if sums.ndim == 0 or sums.shape[-1] != len(names):
        raise ValueError(f"corpus {metric} needs {len(names)} sums, got shape {sums.shape}")
    if np.isnan(sums).any():
        raise ValueError(f"a {metric} statistic is NaN; leave failed answers out of the sum")
    return sums


def _totals(items: Sequence[str], orders: int) -> list[int]:
    """Return how many n-grams a sequence has, for n from 1 to `orders`."""
    return [max(0, len(items) - order) for order in range(orders)]


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
    overlap = rouge(answer, reference=reference)
    return {
        **overlap,
        **bleu(answer, reference=reference),
        **chrf(answer, reference=reference),
        "n_words": float(len(answer.split())),
        "n_ref_words": float(len(reference.split())),
        "distinct_1": distinct(answer, order=1),
        "distinct_2": distinct(answer, order=2),
        "repeated_4grams": 1 - distinct(answer, order=4),
        "rouge_defined": not math.isnan(overlap["rouge1"]),
        "rouge2_defined": not math.isnan(overlap["rouge2"]),
    }
