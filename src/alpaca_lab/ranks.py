"""The processes of one `accelerate launch`: which of them this is, and what they agree on.

Accelerate starts them and carries what they say to each other. One process without a launcher is a
launch of one: each function here then does the obvious, and needs no torch.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar

from . import driver
from .config import SettingError, require
from .endings import OneSentence, is_device_lost, is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""How long a rank waits for another, which may decode for hours: the launcher, not a timeout, ends
the others when one has died."""
SHARED_S = 60.0
"""A file that another machine wrote may take so long to be seen on a shared drive."""


class LaunchError(OneSentence, RuntimeError):
    """Another process of this launch has ended before its time."""


def rank() -> int:
    """Return which process of its launch this is, from 0."""
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    """Return how many processes were launched together, 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Return True in the one process that writes what all of them share."""
    return rank() == 0


def local_rank() -> int:
    """Return which process of its machine this is, from 0: the GPU that it takes."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def join(expected: int | None, *, gpu: bool) -> None:
    """Join the processes of this launch, and refuse to go on with more or fewer than were asked.

    Without a launcher this process takes the first of the GPUs it sees, and hides the others from
    the libraries, some of which would spread over all of them. Call it before torch is imported.

    Args:
        expected: How many processes there must be; None: as many as the launcher says.
        gpu: What they say goes through the GPUs, as gradients do; else through the network.

    Raises:
        SettingError: If there are more or fewer, or this machine has fewer GPUs than processes.
    """
    require(
        expected is None or expected == count(),
        f"--world-size {expected}, but this launch has {count()}: start it by accelerate launch "
        f"--num_processes {expected} (--cpu starts a single process, whatever the number)",
    )
    if count() == 1:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
        os.environ["CUDA_VISIBLE_DEVICES"] = seen
        return
    driver.hide_old_gpus()
    import torch
    from accelerate import PartialState

    cards, here = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", count()))
    require(
        cards == 0 or here <= cards,
        f"{here} processes on a machine with {cards} GPUs: each needs one of its own, so launch "
        f"at most {cards} here",
    )
    if cards:
        torch.cuda.set_device(local_rank())
    state = PartialState(cpu=not (gpu and cards), timeout=PATIENCE)
    require(
        state.num_processes == count(),
        f"the launcher started {count()} processes, but {state.num_processes} have joined",
    )


def leave() -> None:
    """Leave the launch, when all are done.

    A process that just ended would now and then be aborted by its threads, which still listen.
    """
    if count() == 1:
        return
    from accelerate import PartialState

    wait()
    PartialState().destroy_process_group()


def require_one(what: str) -> None:
    """Refuse a stage that one process does, when several were launched.

    Raises:
        SettingError: If several were.
    """
    require(
        count() == 1,
        f"{what} runs in one process: start it without accelerate launch or torchrun",
    )


def agree(make: Callable[[], T]) -> T:
    """Return what `make` returns in the main process, in all of them; the others wait for it."""
    if count() == 1:
        return make()
    from accelerate.utils import broadcast_object_list

    box: list[Any] = [make() if is_main() else None]
    with _speaking():
        broadcast_object_list(box)
    return box[0]


def once(do: Callable[[], Any]) -> None:
    """Let the main process do a thing; the others wait for it."""
    if is_main():
        do()
    wait()


def in_turn(make: Callable[[], T]) -> T:
    """Return what `make` returns, in the main process first: the others find what it wrote."""
    if is_main():
        made = make()
        wait()
        return made
    wait()
    return make()


def gather(value: T) -> list[T]:
    """Return every process's value, in the order of the ranks."""
    if count() == 1:
        return [value]
    from accelerate.utils import gather_object

    with _speaking():
        return gather_object([value])


def add_up(tensor: "Tensor") -> "Tensor":
    """Return the sum of every process's tensor, of any shape that they share."""
    if count() == 1:
        return tensor
    from accelerate.utils import reduce

    with _speaking():
        return reduce(tensor, "sum")


def wait() -> None:
    """Wait until all processes have come here."""
    gather(None)


@contextmanager
def _speaking() -> Iterator[None]:
    """Say in one sentence what torch says in thirty lines, when nobody answers any more."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error) or is_device_lost(error):
            raise
        raise LaunchError(
            f"rank {rank()} lost the other processes of its launch ({str(error)[:80]}): one of "
            "them ended, and says why; launch again, it goes on where it was"
        ) from None


def require_shared(folder: Path) -> None:
    """Check that what the main process writes in a folder, every other one reads.

    Raises:
        SettingError: In a process that does not see it.
    """
    if count() == 1:
        return
    sign = folder / f".seen-by-all-{agree(lambda: os.urandom(8).hex())}"
    if is_main():
        folder.mkdir(parents=True, exist_ok=True)
        sign.touch()
    wait()
    end = monotonic() + SHARED_S
    while not sign.exists() and monotonic() < end:
        sleep(0.2)
    seen = sign.exists()
    wait()
    if is_main():
        sign.unlink()
    if not seen:
        raise SettingError(
            f"rank {rank()} does not see what rank 0 writes in {folder}: machines that work "
            "together need this repository on one shared drive, under one path"
        )
