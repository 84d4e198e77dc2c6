"""A page as Markdown, for notebooks, GitHub and the terminal."""

import re
from collections.abc import Iterable, Sequence

from ..characters import plain
from .page import Block, Page

INTERVAL = re.compile(r"(\[[-+]?[\d.]+, [-+]?[\d.]+\](?![(\[:]))")
"""An interval such as "[-1.20, +0.30]", which is no link and reads better without backslashes."""


def page(content: Page) -> str:
    """Return a page as Markdown that ends with a line break.

    A cell breaks before its interval and nowhere else: a dozen columns then fit a screen.
    """
    parts = [
        f"**{escape(content.title)}**",
        *(f"**{escape(warning)}**" for warning in content.warnings),
        grid(content.header, content.rows, words=content.words).rstrip(),
        *(_block(block) for block in (*content.reading, *content.notes)),
        "\n".join(f"- {escape(name)}: {_code(recipe)}" for name, recipe in content.signatures),
        f"Runs: {', '.join(map(_code, content.runs))}." if content.runs else "",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def escape(text: str) -> str:
    r"""Return `text` so that Markdown prints it as it is, on one line.

    Example:
        >>> print(escape("a|b_c <i> +1.00 [0.50, 1.50]"))
        a\|b\_c \<i\> +1.00 [0.50, 1.50]
    """
    parts = INTERVAL.split(plain(text))
    # Every second part is an interval.
    parts[::2] = [re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def grid(header: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """Return a Markdown table: the first `words` columns to the left, the others to the right."""
    rule = ["---"] * words + ["---:"] * (len(header) - words)
    lines = [[escape(name) for name in header], rule, *([_cell(text) for text in r] for r in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return "<br>".join(escape(line).replace(" ", "\u00a0") for line in text.split("\n"))


def _block(block: Block) -> str:
    if isinstance(block, str):
        return escape(block)
    return "\n".join(f"- {escape(point)}" for point in block)


def _code(text: str) -> str:
    # Inside a code span nothing is escaped, so a backtick would end it.
    return f"`{plain(text).replace('`', chr(0x2035))}`"
