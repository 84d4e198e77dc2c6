r"""A page as LaTeX: a booktabs table with its caption, and its notes under it.

A document needs `\usepackage{booktabs,graphicx}`. Every special character of a text is escaped.
Letters that pdfLaTeX does not know (a Chinese name, say) stand as they are: for them take XeLaTeX
or LuaLaTeX, with a font that has them.
"""

import re
from collections.abc import Iterable
from textwrap import wrap

from ..characters import plain
from .page import Block, Page

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # A row that begins with "[" or "*" would be read as an option of the line break before it.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "\u00a0": "~",
} | {character: rf"\{character}" for character in "#$%&_{}"}
HEADING = 12
"""Characters of a heading's line: a table is as wide as its numbers, not as its headings."""
NEGATIVE = re.compile(r"(?<![\w.-])-(?=\d)")
"""The minus of a number, not the hyphen of "ROUGE-1" nor the range of "0-100"."""


def page(content: Page, *, label: str) -> str:
    r"""Return a page as a LaTeX table that ends with a line break.

    Args:
        content: The page.
        label: What `\ref` calls the table, after "tab:".
    """
    columns = "l" * content.words + "r" * (len(content.header) - content.words)
    rows = [
        _row(
            _cell("\n".join(wrap(name, HEADING)), left=place < content.words, place="b")
            for place, name in enumerate(content.header)
        ),
        r"\midrule",
        *(
            _row(_cell(text, left=place < content.words) for place, text in enumerate(row))
            # Rows of several lines stand apart.
            + (r" \addlinespace" if any("\n" in text for text in row) else "")
            for row in content.rows
        ),
    ]
    under = [
        *(rf"\textbf{{{escape(warning)}}}" for warning in content.warnings),
        *(_block(block) for block in (*content.reading, *content.notes)),
        *(f"{escape(name)}: {_code(recipe)}" for name, recipe in content.signatures),
        *([f"Runs: {', '.join(map(_code, content.runs))}."] if content.runs else []),
    ]
    return "\n".join(
        (
            r"% \usepackage{booktabs,graphicx}; written from a CSV, so edit nothing here",
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{escape(content.title)}}}",
            rf"\label{{tab:{label}}}",
            # Never wider than the text, never blown up to it.
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
            r"\toprule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\par\medskip",
            r"\begin{minipage}{\linewidth}\scriptsize\raggedright",
            "\n\n".join(under),
            r"\end{minipage}",
            r"\end{table}",
            "",
        )
    )


def escape(text: str) -> str:
    r"""Return `text` so that LaTeX prints it as it is, on one line.

    Example:
        >>> print(escape("50% of a_b: -1.20 [-2.00, 0.40]"))
        50\% of a\_b: $-$1.20 {[}$-$2.00, 0.40{]}
    """
    parts = NEGATIVE.split(plain(text))
    return "$-$".join("".join(SPECIAL.get(letter, letter) for letter in part) for part in parts)


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(text: str, *, left: bool, place: str = "t") -> str:
    """A cell of one line, or a small table of several, level with the others at top or bottom."""
    first, *others = (escape(line) for line in text.split("\n"))
    if not others:
        return first
    stack = r" \\ ".join((first, *others))
    return rf"\begin{{tabular}}[{place}]{{@{{}}{'l' if left else 'r'}@{{}}}}{stack}\end{{tabular}}"


def _block(block: Block) -> str:
    if isinstance(block, str):
        return escape(block)
    points = (rf"\item {escape(point)}" for point in block)
    return "\n".join((r"\begin{itemize}\setlength{\itemsep}{0pt}", *points, r"\end{itemize}"))


def _code(text: str) -> str:
    # A recipe is one long word: let it break after its separators.
    return r"\texttt{" + re.sub(r"(\\textbar\{\}|:|\\_)", r"\1\\allowbreak{}", escape(text)) + "}"
