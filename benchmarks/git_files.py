"""Files of a public repository at one commit, read from git's objects without a work tree."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path

from alpaca_lab.config import SettingError

HOST = os.environ.get("SMALL_CORPUS_HOST", "https://github.com")


def folder_of(clones: Path, repository: str) -> Path:
    """Return the folder of a repository's objects: OWNER+NAME."""
    return clones / repository.replace("/", "+")


def fetch(clones: Path, repository: str, commit: str, patterns: Sequence[str]) -> None:
    """Fetch a commit, and the files of it that the patterns name; nothing if they are here."""
    folder = folder_of(clones, repository)
    if _has(folder, commit):
        return
    if not folder.exists():
        _git(folder, "init", "--quiet", "--bare", str(folder))
        _git(folder, "remote", "add", "origin", f"{HOST}/{repository}")
    _git(folder, "fetch", "--quiet", "--depth", "1", "--filter=blob:none", "origin", commit)
    wanted = "\n".join(blob for _, blob in listed(folder, commit, patterns))
    words = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--filter=blob:none")
    _git(folder, *words, "--stdin", "origin", text=wanted + "\n")


def listed(folder: Path, commit: str, patterns: Sequence[str]) -> list[tuple[str, str]]:
    """Return (path, object) of the files that a pattern matches, in an order that chance made.

    The order is that of the paths' hashes: the first files of a source are a sample of it.
    """
    found = []
    for entry in _git(folder, "ls-tree", "-r", "-z", commit).decode(errors="replace").split("\0"):
        meta, _, path = entry.partition("\t")
        if path and any(fnmatchcase(path, pattern) for pattern in patterns):
            found.append((path, meta.split()[2]))
    return sorted(found, key=lambda file: blake2b(file[0].encode()).digest())


def read(folder: Path, commit: str, patterns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of each such file.

    Raises:
        SettingError: If no file matches, or one is not in the folder.
    """
    files = listed(folder, commit, patterns)
    if not files:
        raise SettingError(f"{folder.name} at {commit} has no file like {', '.join(patterns)}")
    command = ["git", "--git-dir", str(folder), "cat-file", "--batch"]
    environment = {**os.environ, "GIT_NO_LAZY_FETCH": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        try:
            for path, blob in files:
                process.stdin.write(f"{blob}\n".encode())
                process.stdin.flush()
                header = process.stdout.readline().split()
                if len(header) != 3:
                    raise SettingError(f"{folder}: {path} is not there; remove the folder")
                text = process.stdout.read(int(header[2]))
                process.stdout.read(1)
                yield path, text.decode(errors="replace")
        finally:
            process.kill()


def _has(folder: Path, commit: str) -> bool:
    command = ["git", "--git-dir", str(folder), "cat-file", "-e", f"{commit}^{{tree}}"]
    return folder.exists() and not subprocess.run(command, capture_output=True).returncode


def _git(folder: Path, *words: str, text: str | None = None) -> bytes:
    command = ["git", "--git-dir", str(folder), *words]
    done = subprocess.run(command, input=text and text.encode(), capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise SettingError(f"git {words[0]} failed in {folder}: {said}")
    return done.stdout
