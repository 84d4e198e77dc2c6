"""Tables, figures and what the notebook shows, from results/ alone: no torch, no scoring of text.

    build(record)   write every table and figure
    check(record)   rebuild every table in memory and name those whose bytes differ

Each table is a long CSV, and a Markdown page rendered from that CSV and nothing else.
"""

import html
import math
from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from . import figures, render, tables
from .config import StudySpec, study_from_dict
from .store import Record, RecordError, write_atomically
from .sweep import AXES, BASE, GREEDY

if TYPE_CHECKING:
    from IPython.display import HTML, Markdown

TABLES = ("main", *AXES, "training")
"""What `check` rebuilds: the same bytes from the same rows, on any machine."""
PERFORMANCE = ("performance/cost", "performance/training")
"""Seconds and GiB: facts of one machine on one day, so no part of `check`."""
WORDS = ("model", "axis", "value", "metric", "signature", "cell", "run", "baseline", "note")
"""Columns that hold words: a run named 123456e78901 is not a number."""
LEFT = 'style="text-align: left; vertical-align: top"'
LONGEST_EXAMPLE = 600
"""Characters of a text that `examples` shows before it is cut, and said to be."""


def build(record: Record) -> None:
    """Write every table and figure of a study, each run compared with its manifest first.

    Raises:
        RecordError: If a run is missing, not scored, or changed since it was sealed.
    """
    build_training(record)
    evidence = tables.load(record)
    titles = _titles(evidence.spec)
    frames = _score_frames(evidence)
    _write(record, _score_pages(evidence, frames))
    cost = tables.cost_table(evidence)
    _write(record, {"performance/cost": _page(cost, lambda frame: render.cost(frame, titles))})
    drawn = {axis: figures.axis(frames[axis], titles=titles) for axis in AXES}
    drawn["main"] = figures.main(frames["main"], titles=titles)
    for name, content in drawn.items():
        write_atomically(record.figure(name), content)


def build_training(record: Record) -> None:
    """Write the tables and the figure of the finetunes, which need no answer and no score.

    Raises:
        RecordError: If a model of the study is not finetuned.
    """
    spec = study_from_dict(record.index()["spec"])
    titles = _titles(spec)
    cost = tables.training_cost_table(record, spec)
    pages = {"performance/training": _page(cost, lambda frame: render.training_cost(frame, titles))}
    _write(record, {"training": _training_page(record, spec)} | pages)
    losses = {key: record.training(key)[1] for key in titles}
    write_atomically(record.figure("loss"), figures.loss(losses, titles=titles))


def check(record: Record) -> list[str]:
    """Rebuild every table of `TABLES` in memory, and compare it with the file byte by byte.

    Returns:
        Names of the tables that differ from what the rows say, or are missing; empty when all
        is well.

    Raises:
        RecordError: If a run is missing, not scored, or changed since it was sealed.
    """
    evidence = tables.load(record)
    pages = _score_pages(evidence, _score_frames(evidence))
    pages["training"] = _training_page(record, evidence.spec)
    return [
        name
        for name, by_ending in pages.items()
        if any(
            not (path := _path(record, name, ending)).is_file()
            or path.read_bytes() != content.encode()
            for ending, content in by_ending.items()
        )
    ]


def read_table(record: Record, name: str) -> pd.DataFrame:
    """Return a written table as a data frame, with full precision.

    Args:
        record: The study's record.
        name: One of `TABLES` or `PERFORMANCE`.

    Raises:
        RecordError: If there is no such table, or it has not been built.
    """
    return _parse(_read(record, name, "csv"))


def show(record: Record, name: str) -> "Markdown":
    """Return a written table for display in a notebook: the Markdown file, as it stands.

    Args:
        record: The study's record.
        name: One of `TABLES` or `PERFORMANCE`.

    Raises:
        RecordError: If there is no such table, or it has not been built.
    """
    from IPython.display import Markdown

    return Markdown(_read(record, name, "md"))


def examples(record: Record, n: int = 3) -> "HTML":
    """Return the first questions with their reference and each model's greedy answers.

    The first in the test order, not picked ones. Texts are escaped: what a model wrote is shown,
    never rendered.

    Args:
        record: The study's record; its runs need not be scored.
        n: How many questions, >= 1.
    """
    from IPython.display import HTML

    index = record.index()
    spec = study_from_dict(index["spec"])
    questions = record.questions()[:n]
    columns = {}
    for model in spec.models:
        for cell, label in ((BASE, "untuned"), (GREEDY, "finetuned")):
            run_id = index["runs"].get(model.key, {}).get(cell)
            answers = record.run(run_id).answers() if run_id else []
            columns[f"{model.title}, {label}"] = {row["id"]: row for row in answers}
    rows = []
    for number, question in enumerate(questions, start=1):
        texts = {"Instruction": question["instruction"], "Input": question["input"]}
        rows.append(f'<tr><th colspan="2" {LEFT}>Question {number}</th></tr>')
        rows += [_row(label, _text(text)) for label, text in texts.items() if text]
        rows.append(_row("Reference", _text(question["reference"])))
        rows += [
            _row(label, _answer(answers.get(question["id"]))) for label, answers in columns.items()
        ]
    return HTML(f"<table>{''.join(rows)}</table>")


def _row(label: str, cell: str) -> str:
    return f"<tr><td {LEFT}><b>{html.escape(label)}</b></td><td {LEFT}>{cell}</td></tr>"


def _answer(answer: dict | None) -> str:
    if answer is None:
        return "<i>not answered yet</i>"
    if answer["status"] == "empty":
        return "<i>empty answer</i>"
    return _text(answer["text"]) if answer["status"] == "ok" else f"<i>{answer['status']}</i>"


def _text(text: str) -> str:
    shown = html.escape(text[:LONGEST_EXAMPLE]).replace("\n", "<br>")
    if len(text) > LONGEST_EXAMPLE:
        shown += f" ... <i>({len(text):,} characters in all)</i>"
    # A notebook typesets what stands between two dollar signs; a tag around them prevents it.
    return shown.replace("$", "<span>$</span>")


def _score_frames(evidence: tables.Evidence) -> dict[str, pd.DataFrame]:
    return {"main": tables.main_table(evidence), **tables.axis_tables(evidence)}


def _score_pages(
    evidence: tables.Evidence, frames: dict[str, pd.DataFrame]
) -> dict[str, dict[str, str]]:
    provenance = _provenance(evidence, frames)
    renderers = dict.fromkeys(AXES, render.axis) | {"main": render.main}
    return {
        name: _page(frame, partial(renderers[name], provenance=provenance))
        for name, frame in frames.items()
    }


def _training_page(record: Record, spec: StudySpec) -> dict[str, str]:
    titles = _titles(spec)
    return _page(tables.training_table(record, spec), lambda frame: render.training(frame, titles))


def _provenance(evidence: tables.Evidence, frames: dict[str, pd.DataFrame]) -> render.Provenance:
    manifest = next(iter(evidence.runs.values())).manifest
    return render.Provenance(
        titles=_titles(evidence.spec),
        signatures=manifest["signatures"],
        encoder=manifest["encoder"],
        comparisons=int(sum(frames[axis]["p_holm"].notna().sum() for axis in AXES)),
    )


def _titles(spec: StudySpec) -> dict[str, str]:
    return {model.key: model.title for model in spec.models}


def _page(frame: pd.DataFrame, renderer: Callable[[pd.DataFrame], str]) -> dict[str, str]:
    """Return a table's two files by ending. The page is rendered from the CSV's own text."""
    text = frame.to_csv(index=False, lineterminator="\n")
    return {"csv": text, "md": renderer(_parse(text))}


def _write(record: Record, pages: dict[str, dict[str, str]]) -> None:
    for name, by_ending in pages.items():
        for ending, content in by_ending.items():
            write_atomically(_path(record, name, ending), content)


def _parse(text: str) -> pd.DataFrame:
    frame = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
    for name in frame.columns.difference(WORDS):
        # float() rounds correctly on every platform; pandas' own parser did not in every version.
        numbers = frame[name].map(lambda word: float(word) if word else math.nan)
        whole = numbers.notna().all() and not frame[name].str.contains(".", regex=False).any()
        frame[name] = numbers.astype("int64") if whole else numbers.astype("float64")
    return frame


def _path(record: Record, name: str, ending: str) -> Path:
    if name in TABLES:
        return record.table(name).with_suffix(f".{ending}")
    if name in PERFORMANCE:
        return record.folder / f"{name}.{ending}"
    raise RecordError(f'no table "{name}": choose from {", ".join((*TABLES, *PERFORMANCE))}')


def _read(record: Record, name: str, ending: str) -> str:
    path = _path(record, name, ending)
    if not path.is_file():
        raise RecordError(f"no such file: {path}; run `python -m alpaca_lab report`")
    return path.read_text(encoding="utf-8")
