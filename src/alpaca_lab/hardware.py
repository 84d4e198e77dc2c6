"""The device that this process computes on: which, in what precision, and its memory."""

import os
from typing import TYPE_CHECKING

from . import driver

if TYPE_CHECKING:
    import torch


def device() -> str:
    """Return "cuda" where torch sees an NVIDIA GPU with bfloat16, else "cpu"."""
    driver.hide_old_gpus()
    import torch

    usable = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return "cuda" if usable else "cpu"


def compute_dtype() -> "torch.dtype":
    """Return bfloat16 on a GPU, float32 on a CPU.

    float32 on every CPU, also on those with bfloat16, so that all CPUs run the same study.
    """
    import torch

    return torch.float32 if device() == "cpu" else torch.bfloat16


def peak_gib() -> float | None:
    """Return the most GiB that this process has reserved on the GPU; None on a CPU."""
    import torch

    return torch.cuda.max_memory_reserved() / 2**30 if device() == "cuda" else None


def device_gib() -> float | None:
    """Return `peak_gib` and what the driver holds beside it, its context and libraries.

    Only true where this process has the GPU to itself; None on a CPU.
    """
    import torch

    if device() == "cpu":
        return None
    free, total = torch.cuda.mem_get_info()
    beside = total - free - torch.cuda.memory_reserved()
    return (torch.cuda.max_memory_reserved() + beside) / 2**30


def memory_gib(cap: float | None) -> float | None:
    """Return the GiB of the GPU that this process has or may take, at most `cap`; None on a CPU.

    What others hold is theirs: a notebook's kernel on the same card, or a desktop.
    """
    import torch

    if device() == "cpu":
        return None
    ours = (torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()) / 2**30
    return ours if cap is None else min(cap, ours)


def release() -> None:
    """Give the GPU's memory back that nothing in this process needs any more."""
    import gc

    import torch

    gc.collect()  # a model that is gone may still be held by a cycle
    if device() == "cuda":
        torch.cuda.empty_cache()


def claim_device(cap: float | None) -> None:
    """Set up this process for its device, before anything is loaded.

    A GPU is taken up to `cap` GiB (None: all). A CPU is used with one thread: with more, a row's
    place in the batch and the number of cores move the last bits of its logits, and then, rarely,
    a token. With one, the number of cores and the moment of a resume play no part.
    """
    # Segments that grow leave no holes between passes of changing size.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    import torch

    if device() == "cpu":
        torch.set_num_threads(1)
    elif cap is not None:
        total = torch.cuda.mem_get_info()[1] / 2**30
        torch.cuda.set_per_process_memory_fraction(min(1.0, cap / total))
