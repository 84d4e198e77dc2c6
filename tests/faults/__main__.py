"""`python tests/faults [SECTION ...]`: break the study on purpose, and write down what it survives.

Each section is a module of this folder with `run(seed, share) -> Section`. Without a name all of
them run; `--share 0.1` does a tenth of the work. Exit status 1 when something did not hold.
"""

import argparse
import importlib
import sys
import time

from findings import ORDER as SECTIONS
from findings import enter


def main() -> int:
    """Run the sections that were asked for; enter what they found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", nargs="*", choices=[[], *SECTIONS], help=", ".join(SECTIONS))
    parser.add_argument("--seed", type=int, default=0, help="decides the moments and the inputs")
    parser.add_argument("--share", type=float, default=1.0, help="part of the work, above 0 to 1")
    asked = parser.parse_args()
    failed = False
    for name in asked.section or SECTIONS:
        started = time.monotonic()
        section = importlib.import_module(name).run(asked.seed, asked.share)
        if asked.share == 1:
            enter(name, section, seconds=time.monotonic() - started)
        for finding in section.findings:
            mark = "held  " if finding.held else "FAILED"
            print(f"{mark} {finding.fault}, {finding.times:,} times: {finding.found}", flush=True)
            failed |= not finding.held
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
