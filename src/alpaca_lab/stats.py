"""Uncertainty of what is measured over questions: arrays in, numbers out.

The unit is the question (or its cluster of near-duplicates), never the row: the repeats of one
question are not independent, and counting them as such turns a nominal .05 into .17-.41. Every
function refuses NaN: a missing score is left out by name, before it gets here.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as distributions

EXACT_UP_TO = 12
"""With so few questions all sign flips are enumerated (4,096) rather than drawn."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""Sums of shape (..., k) to one number each, shape (...): for example `metrics.corpus_bleu`."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval that covers the truth at the stated level."""

    mean: float
    """The estimate, in the units of the values: a mean, or the statistic of the whole corpus."""
    low: float
    high: float
    n: int
    """Questions (or clusters) it rests on."""
    sd: float | None = None
    """Standard deviation over questions; None where the estimate is not a mean."""

    @property
    def effect_size(self) -> float | None:
        """The mean in standard deviations (Cohen's d of paired differences); None without one."""
        return self.mean / self.sd if self.sd else None


def _checked(values: ArrayLike, *, at_least: int = 1) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if len(array) < at_least or np.isnan(array).any():
        raise ValueError(
            f"need at least {at_least} value(s) and no NaN, got {len(array)} with "
            f"{int(np.isnan(array).sum())} NaN; leave failed answers out by name"
        )
    return array


def cluster_means(
    values: ArrayLike, clusters: Sequence[Hashable] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return one mean per cluster: the repeats of a question become one value.

    Args:
        values: One score per answer, shape (rows,).
        clusters: The question or cluster each answer belongs to, shape (rows,).

    Returns:
        The means, shape (clusters,), and the clusters they belong to, sorted: compare the
        second before pairing the first.

    Raises:
        ValueError: If `values` is empty, holds NaN, or the two differ in length.
    """
    scores, labels = _checked(values), np.asarray(clusters)
    if scores.shape != labels.shape:
        raise ValueError(f"{len(scores)} values for {len(labels)} cluster labels")
    names, index = np.unique(labels, return_inverse=True)
    return np.bincount(index, weights=scores) / np.bincount(index), names


def t_interval(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the mean over questions with its t interval.

    Args:
        values: One value per question, as `cluster_means` returns, shape (n,), n >= 2.
        level: Coverage in (0, 1).

    Raises:
        ValueError: If there are fewer than two values, or a NaN.

    Source:
        Student (1908). With one value per cluster it is the cluster-robust interval of a
        balanced design: duplicating every row of a question changes nothing.
    """
    means = _checked(values, at_least=2)
    n, mean, sd = len(means), float(means.mean()), float(means.std(ddof=1))
    half = float(distributions.t.ppf((1 + level) / 2, n - 1)) * sd / n**0.5
    return Interval(mean=mean, low=mean - half, high=mean + half, n=n, sd=sd)


def paired_difference(values: ArrayLike, baseline: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the mean of `values - baseline` over questions with its t interval.

    Args:
        values: One mean per question for a setting, shape (n,), n >= 2.
        baseline: The same questions, in the same order, for what it is compared with.
        level: Coverage in (0, 1).

    Raises:
        ValueError: If the two differ in length, are shorter than 2, or hold NaN.
    """
    treated, control = _checked(values, at_least=2), _checked(baseline, at_least=2)
    if treated.shape != control.shape:
        raise ValueError(f"cannot pair {len(treated)} questions with {len(control)}")
    return t_interval(treated - control, level=level)


def sign_flip_p(differences: ArrayLike, *, flips: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided p that paired differences have mean 0, by flipping their signs.

    If the two settings are exchangeable within a question, each difference is as likely as its
    negative. p is the share of flips whose mean is as far from 0 as the observed one; all flips
    for n <= 12, else `flips` drawn, with the observed one counted among them (so p is never 0).
    Exact for exchangeable settings, however skewed their scores. Differences that are skewed
    themselves, with mean 0, are rejected a little too often: 6.4% at n = 50 for an exponential.

    Args:
        differences: One difference per question, shape (n,).
        flips: Random flips for n > 12; 10,000 puts p = .05 within .004 (95%).
        seed: Seeds a private generator; the global NumPy state is untouched.

    Returns:
        p in (0, 1].

    Raises:
        ValueError: If `differences` is empty or holds NaN.

    Source:
        Fisher (1935), section 21; Phipson & Smyth (2010) for counting the observed flip.

    Example:
        >>> sign_flip_p([1, 2, 3, 4, 5])
        0.0625
    """
    values = _checked(differences)
    # Rounding must not break a tie between a flip and the observed sum.
    bound = abs(values.sum()) - 1e-9 * np.abs(values).sum()
    if len(values) <= EXACT_UP_TO:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(values))))
        return float((np.abs(signs @ values) >= bound).mean())
    generator = np.random.default_rng(seed)
    flipped = generator.integers(0, 2, size=(flips, len(values)), dtype=np.int8)
    sums = 2 * (flipped.astype(float) @ values) - values.sum()
    return float(((np.abs(sums) >= bound).sum() + 1) / (flips + 1))


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return p values adjusted so that the whole family keeps its error rate.

    Args:
        p_values: The p of every test of the family, shape (m,), each in [0, 1].

    Returns:
        Adjusted p in [0, 1], shape (m,), in the order given.

    Raises:
        ValueError: If `p_values` is empty or holds NaN.

    Source:
        Holm (1979), https://www.jstor.org/stable/4615733.

    Example:
        >>> holm([0.01, 0.04, 0.03, 0.005]).round(4).tolist()
        [0.03, 0.06, 0.06, 0.02]
    """
    values = _checked(p_values)
    order = np.argsort(values, kind="stable")
    steps = np.arange(len(values), 0, -1) * values[order]
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def minimum_detectable_effect(
    sd: float, n: int, *, level: float = 0.95, power: float = 0.8
) -> float:
    """Return the smallest mean difference that a two-sided paired test would find so often.

    Args:
        sd: Standard deviation of the paired differences over questions, >= 0.
        n: Questions, >= 1.
        level: 1 minus the test's nominal error, in (0, 1).
        power: Chance of finding a difference of that size, in (0, 1).

    Returns:
        A difference in the units of `sd`, by the normal approximation.

    Raises:
        ValueError: If `sd` or `n` is out of range.

    Source:
        Bloom (1995), https://doi.org/10.1177/0193841X9501900504.

    Example:
        >>> round(minimum_detectable_effect(0.10, 300), 6)
        0.016175
    """
    if not sd >= 0 or n < 1:
        raise ValueError(f"need sd >= 0 and n >= 1, got sd {sd} and n {n}")
    z = distributions.norm.ppf((1 + level) / 2) + distributions.norm.ppf(power)
    return float(z * sd / n**0.5)


def _resampled_counts(n: int, *, resamples: int, seed: int) -> np.ndarray:
    """How often each of n questions is drawn in each resample, shape (resamples, n)."""
    draws = np.random.default_rng(seed).integers(0, n, size=(resamples, n))
    flat = draws + n * np.arange(resamples)[:, None]
    return np.bincount(flat.ravel(), minlength=n * resamples).reshape(resamples, n).astype(float)


def _percentiles(draws: np.ndarray, *, level: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_ci(
    sums: ArrayLike,
    *,
    statistic: Statistic,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return a corpus statistic with its percentile interval, resampling whole questions.

    For what is not a mean of rows, such as corpus BLEU: each question carries the sums of its
    answers, all repeats together, and is drawn or left out as one.

    Args:
        sums: Sufficient statistics summed per question, shape (n, k), n >= 2.
        statistic: Summed statistics to the number, vectorised over leading axes.
        level: Coverage in (0, 1).
        resamples: Bootstrap draws; 2,000 steady the ends to about a tenth of the half-width.
        seed: Seeds a private generator; the global NumPy state is untouched.

    Raises:
        ValueError: If there are fewer than two questions, or a NaN.

    Source:
        Efron & Tibshirani (1993), chapter 13; Koehn (2004), https://aclanthology.org/W04-3250.
    """
    table = _checked(sums, at_least=2)
    counts = _resampled_counts(len(table), resamples=resamples, seed=seed)
    low, high = _percentiles(statistic(counts @ table), level=level)
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
    treated, control = _checked(sums, at_least=2), _checked(baseline, at_least=2)
    if treated.shape != control.shape:
        raise ValueError(f"cannot pair sums of shape {treated.shape} with {control.shape}")
    counts = _resampled_counts(len(treated), resamples=resamples, seed=seed)
    low, high = _percentiles(statistic(counts @ treated) - statistic(counts @ control), level=level)
    difference = float(statistic(treated.sum(axis=0)) - statistic(control.sum(axis=0)))
    return Interval(mean=difference, low=low, high=high, n=len(treated))
