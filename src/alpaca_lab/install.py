"""Install requirements.txt for this machine: the CPU build of torch, or the GPU parts.

Without a GPU every package comes from requirements.lock, by version and sha256: pip stops at a file
that is not the one that was locked.

Run by `make install` and by the notebook's Colab cell, before anything is installed: it uses the
standard library alone, and is run by its path, not imported.
"""

import importlib.util
import json
import platform
import re
import shutil
import site
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 3


def has_gpu() -> bool:
    """Return True when the NVIDIA driver names a GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode == 0


def on_colab() -> bool:
    """Return True on Google Colab, whose own torch and widgets are kept."""
    try:
        return importlib.util.find_spec("google.colab") is not None
    except ModuleNotFoundError:
        return False


def select(text: str, *, gpu: bool, colab: bool) -> tuple[list[str], list[str]]:
    """Return the requirement lines for this machine: (with dependencies, without).

    Args:
        text: requirements.txt.
        gpu: Whether lines tagged [gpu] are wanted.
        colab: Whether lines tagged [keep] are left out.
    """
    plain, bare = [], []
    for line in text.splitlines():
        requirement, _, comment = line.partition("#")
        skipped = ("[gpu]" in comment and not gpu) or ("[keep]" in comment and colab)
        if requirement.strip() and not skipped:
            (bare if "[no-deps]" in comment else plain).append(requirement.strip())
    return plain, bare


def unlocked(requirements: Sequence[str], lock: str) -> list[str]:
    """Return the requirement lines that a lock does not pin at that version."""
    names = (line.replace("_", "-").lower() for line in requirements)
    pinned = set(re.findall(r"(?m)^[^\s#]+==[^\s;]+", lock))
    return [name for name in names if name != "-e ." and name not in pinned]


def pip(*arguments: str) -> None:
    """Run pip in this environment, or stop with its own message."""
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "-q"]
    done = subprocess.run([*command, *arguments], cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"error: pip could not install ({' '.join(arguments)}); its message is above")


def reachable(url: str) -> bool:
    """Return True when a server answers there. Asked once: pip would wait once per package."""
    try:
        with urllib.request.urlopen(f"{url}/", timeout=PROBE_SECONDS):
            return True
    except (urllib.error.URLError, OSError):
        return False


def needs_cuda(requirement: str) -> bool:
    """Return True when the wheel that pip would take brings CUDA with it."""
    report = ["--dry-run", "--no-deps", "--ignore-installed", "--report", "-", requirement]
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "-q", *report]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: pip finds no {requirement}: {done.stderr.strip()[-300:]}")
    [item] = json.loads(done.stdout)["install"]
    needs = item["metadata"].get("requires_dist", [])
    return any(need.startswith(("nvidia", "cuda", "triton")) for need in needs)


def install_cpu_torch(requirement: str) -> None:
    """Install torch without CUDA, from PyTorch's CPU index or, if it can, pip's own.

    Alone: what it needs is in the lock. On macOS torch is in the lock itself.
    """
    if reachable(TORCH_CPU_INDEX):
        pip("--no-deps", requirement, "--index-url", TORCH_CPU_INDEX)
    elif not needs_cuda(requirement):
        pip("--no-deps", requirement)
    else:
        sys.exit(
            f"error: no CPU build of {requirement} to be had: {TORCH_CPU_INDEX} does not answer, "
            "and pip's index offers the CUDA build (several GB). Connect to the network, or put "
            "the CPU wheel where pip finds it (PIP_FIND_LINKS)"
        )


def install_locked(requirements: Sequence[str]) -> None:
    """Install what requirements.lock pins, each file by its sha256, and this project.

    Args:
        requirements: Lines that the lock must pin. Of torch, whose CPU build is on an index of its
            own save for macOS, it says the version.
    """
    lock = LOCK.read_text(encoding="utf-8")
    if missing := unlocked(requirements, lock):
        sys.exit(
            f"error: {LOCK.name} does not pin {', '.join(missing)}, which requirements.txt asks "
            "for; run `make lock`"
        )
    if platform.system() != "Darwin":
        [torch] = [line for line in requirements if line.startswith("torch==")]
        install_cpu_torch(torch)
    # First what builds: a package without a wheel is built by the setuptools that is locked.
    builder = re.search(r"(?m)^setuptools==.*(\n    .*)*", lock)
    pip_locked(builder[0])
    pip_locked(lock)
    pip("--no-deps", "--no-build-isolation", "-e", ".")


def pip_locked(text: str) -> None:
    """Install the lines of a lock: nothing that they do not name, no file with another sha256."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, LOCK.name)
        file.write_text(text, encoding="utf-8")
        pip("--require-hashes", "--no-deps", "--no-build-isolation", "-r", str(file))


def install_unlocked(plain: Sequence[str], bare: Sequence[str]) -> None:
    """Install requirement lines, those in `bare` without what they need: by version alone."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requirements.txt")
        file.write_text("\n".join(plain), encoding="utf-8")
        pip("-r", str(file))
    pip("--no-deps", *bare)


def main() -> None:
    """Install what this machine needs, and say what was chosen."""
    gpu, colab = has_gpu(), on_colab()
    chosen = (
        "NVIDIA GPU found: CUDA build and Unsloth's GPU parts"
        if gpu
        else ("no NVIDIA GPU: CPU build of torch, nothing of CUDA")
    )
    locked = not gpu and not colab
    kept = "; keeping what Colab ships" if colab else ""
    pinned = f"by sha256 from {LOCK.name}" if locked else "by version from requirements.txt"
    print(f"install: {chosen}{kept}; packages {pinned}", flush=True)
    print("install: a few minutes the first time, then seconds", flush=True)
    plain, bare = select((ROOT / "requirements.txt").read_text(), gpu=gpu, colab=colab)
    if locked:
        install_locked(plain + bare)
    else:
        install_unlocked(plain, bare)
    # In a notebook's kernel this package is importable at once, without a restart.
    for folder in site.getsitepackages():
        site.addsitedir(folder)
    print("install: done", flush=True)


if __name__ == "__main__":
    main()
