"""What stands beside an export: what it is, of what, and how far it was compared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import environment
from ..characters import plain
from ..sweep import GREEDY
from .answers import agreeing
from .folder import files
from .forms import GIB, Written
from .source import Source

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "huggingface_hub")
KINDS = {
    "adapter": "the LoRA adapter, for PEFT, beside a base that is fetched",
    "merged": "a dense checkpoint that needs no base. It is the NF4 base, dequantised, with the "
    "adapter merged into those values: what the study decoded and scored. Merged into the original "
    "16-bit weights, the adapter would stand on other values than those that it was trained on",
    "gguf": "one file for llama.cpp, not quantised, converted from the merged checkpoint: the NF4 "
    "base, dequantised, with the adapter merged into those values, which is what the study decoded "
    "and scored",
}


def facts(source: Source, form: str, written: Written) -> dict[str, Any]:
    """Return what export.json says of an export."""
    agreed = agreeing(source, written.answers)
    return {
        "form": form,
        "study": source.study.name,
        "model": source.spec.key,
        "base": dict(source.base),
        "adapter_sha256": source.adapter_sha256,
        "greedy_run": _greedy_run(source),
        "dtype": written.dtype,
        "read_back_by": written.by,
        "questions": list(written.answers),
        "max_new_tokens": source.study.max_new_tokens,
        "same_tokens": written.same,
        "partings": written.partings,
        "same_as_recorded": agreed,
        "why_not_all_recorded": _why(source, written, agreed),
        "made": environment.now(),
        "commit": environment.commit(),
        "versions": {name: environment.version_of(name) for name in PACKAGES},
    }


def section(known: Mapping[str, Any]) -> str:
    """Return the part of a model card that tells how an export was made and compared."""
    return (
        f"\n## This export\n\nThis is {KINDS[known['form']]}. Weights: {known['dtype']}.\n\n"
        f"It was read back from these files by {plain(known['read_back_by'])}: "
        f"{compared(known)}. `export.json` has the details, `SHA256SUMS` the checksum of every "
        "file.\n"
    )


def compared(known: Mapping[str, Any]) -> str:
    """Return in words how far an export answers as its model, and as the study's record."""
    n, same, agreed = len(known["questions"]), known["same_tokens"], known["same_as_recorded"]
    words = [f"{same} of {n} questions answered greedily to the same tokens"]
    if same < n:
        words.append(f"{n - same} part where two tokens lie within rounding")
    if agreed is None:
        words.append("the study has no greedy answers to compare with")
    else:
        why = known["why_not_all_recorded"]
        words.append(f"{agreed} of {n} as the study recorded them{f' ({why})' if why else ''}")
    return ", ".join(words)


def summary(known: Mapping[str, Any], folder: Path) -> str:
    """Return the line that a user reads at the end."""
    size = sum(path.stat().st_size for path in files(folder)) / GIB
    return (
        f"{known['model']} as {known['form']}, {known['dtype']}, {size:.3g} GiB in {folder}: "
        f"{compared(known)}"
    )


def _greedy_run(source: Source) -> str | None:
    return source.record.index()["runs"].get(source.spec.key, {}).get(GREEDY)


def _why(source: Source, written: Written, agreed: int | None) -> str | None:
    """Return why an export answers otherwise than the record says, as far as that is known."""
    if agreed in (None, len(written.answers)):
        return None
    asked = source.record.run(_greedy_run(source)).request()
    if asked.get("weights") == "unmerged":
        return "the study decoded its adapter unmerged"
    if asked["adapter"] != source.adapter_sha256:
        return "the study decoded another adapter"
    if asked["dtype"] != written.dtype and written.dtype != "float32":
        return f"the study computed in {asked['dtype']}, the export keeps {written.dtype}"
    return f"the study computed in {asked['dtype']}, on a machine that may round otherwise"
