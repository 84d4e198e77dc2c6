"""Install requirements.txt for this machine: the CPU build of torch, or the GPU parts.

Run by `make install` and by the notebook's Colab cell, before anything is installed: it uses the
standard library alone, and is run by its path, not imported.
"""

import importlib.util
import json
import platform
import shutil
import site
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
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
    """Install torch without CUDA, from PyTorch's CPU index or, if it can, pip's own."""
    if platform.system() == "Darwin":
        pip(requirement)
    elif reachable(TORCH_CPU_INDEX):
        pip(requirement, "--index-url", TORCH_CPU_INDEX)
    elif not needs_cuda(requirement):
        pip(requirement)
    else:
        sys.exit(
            f"error: no CPU build of {requirement} to be had: {TORCH_CPU_INDEX} does not answer, "
            "and pip's index offers the CUDA build (several GB). Connect to the network, or put "
            "the CPU wheel where pip finds it (PIP_FIND_LINKS)"
        )


def main() -> None:
    """Install what this machine needs, and say what was chosen."""
    gpu, colab = has_gpu(), on_colab()
    chosen = (
        "NVIDIA GPU found: CUDA build and Unsloth's GPU parts"
        if gpu
        else ("no NVIDIA GPU: CPU build of torch, nothing of CUDA")
    )
    print(f"install: {chosen}{'; keeping what Colab ships' if colab else ''}", flush=True)
    print("install: a few minutes the first time, then seconds", flush=True)
    plain, bare = select((ROOT / "requirements.txt").read_text(), gpu=gpu, colab=colab)
    torch = [line for line in plain if line.startswith("torch==")]
    if torch and not gpu:
        install_cpu_torch(torch[0])
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as file:
        file.write("\n".join(plain))
    pip("-r", file.name)
    Path(file.name).unlink()
    pip("--no-deps", *bare)
    # In a notebook's kernel this package is importable at once, without a restart.
    for folder in site.getsitepackages():
        site.addsitedir(folder)
    print("install: done", flush=True)


if __name__ == "__main__":
    main()
