"""Data as HTML for a notebook: tables, near-duplicates side by side, a row with its loss mask.

Every text is escaped: it is shown, never rendered. Colour is never alone: what it marks is bold or
underlined too, so that a grey print says the same.
"""

import html
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..characters import visible
from ..data import Dataset
from ..encoding import IGNORED, encode_example
from ..rows.validation import Example

if TYPE_CHECKING:
    from IPython.display import HTML
    from transformers import PreTrainedTokenizerBase

LONGEST = 600
"""Characters of a text that is shown before it is cut, and said to be."""
LEFT = "text-align: left; vertical-align: top"
RIGHT = "text-align: right; vertical-align: top"
LEARNT = "background: #cfe5f5; color: #000; font-weight: bold; text-decoration: underline"
READ = "background: #eee; color: #555"
TOKEN = "padding: 0 1px; margin-right: 1px; border-radius: 2px; white-space: pre-wrap"


def table(frame: pd.DataFrame, *, decimals: int = 1) -> "HTML":
    """Return a data frame as a table: words to the left and escaped, numbers to the right.

    Args:
        frame: One of `report` or `lengths`; its index is not shown.
        decimals: Of the numbers that are not whole.
    """
    text = [pd.api.types.is_string_dtype(frame[name]) for name in frame.columns]
    styles = [LEFT if words else RIGHT for words in text]
    head = "".join(
        f'<th style="{style}">{escape(str(name))}</th>'
        for name, style in zip(frame.columns, styles, strict=True)
    )
    rows = []
    for values in frame.itertuples(index=False):
        cells = (
            f'<td style="{style}">{escape(cell_text(value, decimals))}</td>'
            for value, style in zip(values, styles, strict=True)
        )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    if not rows:
        return _html("<p><i>None in these rows.</i></p>")
    return _html(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>")


def near_pairs(dataset: Dataset, n: int = 5) -> "HTML":
    """Return the most alike near-duplicates side by side, the words that differ underlined.

    Args:
        dataset: The rows.
        n: How many pairs at most, >= 1.
    """
    pairs = sorted(dataset.near_pairs, key=lambda pair: -pair.jaccard)
    if not pairs:
        return _html("<p><i>No near-duplicate questions in these rows.</i></p>")
    rows = [_pair("Jaccard", "one question", "another", cell="th")]
    for pair in pairs[:n]:
        one, two = _differing(pair.one.question, pair.two.question)
        rows.append(_pair(f"{pair.jaccard:.2f}", one, two))
    more = f"<p>{len(pairs) - n:,} more</p>" if len(pairs) > n else ""
    return _html(f'<table style="width: 100%">{"".join(rows)}</table>{more}')


def _pair(number: str, one: str, two: str, *, cell: str = "td") -> str:
    looks = zip((number, one, two), (RIGHT, LEFT, LEFT), (10, 45, 45), strict=True)
    cells = (f'<{cell} style="{side}; width: {w}%">{text}</{cell}>' for text, side, w in looks)
    return f"<tr>{''.join(cells)}</tr>"


def loss_mask(
    tokenizer: "PreTrainedTokenizerBase", example: Example, *, max_length: int = 1024
) -> "HTML":
    """Return a row as the model reads it, token by token: what it learns is bold and underlined.

    Args:
        tokenizer: A Transformers tokenizer.
        example: The row.
        max_length: Tokens at which the row is cut.
    """
    encoded = encode_example(tokenizer, example, max_length=max_length)
    if encoded is None:
        return _html(f"<p><i>The prompt alone fills {max_length:,} tokens: it is left out.</i></p>")
    learnt = sum(label != IGNORED for label in encoded["labels"])
    tokens = "".join(
        f'<span style="{TOKEN}; {READ if label == IGNORED else LEARNT}">{_token(text)}</span>'
        + "<br>" * text.count("\n")
        for text, label in pieces(tokenizer, **encoded)
    )
    legend = (
        f'<span style="{TOKEN}; {READ}">read, no loss</span>: '
        f"{len(encoded['labels']) - learnt:,} tokens; "
        f'<span style="{TOKEN}; {LEARNT}">learnt</span>: {learnt:,} tokens'
    )
    return _html(f'<p>{legend}</p><div style="font-family: monospace">{tokens}</div>')


def pieces(
    tokenizer: "PreTrainedTokenizerBase", input_ids: Sequence[int], labels: Sequence[int]
) -> Iterator[tuple[str, int]]:
    """Yield (text, label) of each token; tokens that only together make a character stand as one.

    Args:
        tokenizer: A Transformers tokenizer.
        input_ids: Token ids, shape (n,).
        labels: Their labels, shape (n,), -100 where there is no loss.
    """
    shown = 0
    for end, label in enumerate(labels, start=1):
        text = tokenizer.decode(input_ids[:end], clean_up_tokenization_spaces=False)
        rest = labels[end:]
        if text.endswith("\ufffd") and rest and (rest[0] == IGNORED) == (label == IGNORED):
            continue  # the bytes of an unfinished character
        yield text[shown:], label
        shown = len(text)


def cell_text(value: Any, decimals: int) -> str:
    """Return a table's value as its text, not yet escaped; a missing one is blank."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:,.{decimals}f}" if isinstance(value, float) else f"{value:,}"


def _token(text: str) -> str:
    return escape(text.replace("\n", "\u23ce"))


def _differing(one: str, two: str) -> tuple[str, str]:
    """Return both texts as HTML, with the words that the other lacks underlined."""
    words = [text[:LONGEST].split() for text in (one, two)]
    sides: tuple[list[str], list[str]] = ([], [])
    blocks = SequenceMatcher(None, *words, autojunk=False).get_opcodes()
    for kind, *bounds in blocks:
        for side, own, (start, end) in zip(sides, words, (bounds[:2], bounds[2:]), strict=True):
            text = escape(" ".join(own[start:end]))
            if text:
                side.append(text if kind == "equal" else f"<b><u>{text}</u></b>")
    cut = (
        f" ... <i>({len(text):,} characters in all)</i>" if len(text) > LONGEST else ""
        for text in (one, two)
    )
    return tuple(" ".join(side) + rest for side, rest in zip(sides, cut, strict=True))


def escape(text: str) -> str:
    """Return a text as HTML that shows it, every character of it."""
    # A notebook typesets what stands between two dollar signs; a tag around them prevents it.
    return html.escape(visible(text)).replace("$", "<span>$</span>")


def _html(content: str) -> "HTML":
    from IPython.display import HTML

    return HTML(content)
