"""The card's metadata, the YAML at its top, by huggingface_hub's own classes."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..characters import plain
from . import licences
from .known import Form, Known, Scores

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

METRICS = {
    "rougeL": ("rouge", "ROUGE-L F1"),
    "corpus_bleu": ("sacrebleu", "BLEU"),
    "corpus_chrf": ("chrf", "chrF"),
    "bertscore_f1": ("bertscore", "BERTScore F1"),
}
"""The hub's identifier and our name of each score that the metadata carry, the primary one first;
all are on 0-100."""
LIBRARIES = {"adapter": "peft", "merged": "transformers", "gguf": None}
"""By form; the hub tells GGUF by its files."""
RELATIONS = {"adapter": "adapter", "merged": "finetune", "gguf": "finetune"}
"""To the base, as the hub names it: a "merge" is of several models there, and "quantized" would be
the base itself in fewer bits."""
UNSAFE = re.compile(r"[^\w .,:|+=/-]")
"""What a name loses in the metadata: a viewer that does not know them renders them as Markdown."""
TAGS = ("alpaca", "instruction-tuning", "lora", "qlora")


def front_matter(known: Known, scores: Scores | None, *, form: Form) -> str:
    """Return the YAML between the two lines of dashes, which are not in it.

    A base or a dataset that is not on the hub is left out: the fields take the hub's names only.

    Args:
        known: The finetune.
        scores: What was scored; None leaves out the model-index.
        form: What lies beside the card.
    """
    from huggingface_hub import ModelCardData

    base, rows = known.base, known.rows
    results = list(_results(known, scores)) if scores else []
    data = ModelCardData(
        language="en" if known.is_english else None,
        library_name=LIBRARIES[form],
        pipeline_tag="text-generation",
        base_model=base.name if base.is_hub else None,
        base_model_relation=RELATIONS[form] if base.is_hub else None,
        datasets=[rows.name] if rows.is_hub else None,
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        tags=[*TAGS, *(["gguf", "llama.cpp"] if form == "gguf" else [])],
        model_name=_safe(known.name) if results else None,
        eval_results=results or None,
        **licences.metadata(known),
    )
    return data.to_yaml()


def _results(known: Known, scores: Scores) -> Iterator["EvalResult"]:
    """Yield each score of the finetuned model, greedy, that is there."""
    from huggingface_hub import EvalResult

    rows = known.rows
    entries = scores.main.set_index("metric")
    test = known.data.get("test") or {}
    ids = test.get("ids_sha256")
    for metric, (identifier, name) in METRICS.items():
        entry = entries.loc[metric]
        if pd.isna(entry["mean"]):
            continue
        yield EvalResult(
            task_type="text-generation",
            task_name="Instruction following, held-out questions",
            dataset_type=rows.name if rows.is_hub else _builder(rows.name),
            dataset_name=f"held-out questions of {_safe(rows.name) or 'unknown rows'}",
            dataset_split="test",
            dataset_revision=rows.revision,
            dataset_args={"ids_sha256": str(ids)} if ids else None,
            metric_type=identifier,
            metric_name=f"{name}, greedy decoding, 0-100",
            metric_value=round(float(entry["mean"]), 2),
            metric_config=_safe(str(entry["signature"])) or None,
            metric_args=_uncertainty(entry),
        )


def _uncertainty(entry: pd.Series) -> dict[str, Any]:
    counted = {"n": int(entry["n"])}
    if pd.isna(entry["ci_low"]):
        return counted
    ends = [round(float(entry[name]), 2) for name in ("ci_low", "ci_high")]
    return {"confidence_interval_95": ends} | counted


def _safe(name: str) -> str:
    return UNSAFE.sub("_", plain(name))


def _builder(name: str) -> str:
    """Return what `datasets` calls the format of a local file."""
    return "parquet" if name.endswith(".parquet") else "json"
