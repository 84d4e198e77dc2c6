"""Memory that runs out, a GPU that fails, a loss that is no number: raised where they would rise.

The errors are torch's own, raised at a random moment inside the stages; on a CPU nothing else can
raise them.
"""

import random
from collections.abc import Callable

import lab
from findings import Finding, Section

TIMES = 10
LOST = "CUDA error: an illegal memory access was encountered"


def run(seed: int, share: float) -> Section:
    """Raise each error in so many stages, then go on without it."""
    rng, times = random.Random(seed), max(1, round(share * TIMES))
    return Section(
        title="Memory and device",
        what="In a small study (one embedded model, on a CPU) a stage meets an error of its device "
        "after a random number of passes or answers. It is then run again without the error.",
        findings=[
            _stage(
                "finetune", "a loss that is NaN", times, rng, _spoil_loss, status=2,
                says="is nan at step", wanted="one sentence, the checkpoints kept",
            ),
            _stage(
                "finetune", "a GPU that fails while training", times, rng, _lose_training,
                status=75, says=LOST, wanted="one sentence, an exit status that begins it again",
            ),
            _stage(
                "generate", "a GPU that fails while decoding", times, rng, _lose_decoding,
                status=75, says=LOST, wanted="one sentence, an exit status that begins it again",
            ),
            _stage(
                "generate", "memory that runs out while decoding", times, rng, _fill_decoding,
                status=0, says="answers side by side",
                wanted="half the slots in the same process",
            ),
        ],
    )  # fmt: skip


def _stage(
    stage: str,
    fault: str,
    times: int,
    rng: random.Random,
    spoil: Callable[[int], None],
    *,
    status: int,
    says: str,
    wanted: str,
) -> Finding:
    """Let a stage meet an error, then come to its end, and the stages after it too.

    The table of checks is left out: it tells how many slots were compared, and halving changes it.
    """
    whole, wrong = lab.unbroken()["done"], []
    for _ in range(times):
        broken, after = lab.unbroken()[stage].copy(), rng.randrange(2, 10)
        ended = broken.finish(stage, lambda after=after: spoil(after))
        said = broken.log()
        if ended != status or says not in said or "Traceback" in said:
            wrong.append(f"ended with {ended}: {said[-200:]!r}")
        kept = list(broken.root.glob("outputs/*/checkpoints/checkpoint-*"))
        kept += list(broken.record.folder.glob("runs/*/answers.jsonl"))
        if not kept:
            wrong.append("nothing was kept")
        broken.finish_all(lab.STAGES[lab.STAGES.index(stage) :])
        ours, theirs = broken.tables(), whole.tables()
        differ = [name for name in theirs if ours.get(name) != theirs[name]]
        if [name for name in differ if not name.startswith("checks.")]:
            wrong.append(f"differ after going on: {', '.join(differ)}")
        broken.discard()
    return Finding(
        fault=fault,
        times=times,
        wanted=f"{wanted}; after going on, the tables of an unbroken study",
        found="; ".join(wrong) or f"exit status {status}; all tables the same",
        held=not wrong,
    )


def _spoil_loss(after: int) -> None:
    from alpaca_lab.finetuning.layouts import Packed

    _after(Packed, "loss", after, lambda found: found * float("nan"))


def _lose_training(after: int) -> None:
    from alpaca_lab.finetuning.layouts import Packed

    _after(Packed, "loss", after, _raise(RuntimeError(LOST)))


def _lose_decoding(after: int) -> None:
    from alpaca_lab.decoding import slots

    _after(slots, "finish", after, _raise(RuntimeError(LOST)))


def _fill_decoding(after: int) -> None:
    import torch

    from alpaca_lab.decoding import slots

    _after(slots, "finish", after, _raise(torch.OutOfMemoryError("CUDA out of memory.")), once=True)


def _after(
    owner: object, name: str, calls: int, change: Callable[[object], object], *, once: bool = False
) -> None:
    """Let a function's result be changed from its n-th call on, or at that call alone."""
    whole, made = getattr(owner, name), [0]

    def spoiled(*arguments: object, **options: object) -> object:
        made[0] += 1
        found = whole(*arguments, **options)
        spoil = made[0] == calls if once else made[0] >= calls
        return change(found) if spoil else found

    setattr(owner, name, spoiled)


def _raise(error: Exception) -> Callable[[object], object]:
    def change(_: object) -> object:
        raise error

    return change
