"""The first study's decoding, repeated with the models of a finished study.

Its 13 settings on the first 20 rows of the data file, with its one template and its 64 new tokens,
through Transformers' `generate`: beams that sample are beyond our own engines, and belong to it.
What it left unset was inherited; here that is resolved, recorded with every answer, and passed.
"""

import gc
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import hardware, models
from ..config import DataSpec, ModelSpec, SettingError, StudySpec, fingerprint
from ..files import append_line, drop_damaged_lines, read_lines, write_lines
from ..progress import Bar, say
from ..rows import sources
from ..store import Record
from ..weights import checkpoints
from . import protocol
from .protocol import MAX_NEW_TOKENS, ROWS
from .published import AXES, DEFAULT

LIBRARY = {
    "do_sample": False,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "min_p": None,
    "typical_p": 1.0,
    "num_beams": 1,
    "length_penalty": 1.0,
    "early_stopping": False,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "num_return_sequences": 1,
}
"""What Transformers takes for a field that neither the call nor the checkpoint sets."""
BATCH = 40
"""Sequences decoded side by side, beams counted: fits a 7B model in 24 GB."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of the study: what it passed to `generate`, and nothing else."""

    axis: str
    """The table it stands in: "default" or a knob."""
    value: float | None
    asked: Mapping[str, Any]
    """The fields that were set; every other is inherited."""

    @property
    def name(self) -> str:
        """Name in files: "default", "temperature=0.25"."""
        return self.axis if self.value is None else f"{self.axis}={self.value:g}"


def grid() -> Iterator[Setting]:
    """Yield the study's settings: default, then one knob at a time, every one of them sampled.

    Beams too are sampled, and so is "one beam". The default sets nothing: LLaMA-2 samples by
    what its checkpoint ships (temperature 0.6, top_p 0.9), a checkpoint that ships nothing is
    greedy.
    """
    yield Setting(axis=DEFAULT, value=None, asked={})
    values = {"temperature": (0.001, 0.25, 0.5, 0.75), "num_beams": (1, 2, 4, 8),
              "top_k": (2, 4, 8, 16)}  # fmt: skip
    for axis in AXES:
        for value in values[axis]:
            yield Setting(axis=axis, value=value, asked={"do_sample": True, axis: value})


def resolve(asked: Mapping[str, Any], shipped: Mapping[str, Any]) -> dict[str, Any]:
    """Return every decoding field as a value: what was asked, else shipped, else the library's.

    Args:
        asked: The fields of a `Setting`.
        shipped: The checkpoint's generation_config.json.

    Example:
        >>> resolve({"do_sample": True, "num_beams": 4}, {"temperature": 0.6})["temperature"]
        0.6
    """
    known = {
        name: value for name, value in shipped.items() if name in LIBRARY and value is not None
    }
    return LIBRARY | known | dict(asked) | {"max_new_tokens": MAX_NEW_TOKENS}


def first_rows(spec: DataSpec) -> list[dict[str, str]]:
    """Return the first 20 rows of the data as they stand: nothing validated, nothing left out.

    Raises:
        SettingError: If the data cannot be read, are fewer, or a field is not text.
    """
    local = Path(spec.source).is_absolute()
    records = (
        sources.read_file(Path(spec.source))
        if local
        else sources.read_hub(spec.source, spec.revision)
    )
    if len(records) < ROWS:
        raise SettingError(f"{spec.source} has {len(records)} rows; the protocol takes {ROWS}")
    rows = []
    for number, record in enumerate(records[:ROWS], start=1):
        fields = record if isinstance(record, dict) else {}
        row = {name: fields.get(name) for name in ("instruction", "input", "output")}
        row["input"] = row["input"] or ""
        if not all(isinstance(text, str) for text in row.values()):
            raise SettingError(f"{spec.source}, row {number}: needs instruction and output, text")
        rows.append(row)
    return rows


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The rows of one setting that are decoded together, and what decides their texts."""

    setting: Setting
    fields: Mapping[str, Any]
    numbers: range
    request: str
    """Fingerprint of model, rows, fields and seed: a text of another request is not reused."""


def decode(study: StudySpec, *, record: Record) -> Path:
    """Decode the study's grid with every finetuned model; what is on disk is not decoded again.

    Args:
        study: A study whose models are finetuned.
        record: Its record; texts.jsonl goes into its folder original/.

    Returns:
        The path of texts.jsonl: one line per model, setting and row, with both whole texts, the
        resolved fields, the seed, n_new_tokens and finish_reason (eos, length).

    Raises:
        SettingError: If the data's first rows or a checkpoint cannot be had.
        RecordError: If a model is not finetuned.
    """
    path, rows = record.folder / "original" / "texts.jsonl", first_rows(study.data)
    plans = {spec.key: list(_plan(spec, study, rows, record=record)) for spec in study.models}
    wanted = {part.request: len(part.numbers) for parts in plans.values() for part in parts}
    with record.working("decoding", "original"):
        _decode_missing(plans, rows, path=path, wanted=wanted, study=study, record=record)
    return path


def _decode_missing(
    plans: Mapping[str, Sequence[_Part]],
    rows: Sequence[Mapping[str, str]],
    *,
    path: Path,
    wanted: Mapping[str, int],
    study: StudySpec,
    record: Record,
) -> None:
    """Append the lines of every part that the file does not hold whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done = _whole_parts(path, wanted)
    total, initial = sum(wanted.values()), sum(wanted[request] for request in done)
    with Bar(total=total, initial=initial, desc="Original protocol", unit="text") as bar:
        for spec in study.models:
            pending = [part for part in plans[spec.key] if part.request not in done]
            if not pending:
                continue
            bar.set_description(f"Original protocol, {spec.title}")
            hardware.claim_device(study.gpu_gib)
            loaded = models.load_decoder(spec, record.adapter(spec.key))
            for part in pending:
                for line in _decode_part(spec, part, rows, loaded=loaded):
                    append_line(path, line)
                    bar.update()
            del loaded
            gc.collect()  # one model at a time in memory


def _plan(
    spec: ModelSpec, study: StudySpec, rows: Sequence[Mapping[str, str]], *, record: Record
) -> Iterator[_Part]:
    training, _ = record.training(spec.key)
    shipped_file = checkpoints.locate(spec) / "generation_config.json"
    shipped = json.loads(shipped_file.read_text()) if shipped_file.is_file() else {}
    shared = {"model": training["base"], "adapter": training["adapter"]["sha256"], "rows": rows}
    shared["dtype"] = str(hardware.compute_dtype())
    for setting in grid():
        fields = resolve(setting.asked, shipped)
        size = max(1, BATCH // fields["num_beams"])
        for start in range(0, len(rows), size):
            numbers = range(start, min(start + size, len(rows)))
            request = shared | {"fields": fields, "setting": setting.name, "seed": study.seed}
            request |= {"numbers": list(numbers), "template": protocol.TEMPLATE}
            yield _Part(
                setting=setting, fields=fields, numbers=numbers, request=fingerprint(request)
            )


def _whole_parts(path: Path, wanted: Mapping[str, int]) -> set[str]:
    """Return the requests that are answered whole; drop the lines of any other."""
    lost = drop_damaged_lines(path)
    if lost:
        say(f"{path} had {lost} damaged lines: their texts are decoded again")
    lines = read_lines(path)
    counts = Counter(line["request"] for line in lines)
    done = {request for request, size in wanted.items() if counts[request] == size}
    kept = [line for line in lines if line["request"] in done]
    if len(kept) < len(lines):
        write_lines(path, kept)
    return done


def _decode_part(
    spec: ModelSpec, part: _Part, rows: Sequence[Mapping[str, str]], *, loaded: tuple[Any, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the lines of one part."""
    model, tokenizer = loaded
    chosen = [rows[number] for number in part.numbers]
    prompts = [protocol.render(row["instruction"], row["input"]) for row in chosen]
    seed = int(part.request[:8], 16)
    answers = generate(model, tokenizer, prompts, part.fields, seed=seed)
    for number, row, (text, n_new_tokens, reason) in zip(
        part.numbers, chosen, answers, strict=True
    ):
        yield {
            "id": str(number + 1),
            "group": f"{spec.title}, {part.setting.name}",
            "model": spec.key,
            "setting": part.setting.name,
            "reference_text": protocol.render(row["instruction"], row["input"], row["output"]),
            "candidate_text": text,
            "fields": dict(part.fields),
            "seed": seed,
            "n_new_tokens": n_new_tokens,
            "finish_reason": reason,
            "request": part.request,
        }


def generate(
    model: Any, tokenizer: Any, prompts: Sequence[str], fields: Mapping[str, Any], *, seed: int
) -> list[tuple[str, int, str]]:
    """Return (whole text, new tokens, finish reason) of each prompt.

    Args:
        model: A Transformers model.
        tokenizer: Its tokenizer, padding on the left.
        prompts: Texts decoded in one batch; equal calls give equal answers.
        fields: What `resolve` returns: every field is passed, so that nothing is inherited here.
        seed: Seeds torch for this call alone.
    """
    import torch
    from transformers import GenerationConfig

    eos = tokenizer.eos_token_id
    config = GenerationConfig(**fields, eos_token_id=eos, pad_token_id=tokenizer.pad_token_id)
    ids = [list(tokenizer(prompt).input_ids) for prompt in prompts]
    # Some tokenizers also end what they encode; a prompt is not over.
    ids = [row[:-1] if row[-1] == eos else row for row in ids]
    batch = tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(model.device)
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode():
        torch.manual_seed(seed)
        output = model.generate(**batch, generation_config=config)
    width = batch["input_ids"].shape[1]
    found = []
    for row in output.tolist():
        new = row[width:]
        ended = eos in new
        text = tokenizer.decode(row, skip_special_tokens=True)
        found.append(
            (text, new.index(eos) + 1 if ended else len(new), "eos" if ended else "length")
        )
    return found
