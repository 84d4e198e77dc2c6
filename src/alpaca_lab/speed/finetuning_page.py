"""The finetuning benchmark's page and figure, from `finetuning_speed.table`; rounded here alone."""

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ..pages.drawing import GREY, LINES, canvas, png, style
from ..pages.markdown import escape, grid
from ..pages.page import BLANK, count, listed, number, percent, whole
from . import circumstances
from .bars import bars

TITLE = "Finetuning speed beside what a user would run instead"
HEADER = (
    "Model", "arm", "tokens/s", "ratio", "goal", "met", "peak GiB", "limit, tokens/s", "of limit",
    "of 4N", "of 6N", "note",
)  # fmt: skip
LEFT = (
    "Model", "layout", "tokens per pass", "blocks run twice", "GiB predicted", "GiB measured",
    "predicted / measured", "loss, first step", "loss, last step", "layers", "parameters",
    "reloads in PEFT", "s to load", "s, first step",
)  # fmt: skip
FINETUNES = (
    "One row per run. GiB measured is what the card had taken at the height of the run, the "
    "driver's part included; predicted, what preflight says before. Loss is in nats per response "
    "token, on real rows, of random weights. Layers and parameters are those of the adapter, "
    "counted in the model and again after it was reloaded by Transformers and PEFT alone, in "
    "another process. The first step compiles, or loads what was compiled."
)
SUMMARY = (
    'Under "x" an arm: how many times its tokens per second. Batches are rows (or packed tokens) '
    "per pass x passes per step. A limit is the matrix rate over 4N FLOP per token where blocks "
    "keep their activations, up to 6N where they run twice, with N the weights in the blocks. "
    "Medians over runs; padding is not counted."
)
LAST_SLOW = 12
"""The last step of Unsloth's packed arms for Phi-2 that was seen to take longer than later ones."""
OURS = "alpaca lab"
LIMITS = {"4n": "4N: keeps", "6n": "6N: recomputes"}


def page(
    frame: pd.DataFrame,
    finetunes: pd.DataFrame,
    *,
    facts: Mapping[str, Any],
    titles: Mapping[str, str],
) -> str:
    """Return the table as a Markdown page: what was run, what came out, how to run it again.

    Args:
        frame: `finetuning_speed.table`.
        finetunes: `finetuning_speed.finetunes`.
        facts: `benchmark_lines.conditions`, and "commits" of the Alpaca Lab arm.
        titles: Printed name by model key, in table order.
    """
    parts = [
        f"# {TITLE}",
        _run(frame, facts, titles),
        "![Tokens per second of each arm and the arithmetic limits](finetune.png)",
        grid(HEADER, (_cells(row, titles) for row in frame.to_dict("records")), words=2).rstrip(),
        escape(_reading(facts) + _early(facts, titles)),
        "## What our own runs left",
        _left(finetunes, titles),
        escape(FINETUNES),
        "This page, its figure and `finetune.csv` are written by one command:\n\n    "
        + circumstances.command("benchmarks/finetune.py", facts),
    ]
    return "\n\n".join(parts) + "\n"


def summary(
    frame: pd.DataFrame,
    finetunes: pd.DataFrame,
    *,
    facts: Mapping[str, Any],
    titles: Mapping[str, str],
) -> str:
    """Return a row per model, as a README has it: our speed, and how many times each peer's it is.

    Args:
        frame: `finetuning_speed.table`.
        finetunes: `finetuning_speed.finetunes`.
        facts: As for `page`.
        titles: As for `page`.
    """
    peers = [arm for arm in dict.fromkeys(frame["arm"]) if arm != OURS]
    header = ("Model", "tokens/s", "of its limit", "GiB on the card", *(f"x {p}" for p in peers))
    rows = []
    for key, title in titles.items():
        arms = frame[frame["model"] == key].set_index("arm")
        ours = arms.loc[OURS]
        rows.append(
            (
                title,
                whole(ours["tok_s"]),
                percent(ours["share_of_limit"]),
                number(finetunes.loc[finetunes["model"] == key, "device_gib"].max(), decimals=1),
                *(number(arms.loc[peer, "ratio"], decimals=1) for peer in peers),
            )
        )
    reading = escape(SUMMARY + _early(facts, titles))
    return f"{_run(frame, facts, titles)}\n\n{grid(header, rows)}\n{reading}\n"


def figure(frame: pd.DataFrame, *, titles: Mapping[str, str]) -> bytes:
    """Draw tokens per second of every arm, a panel per model, with the two arithmetic limits.

    Args:
        frame: `finetuning_speed.table`.
        titles: Printed name by model key, in drawing order from the top.

    Returns:
        A PNG.
    """
    arms = frame["arm"].nunique()
    with style():
        drawn = canvas(
            9,
            1.2 + (0.9 + 0.3 * arms) * len(titles),
            title="A QLoRA finetune: tokens per second of each arm, and what arithmetic allows",
            caption="Beside a bar: tokens per second (peak GiB). Lines: the matrix rate over 4N "
            "and 6N FLOP per token, of N weights.",
        )
        plots = drawn.subplots(len(titles), 1, squeeze=False)[:, 0]
        for plot, key in zip(plots, titles, strict=True):
            _panel(plot, frame[frame["model"] == key], title=titles[key])
        plots[-1].set_xlabel("tokens per second, padding not counted")
        return png(drawn)


def _panel(plot: Axes, rows: pd.DataFrame, *, title: str) -> None:
    for line, (name, label) in zip(LINES[1:], LIMITS.items(), strict=False):
        bound = rows[f"limit_{name}"].iloc[0]
        if pd.notna(bound):
            plot.axvline(bound, color=GREY, linestyle=line, zorder=1)
            plot.annotate(
                label, (bound, 1.02), xycoords=plot.get_xaxis_transform(), ha="right", fontsize=9,
                color=GREY,
            )  # fmt: skip
    widest = rows[["tok_s", "limit_4n"]].max().max()
    bars(plot, rows, names=list(rows["arm"]), ours=OURS, widest=widest, title=title)


def _cells(row: Mapping[str, Any], titles: Mapping[str, str]) -> tuple[str, ...]:
    shares = (row[name] for name in ("share_of_limit", "share_4n", "share_6n"))
    return (
        titles[row["model"]],
        row["arm"],
        whole(row["tok_s"]),
        number(row["ratio"]),
        BLANK if pd.isna(row["goal"]) else f"{row['goal']:g}",
        BLANK if pd.isna(row["met"]) else row["met"],
        number(row["peak_gib"], decimals=1),
        whole(row["limit_tok_s"]),
        *(percent(share, decimals=1) for share in shares),
        "\n".join(wrap(row["note"], 44)),
    )


def _left(finetunes: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """Return the table of our own runs."""
    rows = []
    for run in finetunes.to_dict("records"):
        predicted, measured = run["predicted_gib"], run["device_gib"]
        unknown = pd.isna(predicted) or pd.isna(measured)
        rows.append(
            (
                titles[run["model"]],
                run["layout"] or BLANK,
                count(run["micro_batch_tokens"]),
                percent(run["recomputed_share"]),
                number(predicted, decimals=1),
                number(measured, decimals=1),
                BLANK if unknown else number(predicted / measured),
                number(run["first_loss"], decimals=3),
                number(run["last_loss"], decimals=3),
                count(run["adapted_layers"]),
                count(run["trainable_parameters"]),
                "yes" if run["reloaded"] else "no",
                number(run["load_s"], decimals=0),
                number(run["first_step_s"], decimals=1),
            )
        )
    return grid(LEFT, rows, words=2).rstrip()


def _run(frame: pd.DataFrame, facts: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Say what was run: models, card, cap, weights, rows, versions."""
    rate = circumstances.rates(frame, titles, column="matrix_tflops", unit="TFLOP/s")
    sentences = (
        f"QLoRA of {listed(titles.values())}, rank 16 on all linear layers, "
        f"{circumstances.card(facts)}.",
        circumstances.weights(facts),
        f"Rows: {circumstances.rows(facts)}.",
        f"Matrix product, bf16, 8192 x 8192 x 8192: {rate}.",
        circumstances.versions(facts),
    )
    return escape(" ".join(sentences))


def _early(facts: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Say so where a peer may still have been compiling in what was timed."""
    if "phi-2" not in titles or facts["warm"] >= LAST_SLOW:
        return ""
    return (
        " Beware: with an empty compile cache, Unsloth packed has slow steps on Phi-2 up to its "
        f"{LAST_SLOW}th, and only {facts['warm']} were not timed: in a long run it is faster than "
        "these figures say."
    )


def _reading(facts: Mapping[str, Any]) -> str:
    """Say how to read the table."""
    return (
        f"Tokens are those of rows, padding not counted; the first {facts['warm']} optimiser steps "
        f"warm up, and a run's figure is over the next {facts['steps']} together; an arm's is the "
        "median over its runs. "
        "Ratio is Alpaca Lab's tokens per second over the arm's, and a goal is met where the ratio "
        "reaches it. "
        "A limit is the rate of the matrix product over the FLOP of a token: 4N where activations "
        "are kept, with N the weights in the blocks, and 6N where every block runs forward again "
        "in the backward pass. "
        "The peers' scripts put the loss on every token of a row, Alpaca Lab on the response's; "
        "all tokens count. "
        "varlen: the same script where Unsloth makes one attention call for all rows of a pass, as "
        "it does by itself on torch 2.13. "
        "Peak GiB is what a process had reserved; compare arms with each other, never with another "
        'day\'s run, and read a "-" with its note.'
    )
