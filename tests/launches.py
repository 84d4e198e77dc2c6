"""A copy of the repository in which several processes work together, as accelerate starts them."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
SMALL = (
    "--models", "tiny-llama", "--set", "train.max_steps=4", "--set", "train.evaluations=2",
    "--set", "questions=6", "--set", "temperatures=(0.001, 1.0)", "--set", "beams=(2,)",
    "--set", "top_ks=(4,)", "--set", "max_new_tokens=16", "--set", "slots=5",
)  # fmt: skip
"""A study of one tiny model that takes seconds."""


class Copy:
    """The code and the tiny models, with records and adapters of its own."""

    def __init__(self, folder, *, of=None):
        """Copy what a study needs; with `of`, its records and adapters too."""
        self.folder = folder
        for name in ("src", "assets", "launch"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        (folder / "results").mkdir()
        for name in ("results", "outputs") if of else ():
            shutil.copytree(of.folder / name, folder / name, dirs_exist_ok=True)

    def command(self, stage, *arguments, processes):
        """Return the command line of a stage, under a launcher where there are several."""
        module = ("-m", "alpaca_lab", stage, *arguments, "--world-size", str(processes))
        if processes == 1:
            return [sys.executable, *module]
        config = str(self.folder / "launch" / "gpus_2.yaml")
        launcher = (
            "-m", "accelerate.commands.launch", "--config_file", config,
            "--num_processes", str(processes), "--main_process_port", "0",
        )  # fmt: skip
        return [sys.executable, *launcher, *module]

    def start(self, stage, *arguments, processes=1, **environment):
        """Start a stage in a session of its own, so that all of it can be ended."""
        paths = (str(self.folder / "src"), os.environ.get("PYTHONPATH", ""))
        places = os.pathsep.join(filter(None, paths))
        return subprocess.Popen(
            self.command(stage, *arguments, processes=processes),
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, stage, *arguments, processes=1, **environment):
        """Run a stage; return its exit status and all that it printed."""
        process = self.start(stage, *arguments, processes=processes, **environment)
        try:
            printed, _ = process.communicate(timeout=400)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, printed

    @property
    def record(self):
        """The folder of the record."""
        return self.folder / "results" / "smoke"

    def losses(self):
        """Return the losses of the finetune, step by step, and its manifest."""
        place = self.record / "training" / "tiny-llama"
        return pd.read_csv(place / "loss.csv"), json.loads((place / "manifest.json").read_text())

    def answers(self):
        """Return the answers of each run, sorted: the order in which they ended plays no part."""
        return {
            path.parent.name: sorted(path.read_bytes().splitlines())
            for path in sorted(self.record.glob("runs/*/answers.jsonl"))
        }

    def sessions(self):
        """Return what each process noted of each run that it added answers to."""
        paths = self.record.glob("runs/*/sessions.jsonl")
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]

    def answered(self):
        """Return how many answers stand in files of any process."""
        paths = self.record.glob("runs/*/answers*.jsonl")
        return sum(path.read_bytes().count(b"\n") for path in paths)
