"""How long the GPU takes over something, by its own clock."""

from collections.abc import Callable
from typing import Any

WARM, TIMES = 3, 10


def seconds_of(work: Callable[[], Any]) -> list[float]:
    """Return the seconds of each of `TIMES` calls; `WARM` calls before them are not counted."""
    import torch

    seconds = []
    for _ in range(WARM + TIMES):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        seconds.append(start.elapsed_time(end) / 1e3)
    return seconds[WARM:]
