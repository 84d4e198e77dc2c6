"""What common random numbers buy: the interval of a comparison with them, and without.

Every setting of a study meets a question with the same noise (see `sampling`). Answers decoded
under several seeds hold both cases: two settings under one seed share their noise, under two seeds
they do not. So one set of answers gives the common and the independent interval, and nothing but
the noise differs between them. Nothing is decoded here.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..config import require
from ..estimates import PRIMARY
from ..files import write_atomically
from ..metrics.text_scores import SIGNATURES
from ..pages import render_common_noise
from ..profiles import MODELS
from ..stats.resamples import resampled_counts
from ..sweep import GREEDY
from .trends import position

ANSWERS = ("cell", "seed", "id", "cluster", "repeat", PRIMARY, "ids")
"""Columns of scored answers: the cell's name in the sweep, the seed of the noise, question and
cluster, repeat from 0, ROUGE-L on 0-100 (NaN where it is undefined), the answer's tokens without
EOS."""
HALVES = ("half_common", "half_independent")
RATIOS = ("ratio", "ratio_low", "ratio_high", "worth")
AGREEMENT = ("same_common", "same_independent", "shared_common", "shared_independent")
COLUMNS = (
    "model", "weights", "kind", "axis", "from", "to", "n", "repeats", "seeds", "tokens",
    *HALVES, *RATIOS, *AGREEMENT, "signature", "note",
)  # fmt: skip
RESAMPLES = 2_000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared, question by question: a weighted sum of settings."""

    kind: str
    """How far the settings lie apart: a key of `pages.render_common_noise.KINDS`."""
    axis: str
    """The knob they differ in, one of `sweep.AXES`."""
    weights: Mapping[str, float]
    """By cell name, lowest value first; they sum to 0. A difference is -1 and 1."""


def _difference(axis: str, first: float, second: float, *, kind: str) -> Comparison:
    return Comparison(
        kind=kind, axis=axis, weights={f"{axis}={first:g}": -1.0, f"{axis}={second:g}": 1.0}
    )


def _whole_knob(axis: str, *values: float) -> Comparison:
    """The change that a study tests once per knob: a straight line from greedy on."""
    places = [position(axis, value) for value in (None, *values)]
    line = stats.linear_contrast(np.eye(len(places)), places).tolist()
    names = (GREEDY, *(f"{axis}={value:g}" for value in values))
    return Comparison(kind="whole knob", axis=axis, weights=dict(zip(names, line, strict=True)))


_step = partial(_difference, kind="one step")

COMPARISONS = (
    _difference("temperature", 0.95, 1.0, kind="nearly equal"),
    _step("temperature", 0.25, 0.5),
    _step("temperature", 0.5, 0.75),
    _step("temperature", 0.75, 1.0),
    _step("top_k", 2, 4),
    _step("top_k", 4, 8),
    _step("top_k", 8, 16),
    _difference("temperature", 0.25, 1.0, kind="far apart"),
    _difference("top_k", 2, 16, kind="far apart"),
    _whole_knob("temperature", 0.001, 0.25, 0.5, 0.75, 1.0),
    _whole_knob("top_k", 2, 4, 8, 16),
)
"""What the table holds; whole knobs have the values of the standard sweep."""


def table(
    answers: pd.DataFrame,
    *,
    model: str,
    weights: str,
    comparisons: Iterable[Comparison] = COMPARISONS,
) -> pd.DataFrame:
    """Return how wide each comparison's interval is under common and under independent noise.

    Args:
        answers: Columns `ANSWERS`; every cell under every seed with the same questions and
            repeats, greedy under any one seed.
        model: Key of the model that answered.
        weights: "finetuned" or "shipped".
        comparisons: What to compare.

    Returns:
        Columns `COLUMNS`, one row per comparison. `half_common` and `half_independent`: half the
        width of the paired 95% t interval over clusters, in points of ROUGE-L, root mean square
        over the seeds, or over the ways to give each setting a seed of its own. `ratio` is the
        first over the second, with its 95% bootstrap interval over clusters; `worth`, 1 / ratio
        squared, is how many times the questions independent noise needs for the same interval.
        Of two settings: the share of answers that are the same, and of an answer that stands
        before the two part, both in [0, 1]. `tokens`: mean length of the answers. What is
        undefined is NaN, and `note` says why.

    Raises:
        SettingError: If there are fewer seeds than settings in a comparison.
    """
    labels = {"model": model, "weights": weights, "signature": SIGNATURES[PRIMARY]}
    rows = [labels | _row(answers, item) for item in comparisons]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(answers: pd.DataFrame, comparison: Comparison) -> dict[str, Any]:
    cells = list(comparison.weights)
    part = answers[answers["cell"].isin(cells)]
    seeds = part.loc[part["cell"] == cells[-1], "seed"].nunique()
    require(
        seeds >= max(2, len(cells)),
        f"{seeds} seeds for the {len(cells)} settings of a comparison: without common noise each "
        "has a seed of its own, so take as many",
    )
    shifts = [shift for shift in range(1, seeds) if math.gcd(shift, seeds) == 1]
    scores = _by_cluster(part)
    row = {
        "kind": comparison.kind,
        "axis": comparison.axis,
        "from": cells[0].rpartition("=")[2],
        "to": cells[-1].rpartition("=")[2],
        "n": len(scores),
        "repeats": part["repeat"].nunique(),
        "seeds": seeds,
        "tokens": part["ids"].map(len).mean(),
        "note": "",
    }
    if len(cells) == 2:
        row |= _agreement(part, cells, shifts)
    if len(scores) < 2:
        return row | {"note": "fewer than two questions are scored under every seed"}
    moves = partial(
        _moves, [(scores[cell].to_numpy(), weight) for cell, weight in comparison.weights.items()]
    )
    return row | _compared(moves(0), np.hstack([moves(shift) for shift in shifts]))


def _by_cluster(part: pd.DataFrame) -> pd.DataFrame:
    """Mean over repeats, then over a cluster's questions; columns (cell, seed), in order."""
    by_question = part.groupby(["cluster", "id", "cell", "seed"])[PRIMARY].mean()
    scored = by_question.unstack(["cell", "seed"]).dropna()
    return scored.groupby("cluster").mean().sort_index(axis=1)


def _moves(settings: Sequence[tuple[np.ndarray, float]], shift: int) -> np.ndarray:
    """The weighted sum of settings, (n, seeds); the next setting's seed is `shift` places on.

    A shift that shares no factor with the number of seeds gives no two settings the same seed.
    Greedy, the same under all, has one column.
    """
    return sum(
        weight * np.roll(scores, -place * shift, axis=1)
        for place, (scores, weight) in enumerate(settings)
    )


def _compared(common: np.ndarray, independent: np.ndarray) -> dict[str, Any]:
    halves = half_width(common), half_width(independent)
    row = dict(zip(HALVES, halves, strict=True))
    if not halves[1]:
        return row | {"note": "the answers are the same under every seed: no noise to share"}
    ratio = halves[0] / halves[1]
    low, high = ratio_interval(common, independent)
    worth = 1 / ratio**2 if ratio else math.nan
    return row | dict(zip(RATIOS, (ratio, low, high, worth), strict=True))


def half_width(differences: np.ndarray) -> float:
    """Return half the width of the mean's 95% t interval, root mean square over repetitions.

    Squares, because it is the variance of a mean that questions divide.

    Args:
        differences: One value per cluster and repetition of the experiment, shape (n, k), n >= 2.

    Returns:
        Units of `differences`.

    Example:
        >>> round(half_width(np.array([[1.0], [3.0]])), 3)  # sd 1.414, t 12.706, n 2
        12.706
    """
    found = [stats.t_interval(column, level=LEVEL) for column in differences.T]
    return float(np.mean([(it.high - it.low) ** 2 for it in found]) ** 0.5 / 2)


def ratio_interval(common: np.ndarray, independent: np.ndarray) -> tuple[float, float]:
    """Return the 95% percentile interval of the ratio of two half-widths, resampling clusters.

    Args:
        common: As for `half_width`.
        independent: The same clusters, in the same order; not all columns constant.

    Returns:
        Its ends. A draw in which nothing varies has no ratio and is left out.
    """
    counts = resampled_counts(len(common), resamples=RESAMPLES, seed=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.sqrt(_variances(common, counts) / _variances(independent, counts))
    low, high = np.nanquantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _variances(differences: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Variance over the clusters of each resample, up to a constant, mean over repetitions."""
    centred = differences - differences.mean(axis=0)
    means, squares = (counts @ values / len(centred) for values in (centred, centred**2))
    return np.maximum(squares - means**2, 0.0).mean(axis=1)


def _agreement(part: pd.DataFrame, cells: Sequence[str], shifts: Sequence[int]) -> dict[str, float]:
    """How far the answers of two settings are the same, under the seeds that `_moves` pairs."""
    ids = part.pivot(index=["id", "repeat"], columns=["cell", "seed"], values="ids")
    first, second = (ids[cell].sort_index(axis=1).to_numpy() for cell in cells)

    def starts(*shifts: int) -> Iterator[float]:
        for shift in shifts:
            yield from map(shared_start, first.flat, np.roll(second, -shift, axis=1).flat)

    shares = [np.fromiter(starts(0), float), np.fromiter(starts(*shifts), float)]
    values = (*((share == 1).mean() for share in shares), *(share.mean() for share in shares))
    return dict(zip(AGREEMENT, map(float, values), strict=True))


def shared_start(one: Sequence[int], two: Sequence[int]) -> float:
    """Return the share of the longer of two answers that stands before they part, in [0, 1].

    Example:
        >>> shared_start((5, 6, 7), (5, 6, 9, 8)), shared_start((5,), (5,)), shared_start((), ())
        (0.5, 1.0, 1.0)
    """
    longer = max(len(one), len(two))
    parted = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), None)
    return (min(len(one), len(two)) if parted is None else parted) / longer if longer else 1.0


def write(folder: Path, frame: pd.DataFrame) -> None:
    """Write common_noise.csv and its page, common_noise.md, to `folder`.

    Args:
        folder: Made if it is not there.
        frame: Rows of `table`, of all models.
    """
    rounded = frame.round(6)
    csv = rounded.to_csv(index=False, lineterminator="\n")
    titles = {key: spec.title for key, spec in MODELS.items()}
    write_atomically(folder / "common_noise.csv", csv)
    write_atomically(folder / "common_noise.md", render_common_noise.page(rounded, titles=titles))
