"""The rate of a large bf16 matrix product on this GPU. Prints one RESULT line of JSON."""

import argparse
import json
from statistics import median

from gpu_clock import seconds_of

SIZE = 8192


def tflops(seconds: float) -> float:
    """Return TFLOP/s of one product of two SIZE x SIZE matrices.

    Example:
        >>> round(tflops(0.002), 1)
        549.8
    """
    return 2 * SIZE**3 / seconds / 1e12


def measure() -> list[float]:
    """Return the seconds of each timed product.

    On random data: a GPU draws less power on zeros, and then clocks higher than any training does.
    """
    import torch

    torch.manual_seed(0)
    left, right = (torch.randn(SIZE, SIZE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return seconds_of(lambda: left @ right)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    print("RESULT", json.dumps({"arm": "matrix rate", "tflops": median(map(tflops, measure()))}))
