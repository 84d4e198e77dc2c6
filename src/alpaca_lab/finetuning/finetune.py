"""One model -> an adapter directory and a loss table.

The heavy lifting is TRL's SFTTrainer. This module gives it rows whose loss mask is known, checks
what was adapted before, after and on disk, and leaves a record: the manifest comes last.
"""

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from .. import batches, data, encoding, environment, fitting, hardware, models, prompts, ranks
from ..config import ModelSpec, SettingError, StudySpec, as_dict, fingerprint
from ..files import RecordError, mismatched, read_json, sha256_file, write_atomically, write_json
from ..locks import held
from ..model_card.after_training import after_training
from ..progress import Bar, say
from ..runs import MANIFEST
from ..store import LOSS, OUTPUTS, Record
from ..weights import checkpoints
from . import history, recipe
from .layouts import EncodedRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WEIGHTS = "adapter_model.safetensors"


def finetune(study: StudySpec, model_key: str, *, record: Record) -> dict[str, Any]:
    """Finetune one model of a study, unless the same finetune is done already.

    Processes that were launched together take the same steps as one would, each its part of the
    rows. The first of them writes.

    Args:
        study: The study; every model of it is trained by the same recipe on the same rows.
        model_key: Which of its models.
        record: Where the loss table and the manifest go. The adapter itself goes to outputs/.

    Returns:
        The manifest: identity of base, data and adapter, counts, losses, seconds, peak GiB.

    Raises:
        SettingError: If the base or the data cannot be had, the adapter is not whole, or the
            processes do not share a drive.
    """
    spec = study.model(model_key)
    rows = ranks.in_turn(lambda: data.load(study.data))
    request, folder = ranks.agree(lambda: _request(study, spec, rows=rows.manifest()))
    ranks.require_shared(folder)
    with ExitStack() as locks:
        if ranks.is_main():
            # The folder's lock keeps two studies from training one adapter, the record's keeps the
            # study from being replaced meanwhile.
            locks.enter_context(record.working("finetuning", model_key))
            locks.enter_context(held(folder / ".lock", f"finetuning {model_key}"))
        if not ranks.agree(lambda: _is_ready(folder, model_key, record=record)):
            manifest, losses = _train(study, spec, rows=rows, folder=folder)
            if ranks.is_main():
                write_atomically(folder / LOSS, losses.to_csv(index=False, lineterminator="\n"))
                sums = {LOSS: sha256_file(folder / LOSS), **manifest.pop("sha256")}
                known = {"request": request, "base": request["base"], **manifest, "sha256": sums}
                write_json(folder / MANIFEST, known)
        return ranks.agree(lambda: _enter(folder, model_key, record=record))


def is_done(study: StudySpec, model_key: str, *, rows: Mapping[str, Any], record: Record) -> bool:
    """Return True when this very finetune is whole; its record is then written for the study.

    Args:
        study: The study.
        model_key: Which of its models.
        rows: What the rows are, as `Dataset.manifest` has it: study.json does, once prepared.
        record: The study's record.
    """
    _, folder = _request(study, study.model(model_key), rows=rows)
    if not _is_ready(folder, model_key, record=record):
        return False
    _enter(folder, model_key, record=record)
    return True


def _request(
    study: StudySpec, spec: ModelSpec, *, rows: Mapping[str, Any]
) -> tuple[dict[str, Any], Path]:
    """Return everything that decides an adapter, and the folder which its fingerprint names."""
    request = {
        "base": checkpoints.identify(spec),
        "targets": list(spec.lora_targets),
        "data": {name: rows[name] for name in ("train", "validation")},
        "template": prompts.TEMPLATE_HASH,
        "lora": as_dict(study.lora),
        "train": as_dict(study.train),
    }
    return request, OUTPUTS / fingerprint(request)


def _enter(folder: Path, model_key: str, *, record: Record) -> dict[str, Any]:
    """Enter a whole finetune in the study's record, and return its manifest."""
    manifest = read_json(folder / MANIFEST)
    whole = {"tokens": "Int64", "passes": "Int64"}
    losses = pd.read_csv(folder / LOSS, dtype=whole)
    record.write_training(model_key, manifest, losses)
    return manifest


def is_whole(folder: Path) -> bool:
    """Return True when a finetune was finished and every file of it is as it was then."""
    return not damaged(folder)


def damaged(folder: Path) -> list[Path]:
    """Return the files of a finetune that are not as they were; the manifest if that is one."""
    try:
        return mismatched(folder, read_json(folder / MANIFEST)["sha256"])
    except RecordError:
        return [folder / MANIFEST]


def _is_ready(folder: Path, model_key: str, *, record: Record) -> bool:
    """Return True when a finetune is whole; one that is damaged is mended if its record can."""
    wrong = damaged(folder)
    if not wrong:
        return True
    copies = record.folder / "training" / model_key
    if _could_mend(folder, copies):
        for name in (MANIFEST, LOSS):
            write_atomically(folder / name, (copies / name).read_bytes())
        say(f"{wrong[0]} was damaged: it is written again from {copies}")
        return True
    if (folder / MANIFEST).is_file():  # else it was never finished
        say(f"{wrong[0]} is damaged: {model_key} is finetuned again")
    return False


def _could_mend(folder: Path, copies: Path) -> bool:
    """Return True when a study's record of a finetune is whole, and its adapter in `folder` too."""
    try:
        manifest = read_json(copies / MANIFEST)
        if fingerprint(manifest["request"]) != folder.name:
            return False
        adapter = {name: digest for name, digest in manifest["sha256"].items() if name != LOSS}
        return not mismatched(copies, {LOSS: manifest["sha256"][LOSS]}) and not mismatched(
            folder, adapter
        )
    except (RecordError, KeyError):  # none, damaged, or of a finetune made by hand
        return False


def _train(
    study: StudySpec, spec: ModelSpec, *, rows: data.Dataset, folder: Path
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Train, save and check one adapter; return its manifest and its loss table."""
    begun = time.perf_counter()
    hardware.claim_device(study.gpu_gib)
    model, tokenizer = models.load_trainable(spec, lora=study.lora, train=study.train)
    train, counts = _encode(tokenizer, rows.train, study=study, title=spec.title)
    validation = [row for row in _encode(tokenizer, rows.validation, study=study)[0] if row]
    if not any(train) or not validation:
        raise SettingError(
            f"{spec.key}: no prompt is shorter than max_length={study.train.max_length}; raise it"
        )
    shape = checkpoints.read_shape(checkpoints.locate(spec))
    plan = fitting.plan(
        study, spec, shape=shape, memory_gib=hardware.memory_gib(study.gpu_gib),
        processes=ranks.count(),
    )  # fmt: skip
    started = environment.now()
    steps = [step for step in _steps(study, rows) if any(train[i] for i in step)]
    trainer, interrupt = recipe.set_up(
        model, tokenizer, study=study, spec=spec, steps=steps, train=train, validation=validation,
        folder=folder, plan=plan,
    )  # fmt: skip
    ready = time.perf_counter()
    with interrupt.listening():
        kept = ranks.agree(lambda: history.last_checkpoint(folder))
        result = trainer.train(resume_from_checkpoint=kept)
    if interrupt.wanted and trainer.state.global_step < trainer.state.max_steps:
        kept = ranks.agree(lambda: history.last_checkpoint(folder))
        if ranks.is_main():
            step = trainer.state.global_step
            print(f"stopped after step {step}; a usable adapter stands in {kept}")
        raise KeyboardInterrupt
    layers, parameters = models.check_adapted(
        model, shape=shape, targets=spec.lora_targets, lora=study.lora
    )
    adapter = folder / "adapter"
    ranks.once(lambda: model.save_pretrained(str(adapter), safe_serialization=True))
    models.check_loaded(model, adapter)
    losses = history.loss_table(trainer.state.log_history)
    facts = {"adapted_layers": layers, "trainable_parameters": parameters}
    ranks.once(
        lambda: after_training(
            adapter, study, spec, data=rows.manifest(), losses=losses, facts=facts
        )
    )
    validation_losses = losses.loc[losses["kind"] == "validation", "loss"]
    paid = ranks.gather((hardware.peak_gib(), hardware.device_gib(), trainer.halvings))
    peaks, devices, halvings = zip(*paid, strict=True)
    ranks.once(lambda: shutil.rmtree(folder / "checkpoints", ignore_errors=True))
    manifest = {
        "model": spec.key,
        "adapter": {
            "folder": _relative(adapter),
            "sha256": sha256_file(adapter / WEIGHTS),
        },
        "adapted_layers": layers,
        "trainable_parameters": parameters,
        "train_rows": sum(row is not None for row in train),
        "validation_rows": len(validation),
        **{f"rows_{name}" if name in ("cut", "dropped") else name: n for name, n in counts.items()},
        "order_sha256": _order_sha256(study, rows),
        "steps": trainer.state.global_step,
        "best_validation_loss": float(validation_losses.min()),
        "layout": trainer.layout.name,
        "processes": ranks.count(),
        "micro_batch_tokens": trainer.room,
        "recompute": plan.recompute,
        "halved_at_steps": sorted(step for steps in halvings for step in steps),
        "predicted_gib": plan.gib,
        "peak_gib": None if peaks[0] is None else max(peaks),
        "device_gib": None if devices[0] is None else max(devices),
        "load_s": round(ready - begun, 2),
        "wall_s": round(result.metrics["train_runtime"], 2),
        "started": started,
        "environment": environment.snapshot(),
        "sha256": {
            str(path.relative_to(folder)): sha256_file(path)
            for path in sorted(adapter.rglob("*"))
            if path.is_file()
        },
    }
    return manifest, losses


def _encode(
    tokenizer: "PreTrainedTokenizerBase",
    rows: Sequence[data.Example],
    *,
    study: StudySpec,
    title: str = "",
) -> tuple[list[EncodedRow | None], dict[str, int]]:
    """Encode rows under a bar named after the model; without a name, in silence."""
    with Bar(total=len(rows), desc=f"Tokenise for {title}", unit="row", disable=not title) as bar:
        return encoding.encode_rows(
            tokenizer, rows, max_length=study.train.max_length, seen=bar.update
        )


def _steps(study: StudySpec, rows: data.Dataset) -> list[list[int]]:
    """Return the rows of each optimiser step, by their number in the training split."""
    recipe = study.train
    return batches.plan_steps(
        len(rows.train),
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        seed=recipe.seed,
        max_steps=recipe.max_steps,
    )


def _order_sha256(study: StudySpec, rows: data.Dataset) -> str:
    """Return one hash over which question each step learns from, the same for every model."""
    digest = hashlib.sha256()
    for step in _steps(study, rows):
        digest.update(" ".join(rows.train[i].key for i in step).encode() + b"\n")
    return digest.hexdigest()


def _relative(path: Path) -> str:
    """Return a path below the repository relative to it, so that a record can move with a clone."""
    return str(path.relative_to(OUTPUTS.parent))
