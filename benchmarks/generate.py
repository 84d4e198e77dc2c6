"""Decoding speed: every arm of every model, one after another on this GPU, as tables.

Each run is a process of its own with a time limit; its result, or the sentence that it failed with,
is appended to a file, and what stands there is not run again: interrupt it, and it goes on. The
tables, their pages and the figure are written from that file after each model.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import arms_in_turn
from arms_in_turn import python

from alpaca_lab.config import require
from alpaca_lab.speed import decoding_speed
from alpaca_lab.speed.decoding_arms import BANDWIDTH, PEERS
from alpaca_lab.speed.finetuning_arms import OURS

PEERS_BY_KEY = {peer.key: peer for peer in PEERS}
SCRIPTS: dict[str, tuple[str, ...]] = {
    BANDWIDTH: ("copy_bandwidth.py",),
    **{
        peer.key: (
            "beams_peer.py" if peer.beams > 1 else "peer_generate.py",
            "--arm", "hf16", "--beams", f"{peer.beams}", "--bs", f"{peer.questions}",
            "--lengths", "real",
        )
        for peer in PEERS
    },
    OURS: ("arm_generate.py",),
}  # fmt: skip
"""By arm: a script beside this one, and the arguments that make it that arm."""


@dataclass(frozen=True, kw_only=True)
class Plan(arms_in_turn.Plan):
    """What one command runs."""

    scripts = SCRIPTS
    rate = BANDWIDTH
    packages = ("torch", "transformers", "triton")

    questions: int = 200
    """Questions that an arm without beams answers."""
    beam_questions: int = 48
    """Questions that an arm with beams answers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.questions >= 1 and self.beam_questions >= 1,
            "questions and beam questions must be at least 1",
        )

    @property
    def tables(self) -> ModuleType:
        """The module that makes tables of such runs."""
        return decoding_speed

    def sizes(self) -> dict[str, Any]:
        """Return how many questions are answered, without beams and with them."""
        return {"questions": self.questions, "beam_questions": self.beam_questions}


def command_of(arm: str, *, model: str, plan: Plan) -> list[str]:
    """Return the command line of one run."""
    script, *words = SCRIPTS[arm]
    if arm == BANDWIDTH:
        return python(script)
    place = {"model": plan.checkpoints / model, "data": plan.data}
    if arm == OURS:
        return python(script, "--key", model, **place, **plan.sizes(), cap=plan.cap_gib)
    n = plan.beam_questions if PEERS_BY_KEY[arm].beams > 1 else plan.questions
    return python(script, *words, **place, n=n, cap=plan.cap_gib)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = arms_in_turn.options_of(__doc__, arms=[*PEERS_BY_KEY, OURS])
    add = parser.add_argument
    add("--questions", type=int, default=200, help="questions without beams: 200")
    add("--beam-questions", type=int, default=48, help="questions with beams: 48")
    return arms_in_turn.parsed(parser, arguments, tables_of=lambda _: decoding_speed)


def plan_of(options: argparse.Namespace) -> Plan:
    """Return the plan that a command line asks for."""
    own = {"questions": options.questions, "beam_questions": options.beam_questions}
    return Plan(**arms_in_turn.shared(options), **own)


if __name__ == "__main__":
    arms_in_turn.run(parse(), plan_of=plan_of, command=command_of)
