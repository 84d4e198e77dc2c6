"""BLEU and chrF, of one answer and of a corpus: text to counts, and summed counts to a score.

Both are scores of all answers together. An answer's counts stand in its row, so that a corpus can
be scored, and resampled, without its texts.
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike
from sacrebleu.metrics import BLEU, CHRF

from .overlap import shared_ngrams

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
    return {
        "bleu": f"bleu|unit:answer|{sentence.get_signature().format()}",
        "corpus_bleu": f"bleu|unit:corpus|{corpus.get_signature().format()}",
        "chrf": f"chrf|unit:answer|{letters.get_signature().format()}",
        "corpus_chrf": f"chrf|unit:corpus|{letters.get_signature().format()}",
    }


SIGNATURES: dict[str, str] = _signatures()
"""Recipe of each score: the library's, with its version."""


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
