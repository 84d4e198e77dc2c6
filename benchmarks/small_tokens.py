"""What is read, as a model's tokens: the same pieces, in the same order, for every tokenizer."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from small_bases import Recipe

from alpaca_lab.config import require

PIECE = 4000
"""Characters from which a document is cut at the next end of a paragraph."""
HELD_OUT = 200
"""One piece of so many is kept from training; the loss of a base is taken on these."""
AT_ONCE = 2000
"""Pieces that a tokenizer is given together."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What a base reads, and what its loss is taken on: ids end to end, in blocks."""

    train: np.ndarray
    """(blocks, length + 1), uint16: a block's last id is the next one's first."""
    held_out: np.ndarray
    """The same of the pieces that are kept from training."""
    bytes_per_token: float
    """UTF-8 bytes that a token of the held-out pieces stands for: turns nats into bits per byte."""


def pieces(files: Iterable[Path]) -> list[str]:
    """Return the texts of files, long ones cut at the ends of paragraphs.

    Args:
        files: JSON lines with a "text" each.
    """
    found = []
    for file in files:
        with file.open(encoding="utf-8") as lines:
            found += [piece for line in lines for piece in _cut(json.loads(line)["text"])]
    return found


def _cut(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > PIECE:
        end = text.find("\n\n", start + PIECE)
        if end < 0:
            break
        yield text[start:end]
        start = end + 2
    yield text[start:]


def order(count: int, *, passes: float, seed: int) -> tuple[list[int], list[int]]:
    """Return which of `count` pieces are read, one after another, and which are held out.

    Args:
        count: Pieces of the corpus.
        passes: How often each piece is read; the last pass may be a part of one.
        seed: Of the order, which is another in each pass.

    Example:
        >>> read, held_out = order(400, passes=1.5, seed=0)
        >>> len(read), held_out
        (597, [0, 200])
    """
    held_out = list(range(0, count, HELD_OUT))
    kept = [place for place in range(count) if place % HELD_OUT]
    random, read = Random(seed), []
    wanted = round(passes * len(kept))
    while len(read) < wanted:
        random.shuffle(kept)
        read += kept
    return read[:wanted], held_out


def tokens(
    texts: Sequence[str], tokenizer: Path, *, length: int, passes: float, seed: int
) -> Tokens:
    """Return texts as blocks of ids, each text after the tokenizer's BOS and before its EOS.

    Args:
        texts: What `pieces` gave.
        tokenizer: Folder with tokenizer.json and tokenizer_config.json.
        length: Tokens of a block.
        passes: As for `order`.
        seed: As for `order`.
    """
    read, held_out = order(len(texts), passes=passes, seed=seed)
    needed = sorted({*read, *held_out})
    encoded = dict(zip(needed, _encode([texts[place] for place in needed], tokenizer), strict=True))
    train = _blocks([encoded[place] for place in read], length)
    kept = _blocks([encoded[place] for place in held_out], length)
    require(
        min(len(train), len(kept)) > 0,
        f"too little to read: one text in {HELD_OUT} is held out, and these do not fill a block of "
        f"{length} tokens; give a larger corpus, or more passes",
    )
    size = sum(len(texts[place].encode()) for place in held_out)
    return Tokens(
        train=train,
        held_out=kept,
        bytes_per_token=size / sum(len(encoded[place]) for place in held_out),
    )


def write_tokens(file: Path, reading: Sequence[Path], tokenizer: Path, recipe: Recipe) -> None:
    """Write what a recipe reads in a tokenizer's ids, for `read_tokens`."""
    made = tokens(
        pieces(reading), tokenizer, length=recipe.length, passes=recipe.passes, seed=recipe.seed
    )
    require(
        len(made.train) >= recipe.batch,
        f"too little to read: {len(made.train)} blocks of {recipe.length} tokens, and a step takes "
        f"{recipe.batch}; give a larger corpus, or more passes",
    )
    np.savez(file, train=made.train, held_out=made.held_out, bytes_per_token=made.bytes_per_token)


def read_tokens(file: Path) -> Tokens:
    """Return what `write_tokens` wrote."""
    with np.load(file) as kept:
        return Tokens(
            train=kept["train"],
            held_out=kept["held_out"],
            bytes_per_token=float(kept["bytes_per_token"]),
        )


def _encode(texts: Sequence[str], tokenizer: Path) -> list[np.ndarray]:
    from transformers import AutoTokenizer

    known = AutoTokenizer.from_pretrained(tokenizer)
    eos = np.array([known.eos_token_id], dtype=np.uint16)
    encode = known.backend_tokenizer.encode_batch_fast
    return [
        np.concatenate([np.array(encoding.ids, dtype=np.uint16), eos])
        for start in range(0, len(texts), AT_ONCE)
        for encoding in encode(texts[start : start + AT_ONCE])
    ]


def _blocks(ids: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Return ids end to end as (blocks, length + 1); what fills no block is left out."""
    joined = np.concatenate(ids)
    count = (len(joined) - 1) // length
    starts = np.arange(count)[:, None] * length
    return joined[starts + np.arange(length + 1)]
