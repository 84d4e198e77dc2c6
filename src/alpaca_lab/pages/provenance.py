"""What a page of scores says of itself: printed names, recipes, runs, reasons for blanks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..characters import plain
from ..estimates import OWN_WORDS
from ..store import CONTROL
from .wording import CONTROLS, METRICS


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a page says beside what its rows carry."""

    titles: Mapping[str, str]
    """Printed name by model key."""
    signatures: Mapping[str, str]
    """Recipe by metric."""
    encoder: Mapping[str, Any]
    """The encoder behind BERTScore: name, layer, sha256, rescaled."""
    comparisons: int = 0
    """Size of the family that Holm's correction covers; 0 for a page that does not name it."""
    exploratory: int = 0
    """Size of the family that Benjamini and Hochberg's correction covers; 0 as above."""

    def name(self, model: str, value: str = "", *, between: str = " ") -> str:
        """Return a row's printed name: model and value, or the control that it is."""
        if model == CONTROL:
            return CONTROLS.get(value, value).replace("\n", between)
        title = plain(self.titles[model])
        return f"{title}{between}{value}" if value else title

    def recipes(self, metrics: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Return (printed name, signature) of those metrics that have one."""
        known = self.signatures
        return tuple((METRICS[metric], known[metric]) for metric in metrics if metric in known)

    @property
    def named_encoder(self) -> str:
        """The sentence that names BERTScore's encoder."""
        return (
            f"BERTScore encoder: {plain(self.encoder['name'])}, "
            f"layer {self.encoder['layer'] or 'unknown'}, "
            f"{'rescaled' if self.encoder['rescaled'] else 'not rescaled'}."
        )

    def missing(self, frame: pd.DataFrame) -> tuple[str, ...]:
        """Return one point per reason for which something is blank, with the rows it concerns.

        Args:
            frame: A long table, cut to the metrics that the page shows.
        """
        short = frame["metric"].isin(OWN_WORDS)
        noted = frame[(frame["note"] != "") & ~short]
        concerned: dict[tuple[str, str], list[str]] = {}
        for (model, value, note), rows in noted.groupby(["model", "value", "note"], sort=False):
            metrics = ", ".join(METRICS[metric] for metric in rows["metric"])
            concerned.setdefault((metrics, note), []).append(self.name(model, value))
        everything = len(frame.drop_duplicates(["model", "value"]))
        points = [
            f"{metrics}: {note}: {'every row' if len(names) == everything else '; '.join(names)}."
            for (metrics, note), names in concerned.items()
        ]
        return (*points, *_too_short(frame[short]))


def _too_short(frame: pd.DataFrame) -> tuple[str, ...]:
    """Return one point on answers with too few words for a share of n-grams: no fault of a run."""
    points = []
    for metric, rows in frame[frame["missing"] > 0].groupby("metric", sort=False):
        share = (rows["missing"] / (rows["missing"] + rows["answers"])).max()
        points.append(f"{METRICS[metric]}, up to {100 * share:.0f}% of a row's answers")
    if not points:
        return ()
    return (f"Answers too short for it, or missing: {'; '.join(points)}. The CSV counts them.",)


def runs(frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the ids of the runs that a table's rows name, each once, in their order."""
    return tuple(dict.fromkeys(run for ids in frame["run"] for run in ids.split()))
