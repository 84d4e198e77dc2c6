"""The report as one HTML file that loads nothing: no script, no font, no picture from elsewhere.

Every text is escaped. Figures are embedded, the style stands in the head, and a content security
policy forbids the browser to fetch or run anything all the same.
"""

import html
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..characters import plain, visible
from .page import Block, Page

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"
STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
nav ul { columns: 16rem; padding-left: 1.2rem; }
section { border-top: 1px solid #8886; margin-top: 2.5rem; }
h2 { font-size: 1.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .45rem; text-align: right; vertical-align: top; white-space: nowrap; }
th { border-bottom: 2px solid #888; vertical-align: bottom; white-space: normal; }
td { border-bottom: 1px solid #8884; }
.word { text-align: left; }
.text td, .text th { text-align: left; white-space: pre-wrap; overflow-wrap: anywhere; }
.text td:first-child { min-width: 10rem; font-weight: bold; }
.warning { border: 3px solid #c00; padding: .6rem; font-weight: bold; }
.small { font-size: 12px; opacity: .85; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; background: white; }
@media print {
  body { max-width: none; margin: 0; font-size: 11px; }
  .wide { overflow: visible; }
  table { font-size: 8px; }
  .text { font-size: 10px; }
  .small { font-size: 9px; }
  th, td { padding: .15rem .3rem; }
  tr, img { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""
LONGEST_TEXT = 600
"""Characters of a text that `examples` shows before it is cut, and said to be."""
LEFT = 'style="text-align: left; vertical-align: top"'
"""Of a cell with text: a notebook shows it without the style above."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the report."""

    name: str
    """Its anchor, from a table's name: "performance/cost" becomes "performance-cost"."""
    title: str
    """Plain text."""
    body: str
    """HTML, made by the functions of this module."""


def document(title: str, sections: Sequence[Section]) -> str:
    """Return the whole file.

    Args:
        title: Plain text for the head and the first heading.
        sections: In reading order; each becomes an entry of the navigation.
    """
    entries = "\n".join(
        f'<li><a href="#{_anchor(part.name)}">{escape(part.title)}</a></li>' for part in sections
    )
    parts = "\n".join(
        f'<section id="{_anchor(part.name)}">\n<h2>{escape(part.title)}</h2>\n{part.body}\n'
        "</section>"
        for part in sections
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<nav>
<ul>
{entries}
</ul>
</nav>
{parts}
</body>
</html>
"""


def page(content: Page) -> str:
    """Return the body of a page, without its title."""
    head = _cells("th", content.header, content.words)
    rows = "\n".join(f"<tr>{_cells('td', row, content.words)}</tr>" for row in content.rows)
    recipes = "".join(
        f"<li>{escape(name)}: <code>{escape(recipe)}</code></li>"
        for name, recipe in content.signatures
    )
    runs = ", ".join(f"<code>{escape(run)}</code>" for run in content.runs)
    parts = (
        *(f'<p class="warning">{escape(warning)}</p>' for warning in content.warnings),
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>",
        *(_block(block) for block in content.reading),
        '<div class="small">',
        *(_block(block) for block in content.notes),
        f"<ul>{recipes}</ul>" if recipes else "",
        f"<p>Runs: {runs}.</p>" if runs else "",
        "</div>",
    )
    return "\n".join(filter(None, parts))


def figure(png: bytes, *, alt: str) -> str:
    """Return a picture that carries its own bytes.

    Args:
        png: The file.
        alt: What it shows, plain text, for those who do not see it.
    """
    data = b64encode(png).decode()
    return f'<p><img src="data:image/png;base64,{data}" alt="{escape(alt)}"></p>'


def examples(
    questions: Iterable[Mapping[str, Any]], answers: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> str:
    """Return questions with their reference and every model's answer, as a table.

    Args:
        questions: id, instruction, input and reference of each.
        answers: By printed name, the line of answers.jsonl by question id.
    """
    rows = []
    for place, question in enumerate(questions, start=1):
        texts = {"Instruction": question["instruction"], "Input": question["input"]}
        rows.append(f'<tr><th colspan="2" {LEFT}>Question {place}</th></tr>')
        rows += [_example(label, _text(text)) for label, text in texts.items() if text]
        rows.append(_example("Reference", _text(question["reference"])))
        rows += [
            _example(label, _answer(by_id.get(question["id"]))) for label, by_id in answers.items()
        ]
    return f'<div class="wide"><table class="text">{"".join(rows)}</table></div>'


def escape(text: str) -> str:
    """Return `text` so that a browser prints it as it is, on one line; safe in an attribute too.

    Example:
        >>> escape('a <b> & "c"')
        'a &lt;b&gt; &amp; &quot;c&quot;'
    """
    return html.escape(plain(text))


def _anchor(name: str) -> str:
    return escape(name.replace("/", "-"))


def _cells(tag: str, texts: Sequence[str], words: int) -> str:
    opened = [f'<{tag} class="word">'] * words + [f"<{tag}>"] * (len(texts) - words)
    shown = ("<br>".join(map(escape, text.split("\n"))) for text in texts)
    return "".join(f"{start}{cell}</{tag}>" for start, cell in zip(opened, shown, strict=True))


def _block(block: Block) -> str:
    if isinstance(block, str):
        return f"<p>{escape(block)}</p>"
    return f"<ul>{''.join(f'<li>{escape(point)}</li>' for point in block)}</ul>"


def _example(label: str, cell: str) -> str:
    return f"<tr><td {LEFT}><b>{_unmathematical(escape(label))}</b></td><td {LEFT}>{cell}</td></tr>"


def _answer(answer: Mapping[str, Any] | None) -> str:
    if answer is None:
        return "<i>not answered yet</i>"
    if answer["status"] == "empty":
        return "<i>empty answer</i>"
    if answer["status"] == "ok":
        return _text(answer["text"])
    return f"<i>{escape(answer['status'])}</i>"


def _text(text: str) -> str:
    shown = _unmathematical(html.escape(visible(text[:LONGEST_TEXT]))).replace("\n", "<br>")
    if len(text) > LONGEST_TEXT:
        shown += f" ... <i>({len(text):,} characters in all)</i>"
    return shown


def _unmathematical(escaped: str) -> str:
    # A notebook typesets what stands between two dollar signs; a tag around them prevents it.
    return escaped.replace("$", "<span>$</span>")
