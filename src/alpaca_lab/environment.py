"""What this machine is: the facts a manifest records, and what preflight needs to know."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from . import driver
from .config import ROOT

PACKAGES = (
    "torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "unsloth", "datasets",
    "sacrebleu", "rouge-score", "bert-score", "nltk", "rouge", "datasketch",
    "numpy", "scipy", "pandas",
)  # fmt: skip


def now() -> str:
    """Return the time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def version_of(package: str) -> str | None:
    """Return the installed version of a package, or None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def commit() -> str | None:
    """Return the commit, with "+changes" when src/ differs from it; None outside git."""
    revision = _git("rev-parse", "HEAD")
    changed = revision and _git("status", "--porcelain", "--", "src")
    return f"{revision}+changes" if changed else revision


@cache
def source_sha256() -> str:
    """Return one sha256 over all modules of this package: the code, also outside git."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def gpu() -> dict[str, Any] | None:
    """Return name, GiB in all and free, and driver of the first NVIDIA GPU, or None.

    Asks nvidia-smi, not torch; what is free is what was when it was first asked.
    """
    if shutil.which("nvidia-smi") is None:
        return None
    query = [
        "nvidia-smi",
        "--query-gpu=name,memory.total,memory.free,driver_version",
        "--format=csv,noheader,nounits",
    ]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0 or not done.stdout.strip():
        return None
    name, total, free, driver = (part.strip() for part in done.stdout.splitlines()[0].split(","))
    total, free = (round(float(mib) / 1024, 1) if mib.isdigit() else None for mib in (total, free))
    return {"name": name, "total_gib": total, "free_gib": free, "driver": driver}


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; () without."""
    if gpu() is None or driver.lacks_bfloat16():
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(name.strip() for name in named.split(",") if name.strip())
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return tuple(str(n) for n in range(len(re.findall(r"^GPU \d", listed.stdout, re.M))))


def cpu_name() -> str:
    """Return the processor's name as the operating system gives it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def memory_gib() -> float | None:
    """Return this machine's memory in GiB; None where the operating system does not say."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def free_disk_gib(folder: Path) -> float:
    """Return the free space in GiB where `folder` is, or would be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 2**30


def snapshot() -> dict[str, Any]:
    """Return the facts that a manifest records. An unknown is None, never a guess."""
    return {
        "time": now(),
        "commit": commit(),
        "source_sha256": source_sha256(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": memory_gib(),
        "gpu": gpu(),
        "packages": {name: version_of(name) for name in PACKAGES},
    }


def table() -> pd.DataFrame:
    """Return `snapshot` as one row per fact, for the notebook."""
    facts = snapshot()
    packages = facts.pop("packages")
    facts["gpu"] = facts["gpu"]["name"] if facts["gpu"] else "none"
    rows = {**facts, **packages}
    return pd.DataFrame(
        [(name, "not installed" if value is None else str(value)) for name, value in rows.items()],
        columns=["fact", "value"],
    ).set_index("fact")
