"""Stages as processes of their own: started side by side, their bars drawn here, their words kept.

GPU memory is really free when a process has ended, Unsloth's patches never reach decoding, a crash
costs one stage, and an interrupt is clean.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import IO

from . import progress
from .endings import DEVICE_LOST, OneSentence

RESTARTS = 2
"""How often a stage is begun again whose GPU failed: each time it goes on where it was."""
GRACE_SECONDS = 60
"""What an interrupted stage is given to finish its answer or its optimiser step, and leave."""


class StageError(OneSentence, RuntimeError):
    """A stage's process ended in an error. The message is its own, with the log's place."""


@dataclass
class _Stage:
    """A running process, its log and the bar that is drawn for it."""

    name: str
    process: subprocess.Popen
    log: IO[str]
    device: str | None = None
    started: float = field(default_factory=time.monotonic)
    bar: progress.Bar | None = None

    def show(self, line: str) -> None:
        """Draw a line that is a bar's state; pass on what the stage says; log any other."""
        text = line
        if line.startswith(progress.MARK):
            text = progress.said(line)
            if text is None:
                self.bar = progress.redraw(self.bar, line)
                return
            progress.say(f"{self.name}: {text}")
            text += "\n"
        self.log.write(text)
        self.log.flush()

    def close(self) -> None:
        """Release the bar and the log of a process that has ended."""
        if self.bar is not None:
            self.bar.close()
        self.log.close()


def run_stages(
    stages: Mapping[str, Sequence[str]],
    *,
    logs: Path,
    width: int = 1,
    devices: Sequence[str] = (),
) -> None:
    """Run `python -m alpaca_lab ARGUMENTS` for each stage, at most `width` at a time.

    Args:
        stages: {name: arguments}; the name is what is printed, and names the log.
        logs: Folder for what the stages print, one file each.
        width: Processes side by side, >= 1.
        devices: GPUs as CUDA_VISIBLE_DEVICES names them: each stage has one to itself, and as
            many run side by side, whatever `width`.

    Raises:
        StageError: When a stage failed, and the others have come to their end: they need nothing
            of it, and what they finish need not be done again.
    """
    waiting, running, failed = dict(stages), {}, []
    free: list[str | None] = list(devices) or [None] * width
    restarts = dict.fromkeys(stages, RESTARTS)
    for name in stages:
        _log(logs, name).unlink(missing_ok=True)  # of another time; a restart adds to its own
    lines: Queue[tuple[str, str | None]] = Queue()
    try:
        while waiting or running:
            while waiting and free:
                name, device = next(iter(waiting)), free.pop(0)
                running[name] = _start(
                    name, waiting.pop(name), logs=logs, lines=lines, device=device
                )
            name, line = lines.get()
            stage = running[name]
            if line is not None:
                stage.show(line)
                continue
            status = stage.process.wait()
            del running[name]
            free.append(stage.device)
            stage.close()
            if status == 0:
                print(f"{name}: done in {time.monotonic() - stage.started:.0f} s", flush=True)
                continue
            why = f"{name}: {_why(status, logs, name)} (log: {_log(logs, name)})"
            if status == DEVICE_LOST and restarts[name]:
                restarts[name] -= 1
                waiting[name] = stages[name]
                progress.say(f"{why}; it is begun again")
                continue
            failed.append(why)
            if waiting or running:
                progress.say(f"{why}; the other stages go on")
    finally:
        _stop(running.values())
    if failed:
        raise StageError("; ".join(failed))


def heed_one_interrupt() -> None:
    """Let the first interrupt of a stage's process end it, and no other disturb that.

    Ctrl-C in a terminal and the stop button of a notebook reach a stage and its parent alike, and
    the parent passes it on: the second would come while the stage records what it has finished.
    """

    def interrupted(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupted)


def _start(
    name: str,
    arguments: Sequence[str],
    *,
    logs: Path,
    lines: "Queue[tuple[str, str | None]]",
    device: str | None,
) -> _Stage:
    """Start a stage, and a thread that passes on its lines and then None."""
    logs.mkdir(parents=True, exist_ok=True)
    log = _log(logs, name).open("a", encoding="utf-8", errors="replace")
    process = subprocess.Popen(
        [sys.executable, "-m", "alpaca_lab", *arguments],
        stdout=subprocess.PIPE,
        stderr=log,
        env=os.environ
        | {progress.PIPE_VARIABLE: "json", "PYTHONUNBUFFERED": "1"}
        | ({} if device is None else {"CUDA_VISIBLE_DEVICES": device}),
        text=True,
        encoding="utf-8",
        errors="replace",
    )

    def read() -> None:
        for line in process.stdout:
            lines.put((name, line))
        lines.put((name, None))

    threading.Thread(target=read, daemon=True).start()
    return _Stage(name=name, process=process, log=log, device=device)


def _stop(stages: Sequence[_Stage]) -> None:
    """Interrupt what still runs: each stage keeps what it has finished."""
    for stage in stages:
        stage.process.send_signal(signal.SIGINT)
    for stage in stages:
        try:
            stage.process.wait(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            stage.process.kill()
        stage.close()


def _log(logs: Path, name: str) -> Path:
    return logs / f"{name}.log"


def _why(status: int, logs: Path, name: str) -> str:
    """Return what a stage said last, or what ended it without a word."""
    if status >= 0:
        return _last_words(logs, name)
    killer = signal.Signals(-status).name
    cause = ", as a system does whose memory has run out" if killer == "SIGKILL" else ""
    return f"it was ended by {killer}{cause}; run it again, it goes on where it was"


def _last_words(logs: Path, name: str) -> str:
    """Return the sentence that a failed stage ended with."""
    text = _log(logs, name).read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return errors[-1].removeprefix("error: ") if errors else (lines or ["it left no output"])[-1]
