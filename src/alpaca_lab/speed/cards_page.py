"""The page on other cards, from `cards.table` and `cards.reached`: as small as a README has it."""

from collections.abc import Iterator, Mapping

import pandas as pd

from ..pages.markdown import escape, grid
from ..pages.page import listed, number

HEADER = (
    "Card", "basis", "GiB there", "GiB planned", "finetune, min", "decode, min", "whole, min",
)  # fmt: skip
OTHERS = (
    "No other card was timed, and a card may reach more or less: take a predicted time to within a "
    "factor of 1.5 to 2. Others measured products in float16 at 74% of the stated rate on an A100 "
    "and at all of it on an RTX 3090 Ti and an RTX 4090 (github.com/qhduan/transformers-benchmarks)"
    ", so GeForce cards may be faster; and at 37% on a T4, which its 70 W hold back "
    "(forums.developer.nvidia.com, topic 264462), so an L4, with 72 W, may be slower."
)
ABSENT = (
    "Not in it: passes of other sizes where a card has more or less memory; that unpacking 4-bit "
    "weights is bound by bandwidth and, on a card with little arithmetic for its bandwidth, the "
    "products of decoding by arithmetic; and what scale_out.md leaves out. "
    "benchmarks/finetune.py and benchmarks/generate.py measure your card."
)


def page(
    frame: pd.DataFrame, reached: Mapping[str, tuple[float, float]], *, titles: Mapping[str, str]
) -> str:
    """Return the table as Markdown, and in a few sentences what it rests on.

    Args:
        frame: `cards.table`.
        reached: `cards.reached`.
        titles: Printed name by model key.
    """
    cards = [part for _, part in frame.groupby("card", sort=False)]
    here = cards[0]
    start = number(here["start_s"].sum(skipna=False) / 60, decimals=1)
    about = (
        f"The full study of {listed(titles.values())}, one model after another on one card. "
        "Predicted: finetuning as on the H200 by the dense bfloat16 rates that NVIDIA states of "
        f"both cards, decoding by their memory bandwidths; {start} minutes of starting as they "
        "are. GiB are the most that preflight plans; on the H200 PyTorch reserved up to "
        f"{number(reached['gib'][1], decimals=1)}."
    )
    shares = {
        name: f"{low:.0%} to {high:.0%}" for name, (low, high) in reached.items() if name != "gib"
    }
    measured = (
        f"The H200 reached {shares['matrix']} of its stated matrix rate and {shares['copy']} of "
        "its bandwidth, and each card is taken to reach as much; of the limits that follow, "
        f"its finetunes reached {shares['finetune']}, decoding {shares['decode']}."
    )
    parts = [
        escape(about),
        grid(HEADER, (_cells(part, titles) for part in cards), words=2).rstrip(),
        *map(escape, _refusals(cards)),
        escape(f"{measured} {OTHERS}"),
        escape(ABSENT),
    ]
    return "\n\n".join(parts) + "\n"


def _cells(part: pd.DataFrame, titles: Mapping[str, str]) -> tuple[str, ...]:
    """One card's row: all its models together."""
    stages = ("finetune_s", "decode_s", "total_s")
    return (
        _title(part),
        _basis(part, titles),
        number(part["gib"].iloc[0], decimals=1),
        number(part["planned_gib"].max(), decimals=1),
        *(number(part[name].sum(skipna=False) / 60, decimals=0) for name in stages),
    )


def _title(part: pd.DataFrame) -> str:
    title = part["card"].iloc[0].replace("RTX-", "RTX ")
    capped = set(part["basis"]) & {"measured", "inferred"}
    return f"{title}, capped" if capped else title


def _basis(part: pd.DataFrame, titles: Mapping[str, str]) -> str:
    first = part["basis"].iloc[0]
    inferred = [titles[key] for key in part[part["basis"] == "inferred"]["model"]]
    return f"{first}, {listed(inferred)} inferred" if inferred else first


def _refusals(cards: list[pd.DataFrame]) -> Iterator[str]:
    for part in cards:
        if part["basis"].iloc[0] == "cannot run":
            yield f"Why not: {part['note'].iloc[0]}."
