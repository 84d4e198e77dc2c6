"""The recipe of a study as a trainer of TRL: every choice made explicit, none left to a default."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import hardware, ranks
from ..config import ModelSpec, SettingError, StudySpec
from ..memory import PassPlan
from . import layouts
from .layouts import EncodedRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
    from datasets import Dataset
    from transformers import EarlyStoppingCallback
    from trl import SFTConfig

    from .callbacks import Interrupt, Progress, SaveOften, Sums
    from .trainer import StepTrainer

    recipe, resources, on_gpu = study.train, study.resources, hardware.device() == "cuda"
    _ready_tracker(resources.report_to, folder)
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
        bf16=on_gpu,
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
