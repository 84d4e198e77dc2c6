"""`python -m alpaca_lab export`: a finetuned model, taken out of the lab."""

from pathlib import Path
from typing import Annotated

import typer

from ..store import Record


def export(
    model: Annotated[str, typer.Argument(help="A finetuned model of the study, by its key.")],
    name: Annotated[str, typer.Option(help="The study, below results/.")] = "smoke",
    to: Annotated[
        str,
        typer.Option(
            help="adapter: for PEFT. merged: a 16-bit checkpoint. gguf: a file for llama.cpp."
        ),
    ] = "adapter",
    folder: Annotated[
        Path | None, typer.Option(help="Where to; outputs/export/NAME/MODEL/FORM if not given.")
    ] = None,
    base: Annotated[
        str,
        typer.Option(
            help="With --to adapter: what a base in a local folder is on the hub, "
            "owner/name@COMMIT; its weights are compared."
        ),
    ] = "",
    llama_cpp: Annotated[
        Path | None, typer.Option(help="With --to gguf: the folder of llama.cpp.")
    ] = None,
    push: Annotated[
        str, typer.Option(help="Also upload to this hub repository, owner/name; private.")
    ] = "",
    public: Annotated[
        bool, typer.Option("--public", help="With --push: let everyone see it.")
    ] = False,
) -> None:
    """Export a finetuned model, compared with what the study decoded; to the hub only if asked."""
    from . import exporting

    spec = exporting.ExportSpec(
        model=model, form=to, folder=folder, base=base, llama_cpp=llama_cpp, push=push,
        public=public,
    )  # fmt: skip
    print(exporting.export(spec, record=Record.of(name)))
