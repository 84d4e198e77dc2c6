"""Plain English prose out of textbooks, articles, books and question sets, as paragraphs.

Each cleaner takes the text of one file and the file's path, and returns its documents; a document
is a list of paragraphs. Markup, tables, code, pictures, references and link targets go.
"""

import calendar
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import PurePosixPath

from prose import COMMON, LOST, WORD, is_prose, tidy
from textbooks import cnxml

from alpaca_lab.config import SettingError

Document = list[str]
Cleaner = Callable[[str, str], list[Document]]

# --- Encyclopedia articles, as pandoc writes them plain ---------------------------------------

_END = re.compile(
    r"(see also|references|notes|external links|further reading|bibliography|sources|footnotes"
    r"|citations|gallery|discography|filmography|works cited|notes and references)",
    re.I,
)
_MARKUP = re.compile(
    r"Category:|File:|Image:|\.(?:jpe?g|png|svg|gif)\b|\{\{|\|| ''|={2}|https?:|\\"
)
_GAP = re.compile(
    r"\b(?:about|approximately|around|nearly|over|roughly|of|to|some|and)"
    r" (?:long|wide|high|tall|deep|thick|in (?:length|diameter|height|width|area)|above sea level"
    r"|(?:north|south|east|west)\w* of)\b"
    r"|\b(?:the|an?|and|or|of|with|by|from|than)(?=[.,;])"
)
"""Where a measure stood that was a template: "over long", "walls of."."""
_MONTH = f"(?:{'|'.join(calendar.month_name[1:])})"
_DASH = re.compile(rf"(?<=[12]\d{{3}})(?=(?:[1-3]?\d )?{_MONTH} )")
"""Where the dash between two days was a template: "7 November 18674 July 1934"."""
_CAPS = re.compile(r"[^\W\d_a-z](?:[^\W\d_]|['.-])*[^\W\d_]")


def article(source: str, path: str) -> list[Document]:
    """Return an article's title and the paragraphs before its references, lists left out."""
    title = PurePosixPath(path).stem.replace("_", " ")
    paragraphs: list[str] = []
    for block in re.split(r"\n{2,}", source):
        if _END.fullmatch(block.strip()):
            break
        if block.startswith(("    ", "-   ", "+", "  -", "|", ">")) or _MARKUP.search(block):
            continue
        text = re.sub(r"\[[\w ]{1,9}\]", "", block)
        text = re.sub(r"(?<!\w)_([^_]+)_(?!\w)", r"\1", text)
        text = _DASH.sub(" - ", text)
        if not paragraphs:
            text = _small_letters(text, title)
        text = tidy(_GAP.sub(LOST, text))
        if is_prose(text, least=80) and not text.endswith(":"):
            paragraphs.append(text)
    return [[title, *paragraphs]] if paragraphs else []


def _small_letters(text: str, title: str) -> str:
    """Give a first paragraph's capitals, which were bold, the letters of the title."""
    spelled = {word.upper(): word for word in COMMON if len(word) > 1}
    for word in re.findall(r"[^\W\d_](?:[^\W\d_]|['.-])*", title):
        spelled[word.upper()] = word

    def small(match: re.Match[str]) -> str:
        word = match[0]
        if not word.isupper():
            return word
        beside = text[match.end() + 1 : match.end() + 4]
        name = len(word) > 4 or (beside.isupper() and re.search("[AEIOUY]", word))
        return spelled.get(word, word.capitalize() if name else word)

    return _CAPS.sub(small, text)


# --- Markdown ---------------------------------------------------------------------------------

_BOILERPLATE = re.compile(r"gutenberg|transcriber'?s? note|public domain", re.I)


def markdown(source: str, path: str, *, lists: bool) -> list[Document]:
    """Return a Markdown file's paragraphs, and its lists, with the title on top, where asked."""
    front, body = re.match(r"(?s)(?:---\n(.*?)\n---\n)?(.*)", source.replace("\r\n", "\n")).groups()
    body = re.sub(r"(?ms)^```.*?^```[^\n]*$|<!--.*?-->", "", body)
    title = re.search(r'(?m)^title: *"?(.*?)"? *$', front or "")
    paragraphs = [title[1]] if title else []
    for block in re.split(r"\n{2,}", body):
        lines = [line for line in block.split("\n") if line.strip()]
        if not lines or lines[0].lstrip().startswith(("#", "|", "![", "    ", "--", "***", "* *")):
            continue
        text = [tidy(_unmarked(line)) for line in lines]
        if lists and re.match(r"\s*(?:[-*+]|\d+\.) ", lines[0]):
            paragraphs.append("\n".join(line for line in text if line))
        elif is_prose(joined := tidy(" ".join(text)), least=2) and not _BOILERPLATE.search(joined):
            paragraphs.append(joined)
    return [paragraphs] if paragraphs else []


def _unmarked(line: str) -> str:
    line = re.sub(r"!\[[^]]*\]\([^)]*\)", "", line)
    line = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line)
    line = re.sub(r"<[^>]+>|\[\^?\d+\]", "", line)
    line = re.sub(r"(?<![\w*])(\*{1,3}|_{1,3})(?=\S)(.+?)(?<=\S)\1(?![\w*])", r"\2", line)
    return re.sub(r"^\s*\*\s", "- ", line).replace("`", "").lstrip("> ")


# --- Questions with their answers -------------------------------------------------------------


def pairs(source: str, path: str, *, question: str, answer: str) -> list[Document]:
    """Return each line's question and answer as a document of one paragraph."""
    documents = []
    for line in filter(str.strip, source.split("\n")):
        row = json.loads(line)
        asked, said = (_lines(row[name]) for name in (question, answer))
        if len(asked) >= 20 and len(WORD.findall(said)) >= 1 and len(said) > 1:
            documents.append([f"Question: {asked}\nAnswer: {said}"])
    return documents


def _lines(text: str) -> str:
    text = re.sub(r"<<[^<>]*>>|<\|endoftext\|>", "", text)
    text = re.sub(r"(?m)^#### (.*)", r"The answer is \1.", text)
    text = re.sub(r"^\s*(?:Question|Q):|\n\s*(?:Answer|A):\s*$", "", text)
    return "\n".join(line for line in map(tidy, text.split("\n")) if line)


CLEANERS: dict[str, Cleaner] = {
    "cnxml": cnxml,
    "article": article,
    "book": partial(markdown, lists=False),
    "recipe": partial(markdown, lists=True),
    "prompts": partial(pairs, question="prompt", answer="completion"),
    "questions": partial(pairs, question="question", answer="answer"),
}
"""By kind, as a recipe names it."""


def cleaner_of(kind: str) -> Cleaner:
    """Return the cleaner of a kind of file.

    Raises:
        SettingError: If there is none.
    """
    if kind not in CLEANERS:
        raise SettingError(f"no cleaner for kind {kind!r}: choose from {', '.join(CLEANERS)}")
    return CLEANERS[kind]
