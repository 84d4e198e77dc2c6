"""What the NVIDIA driver says of this machine's GPUs, before any library has looked at them."""

import os
import shutil
import subprocess
from functools import cache

AMPERE = 8.0
"""Compute capability from which a GPU has bfloat16, and the attention kernels that we call."""


@cache
def capability() -> float | None:
    """Return the highest compute capability among this machine's NVIDIA GPUs; None without one.

    Asks nvidia-smi, not torch: what torch has once seen cannot be hidden from it any more.
    """
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
        return max(map(float, done.stdout.split()))
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None


def lacks_bfloat16() -> bool:
    """Return True where there is a GPU, and none newer than Turing, such as a T4.

    There the study runs on the CPU. In float16 Phi-2 overflows, and a sweep in another precision
    for each card would compare cards, not settings.
    """
    return (best := capability()) is not None and best < AMPERE


def hide_old_gpus() -> None:
    """Hide GPUs without bfloat16 from the libraries of this process, before one of them looks."""
    if lacks_bfloat16():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
