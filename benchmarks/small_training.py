"""A base trained from scratch: Muon for the matrices of its blocks, AdamW for all else."""

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from small_bases import Base, Recipe
from small_manifest import MANIFEST, WEIGHTS, request
from small_tokens import Tokens, read_tokens
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from alpaca_lab import environment, hardware, models
from alpaca_lab.files import sha256_file, write_json
from alpaca_lab.progress import Bar


def train_base(
    folder: Path,
    base: Base,
    recipe: Recipe,
    reading: Mapping[str, Any],
    tokenizer: Path,
    *,
    tokens: Path,
) -> None:
    """Train one base and write it to `folder`, its manifest last.

    Args:
        folder: Emptied first.
        base: What to build.
        recipe: How to train it.
        reading: Facts of what it reads, for the manifest.
        tokenizer: Folder of its tokenizer.
        tokens: The reading in its tokens, by `small_tokens.write_tokens`.
    """
    device = hardware.device()
    take_sums_in_one_order()
    known = read_tokens(tokens)
    model = build(base, seed=recipe.seed, device=device)
    started, times, losses = time.perf_counter(), [], []
    steps = len(known.train) // recipe.batch
    with Bar(total=steps, desc=base.title, unit="step") as bar:
        for loss in train(model, known, recipe):
            losses.append(round(loss, 5))
            times.append(time.perf_counter() - started)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()
    held_out = loss_of(model, known.held_out, at_once=recipe.at_once)
    shutil.rmtree(folder, ignore_errors=True)
    save(model, base, tokenizer, folder)
    seen, warm = recipe.batch * recipe.length, min(WARM, steps - 1)
    warm_s = times[warm - 1] if warm else 0.0
    write_json(
        folder / MANIFEST,
        {
            "request": request(base, recipe, reading, tokenizer),
            "title": base.title,
            "parameters": model.num_parameters(),
            "steps": steps,
            "tokens": steps * seen,
            "losses": losses,
            "held_out_nats": held_out,
            "held_out_bits_per_byte": held_out / np.log(2) / known.bytes_per_token,
            "wall_s": times[-1],
            "tokens_per_s": (steps - warm) * seen / (times[-1] - warm_s),
            "peak_gib": hardware.peak_gib(),
            "sha256": sha256_file(folder / WEIGHTS),
            "environment": environment.snapshot(),
        },
    )


def take_sums_in_one_order() -> None:
    """Ask PyTorch for algorithms that add up in one order."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # which only costs time here


WARM = 5
"""Steps whose seconds are left out of the rate: the first ones compile."""


def build(base: Base, *, seed: int, device: str) -> PreTrainedModel:
    """Return a freshly initialised base in float32."""
    architecture = getattr(transformers, base.architecture)
    config = architecture.config_class(**base.config, attn_implementation="sdpa")
    torch.manual_seed(seed)
    model = architecture(config)
    model.to(device=device, dtype=torch.float32)
    if device == "cuda":
        for block in model.base_model.layers:  # one by one: all have the same code, compiled once
            block.compile(dynamic=False)
    return model


def train(model: PreTrainedModel, tokens: Tokens, recipe: Recipe) -> Iterator[float]:
    """Train on every block once, in order, yielding the mean loss of each step in nats per token.

    Matrices are multiplied in bfloat16 on a GPU, weights and sums are float32. Nothing is drawn.
    """
    optimizers = _optimizers(model, recipe)
    steps = len(tokens.train) // recipe.batch
    model.train()
    # Autograd keeps the first gradient it is given (pytorch#34082), and compiled code may give two
    # biases whose gradients are equal one memory: each would be added to both, and scaled by chance
    # once or twice. Added to a zero, a gradient has a memory of its own.
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for step in range(steps):
        batch = tokens.train[step * recipe.batch : (step + 1) * recipe.batch]
        total = torch.zeros((), device=model.device)
        for part in _parts(batch, recipe.at_once, model.device):
            loss = _loss(model, part) * (len(part) / recipe.batch)
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, peak in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = peak * recipe.rate(step, steps)
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
        yield float(total)


def _optimizers(
    model: PreTrainedModel, recipe: Recipe
) -> list[tuple[torch.optim.Optimizer, float]]:
    """Return each optimiser with its peak learning rate."""
    inside = {name for name, p in model.named_parameters() if p.dim() == 2 and ".layers." in name}
    matrices = [p for name, p in model.named_parameters() if name in inside]
    others = [p for name, p in model.named_parameters() if name not in inside]
    fused = model.device.type == "cuda"
    return [
        (torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=0.1), recipe.muon_lr),
        (
            torch.optim.AdamW(
                others, lr=recipe.adam_lr, betas=(0.9, 0.95), weight_decay=0.01, fused=fused
            ),
            recipe.adam_lr,
        ),
    ]


def loss_of(model: PreTrainedModel, blocks: np.ndarray, *, at_once: int) -> float:
    """Return the mean loss of blocks in nats per token, of as many as fill whole passes.

    In the mode that the model is in, which changes nothing: the bases have no dropout. After a
    training its compiled code is used again.
    """
    whole = max(1, len(blocks) // at_once) * at_once
    parts = _parts(blocks[:whole], at_once, model.device)
    return float(np.mean([float(_loss(model, part).detach()) for part in parts]))


def _parts(blocks: np.ndarray, at_once: int, device: torch.device) -> Iterator[torch.Tensor]:
    for start in range(0, len(blocks), at_once):
        part = blocks[start : start + at_once].astype(np.int64)
        yield torch.from_numpy(part).to(device, non_blocking=True)


def _loss(model: PreTrainedModel, blocks: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of blocks, (rows, length + 1), in nats per token."""
    on_gpu = blocks.device.type == "cuda"
    cross_entropy = _compiled_cross_entropy if on_gpu else _cross_entropy
    # One implementation of attention, so that its sums are taken in one order.
    with (
        torch.autocast(blocks.device.type, dtype=torch.bfloat16, enabled=on_gpu),
        sdpa_kernel(SDPBackend.FLASH_ATTENTION if on_gpu else SDPBackend.MATH),
    ):
        states = model.base_model(input_ids=blocks[:, :-1], use_cache=False).last_hidden_state
        return cross_entropy(model.lm_head, states, blocks[:, 1:])


def _cross_entropy(
    head: torch.nn.Module, states: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    logits = head(states).flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits.float(), targets.flatten())


_compiled_cross_entropy = torch.compile(_cross_entropy, dynamic=False)


def save(model: PreTrainedModel, base: Base, tokenizer: Path, folder: Path) -> None:
    """Write one checkpoint: weights in bfloat16, neutral generation settings, the tokenizer."""
    model.generation_config = transformers.GenerationConfig(
        bos_token_id=base.config["bos_token_id"], eos_token_id=base.config["eos_token_id"]
    )
    models.cast(model, torch.bfloat16)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, folder / name)
