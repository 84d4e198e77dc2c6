"""What the likelihood of the references says of a model: rows of the main table."""

from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..estimates import Scored, difference, estimated


def likelihoods(
    scored: Scored, *, baseline: Scored | None = None, **labels: Any
) -> list[dict[str, Any]]:
    """Return the rows "nll" and "bits_per_character": how surprising a model finds the references.

    Args:
        scored: A run; without a likelihood both rows are blank and say so.
        baseline: The run it is compared with, on the questions that both have.
        labels: Columns that each row carries.

    Returns:
        "nll" in nats per response token, EOS included: comparable between models of one tokenizer
        only. "bits_per_character" of the reference's text: comparable between all.
    """
    shared = labels | {"run": scored.run, "baseline": baseline.run if baseline else ""}
    rows = []
    for metric, per, scale in (
        ("nll", "tokens", 1.0),
        ("bits_per_character", "characters", 1 / np.log(2)),
    ):
        ours = _surprise(scored, per, scale)
        entry = {"metric": metric, "n": 0, "answers": 0, "missing": 0}
        if ours is None:
            rows.append(shared | entry | {"note": "not measured"})
            continue
        known = ours.dropna()
        entry |= {"answers": len(known), "missing": len(ours) - len(known)}
        if entry["missing"]:
            entry["note"] = (
                f"{entry['missing']} of {len(ours)} references are longer than the context"
            )
        sums = known.groupby(scored.clusters.reindex(known.index)).sum()
        entry = estimated(entry | {"n": len(sums)}, stats.bootstrap_ci, sums, statistic=_ratio)
        theirs = _surprise(baseline, per, scale) if baseline else None
        if theirs is not None:
            both = known.index.intersection(theirs.dropna().index)
            clusters = scored.clusters.reindex(both)
            pair = [side.loc[both].groupby(clusters).sum() for side in (ours, theirs)]
            if len(pair[0]) > 1:
                entry |= difference(*pair, statistic=_ratio)
                entry["p"] = stats.approximate_randomisation_p(*pair, statistic=_ratio)
        rows.append(shared | entry)
    return rows


def _surprise(scored: Scored, per: str, scale: float) -> pd.DataFrame | None:
    """Surprise and length of each reference, by question id, blank where it was not measured."""
    if scored.likelihood is None:
        return None
    table = scored.likelihood.set_index("id")
    return pd.DataFrame({"surprise": scale * table["nats"], "length": table[per]}).where(
        table["nats"].notna()
    )


def _ratio(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]
