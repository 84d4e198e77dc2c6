"""A study's tables as its pages.

A page is rendered from its tables as their CSV says them and from nothing else, so that whoever has
the CSV can check it.
"""

from collections.abc import Mapping

import pandas as pd

from ..config import StudySpec, study_from_dict
from ..judge.record import Judged, shown
from ..store import Record
from ..sweep import AXES
from ..table_files import TABLES, TRAINING, frames_of
from ..tables.evidence import Evidence
from ..tables.table_texts import judge_texts
from . import (
    render,
    render_checks,
    render_cost,
    render_glance,
    render_human,
    render_judge,
    render_training,
    render_trends,
)
from .page import Page
from .provenance import Provenance


def all_pages(frames: Mapping[str, pd.DataFrame], evidence: Evidence) -> dict[str, Page]:
    """Return every page in reading order, from the tables as read from their CSV."""
    titles = titles_of(evidence.spec)
    manifest = next(iter(evidence.runs.values())).manifest
    provenance = Provenance(
        titles=titles,
        signatures=manifest["signatures"],
        encoder=manifest["encoder"],
        comparisons=_tested(frames, "p_holm"),
        exploratory=_tested(frames, "p_bh"),
    )
    pages = {
        "glance": render_glance.glance(frames["main"], frames["contrasts"], provenance),
        "main": render.main(frames["main"], provenance),
        "contrasts": render_trends.contrasts(frames["contrasts"], provenance),
        "aa": render_trends.aa(frames["aa"], provenance),
        "checks": render_checks.checks(frames["checks"], titles),
        "performance/cost": render_cost.cost(frames["performance/cost"], titles),
        "human": render_human.scores(frames["human"], titles),
        "human_pairs": render_human.pairs(frames["human_pairs"], titles),
        "human_metrics": render_human.metrics(frames["human_metrics"], titles),
        "human_agreement": render_human.agreement(frames["human_agreement"]),
        **training_pages(frames, titles),
    }
    if evidence.judged:
        pages["judge"] = _judge_page(frames, evidence.judged, titles)
    for axis in AXES:
        pages[axis] = render.axis(frames[axis], frames["contrasts"], provenance)
        pages[f"{axis}_secondary"] = render.secondary(frames[axis], provenance)
    return {name: pages[name] for name in TABLES if name in pages}


def training_pages(
    frames: Mapping[str, pd.DataFrame], titles: Mapping[str, str]
) -> dict[str, Page]:
    """Return the pages of the finetunes, from their tables as read from their CSV."""
    renderers = (
        render_training.training,
        render_training.equal_treatment,
        render_training.training_cost,
    )
    return {
        name: renderer(frames[name], titles)
        for name, renderer in zip(TRAINING, renderers, strict=True)
    }


def judge_page(record: Record) -> Page | None:
    """Return the page of the judging that study.json names; None without one.

    Raises:
        RecordError: If the judging was changed, or a human rating is not valid.
    """
    judged = shown(record)
    if judged is None:
        return None
    frames = frames_of(judge_texts(judged, record))
    return _judge_page(frames, judged, titles_of(study_from_dict(record.index()["spec"])))


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


def titles_of(spec: StudySpec) -> dict[str, str]:
    """Return each model's printed name by its key."""
    return {model.key: model.title for model in spec.models}
