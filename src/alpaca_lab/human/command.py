"""`python -m alpaca_lab rate`: people rate answers blind, without a notebook."""

from pathlib import Path
from typing import Annotated

import typer

from ..config import SettingError
from ..store import Record
from . import draw, progress, ratings, sheet
from . import plan as plans
from .rubric import ACCEPTABILITY


def rate(
    name: Annotated[str, typer.Option(help="A scored study, below results/.")] = "smoke",
    mode: Annotated[
        str,
        typer.Option(help="acceptability: one answer. pairwise: beside the model's greedy answer."),
    ] = ACCEPTABILITY,
    plan: Annotated[
        bool, typer.Option("--plan", help="Draw what is to be rated, and say what it could see.")
    ] = False,
    questions: Annotated[
        int, typer.Option(help="With --plan: questions per model and setting.")
    ] = draw.QUESTIONS,
    settings: Annotated[
        str, typer.Option(help="With --plan: settings such as base,temperature=1,reference.")
    ] = "",
    raters: Annotated[
        str, typer.Option(help="With --plan: who rates, by names such as anna,ben.")
    ] = "",
    overlap: Annotated[
        float, typer.Option(help="With --plan: share of the questions that all raters rate.")
    ] = draw.OVERLAP,
    seed: Annotated[int, typer.Option(help="With --plan: decides questions, sides, order.")] = 0,
    rater: Annotated[str, typer.Option(help="With --export: whose sheet.")] = "",
    export: Annotated[
        Path | None, typer.Option(help="Write this rater's blind sheet, for a spreadsheet.")
    ] = None,
    import_: Annotated[
        Path | None,
        typer.Option("--import", help="Add a filled sheet, or another copy's ratings.csv."),
    ] = None,
) -> None:
    """Let people rate answers blind, without a notebook; by itself, say how far they are."""
    record = Record.of(name)
    if sum((plan, export is not None, import_ is not None)) > 1:
        raise SettingError("--plan, --export and --import: choose one")
    if plan:
        from . import power

        drawn = draw.write(
            record,
            mode=mode,
            questions=questions,
            settings=settings,
            raters=raters,
            overlap=overlap,
            seed=seed,
        )
        print("\n".join(power.sentences(drawn)))
        print(f"written to {plans.folder(record, mode)}")
    elif export is not None:
        if not rater:
            raise SettingError("--export: say whose sheet with --rater NAME")
        rows = sheet.export(record, mode, rater, export)
        print(f"{rows} rows for {rater}: {export}; what to do: {export.with_suffix('.txt')}")
    elif import_ is None:
        print(progress.table(record, mode).to_string(index=False, na_rep="-"))
    elif sheet.is_log(import_):
        print(f"{ratings.merge(record, mode, import_)} new rows from {import_}")
    else:
        new, blank = sheet.import_(record, mode, import_)
        print(f"{new} new ratings from {import_}; {blank} rows are not rated yet")
