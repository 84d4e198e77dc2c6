"""One model -> an adapter directory and a loss table.

The heavy lifting is TRL's SFTTrainer. This module gives it rows whose loss mask is known, checks
what was adapted before, after and on disk, and leaves a record: the manifest comes last.
"""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from . import checkpoints, data, encoding, environment, models, prompts
from .config import ModelSpec, SettingError, StudySpec, as_dict, fingerprint
from .progress import Bar
from .store import MANIFEST, OUTPUTS, Record, read_json, sha256_file, write_atomically, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

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
    record.write_training(model_key, manifest, pd.read_csv(folder / "loss.csv"))
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
    models.claim_device(study.gpu_gib)
    model, tokenizer = models.load_trainable(spec, lora=study.lora, train=study.train)
    desc, total = f"Tokenise for {spec.title}", len(rows.train) + len(rows.validation)
    with Bar(total=total, desc=desc, unit="row") as bar:
        encode = partial(
            encoding.encode_rows, tokenizer, max_length=study.train.max_length, seen=bar.update
        )
        train, counts = encode(rows.train)
        validation, _ = encode(rows.validation)
    if not train or not validation:
        raise SettingError(
            f"{spec.key}: no prompt is shorter than max_length={study.train.max_length}; raise it"
        )
    started = environment.now()
    trainer = _trainer(
        model,
        tokenizer,
        study=study,
        title=spec.title,
        train=train,
        validation=validation,
        folder=folder,
    )
    result = trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    shape = checkpoints.read_shape(checkpoints.locate(spec))
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
        "train_rows": len(train),
        "validation_rows": len(validation),
        **{f"rows_{name}" if name in ("cut", "dropped") else name: n for name, n in counts.items()},
        "steps": trainer.state.global_step,
        "best_validation_loss": float(validation_losses.min()),
        "wall_s": round(result.metrics["train_runtime"], 2),
        "peak_gib": models.peak_gib(),
        "started": started,
        "environment": environment.snapshot(),
    }
    return manifest, losses


def _trainer(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    *,
    study: StudySpec,
    title: str,
    train: list[dict[str, list[int]]],
    validation: list[dict[str, list[int]]],
    folder: Path,
) -> Any:
    """Return TRL's trainer with every choice of the recipe made explicit."""
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    recipe, on_gpu = study.train, models.device() == "cuda"
    dtype = models.compute_dtype()
    # A share of the steps; the trainer reads 1.0 as "every step".
    share = min(1 / recipe.evaluations, 1 - 1e-9)
    config = SFTConfig(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=recipe.warmup_ratio,  # below 1 it is a share of the steps
        weight_decay=recipe.weight_decay,
        optim="adamw_torch_fused" if on_gpu else "adamw_torch",
        per_device_train_batch_size=recipe.micro_batch_size,
        per_device_eval_batch_size=recipe.micro_batch_size,
        gradient_accumulation_steps=recipe.accumulation_steps,
        gradient_checkpointing=recipe.gradient_checkpointing,
        max_length=recipe.max_length,
        packing=recipe.packing,
        eval_packing=False,
        bf16=on_gpu and dtype == torch.bfloat16,
        fp16=on_gpu and dtype == torch.float16,
        use_cpu=not on_gpu,
        eval_strategy="steps",
        eval_steps=share,
        save_strategy="steps",
        save_steps=share,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu,
        seed=recipe.seed,
        data_seed=recipe.seed,
        report_to="none",
    )
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(train),
        eval_dataset=Dataset.from_list(validation),
        args=config,
    )
    trainer.add_callback(_progress(TrainerCallback, title))
    return trainer


def _progress(base: type, title: str) -> "TrainerCallback":
    """Return a callback that shows steps and loss, and stops a run whose loss is not a number."""

    class Progress(base):
        def on_train_begin(self, args, state, control, **_):
            self.bar = Bar(total=state.max_steps, desc=f"Finetune {title}", unit="step")
            self.bar.update(state.global_step)

        def on_step_end(self, args, state, control, **_):
            self.bar.update(state.global_step - self.bar.n)

        def on_log(self, args, state, control, logs=None, **_):
            loss = (logs or {}).get("loss")
            if loss is not None:
                if loss != loss:
                    raise SettingError(
                        f"the loss of {title} is not a number at step {state.global_step}: "
                        "lower learning_rate"
                    )
                self.bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)

        def on_train_end(self, args, state, control, **_):
            self.bar.close()

    return Progress()


def _last_checkpoint(folder: Path) -> str | None:
    """Return the newest whole checkpoint of an interrupted finetune, or None."""
    found = (folder / "checkpoints").glob("checkpoint-*/trainer_state.json")
    states = sorted(found, key=lambda path: json.loads(path.read_text())["global_step"])
    return str(states[-1].parent) if states else None


def _losses(history: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the trainer's log as rows of step, kind ("train" or "validation") and loss (nats)."""
    rows = [
        {"step": entry["step"], "kind": kind, "loss": entry[name]}
        for entry in history
        for kind, name in (("train", "loss"), ("validation", "eval_loss"))
        if name in entry
    ]
    return pd.DataFrame(rows, columns=["step", "kind", "loss"])


def _relative(path: Path) -> str:
    """Return a path below the repository relative to it, so that a record can move with a clone."""
    return str(path.relative_to(OUTPUTS.parent))
