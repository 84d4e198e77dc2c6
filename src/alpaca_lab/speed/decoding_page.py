"""The decoding benchmark's pages and figure, from the tables of `decoding_speed`.

Only here they are rounded.
"""

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ..pages.drawing import canvas, png, style
from ..pages.markdown import escape, grid
from ..pages.page import BLANK, count, listed, number, percent, whole
from . import circumstances
from .bars import bars

ROOM = 1.35
"""Width of a panel over its furthest mark: words stand behind it."""
TITLE = "Decoding speed beside what a user would run instead"
SCRIPT = "benchmarks/generate.py"
OURS = "alpaca lab"
FEW = ", few"
"""Ends the name of a pass over a few questions: what it costs is told, not how fast it is."""
HEADER = (
    "Model", "arm", "pass", "tokens/s", "ratio", "goal", "met", "peak GiB", "busy",
    "rows per step", "ms per step", "limit, tokens/s", "of limit", "of limit, read per row", "note",
)  # fmt: skip
GOALS = ("Model", "what", "measured", "goal", "met")
ONCE = (
    "Model", "s to read NF4", "s to merge", "s to warm up", "slots", "columns", "GiB predicted",
    "GiB measured", "difference",
)  # fmt: skip
READING = (
    "Tokens are those of answers that are kept, over the seconds of a whole pass: prompts, waiting "
    "rows and what is decoded past an answer's end count as time, not as tokens. Ratio is Alpaca "
    "Lab's tokens per second in the pass after \"vs\" over the arm's, and a goal is met where the "
    "ratio reaches it. A peer's batch is as many rows as fit 24 GiB with LLaMA-2-7B's keys and "
    "values. Busy is the share of computed rows that carry a token of a prompt or of an answer. "
    "The limit is that of a step which only moved its bytes, once, at the rate of the copy: all "
    "weights, and every key and value column that some row attends to. Answers to one question "
    "share its prompt's columns; read per row counts a column once for every row that reads it. "
    "Figures of an arm are medians over its runs; peak GiB is the most that a process had "
    'reserved. Compare arms with each other, never with another day\'s run, and read a "-" with '
    "its note."
)
ONCE_READING = (
    "One row per run, paid once per model however many answers follow: 4-bit weights read, "
    "unpacked and merged with the adapter, kernels compiled and graphs captured. A column holds "
    "the keys and values of one token. Difference is predicted over measured, less one."
)
SUMMARY = (
    "Tokens of answers per second, and how many times a peer's ours are: in nine cells of the "
    "sweep together, in one cell alone, and with beams against as many beams. A limit is that of a "
    "step which only moved weights, keys and values, once, at the rate of a copy."
)


def page(
    frame: pd.DataFrame,
    goals: pd.DataFrame,
    once: pd.DataFrame,
    *,
    facts: Mapping[str, Any],
    titles: Mapping[str, str],
) -> str:
    """Return the tables as a Markdown page: what was run, what came out, how to run it again.

    Args:
        frame: `decoding_speed.table`.
        goals: `decoding_goals.goals`.
        once: `decoding_speed.once`.
        facts: `benchmark_lines.conditions`, and "commits" of the Alpaca Lab arm.
        titles: Printed name by model key, in table order.
    """
    parts = [
        f"# {TITLE}",
        _run(frame, facts, titles),
        "![Tokens per second of each arm and the limits of bandwidth](generate.png)",
        grid(HEADER, (_cells(row, titles) for row in frame.to_dict("records")), words=3).rstrip(),
        escape(READING),
        "## Goals",
        grid(GOALS, (_goal(row, titles) for row in goals.to_dict("records")), words=2).rstrip(),
        "## Paid once per model",
        grid(ONCE, (_once(row, titles) for row in once.to_dict("records"))).rstrip(),
        escape(ONCE_READING),
        "This page, its figure, `generate.csv` and `generate_goals.csv` are written by one "
        f"command:\n\n    {circumstances.command(SCRIPT, facts)}{_sizes(facts)}",
    ]
    return "\n\n".join(parts) + "\n"


def summary(frame: pd.DataFrame, *, facts: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Return a row per model, as a README has it: our speed, and how many times each peer's it is.

    Args:
        frame: `decoding_speed.table`.
        facts: As for `page`.
        titles: As for `page`.
    """
    first, *beams = dict.fromkeys(frame.loc[frame["arm"] != OURS, "arm"])
    header = (
        "Model", f"{first}, tokens/s", "ours, tokens/s", "x", "x in one cell", "of its limit",
        *(f"x {peer}" for peer in beams),
    )  # fmt: skip
    rows = []
    for key, title in titles.items():
        rows_of = frame[frame["model"] == key]
        peers = rows_of[rows_of["arm"] != OURS].set_index("arm")
        ours = rows_of[rows_of["arm"] == OURS].set_index("pass")
        nine = ours.loc[peers.loc[first, "pass"]]
        one = ours.loc["one cell", "tok_s"] / peers.loc[first, "tok_s"]
        rows.append(
            (
                title,
                whole(peers.loc[first, "tok_s"]),
                whole(nine["tok_s"]),
                number(peers.loc[first, "ratio"], decimals=1),
                number(one, decimals=1),
                percent(nine["share_of_limit"]),
                *(number(peers.loc[peer, "ratio"], decimals=1) for peer in beams),
            )
        )
    return f"{_run(frame, facts, titles)}\n\n{grid(header, rows)}\n{escape(SUMMARY)}\n"


def figure(frame: pd.DataFrame, *, titles: Mapping[str, str]) -> bytes:
    """Draw tokens per second of every arm, a panel per model, with what bandwidth allows ours.

    Args:
        frame: `decoding_speed.table`.
        titles: Printed name by model key, in drawing order from the top.

    Returns:
        A PNG.
    """
    shown = frame[~frame["pass"].str.endswith(FEW)]
    with style():
        drawn = canvas(
            9,
            1.2 + sum(0.9 + 0.3 * len(shown[shown["model"] == key]) for key in titles),
            title="Decoding: tokens of answers per second of each arm, and what bandwidth allows",
            caption="Mark: a step that only moves weights, keys and values, once. Beside it: "
            "tokens per second, of those at the mark (peak GiB).",
        )
        plots = drawn.subplots(len(titles), 1, squeeze=False)[:, 0]
        for plot, key in zip(plots, titles, strict=True):
            _panel(plot, shown[shown["model"] == key], title=titles[key])
        plots[-1].set_xlabel("tokens of answers per second")
        return png(drawn)


def _panel(plot: Axes, rows: pd.DataFrame, *, title: str) -> None:
    names = [
        f"{row['arm']}, {row['pass']}" if row["arm"] == OURS else row["arm"]
        for row in rows.to_dict("records")
    ]
    widest = rows[["tok_s", "limit_tok_s"]].max().max()
    limits = {"marks": "limit_tok_s", "widest": ROOM * widest}
    bars(plot, rows, names=names, ours=OURS, title=title, **limits)


def _cells(row: Mapping[str, Any], titles: Mapping[str, str]) -> tuple[str, ...]:
    return (
        titles[row["model"]],
        row["arm"],
        row["pass"] if row["arm"] == OURS else f"vs {row['pass']}",
        whole(row["tok_s"]),
        number(row["ratio"]),
        BLANK if pd.isna(row["goal"]) else f"{row['goal']:g}",
        BLANK if pd.isna(row["met"]) else row["met"],
        number(row["peak_gib"], decimals=1),
        percent(row["busy_share"], decimals=1),
        number(row["rows_per_step"], decimals=1),
        number(row["step_ms"]),
        whole(row["limit_tok_s"]),
        percent(row["share_of_limit"], decimals=1),
        percent(row["share_of_limit_read"], decimals=1),
        "\n".join(wrap(row["note"], 44)),
    )


def _goal(row: Mapping[str, Any], titles: Mapping[str, str]) -> tuple[str, ...]:
    return (
        titles[row["model"]],
        row["what"],
        number(row["measured"]),
        BLANK if pd.isna(row["goal"]) else f"{row['bound']} {row['goal']:g}",
        BLANK if pd.isna(row["met"]) else row["met"],
    )


def _once(row: Mapping[str, Any], titles: Mapping[str, str]) -> tuple[str, ...]:
    unknown = pd.isna(row["difference"])
    return (
        titles[row["model"]],
        *(number(row[name], decimals=1) for name in ("load_s", "merge_s", "warm_up_s")),
        *(count(row[name]) for name in ("slots", "columns")),
        *(number(row[name], decimals=1) for name in ("predicted_gib", "peak_gib")),
        BLANK if unknown else f"{row['difference']:+.1%}",
    )


def _run(frame: pd.DataFrame, facts: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Say what was run: models, card, cap, weights, questions, versions."""
    rate = circumstances.rates(frame, titles, column="copy_tb_s", unit="TB/s", decimals=2)
    sentences = (
        f"Decoding of {listed(titles.values())} in bf16, {circumstances.card(facts)}.",
        circumstances.weights(facts),
        f"Questions: the first {facts['questions']} (with beams {facts['beam_questions']}) of "
        f"{circumstances.rows(facts)}; an answer ends where its reference does, after 512 tokens "
        "at the latest.",
        f"Copy of 2 GiB, read and written: {rate}.",
        circumstances.versions(facts),
    )
    return escape(" ".join(sentences))


def _sizes(facts: Mapping[str, Any]) -> str:
    return f" --questions {facts['questions']} --beam-questions {facts['beam_questions']}"
