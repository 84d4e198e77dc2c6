"""The pages of the finetunes: what was trained, whether all were treated alike, what it took."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ..characters import plain
from .page import BLANK, Page, count, listed, number

Titles = Mapping[str, str]
"""Printed name by model key."""

SHARED = {
    "train_rows": "train rows",
    "order": "order of the rows",
    "template": "template",
    "recipe": "recipe",
    "batch_size": "rows per step",
    "steps": "steps",
}
"""What must be the same for every model of a study, by column."""


def training(frame: pd.DataFrame, titles: Titles) -> Page:
    """Return the page of what was trained and how the loss fell."""
    header = (
        "Model", "adapted layers", "trainable parameters", "train rows", "steps",
        "first train loss", "last train loss", "best validation loss",
    )  # fmt: skip
    rows = [
        (
            plain(titles[row["model"]]),
            *(
                count(row[name])
                for name in ("adapted_layers", "trainable_parameters", "train_rows", "steps")
            ),
            *(
                number(row[name])
                for name in ("first_train_loss", "last_train_loss", "best_validation_loss")
            ),
        )
        for _, row in frame.iterrows()
    ]
    return Page(
        title="What was trained",
        header=header,
        rows=tuple(rows),
        notes=(
            "Loss: mean negative log likelihood, nats per response token; not comparable between "
            "models whose tokens differ.",
        ),
    )


def _halved(row: pd.Series, titles: Titles) -> str:
    """Return where a finetune ran out of memory and what it did; nothing where it never did."""
    steps = row["halved_at_steps"].split()
    if not steps:
        return ""
    where = f"step {steps[0]}" if len(steps) == 1 else f"steps {listed(steps)}"
    size = count(row["micro_batch_tokens"])
    smaller = "smaller passes" if size == BLANK else f"passes of at most {size} tokens"
    return (
        f"{plain(titles[row['model']])} ran out of memory at {where} and went on with {smaller}, "
        "the same rows per step."
    )


def equal_treatment(frame: pd.DataFrame, titles: Titles) -> Page:
    """Return the page that says whether every model was trained alike, and on all its layers."""
    header = (
        "Model", "train rows", "order", "template", "recipe", "rows per step", "steps",
        "response tokens", "adapted layers", "expected layers", "trainable parameters", "layout",
    )  # fmt: skip
    counted = ("response_tokens", "adapted_layers", "expected_layers", "trainable_parameters")
    rows = [
        (
            plain(titles[row["model"]]),
            count(row["train_rows"]),
            *(row[name] or BLANK for name in ("order", "template", "recipe")),
            *(count(row[name]) for name in ("batch_size", "steps", *counted)),
            plain(row["layout"]) or BLANK,
        )
        for _, row in frame.iterrows()
    ]
    unknown = "a checkpoint of one's own, whose sizes are not in the repository"
    return Page(
        title="Was every model treated alike?",
        header=header,
        rows=tuple(rows),
        warnings=_warnings(frame, titles),
        reading=(treatment_verdict(frame, titles),),
        notes=(
            "Order: hash over the questions of each step. Recipe: hash over the settings of LoRA "
            "and of the training. Layout: rows end to end (packed) or side by side (padded), with "
            "the same loss. Tokenizers count as the same where they cut the train rows into as "
            "many tokens.",
            *_blanks(header, rows, {"expected layers": unknown}),
        ),
    )


def _warnings(frame: pd.DataFrame, titles: Titles) -> tuple[str, ...]:
    partial = frame[frame["expected_layers"].notna() & frame["adapted_layers"].notna()]
    partial = partial[partial["adapted_layers"] != partial["expected_layers"]]
    missed = tuple(
        f"{plain(titles[row['model']])}: LoRA adapts {count(row['adapted_layers'])} layers instead "
        f"of {count(row['expected_layers'])}."
        for _, row in partial.iterrows()
    )
    if not _different(frame):
        return missed
    return (
        "The models were not treated alike: what differs between them may come from their training "
        "and not from the models.",
        *missed,
    )


def treatment_verdict(frame: pd.DataFrame, titles: Titles) -> str:
    """Return one sentence: is all that must be equal equal, and if not, what differs.

    Args:
        frame: `training.equal_treatment_table`, as read from its CSV.
        titles: Printed name by model key.
    """
    if len(frame) < 2:
        return "One model: there is nothing to compare."
    unknown = _unknown(frame, titles)
    missing = f"not recorded: {'; '.join(unknown)}" if unknown else ""
    different = _different(frame)
    if different:
        verdict = f"Treatment was not equal: models differ in {listed(different)}"
        return f"{verdict} ({missing})." if missing else f"{verdict}."
    if missing:
        return f"Equal treatment cannot be shown, {missing}."
    first = frame.iloc[0]
    return (
        f"Treatment was equal: every model learned from the same {count(first['train_rows'])} rows "
        f"in the same order, under the same template and recipe, {count(first['batch_size'])} rows "
        f"to a step and {count(first['steps'])} steps; {_responses(frame, titles)}."
    )


def _different(frame: pd.DataFrame) -> list[str]:
    """Return what is known to differ, blanks left out."""
    found = [label for name, label in SHARED.items() if _known(frame[name]).nunique() > 1]
    if any(group["response_tokens"].nunique() > 1 for group in _cut_alike(frame)):
        found.append("response tokens under one tokenizer")
    return found


def _unknown(frame: pd.DataFrame, titles: Titles) -> list[str]:
    """Return what is blank and for whom: "steps (Alpha and Beta)"."""
    labels = SHARED | {"tokens": "tokens", "response_tokens": "response tokens"}
    found = []
    for name, label in labels.items():
        blank = frame.loc[~frame.index.isin(_known(frame[name]).index), "model"]
        if len(blank):
            found.append(f"{label} ({listed(plain(titles[key]) for key in blank)})")
    return found


def _responses(frame: pd.DataFrame, titles: Titles) -> str:
    """Return in which models the response tokens are equal, when nothing is blank or differs."""
    alike = _cut_alike(frame)
    if not alike:
        return "their tokenizers differ, and with them the response tokens"
    if len(alike[0]) == len(frame):
        tokens = count(alike[0]["response_tokens"].iloc[0])
        return f"their tokenizers agree, on {tokens} response tokens"
    names = (listed(plain(titles[key]) for key in group["model"]) for group in alike)
    return f"response tokens are equal where tokenizers agree ({'; '.join(names)})"


def _cut_alike(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the groups of models whose tokenizers cut the train rows into as many tokens."""
    return [group for _, group in frame.groupby("tokens") if len(group) > 1]


def _known(column: pd.Series) -> pd.Series:
    return column[column.notna() & (column != "")]


def training_cost(frame: pd.DataFrame, titles: Titles) -> Page:
    """Return the page of what each finetune took of the machine that ran it."""
    header = (
        "Model", "wall seconds", "tokens per second", "peak GiB", "predicted GiB",
        "passes per step", "halved at steps",
    )  # fmt: skip
    rows = [
        (
            plain(titles[row["model"]]),
            number(row["wall_s"]),
            count(row["tokens_per_s"]),
            *(number(row[name]) for name in ("peak_gib", "predicted_gib")),
            number(row["passes_per_step"], decimals=1),
            ", ".join(row["halved_at_steps"].split()) or BLANK,
        )
        for _, row in frame.assign(tokens_per_s=frame["tokens_per_s"].round()).iterrows()
    ]
    reasons = {
        "wall seconds": "not measured",
        "tokens per second": "too few steps, or not recorded by the finetune",
        "halved at steps": "the memory never ran out",
    }
    if frame["peak_gib"].isna().any():
        gpu_only = "a finetune on a CPU (memory is predicted and measured on a GPU only)"
        reasons |= {"peak GiB": gpu_only, "predicted GiB": gpu_only}
    return Page(
        title="What each finetune took",
        header=header,
        rows=tuple(rows),
        reading=tuple(_halved(row, titles) for _, row in frame.iterrows()),
        notes=(
            "Tokens per second: prompts counted, the median step after the first three. A pass is "
            "one run through the model forward and back; how many make a step is the machine's "
            "affair and changes nothing that is learned.",
            *_blanks(header, rows, reasons),
        ),
    )


def _blanks(
    header: Sequence[str], rows: Sequence[Sequence[str]], reasons: Mapping[str, str]
) -> tuple[str, ...]:
    """Return why cells are blank, a sentence per reason that occurs."""
    found: dict[str, list[str]] = {}
    for name, cells in zip(header, zip(*rows, strict=True), strict=True):
        if BLANK in cells:
            found.setdefault(reasons.get(name, "not recorded by the finetune"), []).append(name)
    return tuple(f'"{BLANK}" under {listed(names)}: {why}.' for why, names in found.items())
