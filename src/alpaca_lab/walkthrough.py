"""One finetune laid open: its recipe, what a step sees, what it would need, what was recorded.

Each function returns a small table for a notebook; none of them trains.
"""

import ast
import inspect
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import pandas as pd

from . import batches, fitting
from .config import ModelSpec, SettingError, StudySpec
from .data import Dataset
from .encoding import IGNORED, Tokenizer, encode_rows
from .preflight import shape_of
from .store import Record
from .tables.training import expected_layers

LONGEST = 60
"""Characters of an instruction that a table shows."""
CARDS_GIB = (8, 16, 24, 40, 80)


def recipe_table(part: Any) -> pd.DataFrame:
    """Return every field of a part of a study: name, value and what it means.

    Args:
        part: `study.lora`, `study.train` or `study.resources`; the meaning is the text that stands
            under the field in `config`.
    """
    meanings = _meanings(type(part))
    rows = [
        (item.name, str(getattr(part, item.name)), meanings[item.name]) for item in fields(part)
    ]
    return pd.DataFrame(rows, columns=["field", "value", "meaning"])


def _meanings(spec: type) -> dict[str, str]:
    """Return {field: the text under it}. Python keeps no such text, so its source is read."""
    body = ast.parse(inspect.getsource(spec)).body[0].body
    return {
        field.target.id: " ".join(below.value.value.split())
        for field, below in zip(body, body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr)
    }


def step_rows(
    study: StudySpec, dataset: Dataset, tokenizer: Tokenizer, *, step: int = 1
) -> pd.DataFrame:
    """Return the rows that one optimiser step learns from, in their order.

    Args:
        study: The study; its recipe draws the rows.
        dataset: Its rows.
        tokenizer: A model's, which decides the tokens but not the rows.
        step: Which step, counted from 1.

    Returns:
        Columns place (in the step, from 1), train row (its number in the training split),
        instruction (its beginning), prompt, response and total (tokens). A row whose prompt leaves
        no room is left out, as in training.
    """
    recipe = study.train
    numbers = batches.plan_steps(
        len(dataset.train),
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        seed=recipe.seed,
        max_steps=recipe.max_steps,
    )[step - 1]
    rows = [dataset.train[number] for number in numbers]
    encoded, _ = encode_rows(tokenizer, rows, max_length=recipe.max_length)
    found = []
    for number, row, example in zip(numbers, rows, encoded, strict=True):
        if example is not None:
            response = sum(label != IGNORED for label in example["labels"])
            total = len(example["labels"])
            found.append((number, _beginning(row.instruction), total - response, response, total))
    columns = ["train row", "instruction", "prompt", "response", "total"]
    frame = pd.DataFrame(found, columns=columns)
    frame.insert(0, "place", range(1, len(frame) + 1))
    return frame


def _beginning(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def passes_table(lengths: Sequence[int], *, room: int) -> pd.DataFrame:
    """Return how the rows of a step fall into passes, laid end to end and padded.

    Args:
        lengths: Tokens of each row.
        room: Most tokens in a pass, padding counted.

    Returns:
        A row per pass: layout, pass, places (of its rows in the step, from 1), tokens (of the
        rows) and computed (padding counted).
    """
    found = []
    for layout, split in (("packed", batches.pack), ("padded", batches.pad)):
        for place, part in enumerate(split(lengths, room=room), start=1):
            sizes = [lengths[i] for i in part]
            computed = sum(sizes) if layout == "packed" else max(sizes) * len(sizes)
            shown = ", ".join(str(i + 1) for i in sorted(part))
            found.append((layout, place, shown, sum(sizes), computed))
    return pd.DataFrame(found, columns=["layout", "pass", "places", "tokens", "computed"])


def memory_table(
    study: StudySpec, models: Iterable[ModelSpec], *, cards: Sequence[float] = CARDS_GIB
) -> pd.DataFrame:
    """Return how each model would be finetuned on each card, before anything is downloaded.

    Args:
        study: The study; its recipe and its wishes count.
        models: Models whose sizes are known.
        cards: GiB of each card, all of it for this.

    Returns:
        A row per model and card: model, card GiB, tokens per pass, blocks run twice (%),
        predicted GiB; the last three are blank, and the column fits says why, where nothing fits.
    """
    found = []
    for model in models:
        for card in cards:
            found.append({"model": model.title, "card GiB": card} | _fit(study, model, card))
    return pd.DataFrame(found).astype({"tokens per pass": "Int64", "blocks run twice (%)": "Int64"})


def _fit(study: StudySpec, model: ModelSpec, card: float) -> dict[str, Any]:
    shape = shape_of(model.source)
    if shape is None:
        return _unfit("unknown: shape not known before download")
    try:
        plan = fitting.plan(study, model, shape=shape, memory_gib=card)
    except SettingError:
        return _unfit("does not fit")
    return {
        "tokens per pass": plan.micro_batch_tokens,
        "blocks run twice (%)": round(100 * plan.recompute),
        "predicted GiB": plan.gib,
        # Where every wish is granted, a plan is not fitted to the card.
        "fits": "yes" if plan.gib <= card else "does not fit",
    }


def _unfit(why: str) -> dict[str, Any]:
    blank = dict.fromkeys(("tokens per pass", "blocks run twice (%)"), pd.NA)
    return blank | {"predicted GiB": float("nan"), "fits": why}


def facts_table(record: Record, model: ModelSpec) -> pd.DataFrame:
    """Return what the manifest of a finetune says: each fact, and how to read it.

    Args:
        record: The study's record, with the model's finetune in it.
        model: Which of its models.

    Returns:
        Columns fact, value (blank where it was not measured), note.
    """
    made, _ = record.training(model.key)
    expected = expected_layers(model)
    of = "" if expected is None else f" of {expected:,}"
    halved = ", ".join(map(str, made["halved_at_steps"]))
    memory = "GiB, most that was reserved" if made["peak_gib"] else "not measured on a CPU"
    rows = [
        ("rows", f"{made['train_rows']:,}", _left_out(made)),
        ("tokens", f"{made['tokens']:,}", f"{made['response_tokens']:,} of them carry loss"),
        ("steps", f"{made['steps']:,}", f"order of the rows {made['order_sha256'][:12]}"),
        ("layers adapted", f"{made['adapted_layers']:,}{of}", "every linear layer of a block"),
        ("trainable parameters", f"{made['trainable_parameters']:,}", "of the adapter"),
        ("layout", made["layout"], "packed: rows end to end; padded: side by side"),
        ("tokens per pass", f"{made['micro_batch_tokens']:,}", "at most, at the end of the run"),
        ("blocks run twice", f"{made['recompute']:.0%}", "to save memory; costs time only"),
        ("memory ran out", halved or "never", "the steps at which passes were halved"),
        ("predicted memory", _gib(made["predicted_gib"]), "GiB, for a GPU"),
        ("measured memory", _gib(made["peak_gib"]), memory),
        ("seconds", f"{made['wall_s']:.0f}", f"and {made['load_s']:.0f} to load and tokenise"),
    ]
    return pd.DataFrame(rows, columns=["fact", "value", "note"])


def _left_out(made: dict[str, Any]) -> str:
    return f"{made['rows_cut']:,} cut to max_length, {made['rows_dropped']:,} without room"


def _gib(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
