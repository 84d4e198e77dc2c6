"""What is asked of an experiment before it is run: its contrasts, its A/A, and its size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as distributions

from .arrays import checked, require_share


def linear_contrast(values: ArrayLike, positions: ArrayLike) -> np.ndarray:
    """Return, per question, the change that a straight line fits from lowest to highest position.

    One number for a whole knob, tested like any paired difference: more powerful than comparing
    settings one by one, and blind to a bend. Fix it, and the positions, before looking.

    Args:
        values: Scores of each question at each setting, shape (n, k), k >= 2.
        positions: Where the settings stand on the knob, shape (k,), in any order.

    Returns:
        Least-squares slope times (highest - lowest position), shape (n,), in the units of
        `values`.

    Raises:
        ValueError: If the shapes do not match, the positions are all equal, or there is a NaN.

    Source:
        Matthews et al. (1990), summary measures, https://doi.org/10.1136/bmj.300.6719.230.

    Example:
        >>> linear_contrast([[10, 12, 14], [5, 5, 2]], [0, 0.5, 1]).tolist()
        [4.0, -3.0]
    """
    table, places = checked(values, "values", axes=2), checked(positions, "positions")
    if table.shape[1] != len(places):
        raise ValueError(f"values: {table.shape[1]} settings for {len(places)} positions")
    centred = places - places.mean()
    if not np.ptp(places):
        raise ValueError("positions: all are equal, so nothing can change between them")
    # Weights sum to 0, so a shift changes nothing but rounding: no move at all is exactly 0.
    return (table - table[:, :1]) @ (centred * np.ptp(places) / (centred**2).sum())


def split_half(values: ArrayLike) -> np.ndarray:
    """Return, per question, the mean of its first repeats minus the mean of the others.

    A setting compared with itself (A/A): a test of these that finds something is a broken test.

    Args:
        values: Scores of each question's repeats, shape (n, r), r >= 2; of an odd number the
            second half takes one more.

    Returns:
        Differences, shape (n,), in the units of `values`.

    Raises:
        ValueError: If there are fewer than two repeats, or a NaN.

    Example:
        >>> split_half([[1, 3, 2, 2], [4, 4, 1, 3]]).tolist()
        [0.0, 2.0]
    """
    table = _repeats(values, "values")
    half = table.shape[1] // 2
    return table[:, :half].mean(axis=1) - table[:, half:].mean(axis=1)


def variance_components(differences: ArrayLike) -> tuple[float, float]:
    """Return how much differences vary between questions, and within one over its repeats.

    Args:
        differences: Shape (n, r), n >= 2 questions, r >= 2 repeats.

    Returns:
        (between, within), variances in squared units. The mean of r repeats varies over questions
        by between + within / r. `between` is 0 where the repeats explain all of it.

    Raises:
        ValueError: If there are fewer than two questions or repeats, or a NaN.

    Source:
        Searle, Casella & McCulloch (1992), section 3.6: analysis of variance, one random factor.

    Example:
        >>> variance_components([[1, 3], [5, 7]])
        (7.0, 2.0)
    """
    table = _repeats(differences, "differences", at_least=2)
    within = float(table.var(axis=1, ddof=1).mean())
    between = float(table.mean(axis=1).var(ddof=1)) - within / table.shape[1]
    return max(between, 0.0), within


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
        ValueError: If an argument is out of range.

    Source:
        Bloom (1995), https://doi.org/10.1177/0193841X9501900504.

    Example:
        >>> round(minimum_detectable_effect(0.10, 300), 6)
        0.016175
    """
    if not 0 <= sd < math.inf or n < 1:
        raise ValueError(f"need sd >= 0 and n >= 1, got sd {sd} and n {n}")
    return sum(_quantiles(level, power)) * sd / n**0.5


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """What a study of one size would see."""

    questions: int
    repeats: int
    """Answers per question and sampled setting."""
    sd: float
    """Expected standard deviation over questions of the mean of so many repeats."""
    mde: float
    """Smallest mean difference it would find with the stated power."""
    questions_needed: int
    """Fewest questions that, with so many repeats, find the effect asked about."""


def plan(
    pilot: ArrayLike,
    *,
    effect: float,
    baseline: ArrayLike | None = None,
    questions: Sequence[int] = (100, 200, 500, 1000),
    repeats: Sequence[int] = (1, 2, 3, 5),
    level: float = 0.95,
    power: float = 0.8,
) -> list[PlanRow]:
    """Return what studies of several sizes would see, from the spread of a pilot.

    More repeats only shrink what varies within a question; once that is small, only more questions
    help. A pilot knows its own spread roughly: 20 questions leave it uncertain by a third.

    Args:
        pilot: Differences of a setting from its baseline, shape (n, r), n >= 2 questions and
            r >= 2 repeats; or the setting's scores, with `baseline`.
        effect: Mean difference to be found, > 0, in the units of `pilot`.
        baseline: Scores of what it is compared with: shape (n,) for one answer per question, as
            greedy gives, or (n, r) repeat by repeat.
        questions: Numbers of questions to report on, each >= 2.
        repeats: Numbers of repeats to report on, each >= 1.
        level: 1 minus the test's nominal error, in (0, 1). For one of a family of 36 corrected by
            Holm, 1 - .05 / 36 is safe.
        power: Chance of finding the effect, in (0, 1).

    Returns:
        One row per pair, repeats by repeats. `mde` is `minimum_detectable_effect`;
        `questions_needed` adds z squared / 2 questions (two, at 95%) to the same approximation,
        for the t distribution that the test will use.

    Raises:
        ValueError: If an argument is out of range, the shapes do not match, or there is a NaN.

    Source:
        Brennan (2001), Generalizability Theory, chapter 2, for the repeats; Guenther (1981),
        The American Statistician 35, 243-244, for the added questions.

    Example:
        >>> rows = plan([[1, 3], [5, 7]], effect=1.5, questions=(50,), repeats=(1, 4))
        >>> [(row.repeats, round(row.mde, 3), row.questions_needed) for row in rows]
        [(1, 1.189, 34), (4, 1.085, 29)]
    """
    between, within = variance_components(_against(pilot, baseline))
    if not 0 < effect < math.inf or min(questions) < 2 or min(repeats) < 1:
        raise ValueError(
            f"need effect > 0, questions >= 2 and repeats >= 1, got effect {effect}, "
            f"questions {tuple(questions)} and repeats {tuple(repeats)}"
        )
    z, z_power = _quantiles(level, power)
    rows = []
    for count in repeats:
        sd = (between + within / count) ** 0.5
        needed = max(2, math.ceil(((z + z_power) * sd / effect) ** 2 + z**2 / 2))
        for n in questions:
            mde = minimum_detectable_effect(sd, n, level=level, power=power)
            rows.append(
                PlanRow(questions=n, repeats=count, sd=sd, mde=mde, questions_needed=needed)
            )
    return rows


def _against(pilot: ArrayLike, baseline: ArrayLike | None) -> np.ndarray:
    ours = _repeats(pilot, "pilot", at_least=2)
    if baseline is None:
        return ours
    theirs = np.asarray(baseline, dtype=float)
    if theirs.shape not in (ours.shape, ours.shape[:1]):
        raise ValueError(
            f"cannot pair pilot of shape {ours.shape} with baseline of shape {theirs.shape}: "
            "it needs one score per question, or one per question and repeat"
        )
    theirs = checked(theirs, "baseline", axes=theirs.ndim)
    return ours - (theirs if theirs.ndim == 2 else theirs[:, None])


def _repeats(values: ArrayLike, name: str, *, at_least: int = 1) -> np.ndarray:
    table = checked(values, name, axes=2, at_least=at_least)
    if table.shape[1] < 2:
        raise ValueError(f"{name}: need two repeats or more per question, got {table.shape[1]}")
    return table


def _quantiles(level: float, power: float) -> tuple[float, float]:
    require_share(level, "level")
    require_share(power, "power")
    return float(distributions.norm.ppf((1 + level) / 2)), float(distributions.norm.ppf(power))
