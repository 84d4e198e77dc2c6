"""What is exported: a finetune of a study, with the very base that it was made on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..config import ModelSpec, SettingError, StudySpec, study_from_dict
from ..files import RecordError, sha256_file
from ..runs import CURE
from ..store import Record
from ..weights.checkpoints import identify
from ..weights.trust import ADAPTER

QUESTIONS = 10
"""Test questions that an export has to answer as the model did that it was made of."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A finetuned model of a study."""

    record: Record
    study: StudySpec
    spec: ModelSpec
    """Its base: of a gated model, the repository that was really taken."""
    adapter: Path
    """Folder of the adapter."""
    adapter_sha256: str
    base: Mapping[str, Any]
    """Which weights the base is, as `checkpoints.identify` said when it was finetuned."""
    questions: list[dict[str, Any]]
    """The first `QUESTIONS` lines of questions.jsonl."""


def open_source(record: Record, model_key: str) -> Source:
    """Return a finetuned model of a study, its adapter and its base as they were.

    Raises:
        SettingError: If the study has no such model, or its base is another one by now.
        RecordError: If the study is not prepared, the model is not finetuned, the adapter is
            damaged, or the record was published without its texts.
    """
    record.require_texts()
    study = study_from_dict(record.index()["spec"])
    spec = study.model(model_key)
    training, _ = record.training(model_key)
    adapter = record.adapter(model_key)
    digest = training["adapter"]["sha256"]
    if not (adapter / ADAPTER).is_file() or sha256_file(adapter / ADAPTER) != digest:
        raise RecordError(
            f"{adapter / ADAPTER} is damaged or gone: it does not have the sha256 of its "
            f"finetune; {CURE}"
        )
    return Source(
        record=record,
        study=study,
        spec=_finetuned(spec, training["base"]),
        adapter=adapter,
        adapter_sha256=digest,
        base=training["base"],
        questions=record.questions()[:QUESTIONS],
    )


def _finetuned(spec: ModelSpec, base: Mapping[str, Any]) -> ModelSpec:
    """Return a study's model with the base that a finetune of it says it was made on."""
    if base["revision"] is not None:
        # Not whichever of a gated model and its mirror this machine's token would now lead to.
        taken = {"source": base["source"], "revision": base["revision"]}
        return replace(spec, **taken, mirror=None, mirror_revision=None)
    if identify(spec) != base:
        raise SettingError(
            f"{spec.key}: {spec.source} is no more the base that was finetuned (another sha256): "
            "put that one back, or finetune again"
        )
    return spec
