"""How far two measures of the same answers rank them alike."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import checked_pair, cluster_index, require_share
from .intervals import Interval
from .resamples import resampled_counts

BLOCK = 1 << 20
"""Numbers per array at a time (8 MiB, some eight arrays) while resampling."""
NAMES = ("values", "others")


class Ties(NamedTuple):
    """Values sorted once: which rows share one, from the lowest up."""

    group: np.ndarray
    """The group of each row, shape (rows,)."""
    order: np.ndarray
    """Rows from the lowest value up, shape (rows,)."""
    starts: np.ndarray
    """Where each group starts in that order, shape (groups,)."""


def spearman(values: ArrayLike, others: ArrayLike) -> float:
    """Return Spearman's rank correlation; values that tie share the middle of their ranks.

    Args:
        values: One number per answer, shape (n,), n >= 3.
        others: Another measure of the same answers, in the same order.

    Returns:
        Rho in [-1, 1]: 1 where both rank the answers alike, -1 where one reverses the other.

    Raises:
        ValueError: If the shapes differ, there are fewer than three pairs, a NaN, or no variation
            on one side.

    Source:
        Spearman (1904), https://doi.org/10.2307/1412159; parity with scipy is tested.

    Example:
        >>> spearman([1, 2, 3, 4], [10, 20, 40, 30])
        0.8
    """
    one, other = _varied_pair(values, others)
    return float(_rhos(np.ones((len(one), 1)), _ties(one), _ties(other))[0])


def spearman_interval(
    values: ArrayLike,
    others: ArrayLike,
    clusters: Sequence[Hashable] | np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return Spearman's rank correlation with a percentile interval, resampling clusters.

    The answers to one question move as one, drawn or left out together. Of a nominal 95%, for a
    continuous measure against five grades, it covered 93.9-96.0% in eighteen simulations of 2,000:
    30, 60 and 200 clusters of 1 and 3 rows, half of the variance between clusters, rho 0, .3 and
    .7. An interval of z = artanh(rho), with the bootstrap's standard error and a t quantile, was
    no closer (94.0-96.4%), and has no z where a draw's ranks agree fully.

    Args:
        values: One number per answer, shape (rows,), rows >= 3.
        others: Another measure of the same answers, in the same order.
        clusters: The question or cluster each answer belongs to, shape (rows,), two or more.
        level: Coverage in (0, 1).
        resamples: Bootstrap draws of the clusters; the rare ones in which one side does not vary
            have no rho and are left out.
        seed: Seeds a private generator; the global NumPy state is untouched.

    Returns:
        Rho over the rows, its interval within [-1, 1], and n, the clusters.

    Raises:
        ValueError: As `spearman`, or if the labels do not match or are all the same.

    Source:
        Efron & Tibshirani (1993), chapter 13; clusters are the unit, as in Field & Welsh (2007),
        https://doi.org/10.1111/j.1467-9868.2007.00593.x.
    """
    require_share(level, "level")
    one, other = _varied_pair(values, others)
    index = cluster_index(clusters, len(one))
    n = int(index.max()) + 1
    counts = resampled_counts(n, resamples=resamples, seed=seed).T
    sides = _ties(one), _ties(other)
    step = max(1, BLOCK // len(index))
    draws = np.concatenate(
        [_rhos(counts[index, at : at + step], *sides) for at in range(0, resamples, step)]
    )
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean=spearman(one, other), low=float(low), high=float(high), n=n)


def _varied_pair(values: ArrayLike, others: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    pair = checked_pair(values, others, NAMES, at_least=3)
    for side, name in zip(pair, NAMES, strict=True):
        if not np.ptp(side):
            raise ValueError(
                f"{name}: all {len(side)} are {side[0]:g}; a rank correlation is undefined without "
                "variation, so measure more answers"
            )
    return pair


def _ties(values: np.ndarray) -> Ties:
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return Ties(group, np.argsort(group, kind="stable"), np.cumsum(sizes) - sizes)


def _rhos(weights: np.ndarray, one: Ties, other: Ties) -> np.ndarray:
    """Rho of each column of weights, (rows, draws) to (draws,); NaN where a side is constant."""
    products, spread = _ranks(weights, one)
    ranks, other_spread = _ranks(weights, other)
    products *= weights
    products *= ranks
    scale = np.sqrt(spread * other_spread)
    varied = scale > 0  # ranks are halves of whole numbers: without variation exactly 0
    rhos = products.sum(axis=0) / np.where(varied, scale, 1.0)
    return np.where(varied, rhos.clip(-1, 1), np.nan)


def _ranks(weights: np.ndarray, ties: Ties) -> tuple[np.ndarray, np.ndarray]:
    """Mid-ranks less their mean, (rows, draws), of rows drawn so often; their sum of squares."""
    tied = np.add.reduceat(weights[ties.order], ties.starts, axis=0)  # (groups, draws)
    ranks = np.cumsum(tied, axis=0) - tied / 2 - weights.sum(axis=0) / 2
    return ranks[ties.group], (tied * ranks**2).sum(axis=0)
