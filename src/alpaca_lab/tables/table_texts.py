"""What a study found, as the text of its tables: each one's CSV by its name. Nothing is written."""

from ..config import StudySpec
from ..human.rubric import ACCEPTABILITY, PAIRWISE
from ..judge import people
from ..judge.record import Judged
from ..judge.verdicts_table import agreement, judge_table
from ..store import Record
from ..table_files import to_csv
from . import checks, human, human_metrics, scores, training, trends
from .evidence import Evidence


def all_texts(record: Record, evidence: Evidence) -> dict[str, str]:
    """Return the CSV of every table by its name.

    Raises:
        RecordError: If a model is not finetuned, or a check or a rating cannot be read.
    """
    return (
        _score_texts(evidence)
        | judge_texts(evidence.judged, record)
        | _record_texts(record, evidence.spec)
    )


def _score_texts(evidence: Evidence) -> dict[str, str]:
    frames = {
        "main": scores.main_table(evidence),
        **scores.axis_tables(evidence),
        "contrasts": trends.contrast_table(evidence),
        "aa": trends.aa_table(evidence),
        "performance/cost": scores.cost_table(evidence),
        "human": human.score_table(evidence.human[ACCEPTABILITY]),
        "human_pairs": human.pair_table(evidence.human[PAIRWISE]),
        "human_metrics": human_metrics.metric_table(evidence.human, evidence.runs),
        "human_agreement": human.agreement_table(evidence.human),
    }
    return {name: to_csv(frame) for name, frame in frames.items()}


def _record_texts(record: Record, spec: StudySpec) -> dict[str, str]:
    return {"checks": to_csv(checks.checks_table(record, spec))} | training_texts(record, spec)


def training_texts(record: Record, spec: StudySpec) -> dict[str, str]:
    """Return the CSV of the finetunes' tables, which need no answer and no score."""
    return {
        "training": to_csv(training.training_table(record, spec)),
        "equal_treatment": to_csv(training.equal_treatment_table(record, spec)),
        "performance/training": to_csv(training.training_cost_table(record, spec)),
    }


def judge_texts(judged: Judged | None, record: Record) -> dict[str, str]:
    """Return the CSV of what a language model judged; none where none was asked."""
    if judged is None:
        return {}
    rated = people.ratings(record)
    return {
        "judge": to_csv(judge_table(judged.judgements)),
        "judge_agreement": to_csv(agreement(judged.judgements, rated)),
    }
