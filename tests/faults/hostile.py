"""What hostile or damaged input looks like: strategies for text, JSON, and files once whole.

Every one is drawn by hypothesis from a seed, so that a failure can be had again.
"""

import gzip
import io
import json
import random
from functools import cache
from typing import Any

import pandas as pd
from hypothesis import strategies as st

NASTY = (
    "", " ", "\n", "\x00", "\x1b[31m", "\x7f", "\x85", "\u00a0", "\u202e", "\u2028", "\ufeff",
    "\ud800", "\udfff", "\U0001f600", "\U0010ffff", "e\u0301", "\ufdfa", "\u0300\u0316" * 40, "NaN",
    "null", "-0", "1e999", "=1+1", "|", "$", "`", "\\", "<b>", "](x)", '"', "'", ",", ";", "../..",
    "no input", "<nooutput>", "### Response:", "${ROOT}", "{input}", "a" * 3000, "a b " * 500,
    "x.\n" * 300,
)  # fmt: skip
"""Bits of text that have broken some program."""
NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400, 0.5, 1e308)
NOT_NUMBERS = (float("nan"), float("inf"), float("-inf"))

letters = st.characters()
"""Every plane, lone surrogates too: JSON can hold them, and no file can."""
texts = st.one_of(
    st.text(letters, max_size=40),
    st.text(st.characters(max_codepoint=0x7F), max_size=40),
    st.lists(st.sampled_from(NASTY), max_size=4).map("".join),
)
valid_texts = texts.filter(lambda text: not any("\ud800" <= sign <= "\udfff" for sign in text))
"""Of every plane, but text that UTF-8 can hold."""
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from((*NUMBERS, *NOT_NUMBERS)),
    st.floats(),
    texts,
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
"""Any JSON value, NaN and infinity among them: Python's parser takes them."""


def records(fields: dict[str, st.SearchStrategy]) -> st.SearchStrategy:
    """Objects that have most of these fields, mostly right: far enough in to reach the checks."""
    right = st.fixed_dictionaries({}, optional=fields)
    wrong = st.dictionaries(st.sampled_from([*fields, "other"]), values, max_size=2)
    return st.one_of(
        st.fixed_dictionaries(fields),
        st.builds(lambda one, two: one | two, st.fixed_dictionaries(fields), wrong),
        right,
        values,
    )


def lines(fields: dict[str, st.SearchStrategy]) -> st.SearchStrategy:
    """Files of such objects, one a line."""
    return st.lists(records(fields), max_size=5).map(
        lambda rows: "".join(json.dumps(row) + "\n" for row in rows).encode()
    )


def mutated(*whole: bytes) -> st.SearchStrategy:
    """Files that once were these: bits flipped, spans lost, doubled, moved or overwritten."""
    return st.builds(_damage, st.sampled_from(whole), st.integers(0, 2**48))


def files(*whole: bytes, fields: dict[str, st.SearchStrategy]) -> st.SearchStrategy:
    """Arbitrary bytes, lines of nearly right objects, and whole files damaged."""
    return st.one_of(st.binary(max_size=200), lines(fields), mutated(*whole))


INSERTS = (
    b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"NaN", b"-Infinity", b"[" * 5000, b"{",
    b'"', b"\n", b"\r", b"1" * 5000, b"\\ud800", b"\\u0000", b"\x1f\x8b", b",", b"null",
    b'"a":' * 2000,
)  # fmt: skip


def _damage(whole: bytes, seed: int) -> bytes:
    draw, data = random.Random(seed), bytearray(whole)
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(data) + 1)
        end = min(len(data), at + draw.choice((1, 2, 8, 64, 4096)))
        match draw.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << draw.randrange(8)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = data[at:end]
            case 3:
                data[at:at] = draw.choice(INSERTS)
            case 4:
                data[at:end] = draw.randbytes(end - at)
            case _:
                del data[at:]
    return bytes(data)


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    """Return rows as a whole file of JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@cache
def alpaca(count: int = 24) -> tuple[dict[str, str], ...]:
    """Return rows that every loader takes."""
    words = [f"word{number}" for number in range(12)]
    rows = []
    for number in range(count):
        said = random.Random(number).choices(words, k=8)
        asked = f"Say {' '.join(said)} in order, and then {number}."
        rows.append({"instruction": asked, "input": "", "output": f"{' '.join(said)}, {number}."})
    return tuple(rows)


@cache
def alpaca_files() -> dict[str, bytes]:
    """Return those rows as every kind of file that is read, by ending."""
    rows = list(alpaca())
    buffer = io.BytesIO()
    pd.DataFrame(rows).to_parquet(buffer)
    whole = {".json": json.dumps(rows).encode(), ".jsonl": as_lines(rows)}
    packed = {f"{ending}.gz": gzip.compress(data, mtime=0) for ending, data in whole.items()}
    return whole | packed | {".parquet": buffer.getvalue()}
