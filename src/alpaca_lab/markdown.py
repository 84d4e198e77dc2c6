"""The parts of a Markdown table: numbers, intervals, names, the grid. Numbers are rounded here."""

import re
from collections.abc import Iterable, Sequence

import pandas as pd

BLANK = "-"


def escape(text: str) -> str:
    r"""Return `text` so that Markdown prints it as it is, on one line.

    Example:
        >>> print(escape("a|b_c <i>"))
        a\|b\_c \<i\>
    """
    return re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", " ".join(text.split()))


def number(value: float | None, *, decimals: int = 2, sign: bool = False) -> str:
    """Return a number for reading, or "-" where it is missing.

    Example:
        >>> number(-0.001), number(3.14159, sign=True), number(None)
        ('0.00', '+3.14', '-')
    """
    if value is None or pd.isna(value):
        return BLANK
    # Adding 0.0 turns the -0.0 that rounding leaves into 0.0.
    return f"{round(float(value), decimals) + 0.0:{'+' if sign else ''}.{decimals}f}"


def interval(
    mean: float | None, low: float | None, high: float | None, *, sign: bool = False
) -> str:
    """Return "mean [low, high]", the mean alone where there is no interval, or "-"."""
    if mean is None or pd.isna(mean) or pd.isna(low):
        return number(mean, sign=sign)
    return f"{number(mean, sign=sign)} [{number(low, sign=sign)}, {number(high, sign=sign)}]"


def p_value(value: float | None) -> str:
    """Return a p value to three decimals, "<0.001" below that, or "-"."""
    return "<0.001" if value is not None and value < 0.001 else number(value, decimals=3)


def _cell(text: str) -> str:
    """Let a cell break before its interval and nowhere else: a dozen columns then fit a screen."""
    return text.replace(" [", "<br>[").replace(" ", "\u00a0")


def grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table: first column to the left, the others to the right."""
    cells = [[_cell(text) for text in row] for row in rows]
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
