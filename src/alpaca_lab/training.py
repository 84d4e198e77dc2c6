"""A trainer for one model with every choice of the recipe made explicit, and what it leaves."""

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from . import hardware, layouts, ranks
from .config import ModelSpec, SettingError, StudySpec
from .files import SUMS, damaged
from .layouts import EncodedRow
from .memory import PassPlan
from .progress import say

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


STATE = "trainer_state.json"


def set_up(
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

    from .callbacks import Interrupt, Progress, SaveOften, Sums
    from .trainer import StepTrainer

    recipe, resources, on_gpu = study.train, study.resources, hardware.device() == "cuda"
    _ready_tracker(resources.report_to, folder)
    dtype = hardware.compute_dtype()
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
        gradient_checkpointing=False,  # a layout recomputes by itself
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
        save_total_limit=checkpoints_kept(trainable, study),
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
            Sums(),
            interrupt,
            *stops,
        ],
    )
    return trainer, interrupt


def _ready_tracker(name: str, folder: Path) -> None:
    """Say where a tracker's files go, beside the adapter; refuse one that is not installed."""
    if name != "none" and find_spec(name) is None:
        raise SettingError(f"resources.report_to={name} needs a package: pip install {name}")
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder / "tensorboard"))


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
    if study.train.packing and ranks.is_main():
        print(f"{spec.title}: rows are padded rather than packed, for {reason}")
    if plan.recompute:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    return layouts.Padded(model, pad_token_id=tokenizer.pad_token_id)


def checkpoints_kept(trainable: int, study: StudySpec) -> int:
    """Return how many checkpoints to keep, by number and by size: weights and two moments each."""
    resources = study.resources
    fit = int(resources.checkpoints_gib * 2**30 // (12 * trainable))
    return max(1, min(resources.checkpoints_kept, fit))


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that an interrupted finetune can go on from, or None.

    It is whole, and so is the best one that it knows of, which the finetune ends with. What is
    damaged or was cut short is deleted, and the damage is said.
    """
    whole = {}
    for path in (folder / "checkpoints").glob("checkpoint-*"):
        wrong = damaged(path)
        if not wrong:
            state = json.loads((path / STATE).read_bytes())
            whole[path.name] = state["global_step"], state["best_model_checkpoint"]
            continue
        if wrong[0].name != SUMS:  # without its sums it was cut short, as by any kill
            say(f"{wrong[0]} is damaged: the finetune goes on from before {path.name}")
        shutil.rmtree(path)
    usable = {
        step: name
        for name, (step, best) in whole.items()
        if best is None or Path(best).name in whole
    }
    return str(folder / "checkpoints" / usable[max(usable)]) if usable else None


def loss_table(history: list[dict[str, Any]]) -> pd.DataFrame:
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
