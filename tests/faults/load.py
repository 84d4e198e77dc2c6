"""Section "load": a sweep ten times smaller, as large, and ten times larger than the protocol's.

Each stage runs in a process of its own, which says how long it took and how much memory it held.
"""

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import big_study
from findings import Finding, Section

QUESTIONS = 650
"""Times 3 models and 30 answers: 58,500, as many as 3 x 13 cells x 3 repeats x 500 questions."""
SIZES = (0.1, 1, 10)
LINEAR = 1.15
"""Largest slope of log cost over log size that still is linear growth."""
MOST_GIB, MOST_REPORT_S = 4, 60
STAGES = {
    "generate": "answers appended",
    "resume": "generate again, all being there",
    "score": "scored, with a fake encoder",
    "report": "tables, figures, report.html",
    "check": "tables rebuilt and compared",
}


def run(seed: int, share: float) -> Section:
    """Put a made-up sweep through each stage at three sizes.

    Args:
        seed: Decides the texts.
        share: Part of the work: of the questions at every size.
    """
    shown = SIZES if share > 0.1 else SIZES[:2]  # a glance must not wait for the largest
    sizes = [max(4, round(QUESTIONS * size * share)) for size in shown]
    costs = [_through_the_stages(questions, seed) for questions in sizes]
    return Section(
        title="Load",
        what=(
            "A sweep of 3 models x 13 cells with made-up answers of Alpaca's lengths goes through "
            "the stages. The protocol asks 30 answers of a question, not 39 (one of greedy and of "
            f"beams, two at temperature .001), so {QUESTIONS:,} questions make the 58,500 answers "
            "of 500 questions with three repeats throughout; the untuned bases and the controls "
            "come on top. Each stage is a process of its own; seconds are the stage's, memory is "
            "the whole process's at its peak."
        ),
        findings=[_finding(stage, sizes, costs) for stage in STAGES],
    )


def _through_the_stages(questions: int, seed: int) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        _measured("make", folder, questions, seed)
        return {stage: _measured(stage, folder, questions, seed) for stage in STAGES}


def _measured(stage: str, folder: str, questions: int, seed: int) -> dict[str, float]:
    command = [sys.executable, __file__, stage, folder, str(questions), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{stage} of {questions} questions failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _finding(stage: str, sizes: list[int], costs: list[dict[str, dict[str, float]]]) -> Finding:
    found = [cost[stage] for cost in costs]
    small, *_, large = found
    growth = {
        name: math.log(large[name] / small[name]) / math.log(sizes[-1] / sizes[0])
        for name in ("wall_s", "peak_gib")
    }
    wanted = f"seconds and memory grow with size to the power of {LINEAR} or less"
    wanted += f"; under {MOST_GIB} GiB"
    held = max(growth.values()) <= LINEAR and found[1]["peak_gib"] < MOST_GIB
    if stage == "report":
        wanted += f" and {MOST_REPORT_S} s"
        held &= found[1]["wall_s"] < MOST_REPORT_S
    return Finding(
        fault=f"{_answers(sizes[1]):,} answers: {STAGES[stage]}",
        times=len(sizes),
        wanted=f"{wanted} at this size",
        found=(
            "; ".join(
                f"{_answers(questions):,} answers {cost['wall_s']:.1f} s "
                f"(CPU {cost['cpu_s']:.1f} s), {cost['peak_gib']:.2f} GiB, "
                f"{cost['disk_mib']:,.0f} MiB on disk"
                for questions, cost in zip(sizes, found, strict=True)
            )
            + f"; {1000 * found[1]['wall_s'] / _answers(sizes[1]):.2f} s per 1,000 answers; "
            f"powers {growth['wall_s']:.2f} and {growth['peak_gib']:.2f}"
        ),
        held=held,
    )


def _answers(questions: int) -> int:
    return questions * len(big_study.MODELS) * 30


def _stage(name: str, record: Any, study: Any, seed: int) -> Callable[[], object]:
    """Return a stage, its modules imported: what is left to call is what is measured."""
    from alpaca_lab import report
    from alpaca_lab.decoding import generate
    from alpaca_lab.scoring import score

    def decode() -> None:
        for model in study.models:
            generate.generate(study, model.key, record=record, open_decoder=big_study.FakeDecoder)

    def check() -> None:
        if differing := report.check(record):
            sys.exit(f"tables that do not follow from their rows: {differing}")

    return {
        "make": lambda: big_study.make(record, study, seed=seed),
        "generate": decode,
        "resume": decode,
        "score": lambda: score.score(study, record=record, similarity=big_study.shared_words),
        "report": lambda: report.build(record),
        "check": check,
    }[name]


def _measure(name: str, folder: Path, questions: int, seed: int) -> dict[str, float]:
    from alpaca_lab.store import Record

    stage = _stage(name, Record(folder), big_study.study_of(questions), seed)
    started, busy = time.perf_counter(), time.process_time()
    stage()
    seconds, cpu = time.perf_counter() - started, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
    files = (file for file in folder.rglob("*") if file.is_file())
    return {
        "wall_s": seconds,
        "cpu_s": cpu,
        "peak_gib": peak / 2**20,
        "disk_mib": sum(file.stat().st_size for file in files) / 2**20,
    }


if __name__ == "__main__":
    asked, place, number, start = sys.argv[1:]
    print(json.dumps(_measure(asked, Path(place), int(number), int(start))))
