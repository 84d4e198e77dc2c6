"""How a secret looks, so that none is published by mistake."""

import re
from pathlib import Path

PATTERNS = {
    "hub token": rb"\bhf_[A-Za-z]{30,}\b",
    "GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{60,})",
    "AWS key": rb"\bAKIA[0-9A-Z]{16}\b",
    "Slack token": rb"\bxox[abprs]-[0-9A-Za-z-]{20,}",
    "OpenAI or Anthropic key": rb"\bsk-[A-Za-z0-9_-]{40,}",
    "private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY",
    "password in an address": rb"[a-z]://[^/\s:@\"'<>]+:[^/\s:@\"'<>]+@",
}
"""By its name, what a secret matches."""
WEIGHTS = (".safetensors", ".gguf")
HEAD_BYTES = 1 << 24
"""Of a file of weights, what may hold words: its header, and of a GGUF file its tokenizer. Among
the numbers behind it anything may be found that looks like anything."""


def find(files: list[Path], *, known: str | None) -> tuple[str, Path] | None:
    """Return what looks like a secret in one of some files, and that file; None if nothing does.

    Args:
        files: What is looked through.
        known: A token in use, which is looked for as it is; None where there is none.
    """
    for path in files:
        data = _words(path)
        if known and known.encode() in data:
            return "hub token", path
        for name, pattern in PATTERNS.items():
            if re.search(pattern, data):
                return name, path
    return None


def _words(path: Path) -> bytes:
    with path.open("rb") as file:
        if path.suffix == ".safetensors":
            return file.read(int.from_bytes(file.read(8), "little"))
        return file.read(HEAD_BYTES) if path.suffix in WEIGHTS else file.read()
