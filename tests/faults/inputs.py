"""Arbitrary bytes, text of every plane, damaged files and hostile values, for every reader."""

import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import choices
import commands
import hypothesis
import kept
import large
import targets
from findings import Finding, Section
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.configuration import set_hypothesis_home_dir
from targets import Target

from alpaca_lab.characters import plain

INPUTS = 7_000
"""Of a target of weight 1; some 200,000 of all together."""
WANTED = "a value that keeps its promises, or one short printable sentence; nothing half-written"
LARGEST_GIB = 2.0
"""What this process may take while it tries them all."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What became of one target."""

    inputs: int
    """How many it was given, those that made a failing one smaller included."""
    seconds: float
    failure: str
    """The exception, and the smallest input that was found to raise it; "" where none did."""


def attempt(target: Target, *, count: int, seed: int) -> Tried:
    """Give a target so many inputs, or fewer where one fails: that is then made smaller.

    Args:
        target: The reader and its check.
        count: Inputs, >= 1.
        seed: Decides them.
    """
    tried, started, failure = 0, time.monotonic(), ""

    def counted(value: object) -> None:
        nonlocal tried
        tried += 1
        target.check(value)

    # No database of failures: the seed brings them back, and the tree stays clean.
    options = settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")
    try:
        hypothesis.seed(seed)(options(given(target.inputs)(counted)))()
    except Exception as error:  # whatever it is, it is the finding
        smallest = " ".join(getattr(error, "__notes__", [])[:1])
        failure = plain(f"{type(error).__name__}: {error}"[:300] + f"; {smallest}"[:300])
    return Tried(inputs=tried, seconds=time.monotonic() - started, failure=failure)


FAMILIES: dict[str, Callable[[Path], Iterator[Target]]] = {
    "files": targets.of_files,
    "values": choices.of_values,
    "records": kept.of_records,
    "ratings": kept.of_ratings,
    "commands": commands.of_commands,
    "tokenizers": commands.of_tokenizers,
}


@contextmanager
def family(name: str) -> Iterator[list[Target]]:
    """Yield the targets of a family, with a folder for their files that is removed in the end."""
    with tempfile.TemporaryDirectory() as folder, commands.apart(Path(folder)):
        yield list(FAMILIES[name](Path(folder)))


def run(seed: int, share: float) -> Section:
    """Try every target, then what is large.

    Args:
        seed: Decides the inputs.
        share: Part of the work, above 0 to 1.
    """
    found = []
    for name in FAMILIES:
        with family(name) as known:
            for target in known:
                count = max(1, round(INPUTS * target.weight * share))
                tried = attempt(target, count=count, seed=seed)
                found.append(
                    Finding(
                        fault=f"hostile {target.name}",
                        times=tried.inputs,
                        wanted=WANTED,
                        found=tried.failure or f"nothing else, in {tried.seconds:.0f} s",
                        held=not tried.failure,
                    )
                )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found.append(
        Finding(
            fault="all of these inputs in one process",
            times=sum(finding.times for finding in found),
            wanted=f"at most {LARGEST_GIB:g} GiB",
            found=f"{peak:.2f} GiB",
            held=peak <= LARGEST_GIB,
        )
    )
    return Section(
        title="Input",
        what="Files, settings, command lines and texts that are arbitrary, damaged or hostile: "
        "bytes, nearly right records, whole files with bits flipped and spans lost, control "
        "characters and every plane of Unicode. Then what is merely large, each in a process of "
        "its own.",
        findings=[*found, *large.findings(share)],
    )
