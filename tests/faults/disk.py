"""Disks that fill, folders that may not be written, bytes that flip, and two processes at once."""

import os
import random
import resource
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import lab
from findings import Finding, Section

FLIPS = 200
CUTS = 60
FULL = 20
TOGETHER = 10


def run(seed: int, share: float) -> Section:
    """Break files and disks; see that it is named, never trusted, and made anew."""
    rng = random.Random(seed)
    flips, cuts, full, together = (
        max(1, round(share * times)) for times in (FLIPS, CUTS, FULL, TOGETHER)
    )
    return Section(
        title="Disk",
        what="In a finished small study (one embedded model) a bit of a file of results/ or "
        "outputs/ is flipped, or a file is cut short, one at a time: any but logs, locks and what "
        "is only kept to save time. `verify` must name it, and the stages, run again, must bring "
        "back the tables byte by byte. Disks are made full by a limit on the size of a file that "
        "falls at a random byte, and by a small tmpfs where one may be mounted.",
        findings=[
            _damage("a bit flipped in a file of results/ or outputs/", flips, rng, _flip),
            _damage("a file cut short at a random byte", cuts, rng, _cut),
            _full(full, rng),
            _tmpfs(),
            _read_only(),
            _together(together, rng),
        ],
    )


def _flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _cut(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def _files(broken: lab.Lab) -> list[Path]:
    """Return every file that a number may rest on: not logs, not locks, nothing empty."""
    files = (path for name in ("results", "outputs") for path in (broken.root / name).rglob("*"))
    return sorted(
        path
        for path in files
        if path.is_file()
        and path.stat().st_size
        and ".lock" not in path.name
        and "cache" not in path.parts  # computed again where its own checksum does not match
    )


def _damage(
    fault: str, times: int, rng: random.Random, spoil: Callable[[Path, random.Random], None]
) -> Finding:
    """Spoil one file of a finished study each time."""
    whole, missed, unmended, kinds = lab.unbroken()["done"], [], [], Counter()
    broken = whole.copy()
    names = [path.relative_to(broken.root) for path in _files(broken)]
    expected = whole.tables()
    for n in range(times):
        name = names[n % len(names)] if n < len(names) else rng.choice(names)
        before = (broken.root / name).read_bytes()
        spoil(broken.root / name, rng)
        if (broken.root / name).read_bytes() == before:
            continue
        mark = len(broken.log())
        if broken.finish("verify") == 0 or str(broken.root / name) not in broken.log()[mark:]:
            missed.append(str(name))
        kinds[name.name] += 1
        _mend(broken, name)
        if broken.tables() != expected or broken.finish("verify") != 0:
            unmended.append(str(name))
            broken.discard()
            broken = whole.copy()
    broken.discard()
    wrong = [f"not named: {', '.join(missed)}"] if missed else []
    wrong += [f"not mended: {', '.join(unmended)}"] if unmended else []
    return Finding(
        fault=fault,
        times=times,
        wanted="named by `verify`; after the stages have run again, every table as it was",
        found="; ".join(wrong) or f"all named, all mended; {len(kinds)} kinds of files",
        held=not wrong,
    )


def _mend(broken: lab.Lab, name: Path) -> None:
    """Run the stages again, from the first that writes files of this kind."""
    first = "finetune" if "training" in name.parts or "outputs" in name.parts else "generate"
    if {"tables", "figures", "cards", "performance", "report.html", "SHA256SUMS"} & set(name.parts):
        first = "report"
    broken.finish("prepare")
    for stage in lab.STAGES[lab.STAGES.index(first) :]:
        broken.finish(stage)


def _full(times: int, rng: random.Random) -> Finding:
    """Let no file grow past a random size; then lift the limit and go on."""
    sentences, wrong, whole = 0, [], lab.unbroken()["done"]
    for n in range(times):
        stage = lab.STAGES[1 + n % 3]
        broken = lab.unbroken()[stage].copy()
        limit = rng.randrange(200, 20_000)
        mark = len(broken.log())
        status = broken.finish(stage, lambda limit=limit: _limit_files(limit))
        said = broken.log()[mark:]
        if status not in (0, 2) or "Traceback" in said:
            wrong.append(f"{stage} ended with {status}: {said[-200:]!r}")
        sentences += status == 2
        broken.finish_all(lab.STAGES[lab.STAGES.index(stage) :])
        if broken.tables() != whole.tables():
            wrong.append(f"{stage}: other tables after going on")
        broken.discard()
    return Finding(
        fault="a file that may not grow past a random byte while a stage runs",
        times=times,
        wanted="one sentence; what was finished is kept; going on gives the same tables",
        found="; ".join(wrong) or f"{sentences} stopped in one sentence, all went on to the same",
        held=not wrong,
    )


def _limit_files(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then the write fails, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _tmpfs() -> Finding:
    """Decode into a file system of 64 KiB, then into a larger one."""
    broken, whole = lab.unbroken()["generate"].copy(), lab.unbroken()["done"]
    place = broken.record.folder / "runs"
    place.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)]
    wanted = "one sentence that says the disk is full; after making room, the same tables"
    if subprocess.run(mount, capture_output=True).returncode != 0:
        broken.discard()
        return Finding(
            fault="a full tmpfs under runs/",
            times=0,
            wanted=wanted,
            found="not seen: this process may not mount one",
            held=True,
        )
    try:
        mark = len(broken.log())
        status = broken.finish("generate")
        said = "the disk is full" in broken.log()[mark:]
        subprocess.run(["mount", "-o", "remount,size=16m", str(place)], check=True)
        broken.finish_all(lab.STAGES[1:])
        same = broken.tables() == whole.tables()
    finally:
        subprocess.run(["umount", str(place)], check=False)
        broken.discard()
    return Finding(
        fault="a full tmpfs under runs/",
        times=1,
        wanted=wanted,
        found=f"exit status {status}, said: {said}; the same tables after making room: {same}",
        held=status == 2 and said and same,
    )


def _read_only() -> Finding:
    """Decode, as an ordinary user, into a folder that may not be written."""
    broken = lab.unbroken()["generate"].copy()
    mark, folder = len(broken.log()), broken.record.folder
    for path in [broken.root, *broken.root.rglob("*")]:
        path.chmod(0o555 if path.is_dir() and path.is_relative_to(folder) else 0o777)
    (broken.root / "log").chmod(0o666)

    def become_nobody() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)

    status = broken.finish("generate", become_nobody)
    said = broken.log()[mark:]
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    broken.discard()
    last = (said.strip().splitlines() or ["nothing"])[-1]
    held = status == 2 and "may not be written" in said and "Traceback" not in said
    return Finding(
        fault="a results folder that may not be written",
        times=1,
        wanted="one sentence with the folder",
        found=f"exit status {status}: {last.replace(str(broken.root), '')}",
        held=held,
    )


def _together(times: int, rng: random.Random) -> Finding:
    """Run two processes of one stage on one record; in every other pair kill the first."""
    whole, wrong, taken, waited = lab.unbroken()["done"], [], 0, 0
    for n in range(times):
        stage = lab.STAGES[1 + n % 3]
        broken = lab.unbroken()[stage].copy()
        first = broken.start(stage)
        if n % 2:
            time.sleep(rng.uniform(0.2, 1.5))
            os.kill(first, 9)
        second = broken.start(stage)
        ended = [broken.wait(child) for child in (first, second)]
        if ended[1] != 0 or ended[0] not in (0, -9):
            wrong.append(f"{stage} ended with {ended}: {broken.log()[-200:]!r}")
        taken += "took over the lock" in broken.log()
        waited += "waits for process" in broken.log()
        broken.finish_all(lab.STAGES[lab.STAGES.index(stage) :])
        if broken.tables() != whole.tables():
            wrong.append(f"{stage}: other tables")
        broken.discard()
    return Finding(
        fault="two processes of one stage on one record, every other time the first one killed",
        times=times,
        wanted="one waits for the other, or takes over from the dead one, and says so; same tables",
        found="; ".join(wrong) or f"all tables the same; waited {waited} times, took over {taken}",
        held=not wrong,
    )
