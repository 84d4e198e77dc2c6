"""SIGKILL at random moments of every stage, again and again; then the end, compared with no kill.

Each round begins with a fresh copy of the study as it was before a stage, kills that stage a few
times, lets it come to its end and the stages after it too.
"""

import random
from collections import Counter

import lab
import pandas as pd
from findings import Finding, Section

from alpaca_lab.store import Record

KILLS = {"finetune": 40, "generate": 60, "score": 40, "report": 40}
A_ROUND = 5
TOLERANCE = 1e-6
"""Largest difference of a loss, relative, after a resumed finetune on a CPU."""


def run(seed: int, share: float) -> Section:
    """Kill each stage so often, in rounds of `A_ROUND`."""
    rng = random.Random(seed)
    findings = [_of_stage(stage, max(1, round(share * KILLS[stage])), rng) for stage in lab.STAGES]
    return Section(
        title="Kills",
        what="A stage of a small study (one embedded model, 6 questions, 6 cells) is sent SIGKILL "
        f"at a random moment of its work, {A_ROUND} times in a row, and begun again each time; "
        "then it and the stages after it come to their end. The tables are compared byte by byte "
        "with those of a study that met no kill.",
        findings=findings,
    )


def _of_stage(stage: str, wanted: int, rng: random.Random) -> Finding:
    whole, takes = lab.unbroken()["done"], lab.seconds(stage)
    kills, rounds, faults = 0, 0, Counter()
    worst = 0.0
    while kills < wanted:
        broken, rounds = lab.unbroken()[stage].copy(), rounds + 1
        for _ in range(A_ROUND):
            kills += broken.killed(stage, rng.uniform(0.05, 1.0) * takes)
        broken.finish_all(lab.STAGES[lab.STAGES.index(stage) :])
        worst = max(worst, loss_difference(broken.record, whole.record))
        faults += _differences(broken, whole)
        if broken.finish("verify") != 0:
            faults["files that do not match their checksum"] += 1
        broken.discard()
    bad = ", ".join(f"{name}: {times}" for name, times in faults.items())
    found = bad or "all tables, pages and figures byte-equal; no answer lost, none there twice"
    if stage == "finetune":
        found += f"; largest relative difference of a loss {worst:.1e}"
    return Finding(
        fault=f"SIGKILL during {stage} ({takes:.1f} s of work)",
        times=kills,
        wanted="the tables of an unbroken study, every answer once"
        + (f", losses within {TOLERANCE:.0e}" if stage == "finetune" else ""),
        found=f"{rounds} rounds: {found}",
        held=not faults and worst <= TOLERANCE,
    )


def _differences(broken: lab.Lab, whole: lab.Lab) -> Counter:
    """Count what differs between two finished studies."""
    faults = Counter()
    ours, theirs = broken.tables(), whole.tables()
    for name in ours.keys() | theirs.keys():
        faults[f"other {name}"] += ours.get(name) != theirs.get(name)
    for (model, cell, mine), (_, _, its) in zip(
        broken.record.runs(), whole.record.runs(), strict=True
    ):
        keys = Counter((row["id"], row["repeat"]) for row in mine.answers())
        expected = Counter((row["id"], row["repeat"]) for row in its.answers())
        faults["answers lost"] += (expected - keys).total()
        faults["answers there twice"] += sum(times - 1 for times in keys.values())
        faults["runs of another name"] += mine.id != its.id
        if not mine.scores().equals(its.scores()):
            faults[f"scores of {model}, {cell}"] += 1
    return +faults


def loss_difference(ours: Record, theirs: Record, model: str = lab.MODEL) -> float:
    """Return the largest relative difference of a loss between two finetunes."""
    (_, mine), (_, its) = ours.training(model), theirs.training(model)
    keys = ["step", "kind"]
    both = mine.merge(its, on=keys, how="outer", suffixes=("", "_unbroken"))
    difference = (both["loss"] / both["loss_unbroken"] - 1).abs()
    return float("inf") if pd.isna(difference).any() else float(difference.max())
