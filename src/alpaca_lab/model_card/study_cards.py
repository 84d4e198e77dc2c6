"""The model cards of a study, from its record: no torch, and the same bytes from the same record.

    build(record, key)             the files of one finetuned model's card
    texts(record, evidence, ...)   those of all models but for the figures, from tables at hand
    figures(record, spec)          their figures

What a card says stands in `model_card`; here it is found.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ..config import StudySpec, require, study_from_dict
from ..pages import render
from ..pages.provenance import Provenance
from ..store import CONTROL, Record
from ..sweep import BASE, GREEDY, cells
from ..table_files import from_csv, to_csv
from ..tables import scores, trends
from ..tables.evidence import CONTROLS, Evidence, load
from . import card
from .known import FORMS, Form, Known, Scores


def build(record: Record, model_key: str, *, form: Form = "adapter") -> dict[str, bytes]:
    """Return the files of a finetuned model's card: README.md, loss.png, what its licences want.

    A study that is not decoded and scored yet has cards without scores, which say so.

    Args:
        record: The study's record.
        model_key: One of its models.
        form: What the card will lie beside: "adapter", "merged" or "gguf".

    Raises:
        SettingError: If the study has no such model, or there is no such form.
        RecordError: If the model is not finetuned, or a run was changed since it was sealed.
    """
    index = record.index()
    spec = study_from_dict(index["spec"])
    require(form in FORMS, f'no form "{form}" of a model: choose from {", ".join(FORMS)}')
    known = _known(record, spec, model_key)
    if not _is_scored(record, spec):
        return card.files(known, None, form=form)
    evidence = load(record)
    main, contrasts = scores.main_table(evidence), trends.contrast_table(evidence)
    found = dict(_scores(record, evidence, main=_read(main), contrasts=_read(contrasts)))
    return card.files(known, found[model_key], form=form)


def texts(
    record: Record, evidence: Evidence, *, main: pd.DataFrame, contrasts: pd.DataFrame
) -> dict[Path, str]:
    """Return the text files of every model's card, of its adapter, by where they belong.

    Args:
        record: The study's record.
        evidence: What the tables are made of.
        main: `scores.main_table`, as read from its CSV.
        contrasts: `trends.contrast_table`, as read from its CSV.

    Raises:
        RecordError: If a model is not finetuned.
    """
    return {
        record.card(key) / name: text
        for key, scores in _scores(record, evidence, main=main, contrasts=contrasts)
        for name, text in card.texts(
            _known(record, evidence.spec, key), scores, form="adapter"
        ).items()
    }


def figures(record: Record, spec: StudySpec) -> dict[Path, bytes]:
    """Return the figure of every model's card, by where it belongs."""
    return {
        record.card(model.key) / card.FIGURE: card.figure(_known(record, spec, model.key))
        for model in spec.models
    }


def _known(record: Record, spec: StudySpec, key: str) -> Known:
    model = spec.model(key)
    manifest, losses = record.training(key)
    data = record.index().get("data") or {}
    return Known(study=spec, model=model, data=data, manifest=manifest, losses=losses)


def _is_scored(record: Record, spec: StudySpec) -> bool:
    """Return True when every cell of every model is scored, and the controls are."""
    runs = record.index()["runs"]
    wanted = {
        **{model.key: (BASE, *(cell.name for cell in cells(spec))) for model in spec.models},
        CONTROL: tuple(CONTROLS),
    }
    ids = [runs.get(key, {}).get(cell) for key, names in wanted.items() for cell in names]
    return all(run is not None and record.run(run).is_sealed for run in ids)


def _scores(
    record: Record, evidence: Evidence, *, main: pd.DataFrame, contrasts: pd.DataFrame
) -> Iterator[tuple[str, Scores]]:
    """Yield (model key, what its card says of its scores)."""
    settings = _read(trends.setting_table(evidence))
    greedy = next(iter(evidence.runs.values())).manifest
    provenance = Provenance(
        titles={model.key: model.title for model in evidence.spec.models},
        signatures=greedy["signatures"],
        encoder=greedy["encoder"],
    )
    for model in evidence.spec.models:
        request = record.run(evidence.runs[model.key, GREEDY].run).request()
        own = main["model"] == model.key
        yield (
            model.key,
            Scores(
                page=render.main(main[own | (main["model"] == CONTROL)], provenance),
                main=main[own & (main["value"] == "finetuned")],
                settings=_of(settings, model.key),
                contrasts=_of(contrasts, model.key),
                compared=int(settings["p_holm"].notna().sum()),
                is_merged=request.get("weights") != "unmerged",
            ),
        )


def _read(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table as whoever has its CSV reads it."""
    return from_csv(to_csv(frame))


def _of(frame: pd.DataFrame, model: str) -> pd.DataFrame:
    return frame[frame["model"] == model]
