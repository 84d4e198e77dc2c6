"""What a study and its raters have left on the disk: every file of it may be damaged or forged."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hostile
import pandas as pd
from hypothesis import strategies as st
from targets import Target, refusing

from alpaca_lab.config import as_dict
from alpaca_lab.human import draw, ratings, session, sheet
from alpaca_lab.human import plan as plans
from alpaca_lab.human.rubric import ACCEPTABILITY
from alpaca_lab.profiles import PROFILES
from alpaca_lab.store import CONTROL, Record

CELL = "reference"


def fabricate(folder: Path) -> Record:
    """Write a record of one sealed run of a control, and a plan of who rates its answers."""
    record, rows = Record(folder), []
    questions = [
        {"id": f"q{n}", "cluster": f"c{n}", "instruction": f"Say {n}.", "input": "",
         "reference": f"It is {n}."}
        for n in range(6)
    ]  # fmt: skip
    record.write_questions(questions)
    run = record.open_run({"model": CONTROL, "cell": CELL})
    for question in questions:
        line = {"id": question["id"], "repeat": 0, "status": "ok"}
        run.append(line | {"text": question["reference"]})
        facts = {"cluster": question["cluster"], "text_sha256": _sha256(question["reference"])}
        rows.append(line | facts | {"rougeL": 100.0})
    run.append_session({"seconds": 1.5, "new_tokens": 6, "slots": 4})
    run.write_likelihood(
        pd.DataFrame({"id": ["q0"], "nats": [1.5], "tokens": [3], "characters": [9]})
    )
    run.add_check("slots", {"agreement": 1.0})
    run.write_scores(pd.DataFrame(rows))
    run.seal({"counts": {"ok": 6}, "wall_s": None})
    index = {"spec": as_dict(PROFILES["smoke"]), "runs": {CONTROL: {CELL: run.id}}}
    record.write_index(index)
    draw.write(record, settings=CELL, questions=4, raters="anna,ben")
    plan = plans.read(record, ACCEPTABILITY)
    for rater in plan.raters:
        ratings.append(record, plan, [_entry(rater, item) for item in plan.order[rater][:2]])
    return record


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _entry(rater: str, item: str) -> ratings.Entry:
    time = "2026-01-01T00:00:00Z"
    return ratings.Entry(
        time=time, rater=rater, item=item, action=ratings.RATED, score=3, seconds=1
    )


def damaged(
    file: Path, read: Callable[[], Any]
) -> tuple[st.SearchStrategy, Callable[[bytes], None]]:
    """Return ways to damage a file, and a check that reads it so and then makes it whole again."""
    whole = file.read_bytes()

    def check(content: bytes) -> None:
        file.write_bytes(content)
        try:
            with refusing():
                read()
        finally:
            file.write_bytes(whole)

    deep = st.sampled_from((b"[" * 100_000, b'{"a":' * 100_000, b"null", b"[]", b"{}", b"", b"\n"))
    return st.one_of(st.binary(max_size=100), hostile.mutated(whole), deep), check


def of_records(folder: Path) -> Iterator[Target]:
    """Yield the targets that read a record's files."""
    record = fabricate(folder / "record")
    [(_, _, run)] = record.runs()
    readers = {
        record.folder / "study.json": lambda: list(record.runs()),
        record.folder / "questions.jsonl": record.questions,
        run.folder / "request.json": run.request,
        run.folder / "answers.jsonl": run.done,
        run.folder / "sessions.jsonl": run.sessions,
        run.folder / "likelihood.jsonl": run.likelihood,
        run.folder / "checks.json": run.checks,
        run.folder / "scores.parquet": lambda: (run.verify(), run.scores()),
        run.folder / "manifest.json": lambda: (run.manifest(), run.verify()),
    }
    for file, read in readers.items():
        inputs, check = damaged(file, read)
        yield Target(name=f"record: {file.name}", inputs=inputs, check=check)


def of_ratings(folder: Path) -> Iterator[Target]:
    """Yield the targets that read what people are asked and what they answered."""
    record = fabricate(folder / "rated")
    place = plans.folder(record, ACCEPTABILITY)
    [key] = place.glob("key-*.json")
    log = place / "ratings.csv"

    def at_work() -> None:
        ratings.read(record, ACCEPTABILITY)
        session.Session(record, "anna").screen()

    def merged(path: Path) -> None:
        before = log.read_bytes()
        try:
            ratings.merge(record, ACCEPTABILITY, path)
            assert log.read_bytes().startswith(before)
            ratings.read(record, ACCEPTABILITY)
        except BaseException:
            assert log.read_bytes() == before, "a refused log was added in part"
            raise
        finally:
            log.write_bytes(before)

    for file in (place / "plan.json", key, log):
        inputs, check = damaged(file, at_work)
        name = "key.json" if file == key else file.name
        yield Target(name=f"rating: {name}", inputs=inputs, check=check)
    other = folder / "other.csv"
    shutil.copy(log, other)
    inputs, check = damaged(other, lambda: merged(other))
    yield Target(name="rating: another log, merged", inputs=inputs, check=check)

    filled = folder / "sheet.csv"
    sheet.export(record, ACCEPTABILITY, "anna", filled)
    filled.write_text(filled.read_text().replace(",,\n", ",4,\n"), newline="")

    def imported() -> None:
        before = log.read_bytes()
        try:
            if sheet.is_log(filled):
                ratings.parse(filled)
            else:
                sheet.import_(record, ACCEPTABILITY, filled)
            assert log.read_bytes().startswith(before)
        except BaseException:
            assert log.read_bytes() == before, "a refused sheet was added in part"
            raise
        finally:
            log.write_bytes(before)

    inputs, check = damaged(filled, imported)
    yield Target(name="rating: a sheet, filled in", inputs=inputs, check=check)
