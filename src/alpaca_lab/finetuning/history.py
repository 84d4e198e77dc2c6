"""What a finetune leaves on its way: checkpoints to go on from, and its losses as a table."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from ..files import SUMS, damaged
from ..progress import say

STATE = "trainer_state.json"


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that an interrupted finetune can go on from, or None.

    It is whole, and so is the best one that it knows of, which the finetune ends with. What is
    damaged or was cut short is deleted, and the damage is said.
    """
    whole = {}
    for path in (folder / "checkpoints").glob("checkpoint-*"):
        wrong = damaged(path)
        if not wrong:
            state = json.loads((path / STATE).read_bytes())
            whole[path.name] = state["global_step"], state["best_model_checkpoint"]
            continue
        if wrong[0].name != SUMS:  # without its sums it was cut short, as by any kill
            say(f"{wrong[0]} is damaged: the finetune goes on from before {path.name}")
        shutil.rmtree(path)
    usable = {
        step: name
        for name, (step, best) in whole.items()
        if best is None or Path(best).name in whole
    }
    return str(folder / "checkpoints" / usable[max(usable)]) if usable else None


def loss_table(history: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the trainer's log as a table, a row per step and a row per validation.

    Columns: step; kind, "train" or "validation"; loss, nats per response token; learning_rate;
    tokens of the step, prompts counted; seconds; gib, the peak so far; passes. Blank where it does
    not apply.
    """
    facts = ["learning_rate", "tokens", "seconds", "gib", "passes"]
    rows = [
        {"step": entry["step"], "kind": kind, "loss": entry[name]}
        | ({fact: entry.get(fact) for fact in facts} if kind == "train" else {})
        for entry in history
        for kind, name in (("train", "loss"), ("validation", "eval_loss"))
        if name in entry
    ]
    table = pd.DataFrame(rows, columns=["step", "kind", "loss", *facts])
    return table.astype({"tokens": "Int64", "passes": "Int64"})
