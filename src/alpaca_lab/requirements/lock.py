"""Write requirements.lock: every package of a machine without a GPU, by version and sha256.

    make lock

uv resolves what requirements.txt names, for Linux, macOS and Windows and every Python from the
oldest that pyproject.toml admits, and takes the hashes from the package index. What pip then
installs is what was there when the lock was written, or pip stops.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from ..install import LOCK, ROOT, select

OF_CUDA = (
    "cuda-bindings",
    "cuda-toolkit",
    "nvidia-cudnn-cu13",
    "nvidia-cusparselt-cu13",
    "nvidia-nccl-cu13",
    "nvidia-nvshmem-cu13",
    "triton",
)
"""What torch's build with CUDA asks for, and the CPU build does not."""
HEADER = """\
# Written by `make lock` from requirements.txt; do not edit. install.py takes it where there is no
# GPU. It pins everything but torch on Linux and Windows, whose CPU builds are on PyTorch's own
# index: that index says which hashes they have, and pip checks them.
"""


def main(uv: str) -> None:
    """Write the lock with this uv, or stop with uv's own message."""
    plain, bare = select((ROOT / "requirements.txt").read_text(), gpu=False, colab=False)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    # What builds this project, and the packages that have no wheel, is pinned like the rest.
    wanted = [*(line for line in plain if line != "-e ."), *project["build-system"]["requires"]]
    oldest = project["project"]["requires-python"].removeprefix(">=")
    with tempfile.TemporaryDirectory() as folder:
        excludes = _written(Path(folder, "of_cuda.txt"), OF_CUDA)
        resolved = _resolve(uv, wanted, oldest, "--excludes", excludes)
    resolved += _resolve(uv, bare, oldest, "--no-deps")
    # Of torch, pip's own index has a CPU build for macOS alone.
    resolved = re.sub(r"(?m)^(torch==\S+) \\", r"\1 ; sys_platform == 'darwin' \\", resolved)
    LOCK.write_text(HEADER + resolved, encoding="utf-8")
    print(f"{LOCK.name}: {len(re.findall('(?m)^[a-z0-9]', resolved))} packages")


def _resolve(uv: str, wanted: Sequence[str], python: str, *options: str) -> str:
    """Return the lines of a lock for what is wanted."""
    with tempfile.TemporaryDirectory() as folder:
        command = [uv, "pip", "compile", "-q", "--no-config", "--universal", "--generate-hashes",
                   "--no-annotate", "--no-header", "--python-version", python, *options,
                   _written(Path(folder, "wanted.in"), wanted)]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit("error: uv could not resolve requirements.txt; its message is above")
    return done.stdout


def _written(path: Path, lines: Sequence[str]) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


if __name__ == "__main__":
    main(sys.argv[1])
