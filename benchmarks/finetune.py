"""Finetuning speed: every arm of every model, one after another on this GPU, as one table.

Each run is a process of its own with a time limit; its result, or the sentence that it failed with,
is appended to a file, and what stands there is not run again: interrupt it, and it goes on. The
table, its pages and its figure are written from that file after each model.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import arms_in_turn
from arms_in_turn import HERE, python
from breakdown import beside

from alpaca_lab.config import require
from alpaca_lab.speed import breakdown as breakdowns
from alpaca_lab.speed import finetuning_speed
from alpaca_lab.speed.finetuning_arms import ARMS, OURS, RATE

PACKED = ("--arm", "unsloth", "--packing", "1", "--bs", "4", "--ga", "1", "--gc", "unsloth")
SCRIPTS: dict[str, tuple[str, ...]] = {
    RATE: ("matrix_rate.py",),
    "transformers": ("peer_finetune.py", "--arm", "hf", "--bs", "2", "--ga", "4"),
    "unsloth": (
        "peer_finetune.py", "--arm", "unsloth", "--bs", "2", "--ga", "4", "--gc", "true",
    ),
    "unsloth-packed": ("peer_finetune.py", *PACKED),
    "unsloth-varlen": ("varlen_peer.py", *PACKED),
    OURS: ("arm_finetune.py",),
}  # fmt: skip
"""By arm: a script beside this one, and the arguments that make it that arm."""


@dataclass(frozen=True, kw_only=True)
class Plan(arms_in_turn.Plan):
    """What one command runs."""

    scripts = SCRIPTS
    rate = RATE
    packages = ("torch", "transformers", "peft", "trl", "bitsandbytes", "unsloth")

    warm: int = 12
    """Optimiser steps before those that are timed. Unsloth's are slow on Phi-2 up to its 12th."""
    steps: int = 12
    """Optimiser steps that are timed."""
    breakdown: bool = False
    """Take the steps apart that would be timed, and time none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.steps >= 1, "steps must be at least 1")
        require(
            not self.breakdown or self.repeats == 1,
            "steps are taken apart once per arm: leave out --repeats",
        )

    @property
    def tables(self) -> ModuleType:
        """The module that makes tables of such runs."""
        return _tables(self.breakdown)

    def sizes(self) -> dict[str, Any]:
        """Return how many steps of a run count, and how many before them do not."""
        return {"warm": self.warm, "steps": self.steps}

    def runs(self, model: str) -> Iterator[tuple[str, int]]:
        """Yield (arm, repeat) of a model, round by round, the matrix rate first if it is timed."""
        return ((arm, 0) for arm in self.arms) if self.breakdown else super().runs(model)


def command_of(arm: str, *, model: str, plan: Plan) -> list[str]:
    """Return the command line of one run."""
    script, *words = SCRIPTS[arm]
    steps = plan.steps
    if arm == RATE:
        return python(script)
    if arm == OURS:
        words += ["--key", model, *(["--breakdown"] if plan.breakdown else [])]
    elif plan.breakdown:
        places = ["--after", f"{plan.warm}", "--steps", f"{plan.steps}"]
        words, steps = [*places, str(HERE / script), *words], steps + beside(steps)
        script = "breakdown.py"
    place = {"model": plan.checkpoints / model, "data": plan.data}
    return python(script, *words, **place, cap=plan.cap_gib, warm=plan.warm, steps=steps)


def _tables(breakdown: bool) -> ModuleType:
    return breakdowns if breakdown else finetuning_speed


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = arms_in_turn.options_of(__doc__, arms=[arm.key for arm in ARMS])
    add = parser.add_argument
    add("--warm", type=int, default=12, help="optimiser steps that are not timed: 12")
    add("--steps", type=int, default=12, help="optimiser steps that are: 12")
    add(
        "--breakdown",
        action="store_true",
        help="time nothing: take as many steps apart, into breakdown.{jsonl,csv,png}",
    )
    return arms_in_turn.parsed(
        parser, arguments, tables_of=lambda options: _tables(options.breakdown)
    )


def plan_of(options: argparse.Namespace) -> Plan:
    """Return the plan that a command line asks for."""
    own = {"warm": options.warm, "steps": options.steps, "breakdown": options.breakdown}
    return Plan(**arms_in_turn.shared(options), **own)


if __name__ == "__main__":
    arms_in_turn.run(parse(), plan_of=plan_of, command=command_of)
