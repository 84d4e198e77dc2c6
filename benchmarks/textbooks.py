"""Prose out of OpenStax textbooks: modules in CNXML, with their exercises."""

import re
from collections.abc import Iterator
from xml.etree import ElementTree

from prose import LOST, WORD, is_prose, tidy

_SKIPPED = {"metadata", "figure", "table", "media", "code", "iframe", "footnote", "title"}
_REFERENCES = re.compile(r"referenc|further|bibliograph|citation|suggested|works-cited", re.I)
_NESTED = {
    *("msup", "msub", "msubsup", "mfrac", "msqrt", "mroot", "mtable"),
    *("munder", "mover", "munderover"),
}
"""Elements of a formula that one line of text cannot say."""
_UNSAID = {"equation", "figure", "table", "media", "code"}


def cnxml(source: str, path: str) -> list[list[str]]:
    """Return a module's prose as one document, and each exercise with its answer as one more."""
    root = ElementTree.fromstring(source)
    exercises: list[list[str]] = []
    paragraphs = list(_walk(root, exercises))
    title = next((tidy("".join(e.itertext())) for e in root if _name(e) == "title"), "")
    if paragraphs and title and title != "Introduction":
        paragraphs.insert(0, title)
    return [paragraphs, *exercises]


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _walk(element: ElementTree.Element, exercises: list[list[str]]) -> Iterator[str]:
    for child in element:
        name = _name(child)
        if name in _SKIPPED or _REFERENCES.search(child.get("class", "")):
            continue
        if name == "exercise":
            exercises += _exercise(child)
        elif name == "para":
            text = tidy(_inline(child))
            if is_prose(text):
                yield text
            for inner in child:
                if _name(inner) in ("list", "note", "exercise"):
                    yield from _walk(_wrapped(inner), exercises)
        elif name == "list":
            items = [tidy(_inline(item)) for item in child if _name(item) == "item"]
            if items and is_prose(" ".join(items) + "."):
                yield "\n".join(f"- {item}" for item in items if item)
        elif name == "definition":
            parts = [tidy(_inline(part)) for part in child if _name(part) in ("term", "meaning")]
            if len(parts) == 2 and all(parts):
                yield f"{parts[0]}: {parts[1]}"
        else:
            yield from _walk(child, exercises)


def _wrapped(element: ElementTree.Element) -> ElementTree.Element:
    holder = ElementTree.Element("div")
    holder.append(element)
    return holder


def _inline(element: ElementTree.Element) -> str:
    parts = [element.text or ""]
    for child in element:
        name = _name(child)
        if name == "math":
            nested = any(_name(e) in _NESTED for e in child.iter())
            parts.append(LOST if nested else _joined(child))
        elif name == "equation":
            parts.append(LOST)
        elif name == "link" or (name == "code" and child.get("display") != "block"):
            parts.append(_joined(child) or LOST)
        elif name not in _SKIPPED and name not in ("list", "note", "exercise"):
            parts.append(_inline(child))
        parts.append(child.tail or "")
    return "".join(parts)


def _joined(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _exercise(element: ElementTree.Element) -> Iterator[list[str]]:
    parts = {_name(part): part for part in element}
    if "problem" not in parts or "solution" not in parts:
        return
    said = [_inline(e) for part in parts.values() for e in part.iter() if _name(e) == "para"]
    if LOST in "".join(said) or any(_name(e) in _UNSAID for e in element.iter()):
        return  # without its formula or picture it teaches nonsense
    question = " ".join(_paragraphs(parts["problem"]))
    answer = re.sub(r"^Solution:?\s*", "", " ".join(_paragraphs(parts["solution"])))
    choices = [tidy(_inline(e)) for e in parts["problem"].iter() if _name(e) == "item"]
    letter = re.fullmatch(r"\(?([A-Ea-e])[.)]?", answer)
    if letter and choices:
        place = "abcde".index(letter[1].lower())
        answer = choices[place] if place < len(choices) else ""
    if len(question) >= 15 and len(WORD.findall(answer)) >= 1 and len(answer) > 1:
        yield [f"Question: {question}\nAnswer: {answer}"]


def _paragraphs(element: ElementTree.Element) -> Iterator[str]:
    return (tidy(_inline(e)) for e in element.iter() if _name(e) == "para")
