"""What the bases came to: results/small_bases/, a page, its tables and a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from small_bases import BASES

from alpaca_lab.files import write_atomically
from alpaca_lab.pages.drawing import LINES, canvas, colour, png, style
from alpaca_lab.pages.markdown import escape, grid
from alpaca_lab.pages.page import count, number
from alpaca_lab.profiles import MODELS
from alpaca_lab.table_files import to_csv

HEADER = (
    "Base", "after", "parameters, M", "text tokens read, M", "steps", "held-out bits per byte",
    "minutes", "tokens/s", "GiB",
)  # fmt: skip
SMOOTH = 0.9
"""Weight of the past in the curve that is drawn over the losses of the steps."""

Manifest = Mapping[str, Any]


def write(folder: Path, manifests: Sequence[Manifest]) -> None:
    """Write README.md, bases.csv, loss.csv and loss.png.

    Args:
        folder: Made if it is not there.
        manifests: One for each base that is trained, as `small_manifest.manifest_of` returns it.
    """
    write_atomically(folder / "bases.csv", to_csv(table(manifests)))
    write_atomically(folder / "loss.csv", to_csv(losses(manifests)))
    write_atomically(folder / "loss.png", figure(manifests))
    write_atomically(folder / "README.md", page(manifests))


def table(manifests: Sequence[Manifest]) -> pd.DataFrame:
    """Return one row per base."""
    numbers = (
        "parameters", "tokens", "steps", "held_out_nats", "held_out_bits_per_byte", "wall_s",
        "tokens_per_s", "peak_gib", "sha256",
    )  # fmt: skip
    return pd.DataFrame(
        {
            "base": made["request"]["base"],
            "like": BASES[made["request"]["base"]].like,
            **{name: made[name] for name in numbers},
            "gpu": (made["environment"]["gpu"] or {}).get("name"),
            "commit": made["environment"]["commit"],
        }
        for made in manifests
    )


def losses(manifests: Sequence[Manifest]) -> pd.DataFrame:
    """Return the mean loss of every step, in nats per token."""
    return pd.DataFrame(
        {"base": made["request"]["base"], "step": step, "loss": loss}
        for made in manifests
        for step, loss in enumerate(made["losses"], start=1)
    )


def figure(manifests: Sequence[Manifest]) -> bytes:
    """Return the losses drawn, smoothed over about ten steps, over the tokens read."""
    with style():
        drawn = canvas(7.5, 3.6, title="Loss of each base over the text that it reads")
        plot = drawn.subplots()
        for place, made in enumerate(manifests):
            per_step = made["tokens"] / made["steps"] / 1e6
            steps = np.arange(1, made["steps"] + 1) * per_step
            smooth = pd.Series(made["losses"]).ewm(alpha=1 - SMOOTH).mean()
            plot.plot(steps, smooth, LINES[place % len(LINES)], color=colour(place),
                      label=made["title"])  # fmt: skip
        plot.set(xlabel="tokens read, millions", ylabel="loss, nats per token")
        plot.legend(frameon=False)
        return png(drawn)


def page(manifests: Sequence[Manifest]) -> str:
    """Return the page."""
    made = manifests[0]
    recipe, reading = made["request"]["recipe"], made["request"]["reading"]
    more = reading.get("instructions")
    cells = (
        (
            one["title"],
            MODELS[BASES[one["request"]["base"]].like].title,
            number(one["parameters"] / 1e6, decimals=1),
            number(one["tokens"] / 1e6, decimals=1),
            count(one["steps"]),
            number(one["held_out_bits_per_byte"], decimals=3),
            number(one["wall_s"] / 60, decimals=1),
            count(one["tokens_per_s"]),
            number(one["peak_gib"], decimals=1),
        )
        for one in manifests
    )
    passes = number(recipe["passes"], decimals=2)
    times = "once" if recipe["passes"] == 1 else f"{passes} times"
    gpu = (made["environment"]["gpu"] or {}).get("name")
    return "\n\n".join(
        [
            "# The bases of the small study",
            "Three models of the study's architectures, trained from scratch by "
            f"`benchmarks/small_study.py` on {'one ' + escape(gpu) if gpu else 'a CPU'}, in "
            f"minutes. They read the same pieces of English text in the same order, {times} each, "
            "by the tokenizer of the model that each is made after. They know little and are not "
            "meant to be used: they are here so that the whole path can be seen at work on real "
            "rows.",
            grid(HEADER, cells, words=2).rstrip(),
            "![Loss of each base over the tokens that it read](loss.png)",
            "\n".join(f"- {line}" for line in _notes(recipe, reading, more, made)),
        ]
    ) + "\n"  # fmt: skip


def _notes(recipe: Manifest, reading: Manifest, more: Manifest | None, made: Manifest) -> list[str]:
    versions = made["environment"]["packages"]
    lines = [
        "Bits per byte: the loss on one piece of text in two hundred, none of which was trained "
        "on, per byte of text rather than per token, so that tokenizers do not matter.",
        f"Recipe: blocks of {recipe['length']} tokens, {recipe['batch']} to a step; Muon at "
        f"{recipe['muon_lr']:g} inside the blocks and AdamW at {recipe['adam_lr']:g} elsewhere, "
        f"falling to nothing over the last {recipe['falling']:.0%}; seed {recipe['seed']}.",
        f"Text: corpus.jsonl of `benchmarks/small_corpus.py`, sha256 "
        f"{reading['corpus_sha256'][:12]}, which has no paragraph that shares thirteen words with "
        "a row of the study.",
        f"torch {versions['torch']}, transformers {versions['transformers']}; weights of other "
        "cards or versions differ in their last digits. `bases.csv` has the sha256 of each.",
    ]
    if more:
        lines.insert(
            3,
            f"Instructions: {count(more['kept'])} rows like the study's, {more['copies']} times a "
            f"pass, in another template; {count(more['left_out'])} of {count(more['rows'])} were "
            "left out, which ask what a row of the study asks, in the same words or nearly.",
        )
    return lines
