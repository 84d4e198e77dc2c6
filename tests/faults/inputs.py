"""Arbitrary bytes, text of every plane, damaged files and hostile values, for every reader."""

import os
import tempfile
import time
from dataclasses import dataclass

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from targets import Target

os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", tempfile.gettempdir() + "/hypothesis")


@dataclass(frozen=True, kw_only=True)
class Tried:
    inputs: int
    seconds: float
    failure: str


def attempt(target: Target, *, count: int, seed: int) -> Tried:
    tried, started = 0, time.monotonic()

    def counted(value) -> None:
        nonlocal tried
        tried += 1
        target.check(value)

    options = settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
    )
    try:
        hypothesis.seed(seed)(options(given(target.inputs)(counted)))()
        failure = ""
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"[:300]
        if os.environ.get("FUZZ_DEBUG"):
            import traceback

            tb = traceback.format_exc().splitlines()
            print("\n".join(tb[-14:]))
            print(*getattr(error, "__notes__", []), sep="\n", end="\n\n")
    return Tried(inputs=tried, seconds=time.monotonic() - started, failure=failure)
