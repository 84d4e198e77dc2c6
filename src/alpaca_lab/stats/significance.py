"""Whether a mean difference over questions can be chance, or is as good as none."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as distributions

from .arrays import checked
from .exchanges import exchanges, p_of
from .resamples import resampled_counts

TOLERANCE = 1e-9
"""Relative; rounding must not break a tie between what was observed and a permutation of it."""
BLOCK = 1 << 22
"""Numbers held at a time (32 MiB) where many samples are tested at once."""


def sign_flip_p(differences: ArrayLike, *, flips: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided p that paired differences have mean 0, by flipping their signs.

    If the two settings are exchangeable within a question, each difference is as likely as its
    negative. p is the share of flips whose mean is as far from 0 as the observed one; all flips
    for n <= 12, else `flips` drawn, with the observed one counted among them (so p is never 0).
    Exact for exchangeable settings, however skewed their scores. Differences that are skewed
    themselves, with mean 0, are rejected too often in small studies: for an exponential 6.6% at
    n = 50, 5.8% at 100, 5.1% at 500 (as by a t test; dividing each flip by its own standard error
    changes nothing, since flips keep the sum of squares). `bootstrap_t_p` is closer to 5% there.

    Args:
        differences: One difference per question, shape (n,).
        flips: Random flips for n > 12; 10,000 puts p = .05 within .004 (95%).
        seed: Seeds a private generator; the global NumPy state is untouched.

    Returns:
        p in (0, 1].

    Raises:
        ValueError: If `differences` is empty, holds NaN, or has another shape.

    Source:
        Fisher (1935), section 21; Phipson & Smyth (2010) for counting the observed flip.

    Example:
        >>> sign_flip_p([1, 2, 3, 4, 5])
        0.0625
    """
    values = checked(differences, "differences")
    return float(sign_flip_many(values[None], flips=flips, seed=seed)[0])


def sign_flip_many(samples: np.ndarray, *, flips: int = 10_000, seed: int = 0) -> np.ndarray:
    """Return `sign_flip_p` of each row of `samples`, shape (m, n), as one matrix product."""
    chosen, exact = exchanges(samples.shape[1], draws=flips, seed=seed)
    p = np.empty(len(samples))
    for rows in _blocks(len(samples), width=len(chosen)):
        values = samples[rows].T
        totals = values.sum(axis=0)
        bounds = np.abs(totals) - TOLERANCE * np.abs(values).sum(axis=0)
        as_far = (np.abs(2 * (chosen @ values) - totals) >= bounds).sum(axis=0)
        p[rows] = p_of(as_far, of=len(chosen), exact=exact)
    return p


def bootstrap_t_p(differences: ArrayLike, *, resamples: int = 9_999, seed: int = 0) -> float:
    """Return the two-sided p that differences have mean 0, by resampling their t statistic.

    For differences that may be skewed themselves, where `sign_flip_p` and the t test reject too
    often: each resample's mean is compared with the observed one in its own standard errors, so
    that what skewness does to t is copied rather than assumed away. At n = 50 it rejects 5.5% of
    exponential differences and 5% of symmetric ones; unlike a sign-flip it is not exact.

    Args:
        differences: One difference per question, shape (n,), n >= 2.
        resamples: Bootstrap draws of the questions.
        seed: Seeds a private generator; the global NumPy state is untouched.

    Returns:
        p in (0, 1]; 1 where every difference is 0, the smallest where all are the same otherwise.

    Raises:
        ValueError: If there are fewer than two values, a NaN, or another shape.

    Source:
        Hall (1988), "On symmetric bootstrap confidence intervals", Journal of the Royal
        Statistical Society B 50, 35-45.

    Example:
        >>> bootstrap_t_p([0.1, -0.2, 0.3, -0.1, 0.0, -0.1]) > 0.5
        True
    """
    values = checked(differences, "differences", at_least=2)
    return float(bootstrap_t_many(values[None], resamples=resamples, seed=seed)[0])


def bootstrap_t_many(samples: np.ndarray, *, resamples: int = 9_999, seed: int = 0) -> np.ndarray:
    """Return `bootstrap_t_p` of each row of `samples`, shape (m, n), as two matrix products."""
    n = samples.shape[1]
    counts = resampled_counts(n, resamples=resamples, seed=seed)
    p = np.empty(len(samples))
    for rows in _blocks(len(samples), width=resamples):
        values = samples[rows].T
        means = values.mean(axis=0)
        centred = values - means
        shifts = counts @ centred / n
        variances = np.maximum(counts @ centred**2 / n - shifts**2, 0.0)
        spread = (centred**2).mean(axis=0)
        # Compared as squares and crosswise: a resample of one value only has no variance.
        as_far = shifts**2 * spread >= (1 - TOLERANCE) * means**2 * variances
        constant = spread <= (TOLERANCE * means) ** 2  # nothing to resample but rounding
        as_far[:, constant & (means != 0)] = False
        p[rows] = p_of(as_far.sum(axis=0), of=resamples, exact=False)
    return p


def equivalence_p(differences: ArrayLike, *, margin: float) -> float:
    """Return the p that the mean difference is at least `margin` in either direction.

    What a large p of a test for a difference cannot say, a small p here does: the settings are as
    good as equal. The larger of two one-sided t tests, each against one end of the margin; it is
    below .05 exactly when the 90% t interval lies within the margin.

    Args:
        differences: One difference per question, shape (n,), n >= 2.
        margin: Largest mean difference that counts as none, > 0, in the units of `differences`;
            fixed before the data are seen.

    Returns:
        p in [0, 1].

    Raises:
        ValueError: If `margin` is not positive, there are fewer than two values, or a NaN.

    Source:
        Schuirmann (1987), https://doi.org/10.1007/BF01068419.

    Example:
        >>> round(equivalence_p([-1, 0, 1], margin=2), 6)
        0.03709
    """
    values = checked(differences, "differences", at_least=2)
    if not 0 < margin < np.inf:
        raise ValueError(f"margin: need a positive number, got {margin}")
    n, mean = len(values), float(values.mean())
    inside, error = margin - abs(mean), float(values.std(ddof=1)) / n**0.5
    if error == 0:
        return 0.0 if inside > 0 else 1.0
    return float(distributions.t.sf(inside / error, n - 1))


def _blocks(rows: int, *, width: int) -> list[slice]:
    step = max(1, BLOCK // width)
    return [slice(start, start + step) for start in range(0, rows, step)]
