"""Scores of one answer against its reference: text in, numbers out; no model, no file.

Pass the answer alone, prompt and special tokens removed: prompt and reference share words, so
scoring prompt + answer rewards copying the prompt. Every score has its recipe in `SIGNATURES`.
"""

import math
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version

import numpy as np
from numpy.typing import ArrayLike
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenize import tokenize
from sacrebleu.metrics import BLEU, CHRF

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
MAX_ORDER = 4
BLEU_STATISTICS = (
    *(f"bleu_correct_{n}" for n in range(1, MAX_ORDER + 1)),
    *(f"bleu_total_{n}" for n in range(1, MAX_ORDER + 1)),
    "bleu_sys_len",
    "bleu_ref_len",
)
"""Columns whose sums over answers are what `corpus_bleu` takes, in its order."""


@cache
def _rouge_scorer() -> RougeScorer:
    return RougeScorer(list(ROUGE_TYPES), use_stemmer=False)


@cache
def _sentence_bleu() -> BLEU:
    return BLEU(tokenize="13a", smooth_method="exp", effective_order=True)


@cache
def _chrf() -> CHRF:
    return CHRF(char_order=6, word_order=0, beta=2)


def _signatures() -> dict[str, str]:
    # sacreBLEU knows the number of references, and so its signature, only once it has scored.
    corpus, sentence, letters = BLEU(tokenize="13a", smooth_method="exp"), _sentence_bleu(), _chrf()
    corpus.corpus_score(["a"], [["a"]])
    sentence.sentence_score("a", ["a"])
    letters.sentence_score("a", ["a"])
    library = f"lib:rouge_score-{version('rouge_score')}"
    rouge_signatures = {name: f"{name}|f1|stem:no|unit:answer|{library}" for name in ROUGE_TYPES}
    return rouge_signatures | {
        "bleu": f"bleu|unit:answer|{sentence.get_signature().format()}",
        "corpus_bleu": f"bleu|unit:corpus|{corpus.get_signature().format()}",
        "chrf": f"chrf|unit:answer|{letters.get_signature().format()}",
        "distinct_1": "distinct|n:1|words:whitespace|unit:answer",
        "distinct_2": "distinct|n:2|words:whitespace|unit:answer",
        "repeated_4grams": "repeated|n:4|words:whitespace|unit:answer",
    }


SIGNATURES: dict[str, str] = _signatures()
"""Recipe of each score, with the version of the library that computed it."""


def rouge_defined(reference: str) -> bool:
    """Return whether ROUGE can see anything in a reference.

    Its tokenizer keeps runs of a-z and 0-9 only: a Cyrillic or Chinese text would score 0
    against itself, which says nothing about the answer.

    Example:
        >>> rouge_defined("Paris"), rouge_defined("Париж")
        (True, False)
    """
    return bool(tokenize(reference, None))


def rouge(answer: str, *, reference: str) -> dict[str, float]:
    """Return ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum of one answer, without stemming.

    Args:
        answer: Model answer; empty scores 0.
        reference: Gold answer. A one-word reference has no bigram, so its ROUGE-2 is 0.

    Returns:
        F1 in [0, 100] by name; NaN where `rouge_defined(reference)` is False.

    Source:
        Lin (2004), https://aclanthology.org/W04-1013, as google-research `rouge_score` has it.

    Example:
        >>> round(rouge("The cat on the mat.", reference="the cat sat on the mat")["rougeL"], 2)
        90.91
    """
    if not rouge_defined(reference):
        return dict.fromkeys(ROUGE_TYPES, math.nan)
    scores = _rouge_scorer().score(target=reference, prediction=answer)
    return {name: 100 * scores[name].fmeasure for name in ROUGE_TYPES}


def bleu(answer: str, *, reference: str) -> dict[str, float]:
    """Return the sentence BLEU of one answer, and the statistics corpus BLEU is summed from.

    Args:
        answer: Model answer; empty scores 0.
        reference: Gold answer.

    Returns:
        "bleu" in [0, 100] (13a tokens, exp smoothing, effective order), and `BLEU_STATISTICS`
        as counts: matched and proposed n-grams, and the lengths in 13a tokens.

    Source:
        Papineni et al. (2002), https://aclanthology.org/P02-1040; Post (2018),
        https://aclanthology.org/W18-6319.
    """
    score = _sentence_bleu().sentence_score(answer, [reference])
    counts = (*score.counts, *score.totals, score.sys_len, score.ref_len)
    return {"bleu": score.score} | dict(zip(BLEU_STATISTICS, map(float, counts), strict=True))


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
    sums = np.asarray(statistics, dtype=float)
    if sums.ndim == 0 or sums.shape[-1] != len(BLEU_STATISTICS):
        raise ValueError(f"corpus BLEU needs {len(BLEU_STATISTICS)} sums, got shape {sums.shape}")
    if np.isnan(sums).any():
        raise ValueError("a BLEU statistic is NaN; leave failed answers out of the sum, by name")
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


def chrf(answer: str, *, reference: str) -> float:
    """Return chrF2, the F-score of character 1- to 6-grams, of one answer, in [0, 100].

    Source:
        Popović (2015), https://aclanthology.org/W15-3049, as sacreBLEU has it.
    """
    return _chrf().sentence_score(answer, [reference]).score


def _ngrams(words: Sequence[str], order: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + order]) for i in range(len(words) - order + 1)]


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

    Raises:
        ValueError: If the reference is empty: no score against it means anything.
    """
    if not reference.strip():
        raise ValueError("the reference is empty; drop the question when the data are validated")
    return {
        **rouge(answer, reference=reference),
        **bleu(answer, reference=reference),
        "chrf": chrf(answer, reference=reference),
        "n_words": float(len(answer.split())),
        "n_ref_words": float(len(reference.split())),
        "distinct_1": distinct(answer, order=1),
        "distinct_2": distinct(answer, order=2),
        "repeated_4grams": 1 - distinct(answer, order=4),
        "rouge_defined": rouge_defined(reference),
    }
