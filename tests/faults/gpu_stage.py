"""`gpu_stage.py ROOT STAGE FAULT N`: a stage of a study in this process, with a fault of its GPU.

The fault comes at the n-th call of what it spoils.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lab

from alpaca_lab.config import study_from_dict
from alpaca_lab.files import read_json

LARGEST, SMALLEST = 1 << 26, 1 << 9
"""Bytes of the blocks that are taken where memory is to run out within a capture."""
SPEC = "spec.json"
"""Holds the study, in its root."""


def spoil(fault: str, call: int) -> None:
    """Put a fault into this process, or "nothing"."""
    if fault == "nothing":
        return  # and import nothing: Unsloth is to be the first

    import torch

    from alpaca_lab.decoding import slots
    from alpaca_lab.engine import engine
    from alpaca_lab.finetuning import layouts
    from alpaca_lab.metrics import bertscore

    {
        "a step without memory": lambda: _in_trainer(
            lambda trainer: _during(trainer, "_step", call, _without_memory)
        ),
        "a validation without memory": lambda: _in_trainer(
            lambda trainer: _during(trainer, "_validation_nats", call, _without_memory)
        ),
        "a pass that asserts": lambda: _during(layouts.Packed, "loss", call, _then_assert),
        "an engine without memory": lambda: _during(
            engine.Engine, "__init__", call, _without_memory
        ),
        "a capture without memory": lambda: _during(
            torch.cuda.CUDAGraph, "capture_begin", call, _without_memory_from_here
        ),
        "an answer that asserts": lambda: _during(slots, "finish", call, _then_assert),
        "a batch that asserts": lambda: _during(bertscore.Encoder, "_encode", call, _then_assert),
    }[fault]()


def _during(owner: Any, name: str, call: int, change: Callable[[Callable[[], Any]], Any]) -> None:
    """Let the n-th call of a function be what `change` makes of it."""
    whole, made = getattr(owner, name), [0]

    def spoiled(*arguments: Any, **options: Any) -> Any:
        made[0] += 1
        asked = partial(whole, *arguments, **options)
        return change(asked) if made[0] == call else asked()

    setattr(owner, name, spoiled)


def _all_memory() -> list[Any]:
    """Take all memory that is left below the cap."""
    import torch

    torch.cuda.empty_cache()
    return _blocks(torch.cuda.mem_get_info()[0])


def _blocks(size: int) -> list[Any]:
    """Take all blocks that can be had, of so many bytes first, then half as many, and so on."""
    import torch

    held = []
    while size >= SMALLEST:
        try:
            held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            size //= 2
    return held


def _without_memory(asked: Callable[[], Any]) -> Any:
    held = _all_memory()
    try:
        return asked()
    finally:
        del held


def _without_memory_from_here(asked: Callable[[], Any]) -> Any:
    """Hold the memory until the capture that begins now is given up."""
    import torch

    held = _all_memory()
    end = torch.cuda.CUDAGraph.capture_end

    def ended(graph: Any) -> None:
        held.clear()
        torch.cuda.CUDAGraph.capture_end = end
        end(graph)

    torch.cuda.CUDAGraph.capture_end = ended
    asked()
    held.extend(_blocks(LARGEST))  # what the captures before it have left in their own pool


def _then_assert(asked: Callable[[], Any]) -> Any:
    """Let a kernel read beyond its tensor; the error comes to whoever waits for the GPU next."""
    import torch

    found = asked()
    torch.zeros(2, device="cuda")[torch.tensor([7], device="cuda")]
    return found


def _in_trainer(change: Callable[[type], None]) -> None:
    """Spoil the trainer only when it is set up: Unsloth is to be imported before it."""
    from alpaca_lab.finetuning import recipe

    whole = recipe.set_up

    def set_up(*arguments: Any, **options: Any) -> Any:
        from alpaca_lab.finetuning.trainer import StepTrainer

        change(StepTrainer)
        return whole(*arguments, **options)

    recipe.set_up = set_up


if __name__ == "__main__":
    place, asked, fault, number = sys.argv[1:]
    here = lab.Lab(Path(place), study_from_dict(read_json(Path(place) / SPEC)))
    sys.exit(here.run(asked, lambda: spoil(fault, int(number))))
