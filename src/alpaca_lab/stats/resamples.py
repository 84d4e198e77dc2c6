"""Questions drawn with replacement: how often each is in each resample."""

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=2)  # a report asks for the same draws dozens of times
def resampled_counts(n: int, *, resamples: int, seed: int) -> np.ndarray:
    """Return how often each of n questions is drawn in each resample.

    Returns:
        Whole numbers as floats, shape (resamples, n), each row summing to n; not to be written to.
    """
    draws = np.random.default_rng(seed).integers(0, n, size=(resamples, n))
    flat = draws + n * np.arange(resamples)[:, None]
    counts = np.bincount(flat.ravel(), minlength=n * resamples).reshape(resamples, n).astype(float)
    counts.flags.writeable = False
    return counts
