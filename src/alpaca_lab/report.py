"""Tables, figures and what the notebook shows, from results/ alone: no torch, no scoring of text.

    build(record)       write every table, every figure and report.html
    check(record)       rebuild every table in memory, and name those whose files differ
    update_readme()     copy the tables that README.md asks for into it

Each table is a long CSV. Its page is rendered from that CSV's text and nothing else, and written as
Markdown and as LaTeX; report.html holds the same pages, the figures and a few answers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from . import (
    check_tables,
    human_metrics,
    human_tables,
    table_files,
    tables,
    training_tables,
    trends,
)
from .config import ROOT, StudySpec, study_from_dict
from .human.rubric import ACCEPTABILITY, PAIRWISE
from .judge import people
from .judge.record import Judged, shown
from .judge.verdicts_table import agreement, judge_table
from .pages import (
    figures,
    human_figures,
    latex,
    markdown,
    readme,
    render,
    render_checks,
    render_cost,
    render_human,
    render_judge,
    render_training,
    render_trends,
    webpage,
)
from .pages.page import Page
from .pages.provenance import Provenance
from .store import RESULTS, Record, write_atomically
from .sweep import AXES, BASE, GREEDY
from .table_files import SECONDARY, TABLES, TRAINING, from_csv, to_csv

if TYPE_CHECKING:
    from IPython.display import HTML, Markdown

FIGURES = {"performance/cost": "cost", "training": "loss", "human_pairs": "human"} | {
    name: name for name in ("main", "contrasts", *AXES, "human_metrics")
}
"""The figure that stands under a page."""


def build(record: Record) -> None:
    """Write every table and figure of a study, each run compared with its manifest first.

    Raises:
        RecordError: If a run is missing, not scored, or changed since it was sealed, or a model
            is not finetuned.
    """
    evidence = tables.load(record)
    titles = _titles(evidence.spec)
    texts = _texts(record, evidence)
    pages = _pages(texts, evidence)
    frames = {name: from_csv(text) for name, text in texts.items()}
    drawn = {axis: figures.axis(frames[axis], titles=titles) for axis in AXES} | {
        "main": figures.main(frames["main"], titles=titles),
        "contrasts": figures.contrasts(frames["contrasts"], titles=titles),
        "cost": figures.cost(frames["performance/cost"], titles=titles),
        "human": human_figures.scores(frames["human"], frames["human_pairs"], titles=titles),
        "human_metrics": human_figures.metrics(frames["human_metrics"]),
        "loss": _loss(record, titles),
    }
    _write(record, texts, pages)
    for name, content in drawn.items():
        write_atomically(record.figure(name), content)
    write_atomically(record.folder / "report.html", _document(record, pages, drawn))


def build_training(record: Record) -> None:
    """Write the tables and the figure of the finetunes, which need no answer and no score.

    Raises:
        RecordError: If a model of the study is not finetuned.
    """
    spec = study_from_dict(record.index()["spec"])
    titles = _titles(spec)
    texts = _training_texts(record, spec)
    _write(record, texts, _training_pages(texts, titles))
    write_atomically(record.figure("loss"), _loss(record, titles))


def check(record: Record) -> list[str]:
    """Rebuild every table and page in memory, and compare them with the files byte by byte.

    Figures are left out: another version of the plotting library draws other bytes.

    Returns:
        What differs from what the rows say, or is missing, such as "main.csv"; empty when all is
        well.

    Raises:
        RecordError: If a run is missing, not scored, or changed since it was sealed, or a model
            is not finetuned.
    """
    evidence = tables.load(record)
    texts = _texts(record, evidence)
    files = _files(texts, _pages(texts, evidence))
    return [
        f"{name}.{ending}"
        for (name, ending), content in files.items()
        if not (file := table_files.path(record, name, ending)).is_file()
        or file.read_bytes() != content.encode()
    ]


def judge_page(record: Record) -> Page | None:
    """Return the page of the judging that study.json names; None without one.

    Raises:
        RecordError: If the judging was changed, or a human rating is not valid.
    """
    judged = shown(record)
    if judged is None:
        return None
    frames = {name: from_csv(text) for name, text in _judge_texts(judged, record).items()}
    return _judge_page(frames, judged, _titles(study_from_dict(record.index()["spec"])))


def read_table(record: Record, name: str) -> pd.DataFrame:
    """Return a written table as a data frame, with full precision.

    Args:
        record: The study's record.
        name: One of `TABLES`; a secondary page's numbers are those of its axis.

    Raises:
        RecordError: If there is no such table, or it has not been built.
    """
    return from_csv(table_files.read(record, SECONDARY.get(name, name), "csv"))


def show(record: Record, name: str) -> "Markdown":
    """Return a written table for display in a notebook: the Markdown file, as it stands.

    Args:
        record: The study's record.
        name: One of `TABLES`.

    Raises:
        RecordError: If there is no such table, or it has not been built.
    """
    from IPython.display import Markdown

    return Markdown(table_files.read(record, name, "md"))


def examples(record: Record, n: int = 3) -> "HTML":
    """Return the first questions with their reference and each model's greedy answers.

    The first in the test order, not picked ones. Texts are escaped: what a model wrote is shown,
    never rendered.

    Args:
        record: The study's record; its runs need not be scored.
        n: How many questions, >= 1.
    """
    from IPython.display import HTML

    return HTML(_examples(record, n))


def update_readme(path: Path = ROOT / "README.md", *, results: Path = RESULTS) -> bool:
    """Put the written tables that a README asks for between its markers.

    Args:
        path: The README; `<!-- table: smoke/main -->` asks for the page main of the study smoke,
            and `<!-- table: performance/finetune_summary -->` for results/performance/'s file.
        results: Where the studies are.

    Returns:
        Whether the file had to be changed.

    Raises:
        RecordError: If a marker is not closed, or its table has not been built.
    """
    old = path.read_text(encoding="utf-8")
    pages = {}
    for place in readme.names(old):
        study, _, name = place.partition("/")
        file = results / f"{place}.md"
        if file.is_file():  # of no study
            pages[place] = file.read_text(encoding="utf-8")
        else:
            pages[place] = table_files.read(Record.of(study, results=results), name, "md")
    new = readme.fill(old, pages)
    if new != old:
        write_atomically(path, new)
    return new != old


def _score_texts(evidence: tables.Evidence) -> dict[str, str]:
    frames = {
        "main": tables.main_table(evidence),
        **tables.axis_tables(evidence),
        "contrasts": trends.contrast_table(evidence),
        "aa": trends.aa_table(evidence),
        "performance/cost": tables.cost_table(evidence),
        "human": human_tables.score_table(evidence.human[ACCEPTABILITY]),
        "human_pairs": human_tables.pair_table(evidence.human[PAIRWISE]),
        "human_metrics": human_metrics.metric_table(evidence.human, evidence.runs),
        "human_agreement": human_tables.agreement_table(evidence.human),
    }
    return {name: to_csv(frame) for name, frame in frames.items()}


def _texts(record: Record, evidence: tables.Evidence) -> dict[str, str]:
    return (
        _score_texts(evidence)
        | _judge_texts(evidence.judged, record)
        | _record_texts(record, evidence.spec)
    )


def _record_texts(record: Record, spec: StudySpec) -> dict[str, str]:
    checks = to_csv(check_tables.checks_table(record, spec))
    return {"checks": checks} | _training_texts(record, spec)


def _training_texts(record: Record, spec: StudySpec) -> dict[str, str]:
    return {
        "training": to_csv(training_tables.training_table(record, spec)),
        "equal_treatment": to_csv(training_tables.equal_treatment_table(record, spec)),
        "performance/training": to_csv(training_tables.training_cost_table(record, spec)),
    }


def _pages(texts: Mapping[str, str], evidence: tables.Evidence) -> dict[str, Page]:
    """Return every page in reading order, from the text of the tables."""
    frames = {name: from_csv(text) for name, text in texts.items()}
    titles = _titles(evidence.spec)
    manifest = next(iter(evidence.runs.values())).manifest
    provenance = Provenance(
        titles=titles,
        signatures=manifest["signatures"],
        encoder=manifest["encoder"],
        comparisons=_tested(frames, "p_holm"),
        exploratory=_tested(frames, "p_bh"),
    )
    pages = {
        "main": render.main(frames["main"], provenance),
        "contrasts": render_trends.contrasts(frames["contrasts"], provenance),
        "aa": render_trends.aa(frames["aa"], provenance),
        "checks": render_checks.checks(frames["checks"], titles),
        "performance/cost": render_cost.cost(frames["performance/cost"], titles),
        "human": render_human.scores(frames["human"], titles),
        "human_pairs": render_human.pairs(frames["human_pairs"], titles),
        "human_metrics": render_human.metrics(frames["human_metrics"], titles),
        "human_agreement": render_human.agreement(frames["human_agreement"]),
        **_training_pages(texts, titles),
    }
    if evidence.judged:
        pages["judge"] = _judge_page(frames, evidence.judged, titles)
    for axis in AXES:
        pages[axis] = render.axis(frames[axis], frames["contrasts"], provenance)
    for name, axis in SECONDARY.items():
        pages[name] = render.secondary(frames[axis], provenance)
    return {name: pages[name] for name in TABLES if name in pages}


def _judge_texts(judged: Judged | None, record: Record) -> dict[str, str]:
    if judged is None:
        return {}
    rated = people.ratings(record)
    return {
        "judge": to_csv(judge_table(judged.judgements)),
        "judge_agreement": to_csv(agreement(judged.judgements, rated)),
    }


def _judge_page(
    frames: Mapping[str, pd.DataFrame], judged: Judged, titles: Mapping[str, str]
) -> Page:
    return render_judge.judge(
        frames["judge"],
        frames["judge_agreement"],
        titles,
        name=judged.request["judge"]["source"],
        recipe=judged.recipe,
        runs=judged.request["runs"],
    )


def _tested(frames: Mapping[str, pd.DataFrame], column: str) -> int:
    return int(sum(frames[axis][column].notna().sum() for axis in AXES))


def _training_pages(texts: Mapping[str, str], titles: Mapping[str, str]) -> dict[str, Page]:
    renderers = (
        render_training.training,
        render_training.equal_treatment,
        render_training.training_cost,
    )
    return {
        name: renderer(from_csv(texts[name]), titles)
        for name, renderer in zip(TRAINING, renderers, strict=True)
    }


def _files(texts: Mapping[str, str], pages: Mapping[str, Page]) -> dict[tuple[str, str], str]:
    """Return the content of every file by (table, ending)."""
    files = {(name, "csv"): text for name, text in texts.items()}
    for name, page in pages.items():
        files[name, "md"] = markdown.page(page)
        files[name, "tex"] = latex.page(page, label=name.replace("/", "-"))
    return files


def _write(record: Record, texts: Mapping[str, str], pages: Mapping[str, Page]) -> None:
    for (name, ending), content in _files(texts, pages).items():
        write_atomically(table_files.path(record, name, ending), content)


def _loss(record: Record, titles: Mapping[str, str]) -> bytes:
    return figures.loss({key: record.training(key)[1] for key in titles}, titles=titles)


def _document(record: Record, pages: Mapping[str, Page], drawn: Mapping[str, bytes]) -> str:
    sections = []
    for name, page in pages.items():
        body = webpage.page(page)
        if name in FIGURES:
            body += webpage.figure(drawn[FIGURES[name]], alt=f"Figure: {page.title}")
        sections.append(webpage.Section(name=name, title=page.title, body=body))
    title = "The first questions, not picked ones, and what each model answered"
    body = _examples(record, 3)
    sections.append(webpage.Section(name="examples", title=title, body=body))
    return webpage.document(f"Alpaca Lab: {record.folder.name}", sections)


def _examples(record: Record, n: int) -> str:
    index = record.index()
    answers = {}
    for model in study_from_dict(index["spec"]).models:
        for cell, label in ((BASE, "untuned"), (GREEDY, "finetuned")):
            run_id = index["runs"].get(model.key, {}).get(cell)
            rows = record.run(run_id).answers() if run_id else []
            answers[f"{model.title}, {label}"] = {row["id"]: row for row in rows}
    return webpage.examples(record.questions()[:n], answers)


def _titles(spec: StudySpec) -> dict[str, str]:
    return {model.key: model.title for model in spec.models}
