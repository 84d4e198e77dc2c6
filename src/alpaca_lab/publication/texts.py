"""Whether a text of a record stands in a file, or eight words of it in a row.

Fewer words than that also stand in pages that quote nobody. What is shorter than eight words is
kept out by `forms`, which publishes no field that holds a text.
"""

import html
import json
import re
import struct
import zlib
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..files import RecordError, read_lines
from ..original import protocol, whole_text
from ..rows.ngrams import ngrams, normalise, words
from ..store import Record
from .forms import fields

WORDS = 8
"""Words in a row that are a piece of a text."""
_LETTERS = 4
"""So many of them must be words of letters: 0 0 0 0 0 0 0 0 stands in many a table."""
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}


def texts(record: Record) -> Iterator[str]:
    """Yield every text of a full record: questions, references, answers, quoted rows."""
    for row in record.questions():
        yield from (row["instruction"], row["input"], row["reference"])
    for folder in sorted(record.folder.glob("runs/*/")):
        yield from (row["text"] for row in record.run(folder.name).answers())
    for row in read_lines(record.folder / "original" / "texts.jsonl"):
        parts = whole_text.split(row["reference_text"], row["candidate_text"])
        yield from (parts.reference, parts.answer)
        prompt = parts.prompt
        for fixed in re.split(r"\{\w+\}", protocol.TEMPLATE):
            prompt = prompt.replace(fixed.strip(), "\n")
        yield from prompt.split("\n")
    quoted = {"rejected": ["excerpt"], "duplicates": ["text_one", "text_two"],
              "contamination": ["words", "answer"]}  # fmt: skip
    for name, columns in quoted.items():
        path = record.folder / "data" / f"{name}.csv"
        if path.is_file():
            frame = pd.read_csv(path, dtype=str, keep_default_na=False)
            yield from frame[columns].to_numpy().ravel()


def refuse_pieces(paths: Iterable[Path], of: Iterable[str]) -> None:
    """Refuse files in which eight words of a text stand in a row.

    Case, punctuation, white space and the marks of HTML and JSON hide nothing.

    Args:
        paths: Files of any kind that a record has, Parquet and PNG too.
        of: The texts.

    Raises:
        RecordError: If there is one: with the file and the words.
    """
    pieces = array("q")
    for text in of:
        pieces.extend(hash(piece) for piece in _pieces(text))
    known = np.unique(np.frombuffer(pieces, dtype=np.int64))
    for path in paths:
        for text in contents(path):
            found = list(_pieces(text))
            hashes = np.fromiter(map(hash, found), dtype=np.int64, count=len(found))
            # Not np.isin, which would sort all that is known for each string of each file.
            first, last = (np.searchsorted(known, hashes, side) for side in ("left", "right"))
            for place in np.flatnonzero(first < last):
                raise RecordError(
                    f'{path} has "{" ".join(found[place])}", words of a text: nothing is published'
                )


def contents(path: Path) -> Iterator[str]:
    """Yield what a file says: the strings of JSON and Parquet, the texts beside a picture."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
        yield from map(str, sorted(fields(path)))
        for name in frame.columns:
            if frame[name].dtype.kind not in "biuf":
                yield from frame[name].dropna().astype(str).unique()
        yield data.decode(errors="ignore")  # what is said beside the columns
    elif data.startswith(_PNG):
        yield from _beside_the_picture(data)
    elif path.suffix in (".json", ".jsonl"):
        lines = data.splitlines() if path.suffix == ".jsonl" else [data]
        for line in lines:
            yield from _strings(json.loads(line))
    else:
        text = data.decode(errors="replace")
        yield html.unescape(re.sub(r"<[^<>]*>", " ", text)) if path.suffix == ".html" else text


def _pieces(text: str) -> Iterator[tuple[str, ...]]:
    # Without signs, as contamination is counted: they neither hide nor make a piece.
    found = words(normalise(text), signs=False)
    for piece in ngrams(found, WORDS):
        if sum(map(str.isalpha, piece)) >= _LETTERS:
            yield piece


def _strings(values: Any) -> Iterator[str]:
    if isinstance(values, str):
        yield values
    elif isinstance(values, dict):
        yield " ".join(values)
        for value in values.values():
            yield from _strings(value)
    elif isinstance(values, list):
        yield " ".join(value for value in values if isinstance(value, str))
        for value in values:
            yield from _strings(value)


def _beside_the_picture(data: bytes) -> Iterator[str]:
    """Yield the text chunks of a PNG."""
    place = len(_PNG)
    while place < len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + size]
        if kind in _PNG_TEXTS:
            name, _, said = body.partition(b"\0")
            packed = said[1:] if kind == b"zTXt" else b""
            yield (zlib.decompress(packed) if packed else name + b" " + said).decode(
                errors="ignore"
            )
        place += 12 + size
