"""Everything that reads what somebody else wrote, and what must hold of it for any input at all.

Allowed is a value that keeps its promises, or a `SettingError` or `RecordError` in one short
printable sentence. Any other exception is a finding, and so is a file that a refusal leaves behind.
"""

import contextlib
import io
import json
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hostile
from hypothesis import strategies as st

from alpaca_lab import data, jsonl, profiles
from alpaca_lab.characters import plain, visible
from alpaca_lab.config import DataSpec, SettingError
from alpaca_lab.files import RecordError
from alpaca_lab.original import protocol, whole_text
from alpaca_lab.rows import sources, validation
from alpaca_lab.scoring import answers_file, answers_text
from alpaca_lab.store import Record
from alpaca_lab.study import prepare

LONGEST = 1200
"""Characters of a sentence, the path of the file that it names included."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One reader, what it is given, and the check of what it makes of it."""

    name: str
    inputs: st.SearchStrategy
    check: Callable[[Any], None]
    weight: float = 1.0
    """Inputs it gets, as a share of `inputs.INPUTS`: fewer where each takes long."""


@contextmanager
def refusing() -> Iterator[None]:
    """Let a refusal pass if a user can read it; every other exception goes through."""
    try:
        yield
    except (SettingError, RecordError) as error:
        sentence = str(error)
        assert sentence == plain(sentence), f"not one printable line: {sentence[:200]!r}"
        assert sentence and len(sentence) <= LONGEST, f"{len(sentence)} characters"


def on_file(folder: Path, name: str, check: Callable[[Path], None]) -> Callable[[bytes], None]:
    """Return a check of bytes: they are written to a file, and the file is checked."""

    def checked(content: bytes) -> None:
        path = folder / name
        path.write_bytes(content)
        with refusing():
            check(path)

    return checked


def _rows_of(path: Path) -> None:
    examples, findings = validation.validate(sources.read_file(path), place=str(path))
    assert len(examples) + len(findings.rejected) == findings.rows
    for example in examples:
        f"{example.instruction}{example.input}{example.output}{example.key}".encode()
    for item in findings.rejected:
        assert item.reason and item.excerpt == visible(item.excerpt) and len(item.excerpt) < 200


def _split_of(path: Path) -> None:
    spec = DataSpec(source=str(path), revision=None, test_share=0.3, validation_share=0.2)
    found = data.load(spec)
    json.dumps(found.manifest(), allow_nan=False).encode()
    kept = sum(map(len, found.splits().values()))
    assert kept <= found.findings.rows - len(found.findings.rejected)


def _prepared(path: Path) -> None:
    spec = DataSpec(source=str(path), revision=None, test_share=0.3, validation_share=0.2)
    record = Record(path.parent / "prepared")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            prepare(replace(profiles.PROFILES["smoke"], data=spec), record=record)
        assert len(record.questions()) == record.index()["questions"]
    except BaseException:
        assert not record.folder.exists(), "a refused source left something behind"
        raise
    finally:
        shutil.rmtree(record.folder, ignore_errors=True)


def _scored(path: Path) -> None:
    answers = answers_file.read(path)
    groups = list(answers.rows["group"])
    table = answers_file.table(answers, baseline=groups[0] if len(groups) % 2 else None)
    for name in ("mean", "ci_low", "ci_high"):
        assert not table[name].isin((math.inf, -math.inf)).any()
    json.loads(answers_file.to_json(table, answers))
    answers_text.to_text(table, answers, baseline=groups[0]).encode()


def _scored_whole(path: Path) -> None:
    for row in protocol.read_file(path):
        parts = whole_text.split(row["reference_text"], row["candidate_text"])
        assert parts.prompt.endswith(whole_text.MARKER)
        found = whole_text.scores(row["candidate_text"], reference_text=row["reference_text"])
        assert all(0 <= value <= 1 + 1e-9 for value in found.values()), found


def of_files(folder: Path) -> Iterator[Target]:
    """Yield the targets that read a file of rows, of answers or of whole texts."""
    row = dict.fromkeys(("instruction", "input", "output"), hostile.texts)
    whole = hostile.alpaca_files()
    for ending, content in whole.items():
        yield Target(
            name=f"rows as {ending}",
            inputs=hostile.files(content, fields=row),
            check=on_file(folder, f"rows{ending}", _rows_of),
        )
    yield Target(
        name="rows to splits",
        inputs=hostile.mutated(whole[".jsonl"]),
        check=on_file(folder, "split.jsonl", _split_of),
        weight=0.3,
    )
    yield Target(
        name="rows to a prepared study",
        inputs=hostile.mutated(whole[".jsonl"]),
        check=on_file(folder, "prepared.jsonl", _prepared),
        weight=0.3,
    )
    names = hostile.texts | st.integers()
    answer = {"id": names, "reference": hostile.valid_texts, "answer": hostile.texts | st.none(),
              "group": names, "repeat": st.integers(), "cluster": names}  # fmt: skip
    right = [{"id": n % 3, "group": n // 3, "reference": f"a b {n % 3}", "answer": f"a {n}"}
             for n in range(6)]  # fmt: skip
    yield Target(
        name="JSON lines",
        inputs=hostile.files(whole[".jsonl"], fields=row),
        check=on_file(folder, "lines.jsonl", lambda path: list(jsonl.read(path))),
    )
    yield Target(
        name="answers, read and scored",
        inputs=hostile.files(hostile.as_lines(right), fields=answer),
        check=on_file(folder, "answers.jsonl", _scored),
        weight=0.1,
    )
    marked = st.builds(lambda one, two: f"{one}### Response:{two}", *[hostile.texts] * 2)
    text = {"id": names, "group": names, "reference_text": marked, "candidate_text": marked}
    texts = [{"id": n, "reference_text": f"Say {n}.\n### Response:\n{n}",
              "candidate_text": f"Say {n}.\n### Response:\nno"} for n in range(3)]  # fmt: skip
    yield Target(
        name="whole texts, read and scored",
        inputs=hostile.files(hostile.as_lines(texts), fields=text),
        check=on_file(folder, "texts.jsonl", _scored_whole),
        weight=0.5,
    )
