"""The rate of a large copy within this GPU's memory. Prints one RESULT line of JSON."""

import argparse
import json
from statistics import median

from gpu_clock import seconds_of

SIZE = 2 * 2**30
"""Bytes copied at a time: many times what a GPU's caches hold."""


def tb_s(seconds: float) -> float:
    """Return TB/s of one copy of SIZE bytes: each is read once and written once.

    Example:
        >>> round(tb_s(0.001), 2)
        4.29
    """
    return 2 * SIZE / seconds / 1e12


def measure() -> list[float]:
    """Return the seconds of each timed copy.

    Of random bytes: a GPU may compress zeros on their way, and no weights are.
    """
    import torch

    torch.manual_seed(0)
    source = torch.randint(256, (SIZE,), device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    return seconds_of(lambda: target.copy_(source))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    print("RESULT", json.dumps({"arm": "copy bandwidth", "tb_s": median(map(tb_s, measure()))}))
