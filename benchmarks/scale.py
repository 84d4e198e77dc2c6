"""What several GPUs would take: a finetune over those that are here, and shares of it on one.

Each run is a process, or a launch of several, with a time limit; its result, or the sentence that
it failed with, is appended to a file, and what stands there is not run again. The page is written
from that file after each model, and at the end what other cards would take.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import arms_in_turn
from arms_in_turn import python

from alpaca_lab.config import ROOT, SettingError, require
from alpaca_lab.files import RecordError
from alpaca_lab.speed import cards, scale_out
from alpaca_lab.speed.finetuning_arms import RATE
from alpaca_lab.speed.scale_out import DECODE, SHARES, TOGETHER, WHOLE, share_arm

SCRIPTS: dict[str, tuple[str, ...]] = {
    RATE: ("matrix_rate.py",),
    WHOLE: ("arm_scale.py",),
    TOGETHER: ("arm_scale.py",),
    **{share_arm(n): ("arm_scale.py", "--rows", f"{128 // n}") for n in SHARES},
    DECODE: ("arm_shares.py",),
}  # fmt: skip
"""By arm: a script beside this one, and the arguments that make it that arm."""


@dataclass(frozen=True, kw_only=True)
class Plan(arms_in_turn.Plan):
    """What one command runs."""

    scripts = SCRIPTS
    rate = RATE
    packages = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "unsloth", "triton")

    gpus: int = 2
    """How many GPUs finetune together."""
    warm: int = 4
    """Optimiser steps before those that are timed."""
    steps: int = 12
    """Optimiser steps that are timed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gpus >= 2 and self.steps >= 1, "gpus must be at least 2, steps at least 1")

    @property
    def tables(self) -> ModuleType:
        """The module that makes a page of such runs."""
        return scale_out

    def sizes(self) -> dict[str, Any]:
        """Return the conditions that this benchmark alone has."""
        return {"gpus": self.gpus, "warm": self.warm, "steps": self.steps}


def command_of(arm: str, *, model: str, plan: Plan) -> list[str]:
    """Return the command line of one run."""
    script, *words = SCRIPTS[arm]
    if arm == RATE:
        return python(script)
    place = {"key": model, "model": plan.checkpoints / model, "data": plan.data}
    if arm == DECODE:
        return python(script, *words, **place, cap=plan.cap_gib)
    sizes = {"cap": plan.cap_gib, "warm": plan.warm, "steps": plan.steps}
    if arm != TOGETHER:
        return python(script, *words, **place, **sizes)
    launcher = [
        sys.executable, "-m", "accelerate.commands.launch",
        "--config_file", str(ROOT / "launch" / "gpus_2.yaml"), "--num_processes", f"{plan.gpus}",
    ]  # fmt: skip
    return [*launcher, *python(script, *words, **place, **sizes, gpus=plan.gpus)[1:]]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = arms_in_turn.options_of(__doc__, arms=[arm for arm in SCRIPTS if arm != RATE])
    add = parser.add_argument
    add("--gpus", type=int, default=2, help="GPUs that finetune together: 2")
    add("--warm", type=int, default=4, help="steps that are not timed: 4")
    add("--steps", type=int, default=12, help="steps that are timed: 12")
    return arms_in_turn.parsed(parser, arguments, tables_of=lambda _: scale_out)


def plan_of(options: argparse.Namespace) -> Plan:
    """Return the plan that a command line asks for."""
    own = {"gpus": options.gpus, "warm": options.warm, "steps": options.steps}
    return Plan(**arms_in_turn.shared(options), **own)


if __name__ == "__main__":
    options = parse()
    arms_in_turn.run(options, plan_of=plan_of, command=command_of)
    try:
        cards.write(options.out, lines=options.raw)
    except (RecordError, SettingError) as error:  # the other pages are whole without it
        print(f"no cards.md: {error}", file=sys.stderr)
