"""The whole path in real processes: Unsloth, NF4, the sweep, scores, tables; killed and resumed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from alpaca_lab import report, study
from alpaca_lab.processes import StageError
from alpaca_lab.profiles import configure
from alpaca_lab.store import RESULTS, Record

pytestmark = pytest.mark.model
SMALL = {
    "train.max_steps": "6",
    "train.evaluations": "1",
    "questions": "6",
    "temperatures": "(1.0,)",
    "beams": "(2,)",
    "top_ks": "(4,)",
    "max_new_tokens": "24",
    "slots": "4",
}


def lab(*arguments):
    return [sys.executable, "-m", "alpaca_lab", *arguments]


def choices(name):
    changes = [part for field, value in SMALL.items() for part in ("--set", f"{field}={value}")]
    return ["--profile", "smoke", "--models", "tiny-llama", "--name", name, *changes]


@pytest.fixture(scope="module")
def unbroken():
    """A small study run from one end to the other by the command line."""
    name = f"test-{os.getpid()}-unbroken"
    done = subprocess.run(lab("run", *choices(name)), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    yield Record.of(name)
    remove(name)


def remove(name):
    import shutil

    shutil.rmtree(RESULTS / name, ignore_errors=True)


def tables(record):
    return {path.name: path.read_bytes() for path in sorted((record.folder / "tables").iterdir())}


def test_one_command_leaves_tables_figures_and_sealed_runs(unbroken):
    assert {"main.md", "temperature.csv", "num_beams.md", "top_k.csv"} <= set(tables(unbroken))
    assert {path.stem for path in (unbroken.folder / "figures").iterdir()} == {
        "main", "temperature", "num_beams", "top_k", "contrasts", "cost", "loss",
    }  # fmt: skip
    assert (unbroken.folder / "report.html").is_file()
    assert (unbroken.folder / "data" / "manifest.json").is_file()
    runs = list(unbroken.runs())
    assert len(runs) == 9, "greedy, one cell per axis, the untuned base, four controls"
    assert all(run.is_sealed for _, _, run in runs)
    assert unbroken.training("tiny-llama")[0]["steps"] == 6


def test_tables_follow_from_the_rows(unbroken):
    done = subprocess.run(lab("report", "--name", unbroken.folder.name, "--check"), timeout=120)
    assert done.returncode == 0


def test_edited_table_is_caught(unbroken):
    path = unbroken.table("main").with_suffix(".csv")
    whole = path.read_bytes()
    try:
        path.write_bytes(whole.replace(b"rougeL", b"rougeX"))
        done = subprocess.run(
            lab("report", "--name", unbroken.folder.name, "--check"), capture_output=True, text=True
        )
        assert done.returncode == 1
        assert "differs: main" in done.stderr
    finally:
        path.write_bytes(whole)
    assert report.check(unbroken) == []


def test_killed_sweep_resumes_to_the_same_tables(unbroken):
    """SIGKILL in the middle of decoding; the adapter is shared, the answers are decoded anew."""
    name = f"test-{os.getpid()}-killed"
    record = Record.of(name)
    changed = configure("smoke", models="tiny-llama", name=name, changes=SMALL)
    try:
        study.prepare(changed, record=record)
        study.finetune_models(changed, record=record)
        process = subprocess.Popen(
            lab("generate", "--spec", str(record.folder / "study.json")),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        kill_after_answers(process, record, answers=10)
        before = answered(record)
        assert before < total(changed), "it was to be killed in the middle"
        study.run(changed, record=record)
        assert answered(record) == total(changed)
        assert tables(record) == tables(unbroken)
    finally:
        remove(name)


def kill_after_answers(process, record, *, answers):
    deadline = time.monotonic() + 120
    while answered(record) < answers and process.poll() is None:
        assert time.monotonic() < deadline, "no answer within two minutes"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def answered(record):
    files = record.folder.glob("runs/*/answers.jsonl")
    ids = [
        (path.parent.name, row["id"], row["repeat"])
        for path in files
        for row in map(json.loads, filter(whole, path.read_text().split("\n")))
        if row["finish_reason"]  # a control has none
    ]
    assert len(ids) == len(set(ids)), "an answer is recorded twice"
    return len(ids)


def whole(line):
    return line.endswith("}")


def total(changed):
    from alpaca_lab.sweep import cells

    return changed.questions * (1 + sum(cell.repeats for cell in cells(changed)))


def test_failed_stage_gives_its_own_sentence_and_its_log(tmp_path):
    name = f"test-{os.getpid()}-broken"
    record = Record.of(name)
    changed = configure("smoke", models="tiny-llama", name=name, changes=SMALL)
    try:
        study.prepare(changed, record=record)
        with pytest.raises(StageError, match=r"generate-tiny-llama: no such file.*log: "):
            study.generate_answers(changed, record=record)
    finally:
        remove(name)


def test_changed_study_never_shows_the_old_runs(unbroken):
    name = f"test-{os.getpid()}-changed"
    record = Record.of(name)
    try:
        first = configure("smoke", models="tiny-llama", name=name, changes=SMALL)
        study.prepare(first, record=record)
        record.write_index(record.index() | {"runs": {"tiny-llama": {"greedy": "0" * 12}}})
        study.prepare(first, record=record)
        assert record.index()["runs"], "the same study keeps its runs"
        study.prepare(
            configure("smoke", models="tiny-llama", name=name, changes=SMALL | {"questions": "5"}),
            record=record,
        )
        assert record.index()["runs"] == {}
    finally:
        remove(name)
