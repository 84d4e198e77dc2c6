"""Answers as an HTML table, each marked where it leaves the one that it is compared with.

What is the same stands in grey, the token that differs is bold and underlined on blue, the rest is
plain. Every text is escaped: a model's answer is shown, never rendered.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pandas as pd

from ..datasheet.html import LEARNT, LEFT, RIGHT, cell_text, escape
from .answers import Parted

if TYPE_CHECKING:
    from IPython.display import HTML

SAME = "color: #777"
MARK = f"{LEARNT}; border-radius: 2px"
KEEP = "white-space: pre-wrap"
"""An answer's line breaks are part of it."""
SHORT = 20
"""Characters of a cell that is kept on one line."""


def table(frame: pd.DataFrame, *, decimals: int = 1) -> "HTML":
    """Return a data frame as a table: `Parted` answers marked, words to the left, numbers right.

    Args:
        frame: One of `answers`; its index is not shown.
        decimals: Of the numbers that are not whole.
    """
    from IPython.display import HTML

    aligned = [
        RIGHT if pd.api.types.is_numeric_dtype(frame[name]) else LEFT for name in frame.columns
    ]
    head = _row("th", map(str, frame.columns), aligned, decimals)
    body = "".join(
        _row("td", values, aligned, decimals) for values in frame.itertuples(index=False)
    )
    return HTML(f"<table><thead>{head}</thead><tbody>{body}</tbody></table>")


def _row(tag: str, values: Iterable[object], aligned: Iterable[str], decimals: int) -> str:
    cells = (
        _cell(tag, value, style, decimals) for value, style in zip(values, aligned, strict=True)
    )
    return f"<tr>{''.join(cells)}</tr>"


def _cell(tag: str, value: object, style: str, decimals: int) -> str:
    if isinstance(value, Parted):
        return f'<{tag} style="{style}">{parted(value)}</{tag}>'
    text = cell_text(value, decimals)
    whole = "; white-space: nowrap" if len(text) <= SHORT else ""
    return f'<{tag} style="{style}{whole}">{escape(text)}</{tag}>'


def parted(text: Parted) -> str:
    """Return a marked answer as HTML."""
    same = _span(SAME, escape(text.same))
    if text.token is None:
        return _span(KEEP, same)
    word = text.token.lstrip(" ")
    space = " " * (len(text.token) - len(word))
    token = _span(MARK, escape(word) if text.token else "(ends here)")
    return _span(KEEP, f"{same}{space}{token}{escape(text.rest)}")


def _span(style: str, content: str) -> str:
    return f'<span style="{style}">{content}</span>' if content else ""
