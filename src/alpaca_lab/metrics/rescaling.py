"""BERTScore rescaled: 0 is what unrelated sentences score, by an encoder's published baseline.

Raw scores of one encoder crowd into a few points: roberta-large gives unrelated English sentences
83. Rescaling spreads them and ranks nothing anew. Arithmetic only; no encoder is needed.
"""

import csv
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

LANGUAGE = "en"
"""Of the sentences that the baselines were measured on."""


def baseline_f1(name: str, *, layer: int) -> float | None:
    """Return the BERTScore F1 of unrelated English sentences, as the bert-score package has it.

    Args:
        name: The encoder's name, such as "roberta-large".
        layer: The layer whose states are compared.

    Returns:
        F1 in [0, 100]; None for an encoder or a layer that nobody published a baseline of.

    Source:
        https://github.com/Tiiiger/bert_score, rescale_baseline/en: means over a million pairs.

    Example:
        >>> round(baseline_f1("roberta-large", layer=17), 3)
        83.123
        >>> baseline_f1("all-MiniLM-L6-v2", layer=6) is None
        True
    """
    # Found without importing it: the package imports torch.
    found = find_spec("bert_score")
    folders: Sequence[str] = found.submodule_search_locations or () if found else ()
    for folder in folders:
        table = Path(folder, "rescale_baseline", LANGUAGE, f"{name}.tsv")
        if table.is_file():
            with table.open(encoding="utf-8", newline="") as file:
                rows = {int(row["LAYER"]): float(row["F"]) for row in csv.DictReader(file)}
            return 100 * rows[layer] if layer in rows else None
    return None


def rescaled(f1: ArrayLike, *, baseline: float) -> np.ndarray:
    """Return raw BERTScores on the scale where the baseline is 0 and a perfect score stays 100.

    Args:
        f1: Raw F1 of answers, any shape, nominally in [-100, 100]; NaN stays NaN.
        baseline: What `baseline_f1` returns, in [0, 100).

    Returns:
        Values up to 100, below 0 for an answer further off than an unrelated one. An empty
        answer's 0 stays 0: it is no measurement, and -492 for silence would rule every mean.

    Source:
        Zhang et al. (2020), https://openreview.net/forum?id=SkeHuCVFDr, as bert-score has it.

    Example:
        >>> rescaled([100.0, 80.0, 0.0], baseline=80.0).tolist()
        [100.0, 0.0, 0.0]
    """
    raw = np.asarray(f1, dtype=float)
    return np.where(raw == 0, 0.0, 100 * (raw - baseline) / (100 - baseline))
