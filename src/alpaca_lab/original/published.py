"""The first study's published tables as data, and what their own numbers say.

The rows are results/original/published.csv, digit for digit; what follows from them is computed.
"""

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .. import stats
from ..store import RESULTS

FIGURES = RESULTS / "original" / "published.csv"
METRICS = ("rougeL", "bertscore_f1")
"""The two columns that vary; BLEU is 0.00000 in every row."""
DEFAULT = "default"
AXES = ("temperature", "num_beams", "top_k")


def figures(path: Path = FIGURES) -> pd.DataFrame:
    """Return the published figures, one row per table, value and model.

    Returns:
        Columns table ("default" or a knob), value (of the knob; NaN in "default"), model, and as
        printed, on 0-1: bleu, rougeL, bertscore_f1, human ("default" only).
    """
    return pd.read_csv(path)


def by_value(rows: pd.DataFrame, axis: str, metric: str) -> pd.DataFrame:
    """Return one metric of one knob's table: models by values, values rising."""
    table = rows[rows["table"] == axis]
    return table.pivot(index="model", columns="value", values=metric).sort_index(axis=1)


def trend(values: ArrayLike, positions: ArrayLike) -> tuple[float, float]:
    """Return the fitted change from the lowest to the highest position, and its p.

    A published table has one number per cell and no spread, so the test is the one that needs
    none: were the knob without effect, each model's numbers could stand in any order. All orders
    are tried, (k!)**m of them, and p is the share with a slope as far from 0 as the published one.

    Args:
        values: One number per model and setting, shape (m, k).
        positions: Where the settings stand on the knob, shape (k,), not all equal.

    Returns:
        The change, mean over models, in the units of `values`; and the two-sided p in (0, 1].

    Source:
        Fisher (1935), section 21, on orders within blocks.

    Example:
        >>> change, p = trend([[1, 2, 3]], [1, 2, 3])
        >>> change, round(6 * p)  # of 6 orders, so many are as steep
        (2.0, 2)
    """
    table, places = np.asarray(values, dtype=float), np.asarray(positions, dtype=float)
    weights = places - places.mean()
    span = (places.max() - places.min()) / (weights @ weights)
    orders = np.array(list(permutations(range(len(places)))))
    slopes = [row[orders] @ weights for row in table]  # each (k!,)
    sums = np.zeros(1)
    for one in slopes:
        sums = (sums[:, None] + one).ravel()
    observed = float((table @ weights).sum())
    # Rounding must not break a tie between an order and the published one.
    reached = np.abs(sums) >= abs(observed) - 1e-9 * np.abs(table).sum()
    return float(span * observed / len(table)), float(reached.mean())


def trends(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the trend of every knob and metric in the published tables.

    Returns:
        Columns axis, metric, from, to, change (per model, 0-1), p, p_holm (over the knobs of a
        metric). Temperature stands where it is, beams and top-k by doublings.
    """
    found = []
    for metric, axis in product(METRICS, AXES):
        table = by_value(rows, axis, metric)
        values = table.columns.to_numpy(dtype=float)
        change, p = trend(table, values if axis == "temperature" else np.log2(values))
        ends = {"from": values[0], "to": values[-1]}
        found.append({"axis": axis, "metric": metric, **ends, "change": change, "p": p})
    frame = pd.DataFrame(found)
    frame["p_holm"] = frame.groupby("metric")["p"].transform(lambda p: stats.holm(p.to_numpy()))
    return frame


def falling(rows: pd.DataFrame, axis: str, start: float, end: float) -> tuple[int, int]:
    """Return how many of the published values are lower at `end` than at `start`, and of how many.

    Over models and both metrics that vary: the study says that larger beams improve all metrics.
    """
    steps = [by_value(rows, axis, metric) for metric in METRICS]
    lower = np.concatenate([(table[end] < table[start]).to_numpy() for table in steps])
    return int(lower.sum()), len(lower)


def span(rows: pd.DataFrame, metric: str) -> tuple[float, float]:
    """Return the lowest and the highest value of a metric in all published tables."""
    return float(rows[metric].min()), float(rows[metric].max())
