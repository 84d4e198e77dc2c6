"""The options that commands share, and the study that they mean."""

from pathlib import Path
from typing import Annotated

import typer

from . import profiles, ranks, study
from .config import ModelSpec, SettingError, StudySpec, study_from_dict
from .files import read_json
from .store import Record

Profile = Annotated[str, typer.Option(help="smoke: tiny models on a CPU. full: a 24 GB GPU.")]
StageProfile = Annotated[
    str,
    typer.Option(help="As for run: smoke if not given, but a study that --name alone says is it."),
]
Models = Annotated[
    str,
    typer.Option(
        help="Models by name, comma-separated. NAME=FOLDER takes a local checkpoint, "
        "NAME=owner/name@COMMIT one of the hub, also of models that have no name here."
    ),
]
Data = Annotated[
    str, typer.Option(help="A .json, .jsonl or .parquet file, or a hub dataset owner/name@COMMIT.")
]
Columns = Annotated[
    str,
    typer.Option(help='What the columns are called, as "instruction=question, output=answer".'),
]
Name = Annotated[str, typer.Option(help="Folder below results/; the profile's name if not given.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one setting, e.g. --set train.epochs=1; repeatable."),
]
Spec = Annotated[
    Path | None,
    typer.Option(help="Take the prepared study from this study.json instead of a profile."),
]
Only = Annotated[str, typer.Option(help="Only this model of the study.")]
WorldSize = Annotated[
    int | None,
    typer.Option(help="Refuse to begin unless accelerate launch started so many processes."),
]


def study_of(
    profile: str, models: str, data: str, columns: str, name: str, changes: list[str] | None
) -> StudySpec:
    """Return the profile as the options change it."""
    pairs = [change.partition("=") for change in changes or []]
    for field, equals, _ in pairs:
        if not equals:
            raise SettingError(f"--set {field}: expected FIELD=VALUE, such as train.epochs=1")
    return profiles.configure(
        profile,
        models=models,
        data=data,
        columns=columns,
        name=name,
        changes={field: value for field, _, value in pairs},
    )


def prepared(
    spec: Path | None,
    profile: str,
    models: str,
    data: str,
    columns: str,
    name: str,
    changes: list[str] | None,
) -> tuple[StudySpec, Record]:
    """Return a study ready for its stages, and its folder.

    A name alone, of a study that is there, is that study as it was prepared: the default profile
    under its name would be another one, and take its place.
    """
    if spec is None and name and not (profile or models or data or columns or changes):
        there = Record.of(name)
        spec = there.folder / "study.json" if there.has_index() else None
    if spec is not None:
        record = Record(spec.resolve().parent)
        record.require_texts()
        return study_from_dict(read_json(spec)["spec"]), record
    chosen = study_of(profile or "smoke", models, data, columns, name, changes)
    record = Record.of(chosen.name)
    ranks.once(lambda: study.prepare(chosen, record=record))
    return chosen, record


def models_of(chosen: StudySpec, only: str) -> tuple[ModelSpec, ...]:
    """Return the models of a study, or only the one of that key."""
    return (chosen.model(only),) if only else chosen.models
