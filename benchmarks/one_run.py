"""One run in a process of its own: started, ended in time, and read."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ERROR = re.compile(r"^[\w.]*(Error|Exception|Interrupt)\b")


def run_once(command: Sequence[str], *, log: Path, timeout_s: float) -> dict[str, Any]:
    """Run one command and return its status, error, result and seconds.

    Args:
        command: Prints a line "RESULT {json}" when it is done; an "error" in it is a failure.
        log: Takes all that the command prints.
        timeout_s: After so long the command, and what it started, is ended.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as file:
        # A session of its own: a run may have started processes, and they must not outlive it.
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    wall_s = round(time.monotonic() - started, 1)
    text = log.read_text(encoding="utf-8", errors="replace")
    status, error, result = _outcome(text, code, timeout_s=timeout_s)
    return {"status": status, "error": error, "result": result, "wall_s": wall_s}


def _outcome(
    text: str, code: int | None, *, timeout_s: float
) -> tuple[str, str | None, dict[str, Any] | None]:
    """Return status, error and result of a run from what it printed and how it ended."""
    if code is None:
        return "timeout", f"no result within {timeout_s:g} s", None
    found = [line for line in text.splitlines() if line.startswith("RESULT ")]
    if not found or code != 0:
        return "failed", last_words(text) or f"it left no output and exit status {code}", None
    # NaN is no JSON: what is not a number is unknown.
    result = json.loads(found[-1].removeprefix("RESULT "), parse_constant=lambda _: None)
    if result.get("error"):
        return "failed", result["error"], None
    # Folders of the machine that ran say nothing about the result.
    return "ok", None, {k: v for k, v in result.items() if k not in ("model", "data")}


def last_words(text: str) -> str | None:
    """Return the last line that names an error, else the last line, of what a run printed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if ERROR.match(line)]
    return (errors or lines or [None])[-1]
