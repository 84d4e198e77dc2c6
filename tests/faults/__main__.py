"""`python tests/faults [SECTION ...]`: break the study on purpose, and write down what it survives.

Each section is a module of this folder with `run(seed, share) -> Section`, or None where this
machine lacks what it needs. Without a name all of them run; `--share 0.1` does a tenth of the work.
Exit status 1 when something did not hold.
"""

import argparse
import importlib
import os
import sys
import time

from findings import ORDER as SECTIONS
from findings import enter

GPUS = "CUDA_VISIBLE_DEVICES"


def main() -> int:
    """Run the sections that were asked for; enter what they found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", nargs="*", choices=[[], *SECTIONS], help=", ".join(SECTIONS))
    parser.add_argument("--seed", type=int, default=0, help="decides the moments and the inputs")
    parser.add_argument("--share", type=float, default=1.0, help="part of the work, above 0 to 1")
    asked = parser.parse_args()
    failed, visible = False, os.environ.get(GPUS)
    for name in asked.section or SECTIONS:
        _show(visible if name == "gpu" else "")
        started = time.monotonic()
        section = importlib.import_module(name).run(asked.seed, asked.share)
        if section is None:
            print(f"left out {name}: this machine lacks what it needs", flush=True)
            continue
        if asked.share == 1:
            enter(name, section, seconds=time.monotonic() - started)
        for finding in section.findings:
            mark = "held  " if finding.held else "FAILED"
            print(f"{mark} {finding.fault}, {finding.times:,} times: {finding.found}", flush=True)
            failed |= not finding.held
    return int(failed)


def _show(gpus: str | None) -> None:
    """Say which GPUs the stages see: none, but in their own section, as on the machine compared."""
    os.environ.pop(GPUS, None)
    if gpus is not None:
        os.environ[GPUS] = gpus


if __name__ == "__main__":
    sys.exit(main())
