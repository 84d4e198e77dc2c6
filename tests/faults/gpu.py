"""Section "gpu": memory that runs out, a device that asserts, a loss that diverges, and kills.

A real GPU and its own errors. Each stage is a process of its own, with one fault in it (see
gpu_stage.py); none of them may take more than `CAP_GIB` of the card. Where there is no GPU the
section is left out.
"""

import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import gpu_stage
import lab
from findings import Finding, Section
from gpu_stage import CAP_GIB
from kills import loss_difference

from alpaca_lab import environment, profiles
from alpaca_lab.config import ROOT, StudySpec, TrainSpec, as_dict
from alpaca_lab.files import write_json

MOST_TOGETHER = 6
"""Trials side by side, where the card has room for so many below their cap."""
DIVERGES = 1e9
"""A learning rate."""
ROUNDS, A_ROUND = 4, 3
"""Of kills."""
LOSSES = 0.01
"""Largest difference of a loss, relative: in 16 bits, sums in another order."""
ANSWERS = 0.9
"""Least share of answers that are the same: in 16 bits near ties fall with the number of rows."""
ASSERTED = "device-side assert"
TINY = replace(
    lab.STUDY,
    gpu_gib=CAP_GIB,
    train=replace(lab.STUDY.train, batch_size=128),  # so that a pass weighs something
    resources=replace(lab.STUDY.resources, micro_batch_tokens=16_384, recompute=0.0),
    slots=256,
)


def run(seed: int, share: float) -> Section | None:
    """Break the stages of a tiny study, and with the whole share those of LLaMA-2-7B's shape."""
    if environment.gpu() is None:
        return None
    rng, before = random.Random(seed), _used_mib()
    card = environment.gpu()["total_gib"]
    with ThreadPoolExecutor(max(1, min(MOST_TOGETHER, int(card // CAP_GIB)))) as pool:
        large = pool.submit(_true_shape) if share == 1 else None
        whole = pool.submit(_unbroken, TINY).result()
        findings = [
            _case(case, whole, max(1, round(share * case.times)), rng, pool) for case in CASES
        ]
        rounds = max(1, round(share * ROUNDS))
        findings += [_kills(stage, whole, rounds, rng, pool) for stage in lab.STAGES[:2]]
        findings += large.result() if large else []
    lab.forget(list(whole.values()))
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
        what=f"The same study on a GPU of which a process may take {CAP_GIB:.0f} GiB, with real "
        "errors: all of the memory but a little is taken while a stage needs it, or a kernel reads "
        "beyond its tensor. Then the stage is run again, and those after it. Random weights of "
        "LLaMA-2-7B's shape train with passes that the card does not hold, and decode where "
        "others took the memory. A GPU adds in no fixed order: losses may differ by "
        f"{LOSSES:.0%}, and of 100 answers {100 - 100 * ANSWERS:.0f} where two tokens lie close.",
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
    times: int = 3
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
        spoil="a pass that asserts", status=75, says=ASSERTED,
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
        wanted="half the slots in the same process", within=(1, 6),
    ),
    Case(
        fault="a device-side assert while decoding", stage="generate",
        spoil="an answer that asserts", status=75, says=ASSERTED,
        wanted="one sentence, an exit status that begins it again", within=(1, 40),
    ),
    Case(
        fault="a device-side assert while scoring", stage="score", spoil="a batch that asserts",
        status=75, says=ASSERTED, wanted="one sentence, an exit status that begins it again",
        within=(1, 3),
    ),
)  # fmt: skip


def _unbroken(spec: StudySpec) -> dict[str, lab.Lab]:
    """Return a study before each of its stages, and under "done" after the last, unbroken."""
    made, states = _prepared(spec), {}
    for stage in lab.STAGES:
        states[stage] = made.copy()
        _must(made, stage)
    return states | {"done": made}


def _prepared(spec: StudySpec) -> lab.Lab:
    made = lab.Lab(Path(tempfile.mkdtemp(prefix="alpaca-lab-")), spec)
    _prepare(made, spec)
    return made


def _prepare(there: lab.Lab, spec: StudySpec) -> None:
    write_json(there.root / gpu_stage.SPEC, as_dict(spec))
    _must(there, "prepare")


def _start(broken: lab.Lab, stage: str, spoil: str = "nothing", after: int = 0) -> subprocess.Popen:
    with (broken.root / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, gpu_stage.__file__, str(broken.root), stage, spoil, str(after)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _must(broken: lab.Lab, *stages: str) -> None:
    for stage in stages:
        if _start(broken, stage).wait() != 0:
            raise RuntimeError(f"{stage} failed: {broken.log()[-2000:]}")


def _case(
    case: Case, whole: dict[str, lab.Lab], times: int, rng: random.Random, pool: ThreadPoolExecutor
) -> Finding:
    """Let a stage meet its fault so often, then go on."""

    def trial(after: int) -> "_Seen":
        broken = whole[case.stage].copy()
        if case.rate is not None:
            _prepare(broken, replace(TINY, train=replace(TINY.train, learning_rate=case.rate)))
        status = _start(broken, case.stage, case.spoil, after).wait()
        said = broken.log()
        _prepare(broken, TINY)
        wrong = []
        if status != case.status or case.says not in said or "Traceback" in said:
            wrong = [f"ended with {status}: {said[-600:]!r}"]
        return _compared(broken, case.stage, whole["done"], wrong)

    seen = list(pool.map(trial, [rng.randint(*case.within) for _ in range(times)]))
    return Finding(
        fault=case.fault,
        times=times,
        wanted=f"{case.wanted}; then the study of no fault",
        found=_told(seen, f"exit status {case.status}, said so"),
        held=not any(one.wrong for one in seen),
    )


def _kills(
    stage: str, whole: dict[str, lab.Lab], rounds: int, rng: random.Random, pool: ThreadPoolExecutor
) -> Finding:
    """Kill a stage `A_ROUND` times in a row, in so many rounds, then let it come to its end."""

    def timed() -> float:
        again, started = whole[stage].copy(), time.monotonic()
        _must(again, stage)
        again.discard()
        return time.monotonic() - started

    takes = pool.submit(timed).result()

    def one(moments: Sequence[float]) -> "_Seen":
        broken, killed = whole[stage].copy(), 0
        for moment in moments:
            process = _start(broken, stage)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=moment * takes)
            process.kill()
            killed += process.wait() == -9
        return replace(_compared(broken, stage, whole["done"], []), kills=killed)

    # The first seconds are imports, where a kill has little to break.
    moments = [[rng.uniform(0.3, 0.9) for _ in range(A_ROUND)] for _ in range(rounds)]
    seen = list(pool.map(one, moments))
    return Finding(
        fault=f"SIGKILL during {stage} ({takes:.0f} s, imports included)",
        times=sum(one.kills for one in seen),
        wanted="the study of no kill; no answer lost, none there twice",
        found=_told(seen, f"{rounds} rounds"),
        held=not any(one.wrong for one in seen),
    )


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What one trial showed beside an unbroken study."""

    wrong: Sequence[str]
    loss: float
    """Largest relative difference of a loss."""
    same: int
    """Answers that are the same."""
    answers: int
    kills: int = 0


def _told(seen: Sequence[_Seen], ended: str) -> str:
    wrong = [sentence for one in seen for sentence in one.wrong]
    same, answers = sum(one.same for one in seen), sum(one.answers for one in seen)
    return "; ".join(wrong) or (
        f"{ended}; losses within {max(one.loss for one in seen):.1e}; {same:,} of {answers:,} "
        "answers the same, none lost, none there twice"
    )


def _compared(broken: lab.Lab, stage: str, whole: lab.Lab, wrong: list[str]) -> _Seen:
    """Bring a broken study to its end, from this stage on, and compare it with an unbroken one."""
    for name in (*lab.STAGES[lab.STAGES.index(stage) :], "verify"):
        if _start(broken, name).wait() != 0:
            wrong = [*wrong, f"{name} failed: {broken.log()[-600:]!r}"]
            break
    if wrong:
        return _Seen(wrong=wrong, loss=float("nan"), same=0, answers=0)
    (model,) = (model.key for model in broken.spec.models)
    loss = loss_difference(broken.record, whole.record, model)
    same, answers = _same_answers(broken, whole)
    if loss > LOSSES:
        wrong.append(f"losses differ by {loss:.1e}")
    # After another finetune its answers are its own; they are only counted.
    if answers < 0 or (stage != "finetune" and same < ANSWERS * answers):
        wrong.append(f"{same} of {answers} answers the same")
    broken.discard()
    return _Seen(wrong=wrong, loss=loss, same=same, answers=answers)


def _same_answers(broken: lab.Lab, whole: lab.Lab) -> tuple[int, int]:
    """Return how many answers are the same, and how many there are; -1 if one is lost or double."""
    same, answers = 0, 0
    for (_, _, mine), (_, _, its) in zip(broken.record.runs(), whole.record.runs(), strict=True):
        keys, expected = (
            Counter((row["id"], row["repeat"]) for row in run.answers()) for run in (mine, its)
        )
        if keys != expected:
            return same, -1
        texts, others = (
            {(row["id"], row["repeat"]): row["text"] for row in run.answers()}
            for run in (mine, its)
        )
        same += sum(texts[key] == others[key] for key in texts)
        answers += len(texts)
    return same, answers


def _true_shape() -> list[Finding]:
    """Let the cap itself run out under random weights of LLaMA-2-7B's shape."""
    with tempfile.TemporaryDirectory(prefix="alpaca-lab-") as place:
        script = ROOT / "benchmarks" / "random_checkpoint.py"
        words = [sys.executable, str(script), "llama2-7b", str(ROOT / "assets/tiny/llama"), place]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        whole, halved = (_prepared(_large(place, tokens)) for tokens in (4096, 131_072))
        for one in (whole, halved):
            _must(one, "finetune")
        findings = [_halved(halved, whole)]
        tight = whole.copy()
        _must(whole, "generate")
        status = _start(tight, "generate", "an engine without memory", 1).wait()
        findings.append(_tight(tight, whole, status))
        lab.forget([whole, halved, tight])
    return findings


def _large(folder: str, tokens: int) -> StudySpec:
    """Return a study of random weights whose passes have so many tokens."""
    changes = {
        "train.loader": TrainSpec().loader,
        "train.learning_rate": TrainSpec().learning_rate,
        "train.max_steps": 2,
        "train.evaluations": 1,
        "train.batch_size": 256,
        "resources.micro_batch_tokens": tokens,
        "resources.recompute": 0.0,
        "gpu_gib": CAP_GIB,
        "questions": 20,
        "max_new_tokens": 40,
        "slots": 128,
        "temperatures": (0.001, 1.0),
        "beams": (2,),
        "top_ks": (4,),
    }
    models = f"llama-2-7b={folder}"
    return profiles.configure("smoke", models=models, name=lab.STUDY.name, changes=changes)


def _halved(halved: lab.Lab, whole: lab.Lab) -> Finding:
    manifest, _ = halved.record.training("llama-2-7b")
    loss = loss_difference(halved.record, whole.record, "llama-2-7b")
    times = len(manifest["halved_at_steps"])
    return Finding(
        fault="LLaMA-2-7B's shape trained with passes of up to 131,072 tokens",
        times=times,
        wanted="passes of half the size until they fit, below the cap; the losses of small ones",
        found=f"halved {times} times, to {manifest['micro_batch_tokens']:,} tokens, peak "
        f"{manifest['peak_gib']:.1f} GiB; losses within {loss:.1e} of passes of 4,096",
        held=times > 0 and manifest["peak_gib"] <= CAP_GIB and loss <= LOSSES,
    )


def _tight(tight: lab.Lab, whole: lab.Lab, status: int) -> Finding:
    said = "answers side by side" in tight.log() and "Traceback" not in tight.log()
    same, answers = _same_answers(tight, whole) if status == 0 else (0, -1)
    sessions = [run.sessions()[-1] for _, cell, run in tight.record.runs() if cell == "greedy"]
    slots = sessions[0]["slots"] if sessions else None
    return Finding(
        fault="LLaMA-2-7B's shape decoded, the memory gone when the engine is made",
        times=1,
        wanted="half the slots in the same process; every answer, once",
        found=f"exit status {status}, {slots} slots; {same} of {answers} answers the same "
        "(random weights: many tokens nearly tied)"
        if status == 0
        else f"exit status {status}: {tight.log()[-600:]!r}",
        held=status == 0 and said and answers > 0,
    )


def _used_mib() -> int:
    """Return how much of the first GPU's memory is in use, by whomever."""
    words = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(words, capture_output=True, text=True).stdout.split()[0])
