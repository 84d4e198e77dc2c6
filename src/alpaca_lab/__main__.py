"""`python -m alpaca_lab STAGE`: the stages of the notebook without a notebook.

For a shell or a batch queue. A wrong setting, a missing file or a damaged
record ends in one sentence on standard error and exit status 2.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from . import preflight as feasibility
from . import ranks, study, withheld
from .chat.command import chat
from .config import SettingError, study_from_dict
from .endings import DEVICE_LOST, ending
from .exports.command import export
from .human.command import rate
from .judge.command import judge
from .options import (
    Changes,
    Columns,
    Data,
    Models,
    Name,
    Only,
    Profile,
    Spec,
    StageProfile,
    WorldSize,
    models_of,
    prepared,
    study_of,
)
from .processes import heed_one_interrupt
from .progress import PIPE_VARIABLE, Bar
from .publication.command import publish
from .store import RESULTS, Record

app = typer.Typer(
    help=__doc__.splitlines()[0],
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

INTERRUPTED = 130
"""The exit status that typer makes of a KeyboardInterrupt."""


@app.callback()
def _before(context: typer.Context) -> None:
    """Let several processes run what they share, and nothing else."""
    if context.invoked_subcommand not in ("finetune", "generate"):
        ranks.require_one(context.invoked_subcommand or "this")


@app.command()
def run(
    profile: Profile = "smoke",
    models: Models = "",
    data: Data = "",
    columns: Columns = "",
    name: Name = "",
    changes: Changes = None,
) -> None:
    """Run a whole study: finetune, decode, score, and write its tables and figures."""
    chosen = study_of(profile, models, data, columns, name, changes)
    feasibility.require_feasible(chosen)
    record = Record.of(chosen.name)
    study.run(chosen, record=record)
    print(f"tables and figures: {record.folder}")


@app.command()
def execute(
    profile: Profile = "smoke",
    models: Models = "",
    data: Data = "",
    columns: Columns = "",
    name: Name = "",
) -> None:
    """Run a whole study by executing master_file.ipynb into its record: what `make run` does."""
    from . import executed

    record = Record.of(study_of(profile, models, data, columns, name, None).name)
    record.require_texts()
    executed.execute(
        record,
        {"PROFILE": profile, "MODELS": models, "DATA": data, "COLUMNS": columns, "NAME": name},
        log=study.logs(record) / "kernel.log",
    )
    folders = "   ".join(f"{part}: {record.folder / part}" for part in ("tables", "figures"))
    print(f"{folders}   notebook: {record.notebook}")


@app.command()
def preflight(
    profile: Profile = "smoke",
    models: Models = "",
    data: Data = "",
    columns: Columns = "",
    name: Name = "",
    changes: Changes = None,
    card: Annotated[
        str, typer.Option(help=f"Ask for another card: {', '.join(feasibility.CARDS)}.")
    ] = "",
) -> None:
    """Say what this machine can run of a study, and why; exit status 1 if not all of it."""
    spec = study_of(profile, models, data, columns, name, changes)
    table = feasibility.table(spec, card=card)
    print(table.to_string(index=False))
    raise typer.Exit(0 if table["can run"].eq("yes").all() else 1)


@app.command()
def finetune(
    profile: StageProfile = "",
    models: Models = "",
    data: Data = "",
    columns: Columns = "",
    name: Name = "",
    changes: Changes = None,
    spec: Spec = None,
    only: Only = "",
    world_size: WorldSize = None,
) -> None:
    """Finetune each model of a study, here or over the GPUs of an accelerate launch."""
    ranks.join(world_size, gpu=True)
    from .finetuning import finetune as stage

    chosen, record = prepared(spec, profile, models, data, columns, name, changes)
    for model in models_of(chosen, only):
        manifest = stage.finetune(chosen, model.key, record=record)
        if not ranks.is_main():
            continue
        print(
            f"{model.title}: {manifest['adapted_layers']} layers adapted, "
            f"{manifest['trainable_parameters']:,} parameters, best validation loss "
            f"{manifest['best_validation_loss']:.3f}, adapter in {manifest['adapter']['folder']}"
        )
    ranks.leave()


@app.command()
def generate(
    profile: StageProfile = "",
    models: Models = "",
    data: Data = "",
    columns: Columns = "",
    name: Name = "",
    changes: Changes = None,
    spec: Spec = None,
    only: Only = "",
    world_size: WorldSize = None,
) -> None:
    """Decode every cell of each finetuned model; resumes where it was stopped."""
    ranks.join(world_size, gpu=False)
    from .decoding import generate as stage

    chosen, record = prepared(spec, profile, models, data, columns, name, changes)
    for model in models_of(chosen, only):
        stage.generate(chosen, model.key, record=record)
    ranks.leave()


@app.command()
def score(
    file: Annotated[
        Path | None,
        typer.Argument(help="Score this file: lines of id, reference, answer[, group, repeat]."),
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="With FILE: the group that every other is compared with.")
    ] = "",
    protocol: Annotated[
        str,
        typer.Option(
            help="With FILE: canonical, or original for whole texts as the first study scored them "
            "(lines of id, group, reference_text, candidate_text)."
        ),
    ] = "canonical",
    encoder: Annotated[
        str,
        typer.Option(
            help="With FILE: BERTScore's encoder, by name, or none. Without a network: "
            "all-MiniLM-L6-v2, the default of the canonical protocol."
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="With FILE: print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="With FILE: print CSV.")] = False,
    profile: StageProfile = "",
    models: Models = "",
    data: Data = "",
    columns: Columns = "",
    name: Name = "",
    changes: Changes = None,
    spec: Spec = None,
) -> None:
    """Score every answer of a study that is not scored yet; or a FILE of anyone's answers."""
    if file is None:
        from .scoring import score as stage

        chosen, record = prepared(spec, profile, models, data, columns, name, changes)
        stage.score(chosen, record=record)
        return
    from .scoring import score_file

    if as_json and as_csv:
        raise SettingError("--json and --csv: choose one")
    form = "json" if as_json else "csv" if as_csv else "text"
    print(score_file.score(file, protocol, baseline=baseline, encoder=encoder, form=form))


@app.command(name="data")
def data_(
    profile: Profile = "smoke",
    data: Data = "",
    columns: Columns = "",
    name: Name = "",
    changes: Changes = None,
) -> None:
    """Say what is in the data: rejected rows, near-duplicates, the split, contamination."""
    from . import data as rows
    from .datasheet import report as data_report

    chosen = study_of(profile, "", data, columns, name, changes)
    record = Record.of(chosen.name)
    record.require_texts()  # the report would put rows beside the keys of a published record
    dataset = rows.load(chosen.data)
    folder = record.folder / "data"
    data_report.write(dataset, folder)
    print(data_report.describe(dataset))
    print(f"written to {folder}")


@app.command()
def plan(
    name: Annotated[str, typer.Option(help="A scored study, the pilot: below results/.")] = "smoke",
    effect: Annotated[
        float, typer.Option(help="Difference from greedy to be found, in points of ROUGE-L.")
    ] = 1.0,
) -> None:
    """Say how many questions and repeats a study needs, judged by one that has been run."""
    from . import pilot
    from .tables import load

    print(pilot.plan_table(load(Record.of(name)), effect=effect).to_string(index=False))
    print(
        "n = ...: the smallest difference so many questions find in 4 of 5 cases, before "
        f"correction; questions needed: for {effect:g} points"
    )


@app.command()
def original(
    name: Annotated[str, typer.Option(help="A finetuned study, below results/.")] = "smoke",
) -> None:
    """Repeat the first study's procedure with a study's models; score it under both protocols."""
    from .original import page as original_page
    from .original import scores as original_scores

    record = Record.of(name)
    chosen = study_from_dict(record.index()["spec"])
    print(original_page.to_markdown(original_scores.repeat(chosen, record=record)))
    print(f"written to {record.folder / 'original'}")


app.command()(rate)
app.command()(judge)
app.command()(chat)
app.command()(export)
app.command()(publish)


@app.command()
def calibrate() -> None:
    """Count by simulation how often the tests and intervals are wrong; some minutes."""
    from . import calibration

    with Bar(total=len(calibration.CHECKS), desc="Calibrate", unit="check") as bar:
        table = calibration.write(RESULTS / "calibration", advance=bar.update)
    print(f"{table['passed'].sum()} of {len(table)} as wanted: {RESULTS / 'calibration'}")
    raise typer.Exit(0 if table["passed"].all() else 1)


@app.command(name="report")
def report_(
    name: Annotated[str, typer.Option(help="Study to report: a folder below results/.")] = "smoke",
    check: Annotated[
        bool, typer.Option("--check", help="Rebuild every table and compare; write nothing.")
    ] = False,
    readme: Annotated[
        bool, typer.Option("--readme", help="Also copy the tables that README.md asks for into it.")
    ] = False,
) -> None:
    """Write a study's tables and figures from its record, or check that they follow from it."""
    from . import report

    record = Record.of(name)
    if not check:
        report.build(record)
        print(f"tables and figures: {record.folder}")
        if readme:
            print(f"README.md {'has new tables' if report.update_readme() else 'is as it was'}")
        return
    wrong = report.check(record)
    for table in wrong:
        print(f"differs: {table}", file=sys.stderr)
    if wrong:
        raise typer.Exit(1)
    print(f"every table of {name} follows from its rows")


@app.command()
def verify(
    name: Annotated[str, typer.Option(help="Study to look at: a folder below results/.")] = "smoke",
) -> None:
    """Compare every file of a study with its checksum; name each that is damaged, and its cure."""
    from . import verification

    record = Record.of(name)
    files, damages = verification.verify(record)
    for damage in damages:
        print(f"damaged: {damage.path}; {damage.cure}", file=sys.stderr)
    if damages:
        raise typer.Exit(1)
    print(f"{files} files of {name} are as they were written")
    changed = withheld.changes(record.folder)
    if changed:
        print(
            f"published without its texts: {len(changed)} files of the study are in withheld.json"
        )


def main() -> None:
    """Run the command line; turn what a user can mend into one sentence."""
    if PIPE_VARIABLE in os.environ:
        heed_one_interrupt()
    for stream in (sys.stdout, sys.stderr):  # a terminal may lack a letter of a model's answer
        stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            print("stopped; run the same command again to go on from here", file=sys.stderr)
        if ranks.count() > 1:
            _end_at_once(end.code or 0)
        raise
    except Exception as error:
        end = ending(error)
        if end is None:
            raise
        print(f"error: {end[0]}", file=sys.stderr)
        if end[1] == DEVICE_LOST or ranks.count() > 1:
            _end_at_once(end[1])
        sys.exit(end[1])


def _end_at_once(status: int) -> NoReturn:
    """End with nothing freed: that aborts a process whose GPU failed, or whom others listen to."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
