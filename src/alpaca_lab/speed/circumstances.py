"""Under which circumstances a benchmark ran, in sentences for its page. Nothing is escaped here."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ..pages.page import count, listed, number

WEIGHTS = {
    "random": ("random at the true shapes: speed and memory are real, text is not",
               "--random TOKENIZERS --delete"),
    "given": ("as in the checkpoints that were given", "--checkpoints FOLDER"),
}  # fmt: skip
"""By condition: what the weights were, and the options that take such weights."""


def command(script: str, facts: Mapping[str, Any]) -> str:
    """Return the command line that runs a benchmark again under the same conditions."""
    weights = WEIGHTS[facts["weights"]][1]
    return f"python {script} --data ROWS.jsonl --cap {facts['cap_gib']:g} {weights}"


def card(facts: Mapping[str, Any]) -> str:
    """Say on what a benchmark ran: "on one NVIDIA H200, each process capped at 24 GiB"."""
    gpu = f"one {facts['gpu']}" if facts["gpu"] else "a GPU whose name is not known"
    return f"on {gpu}, each process capped at {facts['cap_gib']:g} GiB"


def weights(facts: Mapping[str, Any]) -> str:
    """Say which weights the models had."""
    return f"Weights: {WEIGHTS[facts['weights']][0]}."


def rows(facts: Mapping[str, Any]) -> str:
    """Name the file of rows: "rows.jsonl, 999 of them, sha256 0123456789ab"."""
    data = facts["data"]
    return f"{data['file']}, {count(data['rows'])} of them, sha256 {data['sha256'][:12]}"


def rates(
    frame: pd.DataFrame, titles: Mapping[str, str], *, column: str, unit: str, decimals: int = 0
) -> str:
    """Say what the GPU was measured at beside each model: "777 TFLOP/s beside LLaMA-2-7B"."""
    found = frame.groupby("model", sort=False)[column].agg(lambda values: values.iloc[0])
    return listed(
        f"{number(rate, decimals=decimals)} {unit} beside {titles[key]}"
        for key, rate in found.items()
    )


def versions(facts: Mapping[str, Any]) -> str:
    """Say which packages and commits ran."""
    packages = ", ".join(
        f"{name} {version or '(not installed)'}" for name, version in facts["packages"].items()
    )
    return f"Versions: {packages}; Alpaca Lab at commit {_commits(facts['commits'])}."


def _commits(names: Sequence[str]) -> str:
    """Return commits in short, each with the mark of a tree that differed from it."""
    parts = (commit.partition("+") for commit in names)
    short = [f"{name[:12]}{plus}{mark}" for name, plus, mark in parts]
    return listed(short) if short else "unknown"
