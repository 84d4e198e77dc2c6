"""How long rows are in tokens, and how much of a batch is padding: in pairs, sorted, or packed."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..config import ModelSpec
from ..data import Dataset
from ..encoding import Tokenizer, encode_prompt, token_ids
from ..models import load_tokenizer
from ..progress import Bar
from ..rows.validation import Example
from ..weights.checkpoints import locate_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH_SIZES = (2, 8, 16)
DRAWS = 20
"""Random orders over which padding is averaged: its mean then moves by about 0.1 points."""


def tokenizer_of(spec: ModelSpec) -> "PreTrainedTokenizerBase":
    """Return a model's tokenizer, from its folder or from the hub, without fetching its weights.

    Raises:
        SettingError: If it cannot be had, or tokenizer.json is missing.
    """
    return load_tokenizer(locate_tokenizer(spec))


def token_lengths(
    tokenizer: Tokenizer, rows: Iterable[Example], *, seen: Callable[[], object] = lambda: None
) -> pd.DataFrame:
    """Return how many tokens each row takes, before any is cut.

    Args:
        tokenizer: A Transformers tokenizer.
        rows: Examples.
        seen: Called once per row, for a progress bar.

    Returns:
        One row each, in their order: prompt (with BOS where the tokenizer has one), response (with
        EOS), total.
    """
    found = []
    for row in rows:
        seen()
        prompt = len(encode_prompt(tokenizer, row.instruction, row.input))
        response = len(token_ids(tokenizer, row.output, prompt=False)) + 1
        found.append((prompt, response, prompt + response))
    return pd.DataFrame(found, columns=["prompt", "response", "total"])


def measure(dataset: Dataset, models: Iterable[ModelSpec]) -> dict[str, pd.DataFrame]:
    """Return `token_lengths` of the training rows under each model's tokenizer.

    Returns:
        A frame by the model's title; models whose tokenizers agree on every row share one.

    Raises:
        SettingError: If a tokenizer cannot be had.
    """
    found: list[tuple[list[str], pd.DataFrame]] = []
    for spec in models:
        tokenizer, rows = tokenizer_of(spec), dataset.train
        with Bar(total=len(rows), desc=f"Tokens of {spec.title}", unit="row") as bar:
            frame = token_lengths(tokenizer, rows, seen=bar.update)
        same = next((titles for titles, other in found if other.equals(frame)), None)
        if same is None:
            found.append(([spec.title], frame))
        else:
            same.append(spec.title)
    return {", ".join(titles): frame for titles, frame in found}


def table(lengths: Mapping[str, pd.DataFrame], *, max_length: int) -> pd.DataFrame:
    """Return what a row takes under each tokenizer: mean, percentiles, and what does not fit.

    Args:
        lengths: `token_lengths` by the tokenizer's name.
        max_length: Tokens from which a row is cut.

    Returns:
        One row per tokenizer and part (prompt, response, total).
    """
    rows = []
    for name, frame in lengths.items():
        for part in frame.columns:
            p50, p95, p99 = frame[part].quantile([0.5, 0.95, 0.99])
            facts = {"mean": frame[part].mean(), "median": p50, "95%": p95, "99%": p99}
            cut = (frame["total"] > max_length).sum() if part == "total" else pd.NA
            most = {"most": frame[part].max(), f"rows above {max_length:,}": cut}
            rows.append({"tokenizer": name, "part": part, **facts, **most})
    return pd.DataFrame(rows).astype({f"rows above {max_length:,}": "Int64"})


def padding(lengths: Sequence[int], *, batch_size: int) -> float:
    """Return which share of the tokens of padded batches is padding, rows taken as they stand.

    Each batch is padded to its longest row; the last one may be smaller.

    Args:
        lengths: Tokens per row, each >= 1, in the order of the batches.
        batch_size: Rows per batch, >= 1.

    Returns:
        A share in [0, 1).

    Example:
        >>> padding([1, 3, 2], batch_size=2)  # 2 of 2 * 3 tokens, and none of 2
        0.25
    """
    sizes = np.asarray(lengths)
    starts = np.arange(0, len(sizes), batch_size)
    rows = np.diff([*starts, len(sizes)])
    return float(1 - sizes.sum() / (np.maximum.reduceat(sizes, starts) * rows).sum())


def random_padding(lengths: Sequence[int], *, batch_size: int, seed: int = 0) -> float:
    """Return the mean of `padding` over `DRAWS` random orders of the rows."""
    random = np.random.default_rng(seed)
    shuffled = (random.permutation(lengths) for _ in range(DRAWS))
    return float(np.mean([padding(order, batch_size=batch_size) for order in shuffled]))


def pack(lengths: Iterable[int], *, max_length: int) -> list[int]:
    """Return the tokens in each bin of `max_length` when rows are packed best-fit-decreasing.

    The longest row first, each into the fullest bin that still has room; rows stay whole, and one
    that is longer than a bin is cut to it.

    Example:
        >>> pack([5, 3, 3, 2, 2], max_length=8)
        [8, 7]
    """
    room: list[int] = []  # of every open bin, ascending
    for length in sorted((min(length, max_length) for length in lengths), reverse=True):
        place = bisect_left(room, length)
        left = room.pop(place) if place < len(room) else max_length
        insort(room, left - length)
    return [max_length - left for left in room]


def waste(lengths: Mapping[str, pd.DataFrame], *, max_length: int) -> pd.DataFrame:
    """Return how much of each way of batching is padding, under each tokenizer.

    Args:
        lengths: `token_lengths` by the tokenizer's name.
        max_length: Tokens at which a row is cut, and the size of a packed bin.

    Returns:
        Columns tokenizer, order ("random", "by length", "packed"), batch_size (blank when packed)
        and padding (% of all tokens).
    """
    found = []
    for name, frame in lengths.items():
        sizes = frame["total"].clip(upper=max_length).to_numpy()
        for size in BATCH_SIZES:
            shuffled = random_padding(sizes, batch_size=size)
            found.append((name, "random", size, 100 * shuffled))
        for size in BATCH_SIZES:
            found.append((name, "by length", size, 100 * padding(np.sort(sizes), batch_size=size)))
        bins = pack(sizes.tolist(), max_length=max_length)
        found.append((name, "packed", None, 100 * (1 - sum(bins) / (len(bins) * max_length))))
    frame = pd.DataFrame(found, columns=["tokenizer", "order", "batch_size", "padding"])
    return frame.astype({"batch_size": "Int64"})
