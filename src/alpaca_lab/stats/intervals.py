"""Means over questions, and shares of them, with the interval that each may lie in."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as distributions

from .arrays import checked, checked_pair, require_share


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
    scores, labels = checked(values, "values"), np.asarray(clusters)
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
    means = checked(values, "values", at_least=2)
    require_share(level, "level")
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
    treated, control = checked_pair(values, baseline, ("values", "baseline"))
    return t_interval(treated - control, level=level)


def wilson(successes: float, n: int, *, level: float = 0.95) -> Interval:
    """Return a share of n with an interval that stays within 0 and 1.

    Unlike the mean plus or minus two errors, it does not shrink to a point when nothing, or
    everything, succeeded.

    Args:
        successes: How many of the n have the property, 0 <= successes <= n; not whole where each
            trial counts a share.
        n: Independent trials, >= 1: questions or simulations, never repeats of one question.
        level: Coverage in (0, 1), on average over shares.

    Returns:
        The share and its interval, each in [0, 1].

    Raises:
        ValueError: If `n` < 1 or `successes` is not between 0 and n.

    Source:
        Wilson (1927), https://doi.org/10.1080/01621459.1927.10502953.

    Example:
        >>> found = wilson(8, 10)
        >>> round(found.low, 5), round(found.high, 5)
        (0.49016, 0.94332)
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"need 0 <= successes <= n and n >= 1, got {successes} of {n}")
    require_share(level, "level")
    z, share = float(distributions.norm.ppf((1 + level) / 2)), successes / n
    centre = share + z**2 / (2 * n)
    half = z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    low, high = ((centre + side * half) / (1 + z**2 / n) for side in (-1, 1))
    # At 0 and at n one end is the share itself, which rounding must not cross.
    return Interval(mean=share, low=min(max(low, 0.0), share), high=max(min(high, 1.0), share), n=n)
