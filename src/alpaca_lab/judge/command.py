"""`python -m alpaca_lab judge`: a local model judges a scored study."""

from typing import Annotated

import typer

from ..config import require
from ..store import Record


def judge(
    source: Annotated[
        str,
        typer.Option(
            "--judge", help="Who judges: a local checkpoint, or a hub model owner/name@COMMIT."
        ),
    ],
    name: Annotated[str, typer.Option(help="A scored study, below results/.")] = "smoke",
    questions: Annotated[
        int, typer.Option(help="Only the first so many test questions; 0 takes all.")
    ] = 0,
) -> None:
    """Let a language model judge a study's answers: a model's opinion, never the Human column."""
    from ..pages import markdown, study_pages
    from . import people, stage

    require(questions >= 0, "--questions: need 0 for all, or how many")
    record = Record.of(name)
    run = stage.judge_study(
        record, source, questions=questions or None, pairs=people.planned_pairs(record)
    )
    print(markdown.page(study_pages.judge_page(record)))
    print(f"written to {run.folder}; `python -m alpaca_lab report --name {name}` adds the tables")
