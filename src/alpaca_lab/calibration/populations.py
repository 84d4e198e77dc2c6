"""Made-up data whose truth is known: every function draws many data sets at once."""

import numpy as np
from scipy.special import ndtr

ROUGE_QUANTILES = (
    0.0, 0.0, 2.1, 6.1, 9.1, 10.4, 12.1, 13.6, 14.9, 16.0, 16.8,
    18.2, 20.3, 22.7, 25.7, 31.0, 40.0, 46.6, 63.5, 88.1, 100.0,
)  # fmt: skip
"""ROUGE-L F1 of real answers at each twentieth: Alpaca-7B on the 252 user-oriented instructions of
Self-Instruct. Skewed (1.7), 5-10% exactly 0, a few exactly 100."""
ALIKE = 0.66
"""Correlation of one question's (latent) scores between settings; there, of two models."""
SAME_TEXT = 0.2
"""Share of answers that repeat the first setting's word for word."""


def rouge_scores(
    rng: np.random.Generator, shape: tuple[int, int, int], *, shifts: tuple[float, ...] = ()
) -> np.ndarray:
    """Return scores in [0, 100] shaped like ROUGE-L: skewed, with ties, alike within a question.

    Args:
        rng: Source of the draws.
        shape: (simulations, questions, settings).
        shifts: How much better each setting is than the shape says, in latent standard
            deviations; without them all settings are exchangeable within a question, and a fifth
            of the answers are the first setting's.
    """
    question = rng.normal(size=(*shape[:2], 1))
    latent = ALIKE**0.5 * question + (1 - ALIKE) ** 0.5 * rng.normal(size=shape)
    if shifts:
        return _rouge(latent + np.array(shifts))
    scores = _rouge(latent)
    return np.where(rng.random(shape) < SAME_TEXT, scores[..., :1], scores)


def rouge_mean(shift: float = 0.0) -> float:
    """Return the expected score of a setting that is `shift` better than the shape says."""
    points = np.linspace(-8, 8, 200_001)
    weights = np.exp(-(points**2) / 2)
    return float(np.average(_rouge(points + shift), weights=weights))


def exponential_pairs(rng: np.random.Generator, simulations: int, n: int) -> np.ndarray:
    """Return differences of two exchangeable settings with exponential scores: mean 0, no skew."""
    first, second = rng.exponential(size=(2, simulations, n))
    return first - second


def exponential_differences(rng: np.random.Generator, simulations: int, n: int) -> np.ndarray:
    """Return differences that are themselves skewed (2), with mean 0: exponential minus 1."""
    return rng.exponential(size=(simulations, n)) - 1


def nested(
    rng: np.random.Generator, simulations: int, n: int, repeats: int, *, between: float
) -> np.ndarray:
    """Return values with mean 0 and variance 1, `between` of it between questions.

    Returns:
        Shape (simulations, n, repeats).
    """
    question = rng.normal(size=(simulations, n, 1))
    within = rng.normal(size=(simulations, n, repeats))
    return between**0.5 * question + (1 - between) ** 0.5 * within


def bleu_sums(
    rng: np.random.Generator, simulations: int, n: int, *, quality: tuple[float, ...] = (1.0,)
) -> np.ndarray:
    """Return what corpus BLEU is summed from, for answers of very different length and quality.

    Args:
        rng: Source of the draws.
        simulations: Corpora.
        n: Questions of each.
        quality: Of each setting: its share of matched words, in relation to the first.

    Returns:
        Counts in the order of `bleu_chrf.BLEU_STATISTICS`, shape (simulations, n, settings, 10).
    """
    shape = (simulations, n, len(quality))
    reference = np.rint(rng.lognormal(3.7, 0.9, size=shape[:2])).clip(2, 400)
    length = np.rint(reference[..., None] * rng.lognormal(0, 0.4, size=shape)).clip(1, 512)
    match = rng.beta(3, 5, size=(*shape[:2], 1)) * np.array(quality)
    totals = [np.maximum(length - order, 0) for order in range(4)]
    correct = [rng.binomial(totals[0].astype(int), match)]
    for total in totals[1:]:
        # A longer match starts from a shorter one, and goes on about as often in every order.
        correct.append(rng.binomial(np.minimum(correct[-1], total).astype(int), 0.3 + 0.5 * match))
    lengths = [length, np.broadcast_to(reference[..., None], shape)]
    return np.stack([*correct, *totals, *lengths], axis=-1).astype(float)


def ratings(rng: np.random.Generator, simulations: int, items: int, raters: int) -> np.ndarray:
    """Return ratings 1-5 of items by raters who see half of what makes items differ.

    Returns:
        Whole numbers, shape (simulations, items, raters).
    """
    item = rng.normal(size=(simulations, items, 1))
    seen = item + rng.normal(size=(simulations, items, raters))
    return np.rint(3 + seen).clip(1, 5)


def graded(
    rng: np.random.Generator, simulations: int, n: int, repeats: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a measure of answers and grades 1-5 that follow it, both alike within a question.

    Returns:
        Normal values and whole numbers, each of shape (simulations, n, repeats).
    """
    measure = nested(rng, simulations, n, repeats, between=0.5)
    rest = nested(rng, simulations, n, repeats, between=0.5)
    return measure, np.rint(3 + 0.65 * measure + rest).clip(1, 5)


def _rouge(latent: np.ndarray) -> np.ndarray:
    return np.interp(ndtr(latent), np.linspace(0, 1, len(ROUGE_QUANTILES)), ROUGE_QUANTILES)
