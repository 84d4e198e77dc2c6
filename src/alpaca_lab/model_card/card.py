"""A finetune's README.md, section by section, and the files that lie beside it."""

from collections.abc import Iterable

import pandas as pd

from ..pages import figures, markdown
from ..pages.markdown import escape
from ..pages.page import count, number
from . import advice, licences, loading, metadata, recipe
from .known import Form, Known, Scores, Source

README, FIGURE = "README.md", "loss.png"
KINDS = {
    "adapter": "A LoRA adapter for {base}, finetuned by QLoRA on {rows}.",
    "merged": "{base}, finetuned by QLoRA on {rows}, the adapter merged into the weights.",
    "gguf": "{base}, finetuned by QLoRA on {rows}, the adapter merged into the weights, for "
    "llama.cpp.",
}
CLAIM = (
    "It is one finetune: a claim is about this checkpoint, and says little about another seed, "
    "recipe or base."
)
NOT_DECODED = (
    "Not decoded yet, so nothing is known of its answers. In the study's folder run "
    "`python -m alpaca_lab generate`, then `score` and `report`."
)


def files(known: Known, scores: Scores | None, *, form: Form) -> dict[str, bytes]:
    """Return the files of a card by name: README.md, loss.png and what its licences want.

    The same facts give the same bytes, but for the figure: another version of the plotting library
    draws other ones.

    Args:
        known: The finetune.
        scores: What was scored; None where nothing is yet, which the card then says.
        form: What lies beside the card.
    """
    written = texts(known, scores, form=form)
    return {name: text.encode() for name, text in written.items()} | {FIGURE: figure(known)}


def texts(known: Known, scores: Scores | None, *, form: Form) -> dict[str, str]:
    """Return the files that are text by name. Arguments as `files`."""
    return {README: _readme(known, scores, form=form)} | dict(licences.files(known, form=form))


def figure(known: Known) -> bytes:
    """Return loss.png: train and validation loss over the steps."""
    key = known.model.key
    return figures.loss({key: known.losses}, titles={key: known.title})


def _readme(known: Known, scores: Scores | None, *, form: Form) -> str:
    """Return README.md: the metadata between dashes, then the sections."""
    sections = {
        "Load it": loading.section(known, form=form),
        "Base and data": recipe.origin(known),
        "Recipe": recipe.settings(known),
        "Loss": _loss(known),
        "Scores on held-out questions": _scores(scores, form=form),
        "Decoding advice": _advice(scores, known.title),
        "Limits": _limits(known),
        "Licences": licences.section(known, form=form),
    }
    body = "\n\n".join(f"## {title}\n\n{content.strip()}" for title, content in sections.items())
    front = metadata.front_matter(known, scores, form=form)
    return (
        f"---\n{front}\n---\n\n# {escape(known.name)}\n\n{_summary(known, form=form)}\n\n{body}\n\n"
        "Written by Alpaca Lab from the study's record; `python -m alpaca_lab report --check` "
        "holds it to the rows.\n"
    )


def _summary(known: Known, *, form: Form) -> str:
    split = known.data.get("train") or {}
    number_of = f"{count(split['rows'])} rows" if "rows" in split else "rows"
    base = _linked(known.base, "") if known.base.is_hub else escape(known.title)
    rows = f"{number_of} of {_linked(known.rows, 'datasets/')}"
    return f"{KINDS[form].format(base=base, rows=rows)} {CLAIM}"


def _linked(source: Source, kind: str) -> str:
    name = escape(source.name or recipe.UNKNOWN)
    return f"[{name}](https://huggingface.co/{kind}{source.name})" if source.is_hub else name


def _loss(known: Known) -> str:
    train, validation = (_of(known.losses, kind) for kind in ("train", "validation"))
    sentences = [f"Train loss: {_ends(train)}.", f"Validation loss: {_ends(validation)}"]
    if validation.empty:
        sentences[1] += "."
    else:
        best = validation.loc[validation["loss"].idxmin()]
        sentences[1] += f"; best {number(best['loss'])} at step {count(best['step'])}."
    alt = f"Loss of {known.title} over its optimiser steps. {' '.join(sentences)}"
    return (
        f"![{escape(alt)}]({FIGURE})\n\n{escape(' '.join(sentences))} In nats per response token; "
        "the prompt carries no loss. Not comparable between models whose tokens differ."
    )


def _of(losses: pd.DataFrame, kind: str) -> pd.DataFrame:
    return losses[losses["kind"] == kind].sort_values("step")


def _ends(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "not taken"
    first, last = rows.iloc[0], rows.iloc[-1]
    return (
        f"first {number(first['loss'])} at step {count(first['step'])}, "
        f"last {number(last['loss'])} at step {count(last['step'])}"
    )


def _scores(scores: Scores | None, *, form: Form) -> str:
    if scores is None:
        return NOT_DECODED
    human = scores.main[scores.main["metric"] == "human"]["mean"]
    rated = "" if human.notna().any() else "\n\nHuman ratings: not collected."
    weights = (
        "the 4-bit base dequantised, with the adapter merged into it"
        if scores.is_merged
        else "the 4-bit base with the adapter beside it"
    )
    converted = " This file is a conversion, and was not scored itself." if form == "gguf" else ""
    return (
        "ROUGE-L is the primary metric, fixed in advance. The weights that were scored are "
        f"{weights}.{converted}\n\n{markdown.page(scores.page).strip()}{rated}"
    )


def _advice(scores: Scores | None, title: str) -> str:
    if scores is None:
        return "None yet: what other settings than greedy change is known once the sweep is scored."
    found = scores.settings
    if found.empty:
        return escape(advice.lead(found))
    note = advice.note(found, compared=scores.compared)
    return "\n\n".join(
        (
            f"**{escape(advice.lead(found))}**",
            _list(advice.points(found)),
            "Each knob as a whole:",
            _list(advice.knobs(scores.contrasts, title)),
            escape(note),
        )
    )


def _limits(known: Known) -> str:
    longest = ((known.manifest.get("request") or {}).get("train") or {}).get("max_length")
    limits = [
        "One answer to one instruction: no conversation was trained.",
        "Not tuned for safety: it was never taught to refuse, and nobody tested what it will say.",
        "Each question has one reference. A good answer in other words scores low, and BLEU and "
        "ROUGE partly rank by length.",
    ]
    if known.is_tiny:
        limits.insert(
            0,
            "The base is a tiny model that shows the form: its scores say nothing about large "
            "models, and its answers are of no use.",
        )
    if known.is_alpaca:
        limits.append(
            "Alpaca's answers were written by a language model, text-davinci-003: what it got "
            "wrong was learned, and scores as right."
        )
    if known.is_english:
        limits.append("Trained and scored in English; ROUGE sees the letters a to z and digits.")
    else:
        limits.append(
            "The template is English, and ROUGE sees the letters a to z and digits; which "
            "languages the rows are in is not recorded."
        )
    if longest:
        limits.append(
            f"Trained on examples of up to {count(longest)} tokens, prompt included, and scored on "
            f"answers of up to {count(known.study.max_new_tokens)} new ones."
        )
    return _list(limits)


def _list(points: Iterable[str]) -> str:
    return "\n".join(f"- {escape(point)}" for point in points)
