"""The whole path in real processes: Unsloth, NF4, the sweep, scores, tables; killed and resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest

from alpaca_lab import progress, report, study
from alpaca_lab.config import ROOT, TINY
from alpaca_lab.files import RecordError
from alpaca_lab.processes import StageError
from alpaca_lab.profiles import configure
from alpaca_lab.publication.texts import contents
from alpaca_lab.store import CONTROL, RESULTS, Record
from alpaca_lab.sweep import BASE
from alpaca_lab.verification import verify

pytestmark = pytest.mark.model
SMALL = {
    "train.max_steps": "6",
    "train.evaluations": "1",
    "questions": "6",
    "temperatures": "(0.25, 1.0)",
    "beams": "(2,)",
    "top_ks": "(4,)",
    "max_new_tokens": "64",
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
    shutil.rmtree(RESULTS / name, ignore_errors=True)


NOTEBOOKS = ROOT / "notebooks"
OWN_RECORD = {
    "01_data": {"MODELS": "tiny-llama"},
    "02_finetune": {"EPOCHS": "0.1"},
}
OF_THE_STUDY = {
    "03_decode": {"QUESTION": 0, "SLOTS": 4},
    "08_small_study": {"NAME": "small"},
    "07_use": {},
}
COMMITTED = {"06_performance": {"NAME": "performance"}, "08_small_study": {"NAME": "small"}}
IN_TESTS_OF_THEIR_OWN = {"04_human_eval", "05_results"}


def execute(notebook, asked, folder):
    """The notebook with these parameters, executed; it fails with its first cell that fails."""
    from papermill import execute_notebook

    path = NOTEBOOKS / f"{notebook}.ipynb"
    return execute_notebook(
        path, folder / path.name, asked, kernel_name="python3", cwd=path.parent, progress_bar=False
    )


def tables(record):
    return {path.name: path.read_bytes() for path in sorted((record.folder / "tables").iterdir())}


def test_one_command_leaves_tables_figures_and_sealed_runs(unbroken):
    assert {"main.md", "temperature.csv", "num_beams.md", "top_k.csv"} <= set(tables(unbroken))
    assert {path.stem for path in (unbroken.folder / "figures").iterdir()} == {
        "main", "temperature", "num_beams", "top_k", "contrasts", "cost", "loss", "human",
        "human_metrics",
    }  # fmt: skip
    assert (unbroken.folder / "report.html").is_file()
    assert (unbroken.folder / "data" / "manifest.json").is_file()
    runs = list(unbroken.runs())
    assert len(runs) == 10, "greedy, four cells of three axes, the untuned base, four controls"
    assert all(run.is_sealed for _, _, run in runs)
    assert unbroken.training("tiny-llama")[0]["steps"] == 6


def test_tables_follow_from_the_rows(unbroken):
    done = subprocess.run(lab("report", "--name", unbroken.folder.name, "--check"), timeout=120)
    assert done.returncode == 0


@pytest.mark.notebook
def test_published_copy_holds_none_of_the_texts_and_shows_the_same_tables(unbroken, tmp_path):
    name = f"test-{os.getpid()}-published"
    done = subprocess.run(
        lab("publish", "--name", unbroken.folder.name, "--to", str(RESULTS / name)), timeout=300
    )
    try:
        assert done.returncode == 0
        copy, rows = Record.of(name), (TINY / "rows.jsonl").read_text().splitlines()
        assert verify(copy)[1] == [] and report.check(copy) == []
        assert tables(copy) == tables(unbroken)
        texts = {text for row in rows for text in json.loads(row).values()}
        texts |= {row["text"] for _, _, run in unbroken.runs() for row in run.answers()}
        paths = [path for path in copy.folder.rglob("*") if path.is_file()]
        said = "\n".join("\n".join(contents(path)) for path in paths)
        raw = b"".join(path.read_bytes() for path in paths)
        long = {text for text in texts if len(text) > 20}
        assert len(long) > 500
        assert not [text for text in long if text in said or text.encode() in raw]
        execute("05_results", {"NAME": name}, tmp_path)
    finally:
        remove(name)


@pytest.mark.notebook
def test_notebook_of_the_human_score_runs_before_anyone_has_rated(unbroken, tmp_path):
    try:
        asked = {"NAME": unbroken.folder.name, "QUESTIONS": 3}
        run = execute("04_human_eval", asked, tmp_path)
        said = [str(out) for cell in run.cells for out in cell.get("outputs", [])]
        assert any("Rater of anna: 6 of 6 answers to rate" in text for text in said)
        assert any("not<br>collected" in text for text in said)
        assert not (unbroken.human("acceptability") / "ratings.csv").exists()
    finally:
        shutil.rmtree(unbroken.folder / "human")
        report.build(unbroken)


@pytest.mark.notebook
@pytest.mark.parametrize(("notebook", "asked"), (OWN_RECORD | OF_THE_STUDY | COMMITTED).items())
def test_notebook_runs_from_its_first_cell_to_its_last(unbroken, notebook, asked, tmp_path):
    own = f"test-{os.getpid()}-{notebook}"
    name = own if notebook in OWN_RECORD else unbroken.folder.name
    try:
        run = execute(notebook, {"NAME": name} | asked, tmp_path)
    finally:
        remove(own)
    outputs = [out for cell in run.cells for out in cell.get("outputs", [])]
    assert len(outputs) >= 4
    assert not [out["text"] for out in outputs if out.get("name") == "stderr"]


def test_every_notebook_is_executed_by_a_test():
    executed = {*OWN_RECORD, *OF_THE_STUDY, *COMMITTED, *IN_TESTS_OF_THEIR_OWN}
    assert executed == {path.stem for path in NOTEBOOKS.glob("*.ipynb")}


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


def test_sweep_killed_five_times_leaves_what_an_unbroken_one_does(unbroken):
    """SIGKILL; the adapter is shared, the answers are decoded anew."""
    name = f"test-{os.getpid()}-killed"
    record = Record.of(name)
    changed = configure("smoke", models="tiny-llama", name=name, changes=SMALL)
    sampled, beams = decoded(unbroken, "slots"), decoded(unbroken, "beams")
    try:
        prepared(changed, record)
        kill_when(record, lambda: answered(record) > 0, "the first answer")
        kill_when(record, lambda: answered(record) > sampled / 2, "sampling")
        cut_last_line(record)
        kill_when(record, lambda: answered(record) > sampled, "beam search")
        kill_when(record, lambda: list(record.folder.glob("runs/*/likelihood.jsonl")), "checking")
        kill_when(record, lambda: answered(record) > sampled + beams, "the base")
        assert answered(record) < total(changed)
        study.run(changed, record=record)
        assert answered(record) == total(changed)
        assert tables(record) == tables(unbroken)
        assert measured(record) == measured(unbroken)
        for (_, cell, run), (_, _, other) in zip(record.runs(), unbroken.runs(), strict=True):
            pd.testing.assert_frame_equal(run.scores(), other.scores(), check_exact=True, obj=cell)
        assert costs(record).equals(costs(unbroken))
    finally:
        remove(name)


def test_interrupted_stage_keeps_its_answers_and_what_they_took():
    """SIGINT, and a second one at once: from the terminal, and from the stage's parent."""
    name = f"test-{os.getpid()}-interrupted"
    record = Record.of(name)
    try:
        prepared(configure("smoke", models="tiny-llama", name=name, changes=SMALL), record)
        process = start_generate(record)
        wait_until(lambda: answered(record) > 5, process, "some answers")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 130, said
        assert said.endswith("stopped; run the same command again to go on from here\n")
        assert "Traceback" not in said
        runs = [record.run(path.parent.name) for path in record.folder.glob("runs/*/answers.jsonl")]
        timed = [sum(session["answers"] for session in run.sessions()) for run in runs]
        assert timed == [len(run.answers()) for run in runs]
    finally:
        remove(name)


def prepared(changed, record):
    study.prepare(changed, record=record)
    study.finetune_models(changed, record=record)


def start_generate(record):
    spec = str(record.folder / "study.json")
    return subprocess.Popen(
        lab("generate", "--spec", spec, "--only", "tiny-llama"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {progress.PIPE_VARIABLE: "json"},
        text=True,
    )


def wait_until(happens, process, what):
    deadline = time.monotonic() + 120
    while not happens():
        assert process.poll() is None, f"it ended before {what}: {process.stderr.read()}"
        assert time.monotonic() < deadline, f"not {what} within two minutes"
        time.sleep(0.005)


def kill_when(record, happens, what):
    process = start_generate(record)
    wait_until(happens, process, what)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, f"it was to be killed at {what}"


def cut_last_line(record):
    """Leave the youngest answer as a kill does that comes while it is written."""
    path = max(record.folder.glob("runs/*/answers.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    text = path.read_bytes()
    start = text.rstrip(b"\n").rfind(b"\n") + 1
    path.write_bytes(text[: (start + len(text)) // 2])


def measured(record):
    """Return the lines of every file of a run in which no time stands, in any order."""
    names = ("request.json", "answers.jsonl", "likelihood.jsonl", "checks.json")
    return {
        (run.id, name): sorted(path.read_bytes().splitlines())
        for _, _, run in record.runs()
        for name in names
        if (path := run.folder / name).exists()
    }


def costs(record):
    """Return the table of costs without its seconds, which no two sweeps share."""
    return report.read_table(record, "performance/cost").drop(columns=["wall_s", "tokens_per_s"])


def decoded(record, engine):
    """Return the answers of the finetuned model from the slots, or from beam search."""
    runs = [run for model, cell, run in record.runs() if model != CONTROL and cell != BASE]
    return sum(len(run.answers()) for run in runs if run.request()["engine"] == engine)


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


def test_record_that_a_process_works_in_is_not_made_another_study_of(small_study, tmp_path):
    record = Record(tmp_path)
    study.prepare(small_study, record=record)
    before = record.index()
    with record.working("decoding", "tiny-phi"):
        study.prepare(small_study, record=record)  # the same: nothing to refuse
        with pytest.raises(RecordError, match=r"is another study, and process \d+ .*tiny-phi"):
            study.prepare(replace(small_study, seed=1), record=record)
    assert record.index() == before
    study.prepare(replace(small_study, seed=1), record=record)


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
