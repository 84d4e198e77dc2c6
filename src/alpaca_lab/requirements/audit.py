"""Ask a public database for the known vulnerabilities of every package that is pinned.

    make audit

Exit status 0: none is known. 1: some are, each named. 3: no database could be asked, which is no
good news: pip-audit itself says "no known vulnerabilities" of packages that it could not look up.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..install import LOCK, ROOT, select

CONTROL = "jinja2==2.4.1"
"""A release with vulnerabilities that are long known: a database that names none is not asked."""
SERVICES = ("pypi", "osv")
NONE_KNOWN, SOME_KNOWN, NOT_ASKED = 0, 1, 3


def pinned() -> list[str]:
    """Return every package that we pin, for a CPU and for a GPU, as pip-audit takes it."""
    locked = re.findall(r"(?m)^([^\s#]+==\S+)( ;[^\\\n]*)? \\$", LOCK.read_text())
    lines = [name if name.startswith("torch==") else name + marker for name, marker in locked]
    plain, bare = select((ROOT / "requirements.txt").read_text(), gpu=True, colab=False)
    names = {_name(line) for line in lines}
    return lines + [line for line in plain + bare if "==" in line and _name(line) not in names]


def ask(pip_audit: str, packages: Sequence[str], service: str) -> list[dict[str, Any]]:
    """Return what a database knows of each package; empty where it does not answer."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "packages.txt")
        file.write_text("\n".join(packages) + "\n", encoding="utf-8")
        command = [pip_audit, "--disable-pip", "--no-deps", "--progress-spinner=off",
                   "--format=json", f"--vulnerability-service={service}", "-r", file]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout)["dependencies"] if done.stdout.strip() else []


def answering(pip_audit: str) -> str | None:
    """Return the first database that knows the vulnerabilities of `CONTROL`, or None."""
    for service in SERVICES:
        if any(found.get("vulns") for found in ask(pip_audit, [CONTROL], service)):
            return service
    return None


def told(found: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """Return the exit status and the lines that say what a database knows of our packages."""
    asked = [one for one in found if "skip_reason" not in one]
    unknown = [one["name"] for one in found if "skip_reason" in one]
    lines = [
        f"{one['name']} {one['version']}: {vulnerability['id']}, mended in "
        f"{', '.join(vulnerability['fix_versions']) or 'no release yet'}"
        for one in asked
        for vulnerability in one["vulns"]
    ]
    status = SOME_KNOWN if lines else NONE_KNOWN
    lines.append(f"audit: {len(lines)} known vulnerabilities in {len(asked)} packages")
    if unknown:
        lines.append(f"audit: the database does not have {', '.join(unknown)}")
    return status, lines


def main(pip_audit: str) -> int:
    """Print what is known, and return the exit status."""
    service = answering(pip_audit)
    if service is None:
        print(
            "audit: no vulnerability database can be reached from here, so nothing was checked; "
            "run `make audit` with access to pypi.org or osv.dev"
        )
        return NOT_ASKED
    status, lines = told(ask(pip_audit, pinned(), service))
    print("\n".join(lines))
    return status


def _name(requirement: str) -> str:
    return re.split("[=<>; ]", requirement)[0].lower().replace("_", "-")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
