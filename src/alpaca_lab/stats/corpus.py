"""Scores of all answers together, such as corpus BLEU: not means, so questions are resampled.

Each question carries the sums that the score is made from, all its repeats together, and moves as
one: drawn or left out by a bootstrap, exchanged or kept by a randomisation test.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from .arrays import checked, checked_pair, require_share
from .exchanges import exchanges, p_of
from .intervals import Interval
from .resamples import resampled_counts

Statistic = Callable[[np.ndarray], np.ndarray]
"""Sums of shape (..., k) to one number each, shape (...): for example `bleu_chrf.corpus_bleu`."""
TOLERANCE = 1e-9
"""Relative; rounding must not break a tie between what was observed and an exchange of it."""


def bootstrap_ci(
    sums: ArrayLike,
    *,
    statistic: Statistic,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return a corpus statistic with its percentile interval, resampling whole questions.

    Args:
        sums: Sufficient statistics summed per question, shape (n, k), n >= 2.
        statistic: Summed statistics to the number, vectorised over leading axes.
        level: Coverage in (0, 1).
        resamples: Bootstrap draws; 2,000 steady the ends to about a tenth of the half-width.
        seed: Seeds a private generator; the global NumPy state is untouched.

    Raises:
        ValueError: If there are fewer than two questions, a NaN, another shape, or a draw for
            which the statistic is undefined.

    Source:
        Efron & Tibshirani (1993), chapter 13; Koehn (2004), https://aclanthology.org/W04-3250.
    """
    table = checked(sums, "sums", axes=2, at_least=2)
    counts = resampled_counts(len(table), resamples=resamples, seed=seed)
    low, high = _percentiles(_defined(statistic(counts @ table)), level=level)
    return Interval(mean=float(statistic(table.sum(axis=0))), low=low, high=high, n=len(table))


def bootstrap_difference(
    sums: ArrayLike,
    baseline: ArrayLike,
    *,
    statistic: Statistic,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return `statistic(sums) - statistic(baseline)` with its interval, on the same questions.

    Both sides are recomputed on the same draws of questions, so what makes a question easy or
    hard for both cancels.

    Args:
        sums: As in `bootstrap_ci`, for a setting.
        baseline: The same questions, in the same order, for what it is compared with.
        statistic: As in `bootstrap_ci`.
        level: Coverage in (0, 1).
        resamples: Bootstrap draws.
        seed: Seeds a private generator; the same seed draws the same questions.

    Raises:
        ValueError: If the shapes differ, or as in `bootstrap_ci`.
    """
    treated, control = checked_pair(sums, baseline, ("sums", "baseline"), axes=2)
    counts = resampled_counts(len(treated), resamples=resamples, seed=seed)
    draws = _defined(statistic(counts @ treated) - statistic(counts @ control))
    low, high = _percentiles(draws, level=level)
    difference = float(statistic(treated.sum(axis=0)) - statistic(control.sum(axis=0)))
    return Interval(mean=difference, low=low, high=high, n=len(treated))


def approximate_randomisation_p(
    sums: ArrayLike,
    baseline: ArrayLike,
    *,
    statistic: Statistic,
    swaps: int = 10_000,
    seed: int = 0,
) -> float:
    """Return the two-sided p that two systems have the same corpus statistic.

    If they are exchangeable within a question, swapping their answers to it changes nothing but
    chance. p is the share of swaps after which the two corpora differ as much as observed; all
    swaps for n <= 12, else `swaps` drawn, with the observed one counted among them. For a
    statistic that is a mean it is `sign_flip_p`.

    Args:
        sums: Sufficient statistics of one system summed per question, shape (n, k). Of several
            answers to a question take the mean: three swapped for one would change how much the
            question weighs.
        baseline: The same questions, in the same order, for the other system.
        statistic: Summed statistics to the number, vectorised over leading axes.
        swaps: Random swaps for n > 12; 10,000 puts p = .05 within .004 (95%).
        seed: Seeds a private generator; the global NumPy state is untouched.

    Returns:
        p in (0, 1].

    Raises:
        ValueError: If the shapes differ, either is empty or holds NaN, or the statistic is
            undefined after a swap.

    Source:
        Noreen (1989), chapter 2; Riezler & Maxwell (2005), https://aclanthology.org/W05-0908.
    """
    ours, theirs = checked_pair(sums, baseline, ("sums", "baseline"), axes=2, at_least=1)
    swapped, exact = exchanges(len(ours), draws=swaps, seed=seed)
    both = ours.sum(axis=0) + theirs.sum(axis=0)
    one = ours.sum(axis=0) + swapped @ (theirs - ours)
    left, right = _defined(statistic(one)), _defined(statistic(both - one))
    first, second = statistic(ours.sum(axis=0)), statistic(theirs.sum(axis=0))
    bound = abs(first - second) - TOLERANCE * (abs(first) + abs(second))
    as_far = (np.abs(left - right) >= bound).sum()
    return float(p_of(as_far, of=len(swapped), exact=exact))


def _defined(values: np.ndarray) -> np.ndarray:
    undefined = int(np.isnan(values).sum())
    if undefined:
        raise ValueError(
            f"statistic: NaN for {undefined} of {values.size} draws of the questions; give it more "
            "questions, or leave out those that it is not defined for"
        )
    return values


def _percentiles(draws: np.ndarray, *, level: float) -> tuple[float, float]:
    require_share(level, "level")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
