"""Where the section "network" works: a hub with a tiny model and a dataset, and an empty cache."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hub_client
from hub_stub import COMMIT, SIGNATURE, Hub

from alpaca_lab.config import TINY

NAME = "lab/tiny"
ROWS = "lab/rows"
OTHER = "0ddba11" * 5 + "00000"
"""The dataset's older commit, of three rows instead of five."""
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
LIMIT_S = 120
"""A process that has not ended by then hangs."""


@dataclass(frozen=True)
class Place:
    """A hub with a tiny model of two shards, and an empty cache."""

    hub: Hub
    home: Path
    files: dict[str, bytes]

    @property
    def snapshot(self) -> Path:
        """The folder of the model's files in the cache."""
        return self.home / "hub" / "models--lab--tiny" / "snapshots" / COMMIT

    def run(self, *task: str, **options: str) -> "Ended":
        """Fetch the model, or do another task of `hub_client`, in a process of its own."""
        process = hub_client.start(self.hub, self.home, *(task or self.model), **options)
        begun = time.monotonic()
        try:
            output, errors = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
            errors += "\nTraceback: it hung"
        seconds = time.monotonic() - begun
        return Ended(process.returncode, output, errors, seconds)

    @property
    def model(self) -> tuple[str, str, str]:
        """The task that fetches the model."""
        return ("model", NAME, COMMIT)

    def is_whole(self, ended: "Ended") -> bool:
        """Return whether a process ended with all of the model's files, byte for byte."""
        wanted = {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}
        return ended.status == 0 and json.loads(ended.output.splitlines()[-1]) == wanted

    def sent(self) -> int:
        """Return how many bytes of large files left the hub since its log was cleared."""
        return sum(request.sent for request in self.hub.requests("GET", "/cdn/"))

    @property
    def large(self) -> int:
        """Bytes of the large files."""
        return sum(len(self.files[name]) for name in SHARDS)


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    status: int
    output: str
    errors: str
    seconds: float

    @property
    def said(self) -> str:
        """Everything that it printed."""
        return self.output + self.errors

    @property
    def sentence(self) -> str | None:
        """The one sentence that it ended in; None if it ended otherwise or said too much."""
        *before, last = self.errors.splitlines() or [""]
        unwanted = ("Traceback", "://", SIGNATURE, "hf_secret")
        good = (
            self.status == 2
            and last.startswith("error: ")
            and not any(line.startswith("error: ") for line in before)
            and not any(text in self.said for text in unwanted)
        )
        return last.removeprefix("error: ") if good else None


@contextmanager
def place() -> Iterator[Place]:
    """Yield a hub with the tiny LLaMA in two shards and a dataset of two commits."""
    files = {path.name: path.read_bytes() for path in (TINY / "llama").iterdir()}
    weights = files.pop("model.safetensors")
    half = len(weights) // 2
    files |= dict(zip(SHARDS, (weights[:half], weights[half:]), strict=True))
    names = {"a": SHARDS[0], "b": SHARDS[1]}
    files["model.safetensors.index.json"] = json.dumps({"weight_map": names}).encode()
    lines = (TINY / "rows.jsonl").read_bytes().splitlines(keepends=True)
    with tempfile.TemporaryDirectory() as home, Hub() as hub:
        hub.add("model", NAME, COMMIT, files)
        hub.add("dataset", ROWS, COMMIT, {"rows.jsonl": b"".join(lines[:5])})
        hub.add("dataset", ROWS, OTHER, {"rows.jsonl": b"".join(lines[:3])})
        yield Place(hub, Path(home), files)


def alone(at: Place, code: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """Run code that takes the stub for the hub, without us."""
    without = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=without | at.hub.environment(at.home, **variables),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


def until(reached: Callable[[], bool]) -> None:
    """Wait until something has happened.

    Raises:
        TimeoutError: If it does not.
    """
    limit = time.monotonic() + LIMIT_S
    while not reached():
        if time.monotonic() > limit:
            raise TimeoutError("the process never came that far")
        time.sleep(0.01)
