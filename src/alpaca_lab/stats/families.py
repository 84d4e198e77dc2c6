"""Many tests read together: p values adjusted for how many there are."""

import numpy as np
from numpy.typing import ArrayLike

from .arrays import checked


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return p values adjusted so that the whole family keeps its error rate.

    Args:
        p_values: The p of every test of the family, shape (m,), each in [0, 1].

    Returns:
        Adjusted p in [0, 1], shape (m,), in the order given. Rejecting those up to .05 makes
        one or more false claims in at most 5% of families, however the tests depend.

    Raises:
        ValueError: If `p_values` is empty, holds NaN, or a number outside [0, 1].

    Source:
        Holm (1979), https://www.jstor.org/stable/4615733.

    Example:
        >>> holm([0.01, 0.04, 0.03, 0.005]).round(4).tolist()
        [0.03, 0.06, 0.06, 0.02]
    """
    values, order = _ordered(p_values)
    steps = np.arange(len(values), 0, -1) * values[order]
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def benjamini_hochberg(p_values: ArrayLike) -> np.ndarray:
    """Return p values adjusted so that few of the findings are false.

    Weaker than `holm`, for exploring: not one false claim in 5% of families, but 5% of the claims
    false on average, where the tests are independent or depend positively.

    Args:
        p_values: The p of every test of the family, shape (m,), each in [0, 1].

    Returns:
        Adjusted p in [0, 1], shape (m,), in the order given.

    Raises:
        ValueError: If `p_values` is empty, holds NaN, or a number outside [0, 1].

    Source:
        Benjamini & Hochberg (1995), https://doi.org/10.1111/j.2517-6161.1995.tb02031.x.

    Example:
        >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.005]).round(4).tolist()
        [0.02, 0.04, 0.04, 0.02]
    """
    values, order = _ordered(p_values)
    steps = len(values) / np.arange(1, len(values) + 1) * values[order]
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1.0)
    return adjusted


def _ordered(p_values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    values = checked(p_values, "p_values")
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"p_values: need p in [0, 1], got {values.min()} to {values.max()}")
    return values, np.argsort(values, kind="stable")
