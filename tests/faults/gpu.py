"""Section "gpu": memory that runs out, a device that asserts, a loss that diverges, and kills.

A real GPU and its own errors. Each stage is a process of its own, below a cap, with one fault in it
(see gpu_stage.py). Where there is no GPU the section is left out.
"""

import random
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

import gpu_lab
import gpu_large
import lab
from findings import Finding, Section
from gpu_large import CAP_GIB, LOSSES
from kills import loss_difference

from alpaca_lab import environment
from alpaca_lab.config import StudySpec
from alpaca_lab.store import Run

TINY_GIB = 4.0
"""What a process of the tiny study may take, so that several fit beside each other."""
MOST_TOGETHER = 9
"""Trials side by side, where the card has room for so many."""
TIMES = 3
"""Trials of a case."""
ROUNDS, A_ROUND = 4, 3
"""Of kills."""
DIVERGES = 1e9
"""A learning rate."""
SCORES = 0.01
"""Largest difference of a score, in its points."""
ANSWERS = 0.9
"""Least share of answers that are the same: in 16 bits near ties fall with the number of rows."""
FAILED = "error: the GPU failed ("
TINY = replace(
    lab.STUDY,
    gpu_gib=TINY_GIB,
    # So that passes and pools weigh something:
    train=replace(lab.STUDY.train, batch_size=128),
    data=replace(lab.STUDY.data, validation_share=0.3),
    resources=replace(lab.STUDY.resources, micro_batch_tokens=16_384, recompute=0.0),
    slots=1024,
)


def run(seed: int, share: float) -> Section | None:
    """Break the stages of a tiny study, and with the whole share those of LLaMA-2-7B's shape."""
    if environment.gpu() is None:
        return None
    rng, before = random.Random(seed), _used_mib()
    room = int((environment.gpu()["total_gib"] - CAP_GIB) // TINY_GIB)
    with ThreadPoolExecutor(max(1, min(MOST_TOGETHER, room))) as pool:
        large = pool.submit(gpu_large.through_the_stages) if share == 1 else None
        whole = pool.submit(_unbroken, TINY).result()
        asked = {}
        for case in CASES:
            moments = [rng.randint(*case.within) for _ in range(max(1, round(share * TIMES)))]
            asked[case] = [pool.submit(_trial, case, whole, moment) for moment in moments]
        for stage in ("finetune", "generate"):
            # The first seconds are imports, where a kill has little to break.
            takes = whole.seconds[stage]
            for _ in range(max(1, round(share * ROUNDS))):
                moments = [rng.uniform(0.4, 0.8) * takes for _ in range(A_ROUND)]
                asked.setdefault(stage, []).append(pool.submit(_killed, stage, whole, moments))
        seen = {key: [_result(trial) for trial in trials] for key, trials in asked.items()}
        findings = [_finding(key, trials, whole) for key, trials in seen.items()]
        findings += large.result() if large else []
    left = _used_mib() - before
    findings.append(
        Finding(
            fault="all of the above",
            times=sum(finding.times for finding in findings),
            wanted="no memory of the GPU is held afterwards",
            found=f"{left} MiB more in use than before",
            held=left < 64,
        )
    )
    return Section(
        title="On a GPU",
        what=f"The same study on a GPU, {TINY_GIB:.0f} GiB to a process, with real errors: all of "
        "the memory is taken while a stage needs it, or a kernel reads beyond its "
        "tensor. Then the stage is run again, and its checksums are verified. Random weights of "
        f"LLaMA-2-7B's shape, capped at {CAP_GIB:.0f} GiB, train with passes that do not fit, and "
        "decode where others took the memory. In 16 bits another number of rows, or another order "
        f"of a sum, moves the last bits: losses may differ by {LOSSES:.0%}, and "
        f"{100 - 100 * ANSWERS:.0f} of 100 answers, where two tokens lie close.",
        findings=findings,
    )


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault of a stage, and how the stage is to meet it."""

    fault: str
    stage: str
    status: int
    says: str
    wanted: str
    spoil: str = "nothing"
    """What `gpu_stage.spoil` calls it."""
    within: tuple[int, int] = (1, 8)
    """The fault comes at one of these calls."""
    rate: float | None = None
    """A learning rate that is the fault."""


CASES = (
    Case(
        fault="memory that runs out in a step", stage="finetune", spoil="a step without memory",
        status=0, says="out of memory at step", wanted="passes of half the size, the same step",
    ),
    Case(
        fault="memory that runs out in a validation", stage="finetune",
        spoil="a validation without memory", status=0, says="out of memory at step",
        wanted="passes of half the size, the same validation", within=(1, 3),
    ),
    Case(
        fault="a device-side assert while training", stage="finetune",
        spoil="a pass that asserts", status=75, says=FAILED,
        wanted="one sentence, an exit status that begins it again",
    ),
    Case(
        fault=f"a learning rate of {DIVERGES:.0e}, then that of the study", stage="finetune",
        rate=DIVERGES, status=2, says="lower train.learning_rate", wanted="one sentence",
    ),
    Case(
        fault="memory that is gone when the engine is made", stage="generate",
        spoil="an engine without memory", status=0, says="answers side by side",
        wanted="half the slots in the same process", within=(1, 2),
    ),
    Case(
        fault="memory that is gone while steps are captured", stage="generate",
        spoil="a capture without memory", status=0, says="answers side by side",
        wanted="half the slots in the same process", within=(1, 13),
    ),
    Case(
        fault="a device-side assert while decoding", stage="generate",
        spoil="an answer that asserts", status=75, says=FAILED,
        wanted="one sentence, an exit status that begins it again", within=(1, 40),
    ),
    Case(
        fault="a device-side assert while scoring", stage="score", spoil="a batch that asserts",
        status=75, says=FAILED, wanted="one sentence, an exit status that begins it again",
        within=(1, 3),
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A study that met no fault."""

    before: dict[str, lab.Lab]
    """By stage, as it was before it."""
    done: lab.Lab
    seconds: dict[str, float]
    """By stage, how long it took, imports included."""


def _unbroken(spec: StudySpec) -> Whole:
    made, before, seconds = gpu_lab.prepared(spec), {}, {}
    for stage in lab.STAGES:
        before[stage], started = made.copy(), time.monotonic()
        gpu_lab.must(made, stage)
        seconds[stage] = time.monotonic() - started
    return Whole(before=before, done=made, seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one trial showed beside an unbroken study."""

    wrong: tuple[str, ...] = ()
    loss: float = 0.0
    """Largest relative difference of a loss."""
    score: float = 0.0
    """Largest difference of a score."""
    same: int = 0
    """Answers that are the same."""
    answers: int = 0
    kills: int = 0


def _trial(case: Case, whole: Whole, call: int) -> Seen:
    """Let a stage meet its fault, then go on."""
    broken = whole.before[case.stage].copy()
    if case.rate is not None:
        gpu_lab.prepare(broken, replace(TINY, train=replace(TINY.train, learning_rate=case.rate)))
    status = gpu_lab.start(broken, case.stage, case.spoil, call).wait()
    said = broken.log()
    if status != case.status or case.says not in said or "Traceback" in said:
        return Seen(wrong=(f"ended with {status}: {said[-600:]!r}",))
    if case.rate is not None:
        gpu_lab.prepare(broken, TINY)
    return _compared(broken, case.stage, whole.done)


def _killed(stage: str, whole: Whole, moments: Sequence[float]) -> Seen:
    """Kill a stage after so many seconds, again and again, then let it come to its end."""
    broken, kills = whole.before[stage].copy(), 0
    for moment in moments:
        process = gpu_lab.start(broken, stage)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=moment)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    return replace(_compared(broken, stage, whole.done), kills=kills)


def _compared(broken: lab.Lab, stage: str, whole: lab.Lab) -> Seen:
    """Bring a broken stage to its end, and compare what it leaves with an unbroken one's."""
    for name in (stage, "verify"):
        if gpu_lab.start(broken, name).wait() != 0:
            return Seen(wrong=(f"{name} failed: {broken.log()[-600:]!r}",))
    wrong, seen = [], Seen()
    if stage == "finetune":
        seen = Seen(loss=loss_difference(broken.record, whole.record))
        wrong += [f"losses differ by {seen.loss:.1e}"] * (seen.loss > LOSSES)
    elif stage == "generate":
        same, answers = _same_answers(broken, whole)
        seen = Seen(same=same, answers=answers)
        lost = answers <= 0  # or there twice
        wrong += [f"{same} of {answers} answers the same"] * (lost or same < ANSWERS * answers)
    else:
        seen = Seen(score=_score_difference(broken, whole))
        wrong += [f"scores differ by {seen.score:.1e}"] * (seen.score > SCORES)
    broken.discard()
    return replace(seen, wrong=tuple(wrong))


def _same_answers(broken: lab.Lab, whole: lab.Lab) -> tuple[int, int]:
    """Return how many answers are the same, and how many there are; -1 if one is lost or double."""
    same, answers = 0, 0
    for mine, its in _pairs(broken, whole):
        ours, theirs = ([*run.answers()] for run in (mine, its))
        texts, others = (
            {(row["id"], row["repeat"]): row["text"] for row in rows} for rows in (ours, theirs)
        )
        if texts.keys() != others.keys() or len(ours) != len(texts):
            return same, -1
        same += sum(texts[key] == others[key] for key in texts)
        answers += len(texts)
    return same, answers


def _pairs(broken: lab.Lab, whole: lab.Lab) -> Iterator[tuple[Run, Run]]:
    """Yield the runs of a cell in two studies; the controls, which no model answers, left out."""
    runs = {(model, cell): run for model, cell, run in broken.record.runs()}
    for model, cell, run in whole.record.runs():
        if model != "control":
            yield runs[model, cell], run


def _score_difference(broken: lab.Lab, whole: lab.Lab) -> float:
    """Return the largest difference of a score; infinity where one is missing."""
    worst = 0.0
    for mine, its in _pairs(broken, whole):
        ours, theirs = (
            run.scores().set_index(["id", "repeat"]).select_dtypes("number") for run in (mine, its)
        )
        theirs = theirs.reindex(ours.index)
        off = (ours - theirs).abs().where(ours.notna() | theirs.notna(), 0.0).fillna(float("inf"))
        worst = max(worst, float(off.to_numpy().max()))
        if len(mine.scores()) != len(its.scores()):
            return float("inf")
    return worst


def _result(trial: Future) -> Seen:
    """Return what a trial showed; one that broke this harness is wrong too."""
    try:
        return trial.result()
    except Exception as error:
        return Seen(wrong=(repr(error),))


def _finding(asked: Case | str, seen: Sequence[Seen], whole: Whole) -> Finding:
    """Return what a case's trials, or the kills of a stage, have shown."""
    stage = asked.stage if isinstance(asked, Case) else asked
    found = [sentence for one in seen for sentence in one.wrong]
    if not found and stage == "finetune":
        found = [f"losses within {max(one.loss for one in seen):.1e}"]
    elif not found and stage == "generate":
        same, answers = sum(one.same for one in seen), sum(one.answers for one in seen)
        found = [f"{same:,} of {answers:,} answers the same, none lost, none there twice"]
    elif not found:
        found = [f"scores within {max(one.score for one in seen):.1e}"]
    held = not any(one.wrong for one in seen)
    if isinstance(asked, Case):
        ended = f"exit status {asked.status}, said so; "
        return Finding(
            fault=asked.fault,
            times=len(seen),
            wanted=f"{asked.wanted}; in the end what a stage of no fault leaves",
            found=(ended if held else "") + "; ".join(found),
            held=held,
        )
    return Finding(
        fault=f"SIGKILL during {stage} ({whole.seconds[stage]:.0f} s, imports included)",
        times=sum(one.kills for one in seen),
        wanted="what a stage of no kill leaves",
        found=f"{len(seen)} rounds of {A_ROUND}: " + "; ".join(found),
        held=held,
    )


def _used_mib() -> int:
    """Return how much of the first GPU's memory is in use, by whomever."""
    words = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(words, capture_output=True, text=True).stdout.split()[0])
