"""The same study again: on the same machine, on another number of cores; and what a manifest tells.

Each study runs in a clone of its own, as a user would run it: nothing is found done already.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from findings import Finding, Section

from alpaca_lab.config import ROOT
from alpaca_lab.files import sha256_file
from alpaca_lab.store import Record, Run

LEFT_OUT = ("cost.png", "loss.png", "training.csv", "training.md", "training.tex")
"""Files below tables/ and figures/ that tell seconds."""
FACTS = {
    "code": ("environment", "source_sha256"),
    "data": ("request", "data"),
    "weights of the base": ("request", "model"),
    "weights of the adapter": ("request", "adapter"),
    "versions": ("environment", "packages"),
    "settings": ("request", "setting"),
    "machine": ("environment", "cpu"),
}
"""What a manifest answers about a number, and where."""


def run(seed: int, share: float) -> Section:
    """Run the smoke study three times; with a small share a smaller one."""
    cores = sorted(os.sched_getaffinity(0))
    first, again = _study(share, cores), _study(share, cores)
    one_core = _study(share, cores[:1])
    findings = [
        _same("run twice on one machine", first, again),
        _same(f"run on 1 core instead of {len(cores)}", first, one_core),
        _manifest(first),
    ]
    for folder in (first, again, one_core):
        shutil.rmtree(folder, ignore_errors=True)
    return Section(
        title="Reproduction",
        what="`python -m alpaca_lab run` on the embedded models, each time in a new clone: "
        "finetunes, answers, scores, tables and figures are all made anew.",
        findings=findings,
    )


def _study(share: float, cores: list[int]) -> Path:
    """Run the smoke study in a clone, on these cores; return the clone."""
    clone = Path(tempfile.mkdtemp(prefix="alpaca-lab-"))
    for name in ("src", "assets"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    words = [sys.executable, "-m", "alpaca_lab", "run"]
    if share < 1:
        words += ["--models", "tiny-phi", "--set", "train.max_steps=6", "--set", "questions=6"]
    environment = {name: value for name, value in os.environ.items() if "THREADS" not in name}
    done = subprocess.run(
        words,
        cwd=clone,
        env=environment | {"PYTHONPATH": str(clone / "src"), "HF_HUB_OFFLINE": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the study failed: {done.stderr[-2000:]}")
    return clone


def _record(clone: Path) -> Record:
    return Record(clone / "results" / "smoke")


def _same(fault: str, one: Path, other: Path) -> Finding:
    """Compare two studies: adapters, answers, scores, tables and figures."""
    wrong = []
    ours, theirs = _tables(one), _tables(other)
    names = sorted(ours.keys() | theirs.keys())
    wrong += [name for name in names if ours.get(name) != theirs.get(name)]
    answers = 0
    mine, its = (
        {(model, cell): run for model, cell, run in _record(clone).runs()} for clone in (one, other)
    )  # in the order in which the models came to their ends
    for key in sorted(mine.keys() | its.keys()):
        pair = [runs.get(key) for runs in (mine, its)]
        if None in pair or not _equal(*pair):
            wrong.append(", ".join(key))
            continue
        answers += len(pair[0].done())
    adapters = [sorted(map(sha256_file, _adapters(clone))) for clone in (one, other)]
    if adapters[0] != adapters[1]:
        wrong.append("adapters")
    return Finding(
        fault=f"the smoke study {fault}",
        times=2,
        wanted="the same adapters, answers, scores, tables and figures, byte by byte",
        found=f"differ: {', '.join(wrong)}"
        if wrong
        else f"the same: {len(adapters[0])} adapters, {answers:,} answers and their scores, "
        f"{len(ours)} tables, pages and figures",
        held=not wrong,
    )


def _equal(mine: Run, its: Run) -> bool:
    """Return True where two runs hold the same answers and the same scores."""
    texts = [
        {(row["id"], row["repeat"]): row["text"] for row in run.answers()} for run in (mine, its)
    ]
    return texts[0] == texts[1] and mine.scores().equals(its.scores())


def _adapters(clone: Path) -> list[Path]:
    return list(clone.glob("outputs/*/adapter/adapter_model.safetensors"))


def _tables(clone: Path) -> dict[str, bytes]:
    folder = _record(clone).folder
    files = (path for name in ("tables", "figures") for path in (folder / name).glob("*"))
    return {path.name: path.read_bytes() for path in files if path.name not in LEFT_OUT}


def _manifest(clone: Path) -> Finding:
    """Ask every run's manifest where its numbers come from."""
    silent, runs = set(), 0
    for model, cell, run in _record(clone).runs():
        if model == "control":  # no model answered
            continue
        manifest, runs = run.manifest(), runs + 1
        silent |= {
            what
            for what, place in FACTS.items()
            if not _told(manifest, place) and not (cell == "base" and "adapter" in what)
        }
    return Finding(
        fault=f"asking a manifest for {', '.join(FACTS)}",
        times=runs,
        wanted="every manifest answers",
        found=f"silent on {', '.join(sorted(silent))}" if silent else "all of them answer",
        held=not silent,
    )


def _told(manifest: dict[str, Any], place: tuple[str, ...]) -> Any:
    for name in place:
        manifest = manifest.get(name) or {}
    return manifest
