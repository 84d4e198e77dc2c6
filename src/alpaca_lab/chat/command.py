"""`python -m alpaca_lab chat ADAPTER`: ask a finetuned model in a terminal, or through a pipe."""

from dataclasses import replace
from typing import Annotated

import typer

from .. import adapters
from . import terminal
from .choices import defaults


def chat(
    adapter: Annotated[
        str,
        typer.Argument(
            help="A finetuned model of the study, such as tiny-llama; a folder with "
            "adapter_config.json; or an adapter of the hub as owner/name@COMMIT."
        ),
    ],
    name: Annotated[str, typer.Option(help="The study: a folder below results/.")] = "smoke",
    base: Annotated[
        str,
        typer.Option(
            help="The base, where the adapter does not say it: owner/name@COMMIT, or a folder."
        ),
    ] = "",
    untuned: Annotated[
        bool, typer.Option("--untuned", help="Ask the base without the adapter, to compare.")
    ] = False,
    temperature: Annotated[
        float | None, typer.Option(help="Sample at this temperature; 0 is greedy, the default.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Sample from so many tokens; 0 keeps all.")
    ] = None,
    num_beams: Annotated[int | None, typer.Option(help="Search so many beams.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Most tokens of an answer; the study's if not given.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the noise; the study's if not given.")
    ] = None,
) -> None:
    """Ask a finetuned model: one line, one instruction. A pipe gets the answers alone."""
    found = adapters.find(adapter, name=name, base=base, untuned=untuned)
    wished = {
        "temperature": temperature,
        "top_k": top_k,
        "num_beams": num_beams,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
    }
    given = {key: value for key, value in wished.items() if value is not None}
    choices = replace(defaults(found.study), **given)
    raise typer.Exit(terminal.run(found, choices))
