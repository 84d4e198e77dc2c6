"""The table of the checks: what slots and merging changed, from each run's checks.json."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from ..config import StudySpec
from ..store import Record, Run
from ..sweep import BASE, GREEDY
from ..table_files import rounded

COLUMNS = (
    "model", "value", "check", "against", "n", "share", "bound", "max_difference",
    "mean_difference", "max_gap", "max_noise", "within_noise", "verdict", "run",
)  # fmt: skip
FLOATS = COLUMNS[COLUMNS.index("share") : COLUMNS.index("verdict")]
NOT_MEASURED = "not measured"


def checks_table(record: Record, spec: StudySpec) -> pd.DataFrame:
    """Return what was checked of each model, finetuned and untuned, one row per check.

    Returns:
        Columns `COLUMNS`. `check` is "dense" (n tokens, the dense model against NF4 with the
        adapter beside it), "slots=1" and the like (n answers, against those of `against` slots,
        the study's number), or "again" (that number twice). `verdict` is "dense" or "unmerged",
        as decoded; "same", "within noise" or "beyond noise"; or "not measured", and then the rest
        is blank.
    """
    index = record.index()["runs"]
    rows = []
    for model in spec.models:
        for cell, value in ((GREEDY, "finetuned"), (BASE, "untuned")):
            run = record.run(index[model.key][cell])
            labels = {"model": model.key, "value": value, "run": run.id}
            rows += (labels | row for row in (_dense(run, spec), *_identity(run.checks())))
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"against": "Int64"})
    return rounded(frame, FLOATS)


def _dense(run: Run, spec: StudySpec) -> dict[str, Any]:
    found = run.checks().get("dense")
    if found is None:
        return {"check": "dense", "n": 0, "verdict": NOT_MEASURED}
    return {
        "check": "dense",
        "n": found["tokens"],
        "share": found["agreement"],
        "bound": spec.min_agreement,
        "max_difference": found["max_difference"],
        "mean_difference": found["mean_difference"],
        "verdict": run.request().get("weights", "dense"),
    }


def _identity(checks: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    found = checks.get("identity")
    if found is None:
        yield {"check": "slots", "n": 0, "verdict": NOT_MEASURED}
        return
    for pair in found["pairs"]:
        parted = [entry for entry in found["partings"] if entry["slots"] == pair["slots"]]
        within = [entry["gap"] <= entry["noise"] for entry in parted]
        row = {
            "check": "again" if pair["slots"] == found["slots"] else f"slots={pair['slots']}",
            "against": found["slots"],
            "n": pair["n"],
            "share": pair["identical"] / pair["n"] if pair["n"] else None,
            "verdict": "same",
        }
        if parted:
            row |= {
                "max_gap": max(entry["gap"] for entry in parted),
                "max_noise": max(entry["noise"] for entry in parted),
                "within_noise": sum(within) / len(within),
                "verdict": "within noise" if all(within) else "beyond noise",
            }
        yield row
