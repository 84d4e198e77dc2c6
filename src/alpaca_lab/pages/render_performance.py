"""The finetuning benchmark's page and figure, from `performance.table`. Only here it is rounded."""

from collections.abc import Mapping
from textwrap import shorten, wrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from .drawing import GREY, LINES, canvas, colour, png, style, text
from .markdown import escape, grid
from .page import BLANK, count, listed, number

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
COMMAND = "python benchmarks/finetune.py --data ROWS.jsonl"
WEIGHTS = {
    "random": ("random at the true shapes: speed and memory are real, text is not",
               "--random TOKENIZERS --delete"),
    "given": ("as in the checkpoints that were given", "--checkpoints FOLDER"),
}  # fmt: skip


def page(
    frame: pd.DataFrame,
    finetunes: pd.DataFrame,
    *,
    facts: Mapping[str, Any],
    titles: Mapping[str, str],
) -> str:
    """Return the table as a Markdown page: what was run, what came out, how to run it again.

    Args:
        frame: `performance.table`.
        finetunes: `performance.finetunes`.
        facts: `performance.conditions`, and "commits" of the Alpaca Lab arm.
        titles: Printed name by model key, in table order.
    """
    command = f"{COMMAND} --cap {facts['cap_gib']:g} {WEIGHTS[facts['weights']][1]}"
    parts = [
        f"# {TITLE}",
        _run(frame, facts, titles),
        "![Tokens per second of each arm and the arithmetic limits](finetune.png)",
        grid(HEADER, (_cells(row, titles) for row in frame.to_dict("records")), words=2).rstrip(),
        escape(_reading(facts) + _early(facts, titles)),
        "## What our own runs left",
        _left(finetunes, titles),
        escape(FINETUNES),
        f"This page, its figure and `finetune.csv` are written by one command:\n\n    {command}",
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
        frame: `performance.table`.
        finetunes: `performance.finetunes`.
        facts: As for `page`.
        titles: As for `page`.
    """
    peers = [arm for arm in dict.fromkeys(frame["arm"]) if arm != OURS]
    header = ("Model", "tokens/s", "of its limit", "GiB on the card", *(f"x {p}" for p in peers))
    rows = []
    for key, title in titles.items():
        arms = frame[frame["model"] == key].set_index("arm")
        ours = arms.loc[OURS]
        share = ours["share_of_limit"]
        rows.append(
            (
                title,
                _whole(ours["tok_s"]),
                BLANK if pd.isna(share) else f"{share:.0%}",
                number(finetunes.loc[finetunes["model"] == key, "device_gib"].max(), decimals=1),
                *(number(arms.loc[peer, "ratio"], decimals=1) for peer in peers),
            )
        )
    reading = escape(SUMMARY + _early(facts, titles))
    return f"{_run(frame, facts, titles)}\n\n{grid(header, rows)}\n{reading}\n"


def figure(frame: pd.DataFrame, *, titles: Mapping[str, str]) -> bytes:
    """Draw tokens per second of every arm, a panel per model, with the two arithmetic limits.

    Args:
        frame: `performance.table`.
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
    places = range(len(rows))
    colours = [colour(1 if arm == OURS else 0) for arm in rows["arm"]]
    plot.barh(places, rows["tok_s"].fillna(0.0), height=0.7, color=colours, zorder=2)
    for line, (name, label) in zip(LINES[1:], LIMITS.items(), strict=False):
        bound = rows[f"limit_{name}"].iloc[0]
        if pd.notna(bound):
            plot.axvline(bound, color=GREY, linestyle=line, zorder=1)
            plot.annotate(
                label, (bound, 1.02), xycoords=plot.get_xaxis_transform(), ha="right", fontsize=9,
                color=GREY,
            )  # fmt: skip
    widest = rows[["tok_s", "limit_4n"]].max().max()
    plot.set_xlim(0, 1.05 * widest if widest > 0 else 1)
    for place, row in zip(places, rows.to_dict("records"), strict=True):
        white = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        where = 0.0 if pd.isna(row["tok_s"]) else row["tok_s"]
        plot.annotate(
            text(_said(row)), (where, place), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=9, bbox=white, zorder=3,
        )  # fmt: skip
    plot.set_yticks(places, [text(arm) for arm in rows["arm"]])
    plot.set_ylim(len(rows) - 0.45, -0.55)
    plot.xaxis.set_major_formatter("{x:,.0f}")
    plot.set_title(text(title), loc="left")
    plot.grid(visible=False, axis="y")


def _said(row: Mapping[str, Any]) -> str:
    """What stands beside a bar: speed and memory, or the beginning of why there is none."""
    if pd.isna(row["tok_s"]):
        return shorten(row["note"], 64, placeholder=" ...")
    peak = "" if pd.isna(row["peak_gib"]) else f" ({number(row['peak_gib'], decimals=1)} GiB)"
    return f"{count(round(row['tok_s']))}{peak}"


def _cells(row: Mapping[str, Any], titles: Mapping[str, str]) -> tuple[str, ...]:
    shares = (row[name] for name in ("share_of_limit", "share_4n", "share_6n"))
    return (
        titles[row["model"]],
        row["arm"],
        _whole(row["tok_s"]),
        number(row["ratio"]),
        BLANK if pd.isna(row["goal"]) else f"{row['goal']:g}",
        BLANK if pd.isna(row["met"]) else row["met"],
        number(row["peak_gib"], decimals=1),
        _whole(row["limit_tok_s"]),
        *(BLANK if pd.isna(share) else f"{share:.1%}" for share in shares),
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
                BLANK if pd.isna(run["recomputed_share"]) else f"{run['recomputed_share']:.0%}",
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


def _whole(value: float) -> str:
    return BLANK if pd.isna(value) else count(round(value))


def _run(frame: pd.DataFrame, facts: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Say what was run: models, card, cap, weights, rows, versions."""
    gpu = f"one {facts['gpu']}" if facts["gpu"] else "a GPU whose name is not known"
    data = facts["data"]
    rates = {
        titles[key]: rows["matrix_tflops"].iloc[0]
        for key, rows in frame.groupby("model", sort=False)
    }
    rate = listed(
        f"{number(value, decimals=0)} TFLOP/s beside {key}" for key, value in rates.items()
    )
    packages = ", ".join(
        f"{name} {version or '(not installed)'}" for name, version in facts["packages"].items()
    )
    sentences = (
        f"QLoRA of {listed(titles.values())}, rank 16 on all linear layers, on {gpu}, each process "
        f"capped at {facts['cap_gib']:g} GiB.",
        f"Weights: {WEIGHTS[facts['weights']][0]}.",
        f"Rows: {data['file']}, {count(data['rows'])} of them, sha256 {data['sha256'][:12]}.",
        f"Matrix product, bf16, 8192 x 8192 x 8192: {rate}.",
        f"Versions: {packages}; Alpaca Lab at commit {_commits(facts)}.",
    )
    return escape(" ".join(sentences))


def _commits(facts: Mapping[str, Any]) -> str:
    """Return the commits in short, each with the mark of a tree that differed from it."""
    parts = (commit.partition("+") for commit in facts["commits"])
    names = [f"{name[:12]}{plus}{mark}" for name, plus, mark in parts]
    return listed(names) if names else "unknown"


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
