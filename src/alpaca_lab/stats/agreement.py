"""How far raters agree beyond chance."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from .arrays import require_share
from .intervals import Interval
from .resamples import resampled_counts

Level = Literal["nominal", "ordinal", "interval", "ratio"]
BLOCK = 1 << 21
"""Numbers held at a time (16 MiB) while resampling."""


def krippendorff_alpha(ratings: ArrayLike, *, level: Level) -> float:
    """Return Krippendorff's alpha: 1 is perfect agreement, 0 is what chance gives.

    Each pair of ratings of one item counts in the coincidence matrix, an item with m ratings
    weighted so that it counts m times; so raters may skip items. An item with fewer than two
    ratings says nothing and is left out.

    Args:
        ratings: Numbers, shape (items, raters), raters >= 2; NaN where a rater gave none.
        level: What the numbers mean. "nominal": names; "ordinal": ranks; "interval": differences
            count; "ratio": differences in relation to the values count, which must be >= 0.

    Returns:
        Alpha, at most 1; below 0 raters disagree systematically.

    Raises:
        ValueError: If the shape or level is wrong, no item has two ratings, or all ratings are
            the same: without variation there is no telling agreement from habit.

    Source:
        Krippendorff (2011), "Computing Krippendorff's alpha-reliability",
        https://repository.upenn.edu/asc_papers/43.

    Example:
        >>> krippendorff_alpha([[1, 1], [2, 2], [3, 3], [4, 4]], level="nominal")
        1.0
    """
    pairs, values = _coincidences(ratings, level)
    alpha = _alphas(pairs.sum(axis=0)[None], values, level)[0]
    if np.isnan(alpha):
        raise ValueError(
            f"ratings: all {pairs.sum():.0f} are {values[0]:g}; alpha is undefined without "
            "variation, so rate more items"
        )
    return float(alpha)


def krippendorff_interval(
    ratings: ArrayLike,
    *,
    level: Level,
    coverage: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return Krippendorff's alpha with a percentile interval, resampling whole items.

    Args:
        ratings: As in `krippendorff_alpha`, with at least two items that have two ratings.
        level: As in `krippendorff_alpha`.
        coverage: Coverage in (0, 1).
        resamples: Bootstrap draws of the items that have two ratings or more; the rare ones in
            which all ratings are the same have no alpha and are left out.
        seed: Seeds a private generator; the global NumPy state is untouched.

    Returns:
        Alpha, its interval, and n, the items with two ratings or more.

    Raises:
        ValueError: As `krippendorff_alpha`, or if fewer than two items have two ratings.

    Source:
        Efron & Tibshirani (1993), chapter 13; items are the unit, as in Zapf et al. (2016),
        https://doi.org/10.1186/s12874-016-0200-9.
    """
    require_share(coverage, "coverage")
    alpha = krippendorff_alpha(ratings, level=level)
    pairs, values = _coincidences(ratings, level)
    if len(pairs) < 2:
        raise ValueError("ratings: one item with two ratings has no interval; rate more items")
    counts = resampled_counts(len(pairs), resamples=resamples, seed=seed)
    flat = pairs.reshape(len(pairs), -1)
    step = max(1, BLOCK // flat.shape[1])
    draws = np.concatenate(
        [
            _alphas((counts[at : at + step] @ flat).reshape(-1, *pairs.shape[1:]), values, level)
            for at in range(0, resamples, step)
        ]
    )
    low, high = np.nanquantile(draws, [(1 - coverage) / 2, (1 + coverage) / 2])
    return Interval(mean=alpha, low=float(low), high=float(high), n=len(pairs))


def _coincidences(ratings: ArrayLike, level: Level) -> tuple[np.ndarray, np.ndarray]:
    """Coincidence matrix of each item with two ratings, (items, V, V), and the V values."""
    table = np.asarray(ratings, dtype=float)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(
            f"ratings: need shape (items, raters) with two raters or more, got {table.shape}"
        )
    if np.isinf(table).any():
        raise ValueError("ratings: need numbers, or NaN where a rater gave none; got infinity")
    if level not in ("nominal", "ordinal", "interval", "ratio"):
        raise ValueError(f'level: choose nominal, ordinal, interval or ratio, not "{level}"')
    table = table[(~np.isnan(table)).sum(axis=1) >= 2]
    if not len(table):
        raise ValueError("ratings: no item has two ratings; let two raters rate the same items")
    values = np.unique(table[~np.isnan(table)])
    if level == "ratio" and values[0] < 0:
        raise ValueError(f"ratings: need values >= 0 for a ratio, got {values[0]:g}")
    found = (table[:, :, None] == values).sum(axis=1).astype(float)  # (items, V)
    pairs = found[:, :, None] * found[:, None, :]
    own = np.arange(len(values))
    pairs[:, own, own] -= found  # a rating is no pair with itself
    return pairs / (found.sum(axis=1) - 1)[:, None, None], values


def _alphas(coincidences: np.ndarray, values: np.ndarray, level: Level) -> np.ndarray:
    """Alpha of each coincidence matrix, (r, V, V) to (r,); NaN where all ratings are the same."""
    totals = coincidences.sum(axis=2)  # (r, V)
    distances = _squared_distances(totals, values, level)
    observed = (coincidences * distances).sum(axis=(1, 2))
    expected = np.einsum(
        "rc,rk,rck->r", totals, totals, np.broadcast_to(distances, coincidences.shape)
    )
    apart = expected > 0
    pairs = totals.sum(axis=1) - 1
    return np.where(apart, 1 - pairs * observed / np.where(apart, expected, 1.0), np.nan)


def _squared_distances(totals: np.ndarray, values: np.ndarray, level: Level) -> np.ndarray:
    """How far apart two values are, (V, V); for ordinal (r, V, V), since ranks follow totals."""
    rows, columns = values[:, None], values[None, :]
    if level == "nominal":
        return (rows != columns).astype(float)
    if level == "interval":
        return (rows - columns) ** 2
    if level == "ratio":
        sums = rows + columns
        return ((rows - columns) / np.where(sums > 0, sums, 1.0)) ** 2
    # The ratings between two values, each end counted half, are a difference of mid-ranks.
    middles = np.cumsum(totals, axis=1) - totals / 2
    return (middles[:, :, None] - middles[:, None, :]) ** 2
