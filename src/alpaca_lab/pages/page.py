"""A page of the report as a value: title, table, sentences, notes; not how they look.

`markdown`, `latex` and `webpage` each write the same page their own way and escape what they must.
Numbers become words here, so that all three say the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

BLANK = "-"
Block = str | tuple[str, ...]
"""A paragraph, or a list of points."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What one table of the report says. Every text is plain: no markup, nothing escaped."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Cells as `header` names them; a line break in a cell is where it may be broken."""
    words: int = 1
    """How many columns, from the left, hold words; the others hold numbers."""
    warnings: tuple[str, ...] = ()
    """What must not be overlooked."""
    reading: tuple[Block, ...] = ()
    """What the numbers say."""
    notes: tuple[Block, ...] = ()
    """What is missing and why, and how the columns are to be understood."""
    signatures: tuple[tuple[str, str], ...] = ()
    """(printed name, recipe) of each score shown."""
    runs: tuple[str, ...] = ()
    """Ids of the runs behind the numbers."""

    def __post_init__(self) -> None:
        for name in ("reading", "notes"):  # a list without points, or no sentence, is nothing
            object.__setattr__(self, name, tuple(filter(None, getattr(self, name))))
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(
                    f'"{self.title}": a row of {len(row)} cells under {len(self.header)} headings'
                )


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


def count(value: float | None) -> str:
    """Return a whole number with its thousands apart, or "-" where it is missing."""
    return BLANK if value is None or pd.isna(value) else f"{int(value):,}"


def whole(value: float) -> str:
    """Return a rate to the nearest whole number, or "-" where it is missing."""
    return BLANK if pd.isna(value) else count(round(value))


def percent(value: float, *, decimals: int = 0) -> str:
    """Return a share in percent, or "-" where it is missing."""
    return BLANK if pd.isna(value) else f"{value:.{decimals}%}"


def interval(
    mean: float | None, low: float | None, high: float | None, *, sign: bool = False
) -> str:
    """Return "mean [low, high]", the mean alone where there is no interval, or "-"."""
    if mean is None or pd.isna(mean) or pd.isna(low):
        return number(mean, sign=sign)
    return f"{number(mean, sign=sign)} [{number(low, sign=sign)}, {number(high, sign=sign)}]"


def stacked(text: str) -> str:
    r"""Return "mean [low, high]" with a place to break a cell before the interval.

    Example:
        >>> stacked("1.50 [1.00, 2.00]")
        '1.50\n[1.00, 2.00]'
    """
    return text.replace(" [", "\n[")


def p_value(value: float | None) -> str:
    """Return a p value to three decimals, "<0.001" below that, or "-"."""
    return "<0.001" if value is not None and value < 0.001 else number(value, decimals=3)


def p_equals(value: float | None) -> str:
    """Return a p value as a sentence has it.

    Example:
        >>> p_equals(0.0312), p_equals(0.00001)
        ('p = 0.031', 'p < 0.001')
    """
    shown = p_value(value)
    return f"p < {shown[1:]}" if shown.startswith("<") else f"p = {shown}"


def listed(names: Iterable[str]) -> str:
    """Return names as prose lists them.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b and c'
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
