"""One process at a time, and who it is: locks with an owner, an age and a pulse.

The operating system frees the lock of a process that has died, also of a killed one. It does not
say who holds a lock; and on a drive that several machines have mounted it may not know that another
one does. So a note lies beside each lock while it is held: process, machine, what it does, since
when. Its owner touches it every few seconds.
"""

import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from .files import write_atomically
from .progress import say

PULSE_S = 10.0
"""How often an owner touches its note."""
SILENCE_S = 60.0
"""An owner on another machine that has been silent for so long while it was watched is gone."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who holds a lock."""

    what: str
    """What it does, as in "decoding phi-2"."""
    process: int
    machine: str
    boot: str
    """Differs between machines of one name, and after a restart; "" where it is not known."""
    since: float
    """Seconds since the epoch, UTC."""

    def __str__(self) -> str:
        """Return the owner as a message names it."""
        began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        minutes = max(0.0, time.time() - self.since) / 60
        return (
            f"process {self.process} on {self.machine} ({self.what} since {began}, "
            f"{minutes:.0f} min)"
        )

    @property
    def is_here(self) -> bool:
        """True where the owner's machine is this one: its death would have freed the lock."""
        return (self.machine, self.boot) == (platform.node(), _boot())


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Hold a lock for as long as the block runs; wait for its owner, and say for whom.

    A lock whose owner died is taken over, and said to be.

    Args:
        path: The lock's file; its folder is made. The owner's note is `path` + ".owner".
        what: What is done under it, for whoever waits: "decoding phi-2".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{what} waits for {_owner(path) or 'another process'}")
        lock.acquire()
    try:
        _take_over(path, what)
        with _noted(path, what):
            yield
    finally:
        lock.release()


def holder(path: Path) -> str | None:
    """Return who holds a lock, as a message names it; None where it is free."""
    if not path.exists():
        return None
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return str(_owner(path) or "another process")
    owner = _owner(path)
    lock.release()
    return None if owner is None or owner.is_here or _is_silent(path, 0) else str(owner)


def _take_over(path: Path, what: str) -> None:
    """Wait until the owner of a note left beside a free lock is certainly gone; say who it was."""
    owner = _owner(path)
    if owner is None:
        return
    if not owner.is_here:
        say(f"{what} waits for {owner}, or for {SILENCE_S:.0f} s of its silence")
        while not _is_silent(path, SILENCE_S):
            pass
        if _owner(path) is None:
            return
    say(f"{what}: took over the lock of {owner}, which ended without giving it back")


def _is_silent(path: Path, seconds: float) -> bool:
    """Return True when a note is gone, or is not touched while it is watched for so long.

    The clocks of two machines may differ: whether it is touched is seen, not computed. Without
    time to watch, the note's age has to do.
    """
    note, end = _note(path), time.monotonic() + seconds
    try:
        first = note.stat().st_mtime_ns
        if not seconds:
            return time.time() - first / 1e9 > SILENCE_S
        while time.monotonic() < end:
            time.sleep(min(1.0, seconds / 10))
            if note.stat().st_mtime_ns != first:
                return False
    except FileNotFoundError:
        pass
    return True


@contextmanager
def _noted(path: Path, what: str) -> Iterator[None]:
    """Leave a note of this process beside a lock, and touch it until the block ends."""
    note, ended = _note(path), threading.Event()
    owner = Owner(
        what=what, process=os.getpid(), machine=platform.node(), boot=_boot(), since=time.time()
    )
    write_atomically(note, json.dumps(asdict(owner)) + "\n")

    def touch() -> None:
        while not ended.wait(PULSE_S):
            with suppress(OSError):  # a full disk is for the owner to say
                os.utime(note)

    threading.Thread(target=touch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        note.unlink(missing_ok=True)


def _owner(path: Path) -> Owner | None:
    """Return whom a note names; None without a note, or with one that cannot be read."""
    try:
        return Owner(**json.loads(_note(path).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.owner")


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
