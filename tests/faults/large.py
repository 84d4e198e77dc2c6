"""Inputs that are merely large or deep: a million rows, a row of 100 MB, a bomb of zeros."""

import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from findings import Finding

from alpaca_lab.files import write_lines

ROWS = 1_000_000
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Case:
    """One large input, and what may become of it."""

    fault: str
    times: int
    """Rows, levels or characters."""
    code: str
    """What reads it, in a process of its own: `path` is its file, `folder` a place of its own."""
    write: Callable[[Path], object]
    """Writes the file."""
    name: str = "rows.jsonl"
    refused: str = ""
    """What the refusal says; "" where it is to be taken."""
    most_gib: float = 1.0
    most_seconds: float = 60.0


def findings(share: float) -> Iterator[Finding]:
    """Yield what became of each case; `share` scales the number of rows, not what is refused."""
    for case in _cases(max(1000, round(ROWS * share)), share):
        with tempfile.TemporaryDirectory() as name:
            yield _found(case, Path(name))


def _found(case: Case, folder: Path) -> Finding:
    path = folder / case.name
    case.write(path)
    start = (
        f"from pathlib import Path; path, folder = Path({str(path)!r}), Path({str(folder)!r})\n"
        "import alpaca_lab.rows.cache as cache; cache.OUTPUTS = folder\n"
    )
    # Not ru_maxrss: a new process begins with its parent's.
    end = "\nfrom pathlib import Path; print(Path('/proc/self/status').read_text()"
    end += ".split('VmHWM:')[1].split()[0])"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _caught(start + case.code) + end],
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - began
    *_, said, peak = ["", *done.stdout.splitlines()[-2:]] if done.returncode == 0 else ["", "0"]
    gib = int(peak) * 1024 / GIB
    last = (done.stderr.strip().splitlines() or ["killed"])[-1]
    right = case.refused in said if case.refused else said == "taken"
    outcome = ("refused" if case.refused else "taken") if right else f"{said or last}"[:200]
    bounds = f"within {case.most_gib:g} GiB and {case.most_seconds:,.0f} s"
    return Finding(
        fault=case.fault,
        times=case.times,
        wanted=f"{'a sentence that says ' + repr(case.refused) if case.refused else 'taken'}, "
        f"{bounds}",
        found=f"{outcome}; {gib:.2f} GiB, {seconds:.1f} s",
        held=right and gib <= case.most_gib and seconds <= case.most_seconds,
    )


def _caught(code: str) -> str:
    """Return a program that says in one line what became of it: taken, or the refusal."""
    inner = "\n".join(f"    {line}" for line in code.splitlines())
    return (
        "from alpaca_lab.endings import OneSentence\n"
        f"try:\n{inner}\n    print('taken')\n"
        "except OneSentence as error:\n    print(error)"
    )


READ = "from alpaca_lab.rows import sources; assert sources.read_file(path)"
LOAD = (
    "from alpaca_lab import data; from alpaca_lab.config import DataSpec\n"
    "found = data.load(DataSpec(source=str(path), revision=None))"
)
FEW = LOAD.replace("None)", "None, test_share=.3, validation_share=.2)")
"""Of a few rows, so that each split gets one."""
SCORE = "from alpaca_lab.scoring import answers_file; answers_file.read(path)"
TEXT = "from alpaca_lab.metrics import text_scores; text = path.read_text()\n"


def _cases(rows: int, share: float) -> Iterator[Case]:
    minutes = max(60, 1800 * share)
    yield Case(
        fault="rows of Alpaca's mean length, read, clustered and split",
        times=rows, write=lambda path: _lines(path, _alpaca(rows)), code=LOAD, most_gib=8,
        most_seconds=minutes,
    )  # fmt: skip
    yield Case(
        fault="lines of answers, read and checked",
        times=rows, write=lambda path: _lines(path, _answers(rows)), code=SCORE, most_gib=4,
        most_seconds=max(60, 120 * share),
    )  # fmt: skip
    yield Case(
        fault="lines of a record, read",
        times=rows, name="questions.jsonl", write=lambda path: write_lines(path, _answers(rows)),
        most_gib=4,
        code="from alpaca_lab.store import Record; Record(folder).questions()",
    )  # fmt: skip
    row = {"instruction": "Say a.", "output": "a"}
    many = [row | {"instruction": f"Say {n}.", "output": f"{n}"} for n in range(40)]
    yield Case(
        fault="characters in one row: that row is left out, and named",
        times=10**8, write=lambda path: _lines(path, [*many, row | {"output": "a " * 50_000_000}]),
        code=FEW + "\n[row] = found.findings.rejected; assert 'longer' in row.reason",
    )  # fmt: skip
    yield Case(
        fault="bytes of zeros unpacked from one line of a gzipped file",
        times=GIB, name="rows.jsonl.gz", write=_bomb, code=READ, refused="is longer than 256 MiB",
    )  # fmt: skip
    yield Case(
        fault="bytes of zeros unpacked from a gzipped list", name="rows.json.gz",
        times=2 * GIB, write=lambda path: _bomb(path, 2), code=READ, refused="is longer than 1 GiB",
        most_gib=3,
    )  # fmt: skip
    for name, code, refused in (
        ("rows.json", READ, "cannot be read as .json"),
        ("rows.jsonl", READ, "is not JSON"),
        ("study.json", "from alpaca_lab.store import Record; Record(folder).index()", "study.json"),
    ):
        yield Case(
            fault=f"levels of brackets in {name}", name=name, times=100_000,
            write=lambda path: path.write_bytes(b"[" * 100_000), code=code, refused=refused,
        )  # fmt: skip
    for fault, text in (
        ("times one letter, scored against itself", "a" * 10**6),
        ("lines of one word, scored against themselves", "a\n" * 500_000),
        ("words in one line, scored against themselves", _words(100_000)),
    ):
        yield Case(
            fault=fault, name="text", times=max(len(text.split()), text.count("a")),
            write=lambda path, text=text: path.write_text(text), most_seconds=240,
            code=TEXT + "found = text_scores.text_scores(text, reference=text)\n"
            "assert found['rougeL'] == 100 and found['chrf'] > 99.99",
        )  # fmt: skip
    yield Case(
        fault="accents on one letter, normalised", name="text", times=10**6,
        write=lambda path: path.write_text("a" + "\u0300\u0316" * 500_000, encoding="utf-8"),
        code="from alpaca_lab.rows.ngrams import normalise; normalise(path.read_text())",
    )  # fmt: skip
    for fault, text in (
        ('blanks between "no" and "input", matched', "no" + " " * 10**6 + "x"),
        ('blanks behind "no input", matched', "no input" + " " * 10**6 + "x"),
        ("dashes before nothing, matched", "- " * 500_000 + "x"),
    ):
        yield Case(
            fault=fault, name="text", times=10**6, most_seconds=20,
            write=lambda path, text=text: path.write_text(text),
            code="from alpaca_lab.rows import validation; text = path.read_text()\n"
            "assert not validation.NO_INPUT.fullmatch(text)\n"
            "assert not validation.NO_OUTPUT.fullmatch(text)",
        )  # fmt: skip


def _words(count: int) -> str:
    draw = random.Random(0)
    return " ".join(f"w{draw.randrange(20_000)}" for _ in range(count))


def _lines(path: Path, rows: Iterable[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _alpaca(rows: int) -> Iterator[dict[str, object]]:
    """Yield rows as long as those of Alpaca are on average: 760 characters of three fields."""
    draw, words = random.Random(0), [f"w{n}" for n in range(30_000)]
    for _ in range(rows):
        asked, said = (" ".join(draw.choices(words, k=size)) for size in (14, 112))
        yield {"instruction": asked, "input": "", "output": said}


def _answers(rows: int) -> Iterator[dict[str, object]]:
    draw, words = random.Random(0), [f"w{n}" for n in range(30_000)]
    for number in range(rows):
        gold, said = (" ".join(draw.choices(words, k=size)) for size in (30, 10))
        yield {"id": number, "reference": gold, "answer": said}


def _bomb(path: Path, gib: int = 1) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(gib * 64 + 1):
            file.write(b" " * 2**24)
