"""The tables of a card: which base and rows, by what recipe, on what machine."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..characters import plain
from ..pages.markdown import escape, grid
from ..pages.page import count, number
from .known import Known, Source

UNKNOWN = "not recorded"
SPLITS = ("train", "validation", "test")
PACKAGES = (
    "torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "unsloth",
)  # fmt: skip
"""Those that a finetune runs on, of all that a manifest names."""
COUNTS = {
    "adapted_layers": "adapted layers",
    "trainable_parameters": "trainable parameters",
    "train_rows": "rows trained on",
    "rows_cut": "of them cut at the longest example",
    "rows_dropped": "rows dropped, prompt alone too long",
    "tokens": "tokens of one pass over them",
    "response_tokens": "of them with loss",
    "steps": "optimiser steps",
}
"""Facts of a finetune's manifest that are whole numbers, and their printed names."""


def origin(known: Known) -> str:
    """Return where base and rows came from, as Markdown."""
    data = known.data
    rows = [
        ("Base", *_place(known.base, "")),
        ("Rows", *_place(known.rows, "datasets/")),
        *((f"Split: {name}", *_split(data.get(name) or {})) for name in SPLITS),
    ]
    table = _table(("What", "Which", "Identity"), rows)
    held_out = "Near-duplicate questions are split together, by hash: none is on both sides."
    return f"{table}\n{held_out}{_contamination(data.get('contamination') or {})}"


def settings(known: Known) -> str:
    """Return the recipe, under the names that `--set` takes, and what came of it, as Markdown."""
    request = known.manifest.get("request") or {}
    asked = [
        (_code(f"{part}.{name}"), _code(value))
        for part in ("lora", "train")
        for name, value in (request.get(part) or {"": UNKNOWN}).items()
    ]
    facts = _table(("Fact", "Value"), _facts(known))
    return f"{_table(('Setting', 'Value'), asked)}\n{facts}"


def _facts(known: Known) -> Iterator[tuple[str, str]]:
    manifest = known.manifest
    for name, title in COUNTS.items():
        if name in manifest:
            yield title, _or_unknown(manifest[name], count)
    if "wall_s" in manifest:
        yield "seconds of training", _or_unknown(manifest["wall_s"], number)
    if "peak_gib" in manifest:
        gib = manifest["peak_gib"]
        yield "peak GiB of the GPU", "not measured" if gib is None else number(gib)
    if "adapter" in manifest:
        yield "sha256 of the adapter", _code(manifest["adapter"].get("sha256"))
    environment = manifest.get("environment") or {}
    yield "hardware", escape(_hardware(environment))
    yield "versions", escape(_versions(environment))
    yield "Alpaca Lab, commit", _code(environment.get("commit") or UNKNOWN)


def _hardware(environment: Mapping[str, Any]) -> str:
    if not environment:
        return UNKNOWN
    gpu = environment.get("gpu")
    if gpu:
        return f"{gpu.get('name')}, {number(gpu.get('total_gib'), decimals=1)} GiB"
    cpu, cores = environment.get("cpu"), environment.get("cores")
    return f"no GPU; {cpu or 'unknown processor'}, {cores or 'unknown'} cores"


def _versions(environment: Mapping[str, Any]) -> str:
    packages = environment.get("packages") or {}
    found = [f"{name} {packages[name]}" for name in PACKAGES if packages.get(name)]
    python = environment.get("python")
    return ", ".join(([f"Python {python}"] if python else []) + found) or UNKNOWN


def _place(source: Source, kind: str) -> tuple[str, str]:
    """Return a source's name, linked where it is on the hub, and what fixes it."""
    name = _code(source.name or UNKNOWN)
    if source.is_hub:
        return f"[{name}](https://huggingface.co/{kind}{source.name})", _code(source.revision)
    return name, f"sha256 {_code(source.sha256)}" if source.sha256 else UNKNOWN


def _split(split: Mapping[str, Any]) -> tuple[str, str]:
    rows, ids = split.get("rows"), split.get("ids_sha256")
    counted = _or_unknown(rows, lambda n: f"{count(n)} rows")
    return counted, f"sha256 of its rows {_code(ids)}" if ids else UNKNOWN


def _contamination(found: Mapping[str, Any]) -> str:
    if "shared" not in found:
        return ""
    told = found["shared"] + found.get("none_shared", 0)
    return (
        f" Test answers that share {count(found['words'])} words in a row with a training row: "
        f"{count(found['shared'])} of the {count(told)} long enough to tell."
    )


def _or_unknown(value: Any, say: Any) -> str:
    return UNKNOWN if value is None else say(value)


def _code(value: Any) -> str:
    # Inside a code span nothing is escaped but the bar that would end a table's cell.
    text = plain(str(value)).replace("`", chr(0x2035)).replace("|", r"\|")
    return f"`{text}`"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table of cells that are Markdown already."""
    head = grid(header, (), words=len(header))
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)
