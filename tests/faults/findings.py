"""What breaking the study has shown: one finding per kind of fault, kept as data and as a page.

A section of the harness returns findings; `enter` puts them into results/reliability.json, in place
of what that section found before, and writes results/reliability.md from the whole of it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alpaca_lab import environment
from alpaca_lab.config import ROOT
from alpaca_lab.pages.markdown import escape

ORDER = ("kills", "disk", "device", "gpu", "network", "inputs", "load", "reproduction")
"""Sections in the order of the page."""
RECORD = ROOT / "results" / "reliability.json"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one kind of fault did."""

    fault: str
    """What was done to the study: "SIGKILL while decoding"."""
    times: int
    """How often: kills, requests, inputs, bytes flipped."""
    wanted: str
    """What was to hold, fixed in advance, with its tolerance."""
    found: str
    """What was seen, with its figures."""
    held: bool
    """Whether it did hold."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """The findings of one module of the harness."""

    title: str
    """Heading on the page."""
    what: str
    """A sentence or two before the table: what is broken here, and how."""
    findings: Sequence[Finding]


def enter(name: str, section: Section, *, seconds: float, record: Path = RECORD) -> None:
    """Record a section's findings, and write the page anew.

    Args:
        name: The section's module, such as "kills".
        section: What it found.
        seconds: How long that took.
        record: The JSON file; the page stands beside it.
    """
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    machine = environment.snapshot()
    known[name] = {
        "title": section.title,
        "what": section.what,
        "findings": [asdict(finding) for finding in section.findings],
        "seconds": round(seconds),
        "commit": machine["commit"],
        "machine": f"{machine['cpu']}, {machine['cores']} cores"
        + (f", {machine['gpu']['name']}" if machine["gpu"] else ""),
    }
    text = json.dumps(known, indent=2, ensure_ascii=False, sort_keys=True)
    record.write_text(text + "\n", encoding="utf-8")
    record.with_suffix(".md").write_text(page(known), encoding="utf-8")


def page(known: dict[str, Any]) -> str:
    """Return results/reliability.md from the record's sections."""
    held = [finding["held"] for section in known.values() for finding in section["findings"]]
    lines = [
        "# What it survives",
        "",
        "Found by breaking it: `make faults` runs every section and writes this page and "
        "reliability.json, from which it is made. What was to hold was fixed before it ran: "
        f"{sum(held)} of the {len(held)} lines below did.",
    ]
    for name in sorted(known, key=_place):
        section = known[name]
        lines += ["", f"## {section['title']}", "", section["what"], ""]
        lines += ["| what was done | times | what was to hold | what was seen | held |"]
        lines += ["| --- | ---: | --- | --- | --- |"]
        lines += [_row(finding) for finding in section["findings"]]
        commit = (section["commit"] or "unknown")[:12]
        lines += ["", f"{section['seconds']:,} s on {section['machine']}; commit {commit}."]
    return "\n".join(lines) + "\n"


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def _row(finding: dict[str, Any]) -> str:
    cells = [
        finding["fault"], f"{finding['times']:,}", finding["wanted"], finding["found"],
        "yes" if finding["held"] else "**no**",
    ]  # fmt: skip
    return "| " + " | ".join(escape(cell) for cell in cells[:-1]) + f" | {cells[-1]} |"
