"""Random weights of LLaMA-2-7B's shape against the cap of a user's card, for section "gpu"."""

import subprocess
import sys

import gpu_lab
import lab
from findings import Finding
from kills import loss_difference

from alpaca_lab import profiles
from alpaca_lab.config import ROOT, StudySpec, TrainSpec

CAP_GIB = 24.0
"""What a user's card has."""
PAGES_GIB = 0.1
"""What an allocator of whole pages may reserve beyond it."""
LOSSES = 0.01
"""Largest difference of a loss, relative: in 16 bits, sums in another order."""


def through_the_stages() -> list[Finding]:
    """Let the cap itself run out under random weights of LLaMA-2-7B's shape."""
    script, place = ROOT / "benchmarks" / "random_checkpoint.py", str(lab.new_folder())
    words = [sys.executable, str(script), "llama2-7b", str(ROOT / "assets/tiny/llama"), place]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    whole, halved = (gpu_lab.prepared(_large(place, tokens)) for tokens in (4096, 131_072))
    for one in (whole, halved):
        gpu_lab.must(one, "finetune")
    status = gpu_lab.start(whole, "generate", "an engine without memory", 1).wait()
    return [_halved(halved, whole), _tight(whole, status)]


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
        wanted="passes of half the size until they fit; a peak at the cap at most, and "
        f"{PAGES_GIB} GiB; the losses of small passes",
        found=f"halved {times} times, to {manifest['micro_batch_tokens']:,} tokens, peak "
        f"{manifest['peak_gib']:.2f} GiB; losses within {loss:.1e} of passes of 4,096",
        held=times > 0 and manifest["peak_gib"] <= CAP_GIB + PAGES_GIB and loss <= LOSSES,
    )


def _tight(tight: lab.Lab, status: int) -> Finding:
    said = "answers side by side" in tight.log() and "Traceback" not in tight.log()
    expected = {question["id"] for question in tight.record.questions()} if status == 0 else set()
    whole, answers, slots = status == 0, 0, None
    for _, _, run in tight.record.runs() if status == 0 else ():
        keys = [(row["id"], row["repeat"]) for row in run.answers()]
        repeats = range(run.request()["repeats"])
        whole &= sorted(keys) == sorted((name, n) for name in expected for n in repeats)
        answers += len(keys)
        slots = slots or run.sessions()[-1]["slots"]
    return Finding(
        fault="LLaMA-2-7B's shape decoded, the memory gone when the engine is made",
        times=1,
        wanted="half the slots in the same process; every answer, once",
        found=f"exit status 0, {slots} slots of 128; {answers} answers, each once: {whole}"
        if status == 0
        else f"exit status {status}: {tight.log()[-600:]!r}",
        held=said and whole,
    )
