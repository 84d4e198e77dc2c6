"""Tables, figures and what the notebook shows, from results/ alone: no torch, no scoring of text.

    build(record)       write every table, every figure, every model's card and report.html
    check(record)       rebuild every table in memory, and name those whose files differ
    update_readme()     copy the tables that README.md asks for into it

Each table is a long CSV. Its page is rendered from that CSV's text and nothing else, and written as
Markdown and as LaTeX; report.html holds the same pages, the figures and a few answers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from . import table_files
from .config import ROOT, study_from_dict
from .files import damaged, write_atomically, write_sums
from .model_card import study_cards
from .pages import figures, human_figures, latex, markdown, readme, study_pages, webpage
from .pages.page import Page
from .store import RESULTS, Record
from .sweep import AXES, BASE, GREEDY
from .table_files import DERIVED, frames_of, from_csv
from .tables import table_texts
from .tables.evidence import Evidence, load

if TYPE_CHECKING:
    from IPython.display import HTML, Markdown

TABLE_ENDINGS = (".csv", ".md", ".tex")
FIGURES = {"performance/cost": "cost", "training": "loss", "human_pairs": "human"} | {
    name: name for name in ("main", "contrasts", *AXES, "human_metrics")
}
"""The figure that stands under a page."""
NO_EXAMPLES = (
    "This record was published without its texts: no question, no reference and no answer stands "
    "here. withheld.json lists what was left out, with the sha256 of each file as it was."
)


def build(record: Record) -> None:
    """Write every table, figure and model card of a study, each run compared with its manifest.

    Their checksums come last: tables of which a kill left some old and some new are found out.

    Raises:
        RecordError: If a run is missing, not scored, or changed since it was sealed, or a model
            is not finetuned.
    """
    evidence = load(record)
    titles = study_pages.titles_of(evidence.spec)
    texts = table_texts.all_texts(record, evidence)
    frames = frames_of(texts)
    pages = study_pages.all_pages(frames, evidence)
    drawn = {axis: figures.axis(frames[axis], titles=titles) for axis in AXES} | {
        "main": figures.main(frames["main"], titles=titles),
        "contrasts": figures.contrasts(frames["contrasts"], titles=titles),
        "cost": figures.cost(frames["performance/cost"], titles=titles),
        "human": human_figures.scores(frames["human"], frames["human_pairs"], titles=titles),
        "human_metrics": human_figures.metrics(frames["human_metrics"]),
        "loss": _loss(record, titles),
    }
    of_cards = _cards(record, evidence, frames) | study_cards.figures(record, evidence.spec)
    document = _document(record, pages, drawn)
    with record.working("writing", "tables"):
        written = _write(record, texts, pages)
        written += [record.figure(name) for name in drawn]
        for name, content in drawn.items():
            write_atomically(record.figure(name), content)
        for path, content in of_cards.items():
            write_atomically(path, content)
        written += of_cards
        written.append(record.folder / "report.html")
        write_atomically(written[-1], document)
        write_sums(record.folder, (str(path.relative_to(record.folder)) for path in written))


def build_training(record: Record) -> None:
    """Write the tables and the figure of the finetunes, which need no answer and no score.

    Raises:
        RecordError: If a model of the study is not finetuned.
    """
    spec = study_from_dict(record.index()["spec"])
    titles = study_pages.titles_of(spec)
    texts = table_texts.training_texts(record, spec)
    _write(record, texts, study_pages.training_pages(frames_of(texts), titles))
    write_atomically(record.figure("loss"), _loss(record, titles))


def check(record: Record) -> list[str]:
    """Rebuild every table, page and card in memory, and compare them with the files byte by byte.

    Figures and report.html are compared with their checksums: another version of the plotting
    library draws other bytes.

    Returns:
        What differs from what the rows say, or is missing, such as "main.csv"; empty when all is
        well.

    Raises:
        RecordError: If a run is missing, not scored, or changed since it was sealed, or a model
            is not finetuned.
    """
    evidence = load(record)
    texts = table_texts.all_texts(record, evidence)
    frames = frames_of(texts)
    files = _files(texts, study_pages.all_pages(frames, evidence))
    of_cards = _cards(record, evidence, frames)
    changed = [path for path in of_cards if not _holds(path, of_cards[path])] + [
        path
        for path in damaged(record.folder)
        if path.suffix not in TABLE_ENDINGS and path not in of_cards
    ]
    return [
        f"{name}.{ending}"
        for (name, ending), content in files.items()
        if not _holds(table_files.path(record, name, ending), content)
    ] + [str(path.relative_to(record.folder)) for path in changed]


def read_table(record: Record, name: str) -> pd.DataFrame:
    """Return a written table as a data frame, with full precision.

    Args:
        record: The study's record.
        name: One of `table_files.TABLES`; a secondary page's numbers are those of its axis.

    Raises:
        RecordError: If there is no such table, or it has not been built.
    """
    return from_csv(table_files.read(record, DERIVED.get(name, name), "csv"))


def show(record: Record, name: str) -> "Markdown":
    """Return a written table for display in a notebook: the Markdown file, as it stands.

    Args:
        record: The study's record.
        name: One of `table_files.TABLES`.

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

    Raises:
        RecordError: If the record was published without its texts.
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


def _cards(
    record: Record, evidence: Evidence, frames: Mapping[str, pd.DataFrame]
) -> dict[Path, str]:
    return study_cards.texts(record, evidence, main=frames["main"], contrasts=frames["contrasts"])


def _holds(path: Path, content: str) -> bool:
    """Return True when a file has this content, byte by byte."""
    return path.is_file() and path.read_bytes() == content.encode()


def _files(texts: Mapping[str, str], pages: Mapping[str, Page]) -> dict[tuple[str, str], str]:
    """Return the content of every file by (table, ending)."""
    files = {(name, "csv"): text for name, text in texts.items()}
    for name, page in pages.items():
        files[name, "md"] = markdown.page(page)
        files[name, "tex"] = latex.page(page, label=name.replace("/", "-"))
    return files


def _write(record: Record, texts: Mapping[str, str], pages: Mapping[str, Page]) -> list[Path]:
    """Write the files of every table; return where they are."""
    files = _files(texts, pages)
    paths = [table_files.path(record, name, ending) for name, ending in files]
    for path, content in zip(paths, files.values(), strict=True):
        write_atomically(path, content)
    return paths


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
    body = f"<p>{webpage.escape(NO_EXAMPLES)}</p>" if record.is_published else _examples(record, 3)
    sections.append(webpage.Section(name="examples", title=title, body=body))
    return webpage.document(f"Alpaca Lab: {record.folder.name}", sections)


def _examples(record: Record, n: int) -> str:
    questions, index = record.questions()[:n], record.index()
    answers = {}
    for model in study_from_dict(index["spec"]).models:
        for cell, label in ((BASE, "untuned"), (GREEDY, "finetuned")):
            run_id = index["runs"].get(model.key, {}).get(cell)
            rows = record.run(run_id).answers() if run_id else []
            answers[f"{model.title}, {label}"] = {row["id"]: row for row in rows}
    return webpage.examples(questions, answers)
