"""What every function of this package asks of its arrays, and how it says no."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

SHAPES = {
    1: ("(n,)", "one value per question; average its repeats first, as cluster_means does"),
    2: ("(n, k)", "one row per question"),
}
"""What is expected of an array with so many axes, and the cure."""


def checked(values: ArrayLike, name: str, *, axes: int = 1, at_least: int = 1) -> np.ndarray:
    """Return `values` as floats, or refuse them by name.

    Args:
        values: What was given.
        name: The argument it was given as.
        axes: 1 for one value per question, 2 for one row per question.
        at_least: Fewest questions that make sense.

    Raises:
        ValueError: If the shape is another, there are too few, or one is NaN or infinite.
    """
    array = _shaped(values, name, axes)
    bad = int((~np.isfinite(array)).sum())
    if len(array) < at_least or bad:
        raise ValueError(
            f"{name}: need at least {at_least} value(s) and no NaN, got {len(array)} with "
            f"{bad} NaN or infinite; leave failed answers out by name"
        )
    return array


def checked_pair(
    values: ArrayLike,
    baseline: ArrayLike,
    names: tuple[str, str],
    *,
    axes: int = 1,
    at_least: int = 2,
) -> tuple[np.ndarray, np.ndarray]:
    """Return two arrays that stand for the same questions, as `checked` does.

    Raises:
        ValueError: If their shapes differ, or as in `checked`.
    """
    ours = checked(values, names[0], axes=axes, at_least=at_least)
    theirs = checked(baseline, names[1], axes=axes, at_least=at_least)
    if ours.shape != theirs.shape:
        raise ValueError(
            f"cannot pair {names[0]} of shape {ours.shape} with {names[1]} of shape "
            f"{theirs.shape}: both need the same questions in the same order"
        )
    return ours, theirs


def cluster_index(clusters: Sequence[Hashable] | np.ndarray, rows: int) -> np.ndarray:
    """Return which cluster each row belongs to, counted from 0 in the order of their labels.

    Raises:
        ValueError: If there is not one label per row, or only one cluster.
    """
    labels = np.asarray(clusters)
    if labels.shape != (rows,):
        raise ValueError(f"clusters: need one label per row, got {labels.shape} for {rows} rows")
    index = np.unique(labels, return_inverse=True)[1]
    if not index.any():
        raise ValueError(
            f"clusters: all {rows} rows are of one, and one has no interval; measure more questions"
        )
    return index


def require_share(value: float, name: str) -> None:
    """Refuse a level, a power or the like that is not strictly between 0 and 1.

    Raises:
        ValueError: If it is not.
    """
    if not 0 < value < 1:
        raise ValueError(f"{name}: need a share between 0 and 1, got {value}")


def _shaped(values: ArrayLike, name: str, axes: int) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if array.ndim != axes:
        shape, cure = SHAPES[axes]
        raise ValueError(f"{name}: need shape {shape}, got {array.shape}: {cure}")
    return array
