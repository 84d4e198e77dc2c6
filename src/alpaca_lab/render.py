"""From a table's data frame to the page that people read: grid, reading, reasons, provenance."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from .estimates import PRIMARY
from .markdown import BLANK, escape, grid, interval, number, p_value
from .store import CONTROL

LABELS = {
    "corpus_bleu": "BLEU",
    "rougeL": "ROUGE-L",
    "bertscore_f1": "BERTScore F1",
    "human": "Human",
    "length_ratio": "length ratio",
    "finish_rate": "ended by EOS",
    "empty_rate": "empty",
}
AXIS_LABELS = {"temperature": "temperature", "num_beams": "beams", "top_k": "top-k"}
SCORES = ("corpus_bleu", "rougeL", "bertscore_f1")
ALPHA = 0.05
TEST = (
    "Differences are paired by question, the repeats of a question averaged; their intervals cover "
    "one comparison each. p: sign-flip test, corrected for the whole family."
)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a table's footer says beside the run ids that its rows carry."""

    titles: dict[str, str]
    """Printed name by model key."""
    signatures: dict[str, str]
    """Recipe by metric."""
    encoder: dict[str, Any]
    """The encoder behind BERTScore: name, layer, sha256, rescaled."""
    comparisons: int
    """Size of the family that Holm's correction covers."""


def main(frame: pd.DataFrame, provenance: Provenance) -> str:
    """Return the main table: finetuned, untuned and the empty answer."""
    header = (
        "Model", "BLEU", "ROUGE-L", "BERTScore F1", "Human",
        "gain over untuned, ROUGE-L", "n", "length ratio",
    )  # fmt: skip
    rows = []
    for (model, value), entries in _rows(frame):
        name = value if model == CONTROL else f"{_title(model, provenance)}, {value}"
        human, primary = entries["human"], entries[PRIMARY]
        rows.append(
            (
                name,
                *(_score(entries[metric]) for metric in SCORES),
                human["note"] if pd.isna(human["mean"]) else _score(human),
                _delta(primary),
                number(primary["n"], decimals=0),
                number(entries["length_ratio"]["mean"]),
            )
        )
    tuned = frame[(frame["metric"] == PRIMARY) & frame["delta"].notna()]
    clear = tuned[(tuned["delta_low"] > 0) | (tuned["delta_high"] < 0)]
    gains = ", ".join(
        f"{_delta(row)} ({_title(row['model'], provenance)})" for _, row in tuned.iterrows()
    )
    reading = (
        f"Finetuning moved ROUGE-L by {gains}: the interval excludes 0 for {len(clear)} of "
        f"{len(tuned)} models. One finetune per model: a claim is about that checkpoint."
    )
    return _page(
        "Finetuned and untuned models, decoded greedily",
        grid(header, rows),
        reading if len(tuned) else "No gain can be computed: no question is scored for both.",
        # The reasons below a table are for what it shows.
        frame[~frame["metric"].isin(("finish_rate", "empty_rate"))],
        provenance,
    )


def axis(frame: pd.DataFrame, provenance: Provenance) -> str:
    """Return the table of one axis of the sweep, and the sentence that reads it."""
    name = frame["axis"].iloc[0]
    header = (
        "Model", AXIS_LABELS[name], "BLEU", "ROUGE-L", "BERTScore F1",
        "ROUGE-L minus greedy", "p (Holm)", "n", "repeats",
        "length ratio", "ended by EOS, %", "empty, %",
    )  # fmt: skip
    rows = []
    for (model, value), entries in _rows(frame):
        primary = entries[PRIMARY]
        rows.append(
            (
                _title(model, provenance),
                value,
                *(_score(entries[metric]) for metric in SCORES),
                _delta(primary),
                p_value(primary["p_holm"]),
                number(primary["n"], decimals=0),
                number(primary["repeats"], decimals=0),
                number(entries["length_ratio"]["mean"]),
                number(100 * entries["finish_rate"]["mean"]),
                number(100 * entries["empty_rate"]["mean"]),
            )
        )
    return _page(
        f"{AXIS_LABELS[name].capitalize()}: each value beside greedy of the same model",
        grid(header, rows),
        f"{verdict(frame, provenance)}\n\n{TEST}",
        frame,
        provenance,
    )


def verdict(frame: pd.DataFrame, provenance: Provenance) -> str:
    """Return what an axis table says in plain words, computed from its numbers.

    It never says "no effect": a difference that is not shown is not shown to be absent. So the
    size of a move that the table would have shown stands beside it.
    """
    tested = frame[(frame["metric"] == PRIMARY) & frame["delta"].notna()]
    if tested.empty:
        return "Inconclusive: no question is scored both under greedy and under another value."
    label = AXIS_LABELS[frame["axis"].iloc[0]]
    largest = tested.loc[tested["delta"].abs().idxmax()]
    move = (
        f"The largest move from greedy is {_delta(largest)} ROUGE-L points, "
        f"{_title(largest['model'], provenance)} at {label} {largest['value']}; "
    )
    power = (
        f" Before correction, one comparison of this table finds a move of "
        f"{number(tested['mde'].max())} points in 4 of 5 cases."
    )
    surviving = tested[tested["p_holm"] < ALPHA]
    family = f"Holm's correction over the study's {provenance.comparisons} comparisons"
    if surviving.empty:
        return move + f"inconclusive: no difference from greedy survives {family}.{power}"
    names = "; ".join(
        f"{_title(row['model'], provenance)} at {row['value']}" for _, row in surviving.iterrows()
    )
    return (
        move + f"{len(surviving)} of {len(tested)} differences survive {family} "
        f"(p < {ALPHA:g}): {names}.{power}"
    )


def training(frame: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """Return the table of what was trained and how the loss fell."""
    header = (
        "Model", "adapted layers", "trainable parameters", "train rows", "steps",
        "first train loss", "last train loss", "best validation loss",
    )  # fmt: skip
    rows = [
        (
            escape(titles[row["model"]]),
            *(
                BLANK if pd.isna(row[name]) else f"{int(row[name]):,}"
                for name in ("adapted_layers", "trainable_parameters", "train_rows", "steps")
            ),
            *(
                number(row[name])
                for name in ("first_train_loss", "last_train_loss", "best_validation_loss")
            ),
        )
        for _, row in frame.iterrows()
    ]
    note = "Loss: mean negative log likelihood, nats per response token."
    return _plain(
        "What was trained", grid(header, rows), frame, note, "not recorded by the finetune"
    )


def training_cost(frame: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """Return the table of seconds and memory of each finetune."""
    rows = [
        (escape(titles[row["model"]]), number(row["wall_s"]), number(row["peak_gib"]))
        for _, row in frame.iterrows()
    ]
    table = grid(("Model", "wall seconds", "peak GiB"), rows)
    return _plain("What each finetune took", table, frame, "", "peak GiB is measured on a GPU only")


def cost(frame: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """Return the table of what each cell took to decode."""
    header = (
        "Model", "cell", "answers", "new tokens", "wall seconds", "tokens per second", "peak GiB",
    )  # fmt: skip
    rows = [
        (
            escape(titles[row["model"]]),
            row["cell"],
            f"{row['answers']:,}",
            BLANK if pd.isna(row["new_tokens"]) else f"{int(row['new_tokens']):,}",
            number(row["wall_s"]),
            number(row["tokens_per_s"]),
            number(row["peak_gib"]),
        )
        for _, row in frame.iterrows()
    ]
    note = (
        "Cells share batches: the seconds of a cell are its share, by new tokens, of the seconds "
        "of the processes that decoded it."
    )
    reason = "not measured (peak GiB is measured on a GPU only)"
    return _plain("What decoding took", grid(header, rows), frame, note, reason)


def _plain(title: str, table: str, frame: pd.DataFrame, note: str, reason: str) -> str:
    blanks = f'"{BLANK}": {reason}.' if frame.isna().any(axis=None) else ""
    return "\n\n".join(filter(None, (f"**{title}**", table.rstrip(), note, blanks))) + "\n"


def _page(title: str, table: str, reading: str, frame: pd.DataFrame, provenance: Provenance) -> str:
    encoder = provenance.encoder
    signatures = "\n".join(f"- {LABELS[name]}: `{provenance.signatures[name]}`" for name in SCORES)
    runs = ", ".join(f"`{run}`" for run in dict.fromkeys(frame["run"]))
    parts = (
        f"**{title}**",
        table.rstrip(),
        reading,
        _missing(frame, provenance),
        "Scores are 0-100, with 95% intervals over questions in brackets (near-duplicate questions "
        "count once): t intervals of means, bootstrap for corpus BLEU. n: questions with a "
        "ROUGE-L score. Length ratio: words of the answers / words of the references.",
        signatures,
        f"BERTScore encoder: {escape(encoder['name'])}, layer {encoder['layer'] or 'unknown'}, "
        f"{'rescaled' if encoder['rescaled'] else 'not rescaled'}. Runs: {runs}.",
    )
    return "\n\n".join(filter(None, parts)) + "\n"


def _missing(frame: pd.DataFrame, provenance: Provenance) -> str:
    """One line per reason for which something is blank or left out, with the rows it concerns."""
    noted = frame[(frame["note"] != "") & (frame["metric"] != "human")]
    concerned: dict[tuple[str, str], list[str]] = {}
    for (model, value, note), rows in noted.groupby(["model", "value", "note"], sort=False):
        name = value if model == CONTROL else f"{_title(model, provenance)} {value}"
        metrics = ", ".join(LABELS[metric] for metric in rows["metric"])
        concerned.setdefault((metrics, note), []).append(name)
    everything = len(frame.drop_duplicates(["model", "value"]))
    return "\n".join(
        f"- {metrics}: {note}: {'every row' if len(names) == everything else '; '.join(names)}."
        for (metrics, note), names in concerned.items()
    )


def _rows(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, str], dict[str, pd.Series]]]:
    """Yield ((model, value), {metric: entry}) in the order of the frame."""
    for labels, rows in frame.groupby(["model", "value"], sort=False):
        yield labels, {row["metric"]: row for _, row in rows.iterrows()}


def _title(model: str, provenance: Provenance) -> str:
    return escape(provenance.titles[model])


def _score(entry: pd.Series) -> str:
    return interval(entry["mean"], entry["ci_low"], entry["ci_high"])


def _delta(entry: pd.Series) -> str:
    return interval(entry["delta"], entry["delta_low"], entry["delta_high"], sign=True)
