"""Install requirements.txt for this machine: the CPU build of torch, or the GPU parts.

Without a GPU every package comes from requirements.lock, by version and sha256: pip stops at a file
that is not the one that was locked.

Run by `make install` and by the notebooks' Colab cell, before anything is installed: it uses the
standard library alone, and is run by its path, not imported.

Colab ships some 600 packages that are tied to each other, to its CUDA and to its page, and changes
them every few weeks. What it ships is kept wherever it serves; what was added and what was changed
is printed.
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
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 3
SHOWN = ("torch", "torchvision", "triton", "transformers", "numpy", "pandas", "pyarrow",
         "ipywidgets", "ipython", "ipykernel")  # fmt: skip
"""Packages of Colab that a reader wants to see kept, or changed."""
_BOUNDS = re.compile(r"\[from ([\d.]+)(?: below ([\d.]+))?\]")


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


def select(
    text: str, *, gpu: bool, colab: bool, shipped: Mapping[str, str] | None = None
) -> tuple[list[str], list[str]]:
    """Return the requirement lines for this machine: (with dependencies, without).

    Args:
        text: requirements.txt.
        gpu: Whether lines tagged [gpu] are wanted. Without one, those are too whose package Colab
            ships: PEFT refuses an old torchao wherever it finds one.
        colab: Whether lines tagged [keep] or [local] are left out, and those tagged [from X] whose
            package is there in a version that serves.
        shipped: What Colab has: {name: version}, as `installed`.
    """
    plain, bare, there = [], [], (shipped or {}) if colab else {}
    for line in text.splitlines():
        requirement, _, comment = line.partition("#")
        version = there.get(_name(requirement))
        skipped = "[gpu]" in comment and not gpu and version is None
        if colab:
            skipped |= "[keep]" in comment or "[local]" in comment or _serves(comment, version)
        if requirement.strip() and not skipped:
            (bare if "[no-deps]" in comment else plain).append(requirement.strip())
    return plain, bare


def _serves(comment: str, version: str | None) -> bool:
    """Return True when a version is in the bounds that a requirement's comment names."""
    bounds = _BOUNDS.search(comment)
    if bounds is None or version is None:
        return False
    least, below = bounds.groups()
    return _release(least) <= _release(version) and (
        below is None or _release(version) < _release(below)
    )


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version: (2, 11, 0) of "2.11.0+cu128"."""
    return tuple(map(int, re.match(r"[\d.]*\d", version)[0].split(".")))


def _name(requirement: str) -> str:
    """Return the name of "Rouge_Score==0.1.2" as all spellings share it: "rouge-score"."""
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>!~;@ \[]", requirement.strip())[0]).lower()


def installed() -> dict[str, str]:
    """Return {name: version} of every installed package; none of them is imported."""
    importlib.invalidate_caches()
    # A folder that is left of a package removed by hand has no name.
    found = ((d.metadata["Name"], d.version) for d in metadata.distributions())
    return {_name(name): version for name, version in found if name and version}


def unlocked(requirements: Sequence[str], lock: str) -> list[str]:
    """Return the requirement lines that a lock does not pin at that version."""
    names = (line.replace("_", "-").lower() for line in requirements)
    pinned = set(re.findall(r"(?m)^[^\s#]+==[^\s;]+", lock))
    return [name for name in names if name != "-e ." and name not in pinned]


def pip(*arguments: str) -> None:
    """Run pip in this environment, or stop with its own message."""
    if _pip(arguments).returncode != 0:
        sys.exit(f"error: pip could not install ({' '.join(arguments)}); its message is above")


def _pip(arguments: Sequence[str], **options: bool) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "-q"]
    return subprocess.run([*command, *arguments], cwd=ROOT, **options)


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
        pip("-r", _written(folder, "requirements.txt", plain))
    pip("--no-deps", *bare)


def install_on_colab(
    plain: Sequence[str], bare: Sequence[str], *, shipped: Mapping[str, str], kept: Sequence[str]
) -> None:
    """Install requirement lines beside what Colab ships, which stays as it is.

    Everything shipped is pinned at its version, but for what the lines name. A later Colab may
    ship something that they cannot live with: then only what is tied to the machine is pinned,
    and pip changes as little of the rest as it can.

    Args:
        plain: Lines to install with what they need.
        bare: Lines to install without.
        shipped: What is there: {name: version}.
        kept: Names that are pinned in any case.
    """
    named = {_name(line) for line in (*plain, *bare)}
    every = [f"{name}=={version}" for name, version in shipped.items() if name not in named]
    tied = [line for line in every if _is_tied(_name(line), kept)]
    with tempfile.TemporaryDirectory() as folder:
        wanted = ["-r", _written(folder, "requirements.txt", plain)]
        pins = ["-c", _written(folder, "shipped.txt", every)]
        if _pip([*wanted, *pins], capture_output=True).returncode != 0:
            print("install: pip cannot add what is missing beside all that Colab ships; it may "
                  "change what is not tied to the machine", flush=True)  # fmt: skip
            pip(*wanted, "--upgrade-strategy", "only-if-needed",
                "-c", _written(folder, "tied.txt", tied))  # fmt: skip
    pip("--no-deps", *bare)


def _is_tied(name: str, kept: Iterable[str]) -> bool:
    """Return True for what Colab's CUDA, drivers or page need at its version."""
    return name in kept or name.startswith(("torch", "triton", "nvidia", "cuda", "google-colab"))


def _written(folder: str, name: str, lines: Iterable[str]) -> str:
    path = Path(folder, name)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def in_use() -> set[str]:
    """Return the names of the packages that this process has imported something of."""
    owners = metadata.packages_distributions()
    tops = {module.partition(".")[0] for module in sys.modules}
    return {_name(owner) for top in tops for owner in owners.get(top, ())}


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return what an install did, in a few lines: added, changed old -> new, kept."""
    added = [f"{name} {after[name]}" for name in sorted(after.keys() - before.keys())]
    gone = [f"{name} {before[name]} -> none" for name in sorted(before.keys() - after.keys())]
    both = sorted(before.keys() & after.keys())
    changed = [f"{n} {before[n]} -> {after[n]}" for n in both if before[n] != after[n]] + gone
    same = [name for name in both if before[name] == after[name]]
    shown = [f"{name} {before[name]}" for name in SHOWN if name in same]
    rest = f"{', '.join(shown)} and {len(same) - len(shown)} more" if shown else str(len(same))
    rows = (("added", added), ("changed", changed), ("kept", [rest]))
    return "\n".join(f"{title:>8}: {', '.join(items) or 'nothing'}" for title, items in rows)


def require_fresh(
    before: Mapping[str, str], after: Mapping[str, str], imported: Iterable[str]
) -> None:
    """Stop where this process holds the old half of a package that was changed under it.

    Args:
        before: What was installed: {name: version}.
        after: What is.
        imported: Names of packages that were imported before.
    """
    stale = [name for name in sorted(imported) if before.get(name) != after.get(name)]
    if stale:
        what = ", ".join(f"{n} ({before.get(n)} -> {after.get(n)})" for n in stale)
        sys.exit(
            f"error: {what} was imported before it was changed: choose Runtime > Restart session, "
            "then Run all; what is installed stays"
        )


def main() -> None:
    """Install what this machine needs, and say what was chosen."""
    gpu, colab = has_gpu(), on_colab()
    chosen = (
        "NVIDIA GPU found: CUDA build and Unsloth's GPU parts"
        if gpu
        else ("no NVIDIA GPU: CPU build of torch, nothing of CUDA")
    )
    locked = not gpu and not colab
    pinned = f"by sha256 from {LOCK.name}" if locked else "by version from requirements.txt"
    if colab:
        chosen = f"Colab {'with' if gpu else 'without'} a GPU: what it ships stays where it serves"
        pinned = "added by version from requirements.txt"
    print(f"install: {chosen}; packages {pinned}", flush=True)
    print("install: a few minutes the first time, then seconds", flush=True)
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    if colab:
        _beside_colab(text, gpu=gpu)
    else:
        plain, bare = select(text, gpu=gpu, colab=False)
        (install_locked(plain + bare) if locked else install_unlocked(plain, bare))
    # In a notebook's kernel this package is importable at once, without a restart.
    for folder in site.getsitepackages():
        site.addsitedir(folder)
    print("install: done", flush=True)


def _beside_colab(text: str, *, gpu: bool) -> None:
    """Install on Colab, print what that changed, and stop where the kernel must be restarted."""
    before, imported = installed(), in_use()
    plain, bare = select(text, gpu=gpu, colab=True, shipped=before)
    kept = [_name(line) for line in text.splitlines() if "[keep]" in line.partition("#")[2]]
    install_on_colab(plain, bare, shipped=before, kept=kept)
    after = installed()
    print(changes(before, after), flush=True)
    require_fresh(before, after, imported)


if __name__ == "__main__":
    main()
