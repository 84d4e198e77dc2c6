"""`python -m alpaca_lab publish`: a record without its texts, where they may not be published."""

from pathlib import Path
from typing import Annotated

import typer

from ..store import OUTPUTS, Record


def publish(
    name: Annotated[str, typer.Option(help="A finished study, below results/.")] = "smoke",
    to: Annotated[
        Path | None,
        typer.Option(help="Where the copy goes; outputs/published/NAME if not given."),
    ] = None,
) -> None:
    """Copy a study's record without any text of its rows or of a model; its tables still follow."""
    from . import publishing

    folder = to or OUTPUTS / "published" / name
    print(publishing.summary(publishing.publish(Record.of(name), folder)))
    print(f"published without its texts: {folder}")
