"""One model -> an adapter directory and a loss table.

The heavy lifting is TRL's SFTTrainer. This module gives it rows whose loss mask is known, checks
what was adapted before, after and on disk, and leaves a record: the manifest comes last.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from . import (
    batches,
    checkpoints,
    data,
    encoding,
    environment,
    fitting,
    layouts,
    models,
    prompts,
)
from .config import ModelSpec, SettingError, StudySpec, as_dict, fingerprint
from .layouts import EncodedRow
from .memory import PassPlan
from .progress import Bar
from .store import MANIFEST, OUTPUTS, Record, read_json, sha256_file, write_atomically, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WEIGHTS = "adapter_model.safetensors"


def finetune(study: StudySpec, model_key: str, *, record: Record) -> dict[str, Any]:
    """Finetune one model of a study, unless the same finetune is done already.

    Args:
        study: The study; every model of it is trained by the same recipe on the same rows.
        model_key: Which of its models.
        record: Where the loss table and the manifest go. The adapter itself goes to outputs/.

    Returns:
        The manifest: identity of base, data and adapter, counts, losses, seconds, peak GiB.

    Raises:
        SettingError: If the base or the data cannot be had, or the adapter is not whole.
    """
    spec, rows = _spec_of(study, model_key), data.load(study.data)
    request, folder = _request(study, spec, rows=rows)
    if not is_whole(folder):
        manifest, losses = _train(study, spec, rows=rows, folder=folder)
        write_atomically(folder / "loss.csv", losses.to_csv(index=False, lineterminator="\n"))
        write_json(folder / MANIFEST, {"request": request, "base": request["base"], **manifest})
    return _enter(folder, model_key, record=record)


def is_done(study: StudySpec, model_key: str, *, record: Record) -> bool:
    """Return True when this very finetune is whole; its record is then written for the study."""
    spec, rows = _spec_of(study, model_key), data.load(study.data)
    folder = _request(study, spec, rows=rows)[1]
    if not is_whole(folder):
        return False
    _enter(folder, model_key, record=record)
    return True


def _request(
    study: StudySpec, spec: ModelSpec, *, rows: data.Dataset
) -> tuple[dict[str, Any], Path]:
    """Return everything that decides an adapter, and the folder which its fingerprint names."""
    manifest = rows.manifest()
    request = {
        "base": checkpoints.identify(spec),
        "targets": list(spec.lora_targets),
        "data": {name: manifest[name] for name in ("train", "validation")},
        "template": prompts.TEMPLATE_HASH,
        "lora": as_dict(study.lora),
        "train": as_dict(study.train),
    }
    return request, OUTPUTS / fingerprint(request)


def _enter(folder: Path, model_key: str, *, record: Record) -> dict[str, Any]:
    """Enter a whole finetune in the study's record, and return its manifest."""
    manifest = read_json(folder / MANIFEST)
    whole = {"tokens": "Int64", "passes": "Int64"}
    record.write_training(model_key, manifest, pd.read_csv(folder / "loss.csv", dtype=whole))
    return manifest


def _spec_of(study: StudySpec, model_key: str) -> ModelSpec:
    found = [model for model in study.models if model.key == model_key]
    if not found:
        keys = ", ".join(model.key for model in study.models)
        raise SettingError(f'the study {study.name} has no model "{model_key}": choose from {keys}')
    return found[0]


def is_whole(folder: Path) -> bool:
    """Return True when the manifest exists and the adapter has the sha256 written there."""
    weights = folder / "adapter" / WEIGHTS
    if not (folder / MANIFEST).is_file() or not weights.is_file():
        return False
    return sha256_file(weights) == read_json(folder / MANIFEST)["adapter"]["sha256"]


def _train(
    study: StudySpec, spec: ModelSpec, *, rows: data.Dataset, folder: Path
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Train, save and check one adapter; return its manifest and its loss table."""
    begun = time.perf_counter()
    models.claim_device(study.gpu_gib)
    model, tokenizer = models.load_trainable(spec, lora=study.lora, train=study.train)
    train, counts = _encode(tokenizer, rows.train, study=study, title=spec.title)
    validation = [row for row in _encode(tokenizer, rows.validation, study=study)[0] if row]
    if not any(train) or not validation:
        raise SettingError(
            f"{spec.key}: no prompt is shorter than max_length={study.train.max_length}; raise it"
        )
    shape = checkpoints.read_shape(checkpoints.locate(spec))
    plan = fitting.plan(study, spec, shape=shape, memory_gib=models.memory_gib(study.gpu_gib))
    started = environment.now()
    steps = [step for step in _steps(study, rows) if any(train[i] for i in step)]
    trainer, interrupt = _trainer(
        model, tokenizer, study=study, spec=spec, steps=steps, train=train, validation=validation,
        folder=folder, plan=plan,
    )  # fmt: skip
    ready = time.perf_counter()
    with interrupt.listening():
        result = trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    if interrupt.wanted and trainer.state.global_step < trainer.state.max_steps:
        kept = _last_checkpoint(folder)
        print(f"stopped after step {trainer.state.global_step}; a usable adapter stands in {kept}")
        raise KeyboardInterrupt
    layers, parameters = models.check_adapted(
        model, shape=shape, targets=spec.lora_targets, lora=study.lora
    )
    adapter = folder / "adapter"
    model.save_pretrained(str(adapter), safe_serialization=True)
    models.check_loaded(model, adapter)
    losses = _losses(trainer.state.log_history)
    validation_losses = losses.loc[losses["kind"] == "validation", "loss"]
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
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
        "micro_batch_tokens": trainer.room,
        "recompute": plan.recompute,
        "halved_at_steps": trainer.halvings,
        "predicted_gib": plan.gib,
        "peak_gib": models.peak_gib(),
        "load_s": round(ready - begun, 2),
        "wall_s": round(result.metrics["train_runtime"], 2),
        "started": started,
        "environment": environment.snapshot(),
    }
    return manifest, losses


def _encode(
    tokenizer: "PreTrainedTokenizerBase",
    rows: Sequence[data.Example],
    *,
    study: StudySpec,
    title: str = "",
) -> tuple[list[EncodedRow | None], dict[str, int]]:
    """Encode rows, or take what was encoded of the same rows by the same tokenizer before."""
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


def _trainer(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    *,
    study: StudySpec,
    spec: ModelSpec,
    steps: list[list[int]],
    train: list[EncodedRow | None],
    validation: list[EncodedRow],
    folder: Path,
    plan: PassPlan,
) -> tuple[Any, Any]:
    """Return the trainer with every choice of the recipe made explicit, and its interrupt."""
    import torch
    from datasets import Dataset
    from transformers import EarlyStoppingCallback
    from trl import SFTConfig

    from .callbacks import Interrupt, Progress, SaveOften
    from .trainer import StepTrainer

    recipe, resources, on_gpu = study.train, study.resources, models.device() == "cuda"
    dtype = models.compute_dtype()
    evaluate_every = max(1, len(steps) // recipe.evaluations)
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    config = SFTConfig(
        output_dir=str(folder / "checkpoints"),
        max_steps=len(steps),
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=recipe.warmup_ratio,  # below 1 it is a share of the steps
        weight_decay=recipe.weight_decay,
        optim="adamw_torch_fused" if on_gpu else "adamw_torch",
        per_device_train_batch_size=1,  # one item is one optimiser step
        gradient_accumulation_steps=1,
        gradient_checkpointing=False,  # `packed` recomputes by itself; Unsloth is told as it loads
        train_sampling_strategy="sequential",
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        bf16=on_gpu and dtype == torch.bfloat16,
        fp16=on_gpu and dtype == torch.float16,
        use_cpu=not on_gpu,
        eval_strategy="steps",
        eval_steps=evaluate_every,
        save_strategy="steps",
        save_steps=evaluate_every,  # the best is among those that were evaluated
        save_total_limit=_checkpoints_kept(trainable, study),
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=recipe.seed,
        data_seed=recipe.seed,
        report_to=resources.report_to,
        run_name=f"{study.name}-{spec.key}",
    )
    interrupt = Interrupt()
    stops = [EarlyStoppingCallback(recipe.patience)] if recipe.patience else []
    trainer = StepTrainer(
        layout=_layout(model, tokenizer, study=study, spec=spec, plan=plan),
        rows=train,
        validation=validation,
        room=plan.micro_batch_tokens,
        longest=recipe.max_length,
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"rows": steps}),
        eval_dataset=Dataset.from_dict({"rows": [[0]]}),  # `evaluate` has the rows already
        data_collator=_only,
        args=config,
        callbacks=[
            Progress(spec.title),
            SaveOften(max(1, len(steps) // resources.checkpoints)),
            interrupt,
            *stops,
        ],
    )
    return trainer, interrupt


def _only(items: list[Any]) -> Any:
    """Return the only item of a batch."""
    (item,) = items
    return item


def _layout(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    *,
    study: StudySpec,
    spec: ModelSpec,
    plan: PassPlan,
) -> layouts.Layout:
    """Return packed rows where the recipe wants them and the model can, else padded ones."""
    reason = layouts.why_not_packed(
        model.config, targets=spec.lora_targets, lora=study.lora, max_length=study.train.max_length
    )
    if study.train.packing and reason is None:
        return layouts.Packed(model, recompute=plan.recompute)
    if study.train.packing:
        print(f"{spec.title}: rows are padded rather than packed, for {reason}")
    if plan.recompute:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    return layouts.Padded(model, pad_token_id=tokenizer.pad_token_id)


def _checkpoints_kept(trainable: int, study: StudySpec) -> int:
    """Return how many checkpoints to keep, by number and by size: weights and two moments each."""
    resources = study.resources
    fit = int(resources.checkpoints_gib * 2**30 // (12 * trainable))
    return max(1, min(resources.checkpoints_kept, fit))


def _last_checkpoint(folder: Path) -> str | None:
    """Return the newest whole checkpoint of an interrupted finetune, or None.

    The trainer's state is written last, so a checkpoint without a readable one was cut short.
    """
    found = {}
    for path in (folder / "checkpoints").glob("checkpoint-*/trainer_state.json"):
        try:
            found[json.loads(path.read_text(encoding="utf-8"))["global_step"]] = path.parent
        except (ValueError, KeyError):
            shutil.rmtree(path.parent)
    return str(found[max(found)]) if found else None


def _losses(history: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the trainer's log as a table, a row per step and a row per validation.

    Columns: step; kind, "train" or "validation"; loss, nats per response token; learning_rate;
    tokens of the step, prompts counted; seconds; gib, the peak so far; passes. Blank where it does
    not apply.
    """
    facts = ["learning_rate", "tokens", "seconds", "gib", "passes"]
    rows = [
        {"step": entry["step"], "kind": kind, "loss": entry[name]}
        | ({fact: entry.get(fact) for fact in facts} if kind == "train" else {})
        for entry in history
        for kind, name in (("train", "loss"), ("validation", "eval_loss"))
        if name in entry
    ]
    table = pd.DataFrame(rows, columns=["step", "kind", "loss", *facts])
    return table.astype({"tokens": "Int64", "passes": "Int64"})


def _relative(path: Path) -> str:
    """Return a path below the repository relative to it, so that a record can move with a clone."""
    return str(path.relative_to(OUTPUTS.parent))
