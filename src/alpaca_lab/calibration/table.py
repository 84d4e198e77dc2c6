"""The checks run, as a table, and the table written with the sentence that reads it."""

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from ..files import write_atomically
from ..pages.markdown import grid
from ..stats import wilson
from .registry import CHECKS, Check

COLUMNS = ("check", "kind", "simulations", "rate", "low", "high", "wanted", "passed")


def run(
    checks: Iterable[Check] = CHECKS, *, advance: Callable[[], object] = lambda: None
) -> pd.DataFrame:
    """Return how often each check's method was wrong, or right where the check says so.

    Every check seeds its own draws from its name: the same on every run, whatever else is run.

    Args:
        checks: Which of them.
        advance: Called after each, for a progress bar.

    Returns:
        Columns `COLUMNS`: rate over the simulations, in [0, 1], with its 95% Wilson interval, the
        range wanted, and whether the rate lies in it. A negative control passes by failing.
    """
    rows = []
    for check in checks:
        rows.append(_row(check))
        advance()
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write(
    folder: Path,
    *,
    checks: Iterable[Check] = CHECKS,
    advance: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """Run the checks and write calibration.csv and README.md to `folder`.

    Args:
        folder: Made if it is not there.
        checks: As in `run`.
        advance: As in `run`.

    Returns:
        The table.
    """
    table = run(checks, advance=advance)
    write_atomically(folder / "calibration.csv", table.to_csv(index=False, lineterminator="\n"))
    write_atomically(folder / "README.md", page(table))
    return table


def page(table: pd.DataFrame) -> str:
    """Return the table as a Markdown page, with what it says and how to make it again."""
    parts = [
        "# Calibration",
        "How often the statistics of this package are wrong, counted on simulated data whose truth "
        "is known. `python -m alpaca_lab calibrate` makes this page and `calibration.csv` again, "
        "the same figures with the pinned packages; nothing here is edited by hand.",
        _reading(table),
    ]
    for kind, text in SECTIONS.items():
        rows = table[table["kind"] == kind]
        if len(rows):
            parts += [
                f"## {kind.capitalize()}s",
                text,
                grid(HEADER, map(_cells, rows.to_dict("records"))).rstrip(),
            ]
    return "\n\n".join([*parts, NOTE]) + "\n"


SECTIONS = {
    "method": (
        "What the tables use, and the bootstrap t. A false positive is a p up to .05 where nothing "
        "differs."
    ),
    "limit": (
        "Where a method in use departs from its promise, and by how much. Differences that are "
        "themselves skewed, in a study of 50 questions: two settings with skewed scores do not "
        "have them; a change that spoils a few answers and helps many a little does. The symmetric "
        "bootstrap t (`stats.bootstrap_t_p`) keeps the promise on both. And corpus BLEU of 100 "
        "questions, where a few long answers decide: its interval is too short at the upper end. "
        "At n 500 neither is left; a smaller study should say so."
    ),
    "negative control": "Not used. Each must be seen to fail, or the simulations could not tell.",
}
HEADER = ("check", "rate [95%]", "wanted", "simulations", "passed")
NOTE = (
    "Skewed scores: exponential, the same for two settings, so differences are symmetric. Skewed "
    "differences: exponential minus 1. ROUGE-L-shaped scores: 0-100, the quantiles of real answers "
    "(skew 1.7, ties at 0 and 100), correlated .66 within a question, a fifth of the answers the "
    "same in two settings. Corpus BLEU: n-gram counts of answers whose length and quality vary as "
    "instruction answers' do. Spearman's rho: .5, half of what varies, in the measure and in what "
    "else decides a grade, between questions. The rate's interval is Wilson's; for false "
    "discoveries, a mean of shares, it is wider than need be."
)


def _row(check: Check) -> dict[str, object]:
    generator = np.random.default_rng(zlib.crc32(check.name.encode()))
    outcomes = check.simulate(generator, check.simulations)
    found = wilson(float(outcomes.sum()), check.simulations)
    low, high = check.wanted
    rates = {"rate": found.mean, "low": found.low, "high": found.high}
    return {
        "check": check.name,
        "kind": check.kind,
        "simulations": check.simulations,
        **{name: round(value, 6) for name, value in rates.items()},
        "wanted": f"{low:g}-{high:g}",
        "passed": low <= found.mean <= high,
    }


def _reading(table: pd.DataFrame) -> str:
    kept = {kind: table.loc[table["kind"] == kind, "passed"] for kind in SECTIONS}
    return (
        f"{kept['method'].sum()} of {len(kept['method'])} checks of the methods lie where they "
        f"were promised to; {kept['negative control'].sum()} of {len(kept['negative control'])} "
        f"negative controls fail, as they must; {kept['limit'].sum()} of {len(kept['limit'])} "
        "known limits are as large as they are said to be."
    )


def _cells(row: dict[str, object]) -> tuple[str, ...]:
    return (
        str(row["check"]),
        f"{row['rate']:.4f} [{row['low']:.4f}, {row['high']:.4f}]",
        str(row["wanted"]),
        f"{row['simulations']:,}",
        "yes" if row["passed"] else "NO",
    )
