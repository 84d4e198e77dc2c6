"""A GGUF file asked in llama.cpp's own server, on this machine and by tokens."""

import json
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ..config import SettingError
from ..decoding.jobs import Finished, Job, finish

HERE = "127.0.0.1"
PATIENCE_S = 1800.0
"""For reading 14 GB from a slow disk, or for one answer on an old processor."""
PAUSE_S = 0.1


class Server:
    """A running llama-server with one model."""

    def __init__(self, url: str) -> None:
        """Take the address of a server that is ready."""
        self._url = url
        # A proxy of the environment does not know this machine's own ports.
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text that begins a sequence, as this model's file reads it."""
        asked = {"content": text, "add_special": True, "parse_special": False}
        return self._ask("/tokenize", asked)["tokens"]

    def answer(self, job: Job, *, eos_token_id: int) -> Finished:
        """Return the greedy answer to a prompt that is given in tokens."""
        asked = {
            "prompt": list(job.prompt_ids),
            "n_predict": job.setting.max_new_tokens,
            "temperature": 0.0,
            "samplers": ["temperature"],
            "cache_prompt": False,
            "return_tokens": True,
        }
        found = self._ask("/completion", asked)
        ids = found["tokens"]
        if found.get("stop_type") == "eos" and ids[-1:] != [eos_token_id]:
            ids = [*ids, eos_token_id]
        return finish(job, ids, eos_token_id=eos_token_id)

    def is_ready(self) -> bool:
        """Return whether the model is loaded."""
        try:
            with self._open(f"{self._url}/health", timeout=5) as reply:
                return reply.status == 200
        except (OSError, HTTPException):  # not listening yet, or 503 while it loads
            return False

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self._url + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with self._open(request, timeout=PATIENCE_S) as reply:
                return json.load(reply)
        except (OSError, HTTPException, ValueError) as error:
            raise SettingError(
                f"llama-server did not answer {path} ({type(error).__name__}): try a newer one"
            ) from None


@contextmanager
def serving(program: Path, file: Path, *, context: int) -> Iterator[Server]:
    """Run llama-server with a GGUF file while the block runs; nobody else can reach it.

    Args:
        program: llama-server.
        file: The GGUF file.
        context: Tokens of the longest prompt and answer together.

    Raises:
        SettingError: If it ends, or does not come up; with its first error.
    """
    with socket.socket() as free:
        free.bind((HERE, 0))
        port = free.getsockname()[1]
    command = [str(program), "-m", str(file), "--host", HERE, "--port", str(port),
               "-c", str(context), "-np", "1"]  # fmt: skip
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            server = Server(f"http://{HERE}:{port}")
            ends = time.monotonic() + PATIENCE_S
            while not server.is_ready():
                if process.poll() is not None or time.monotonic() > ends:
                    raise SettingError(f"llama-server does not load {file.name}: {_reason(log)}")
                time.sleep(PAUSE_S)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _reason(log: Any) -> str:
    """Return the first error of a server's log; what comes after it says less and less."""
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or [line for line in lines[-1:] if line] or ["it said nothing"])[0][-300:]
