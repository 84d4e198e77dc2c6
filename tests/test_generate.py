"""The generate stage with a fake model: what is asked for, recorded, and never asked twice."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from alpaca_lab.config import ModelSpec, SettingError, StudySpec, as_dict
from alpaca_lab.decoding import generate as stage
from alpaca_lab.decoding.jobs import Finished
from alpaca_lab.files import RecordError
from alpaca_lab.progress import Bar
from alpaca_lab.store import Record
from alpaca_lab.sweep import cells

FOLDER = "/nowhere/tiny"
QUESTIONS = [
    {"id": f"q{n}", "cluster": f"q{n}", "instruction": f"say {n}", "input": "", "reference": str(n)}
    for n in range(5)
]
STUDY = StudySpec(
    name="test",
    models=(ModelSpec(key="tiny", title="Tiny", source=FOLDER),),
    temperatures=(0.001, 1.0),
    beams=(2, 4),
    top_ks=(4,),
    questions=5,
    repeats=3,
    max_new_tokens=8,
)
EXPECTED = 5 * (1 + 2 + 3 + 1 + 1 + 3 + 1)  # greedy, T .001, T 1, two beams, top-k, base


class FakeDecoder:
    """Answers with numbers made from the job, the tuned model differently from the base."""

    dtype, device = "float32", "cpu"
    calls: list = []
    read: list = []
    checked: list = []
    agreeing = 1.0
    stop_after: int | None = None

    def __init__(self, spec, adapter, study):
        self.spec, self.adapter, self.merged = spec, adapter, True

    def encode(self, question):
        return tuple(question["instruction"].encode())

    def answers(self, jobs):
        type(self).calls.append(list(jobs))
        for n, job in enumerate(jobs):
            if type(self).stop_after == n:
                raise KeyboardInterrupt
            seen = (self.adapter is None, self.merged, job.setting, job.repeat, job.prompt_ids)
            digest = hashlib.sha256(repr(seen).encode()).digest()
            ids = tuple(digest[: digest[0] % 4])  # an empty one now and then
            yield Finished(job=job, ids=ids, n_new_tokens=len(ids) + 1, finish_reason="eos")

    def text(self, ids):
        return " ".join(map(str, ids))

    def likelihood(self, questions):
        type(self).read.append(self.adapter)
        ids = [question["id"] for question in questions]
        return pd.DataFrame({"id": ids, "nats": 2.5, "tokens": 3, "characters": 7})

    def agreement(self, questions):
        type(self).checked.append(("agreement", self.adapter))
        return {"agreement": type(self).agreeing, "tokens": 9}

    def unmerge(self):
        self.merged = False

    def identity(self, questions):
        type(self).checked.append(("identity", self.adapter))
        return {"slots": 4, "pairs": [], "partings": []}

    def facts(self):
        return {"peak_gib": None, "slots": 2}


@pytest.fixture(autouse=True)
def _fresh_fake(monkeypatch):
    monkeypatch.setattr(FakeDecoder, "calls", [])
    monkeypatch.setattr(FakeDecoder, "read", [])
    monkeypatch.setattr(FakeDecoder, "checked", [])
    monkeypatch.setattr(FakeDecoder, "agreeing", 1.0)
    monkeypatch.setattr(FakeDecoder, "stop_after", None)


@pytest.fixture
def record(tmp_path):
    return new_record(tmp_path / "a")


def new_record(folder, *, adapter="a" * 64):
    record = Record(folder)
    record.write_questions(QUESTIONS)
    record.write_index(
        {"spec": as_dict(STUDY), "data": {"sha256": "d"}, "runs": {"control": {"empty": "0"}}}
    )
    weights = {"folder": f"outputs/{'a' * 12}/adapter", "sha256": adapter}
    manifest = {"adapter": weights, "base": {"source": "b"}}
    record.write_training("tiny", manifest, pd.DataFrame({"step": [1], "loss": [1.0]}))
    return record


def generate(record, study=STUDY, open_decoder=FakeDecoder):
    record.write_index(record.index() | {"spec": as_dict(study)})
    return stage.generate(study, "tiny", record=record, open_decoder=open_decoder)


def rows(record):
    """Return {cell: {(id, repeat): the answer's line}} of the tiny model."""
    found = {}
    for cell, run in runs_of(record):
        lines = run.answers()
        found[cell] = {(line["id"], line["repeat"]): line for line in lines}
        assert len(found[cell]) == len(lines), f"{cell} holds an answer twice"
    return found


def runs_of(record):
    for cell, run_id in record.index()["runs"]["tiny"].items():
        yield cell, record.run(run_id)


def test_every_cell_is_answered_once_for_each_question_and_repeat(record):
    summary = generate(record)
    found = rows(record)
    repeats = {cell.name: cell.repeats for cell in cells(STUDY)} | {"base": 1}
    assert repeats["temperature=0.001"] == 2 and repeats["temperature=1"] == 3
    assert set(found) == set(repeats)
    for cell, lines in found.items():
        assert set(lines) == {(q["id"], r) for q in QUESTIONS for r in range(repeats[cell])}
    assert summary["answers"] == EXPECTED == sum(summary["counts"].values())
    assert set(summary["counts"]) == {"ok", "empty"}


def test_an_answer_line_holds_what_was_decoded(record):
    generate(record)
    line = next(line for line in rows(record)["greedy"].values() if line["status"] == "ok")
    assert set(line) == {
        "id", "repeat", "status", "text", "ids_sha256", "n_new_tokens", "finish_reason",
    }  # fmt: skip
    ids = line["text"].split()
    assert line["n_new_tokens"] == len(ids) + 1
    assert line["ids_sha256"] == hashlib.sha256(",".join(ids).encode()).hexdigest()[:16]


def test_greedy_and_sampled_cells_share_a_pass_question_by_question(record):
    generate(record)
    shared, *others = FakeDecoder.calls
    sampled = {"temperature=0.001", "temperature=1", "top_k=4"}
    assert {job.cell for job in shared} == {"greedy"} | sampled
    assert [job.question for job in shared] == sorted(job.question for job in shared)
    assert [{job.cell for job in jobs} for jobs in others] == [
        {"num_beams=2"}, {"num_beams=4"}, {"base"},
    ]  # fmt: skip


def test_what_is_answered_is_never_asked_again(record):
    generate(record)
    before = rows(record)

    class Unwanted(FakeDecoder):
        def encode(self, question):
            raise AssertionError("the model would be loaded for nothing")

    summary = generate(record, open_decoder=Unwanted)
    assert rows(record) == before
    assert (summary["answers"], summary["tokens_per_s"]) == (0, None)


@pytest.mark.parametrize("stop_after", [1, 4, 17])
def test_an_interrupted_run_resumes_to_the_rows_of_an_unbroken_one(tmp_path, record, stop_after):
    unbroken = new_record(tmp_path / "b")
    generate(unbroken)
    FakeDecoder.stop_after = stop_after
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            generate(record)
    FakeDecoder.stop_after = None
    FakeDecoder.calls.clear()
    generate(record)
    assert sum(map(len, FakeDecoder.calls)) < EXPECTED  # some were there already
    assert rows(record) == rows(unbroken)


@pytest.mark.parametrize("change", [b"", b"x"])
def test_an_answer_that_was_cut_or_changed_is_decoded_again_and_that_is_said(
    record, capsys, change
):
    generate(record)
    before = rows(record)
    path = dict(runs_of(record))["num_beams=2"].folder / "answers.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2][:20] + change + lines[2][21:], *lines[3:]]))
    FakeDecoder.calls.clear()
    generate(record)
    assert [len(jobs) for jobs in FakeDecoder.calls] == [1]
    assert rows(record) == before
    assert f"{path}" in capsys.readouterr().err


def test_of_two_processes_that_decode_a_model_one_waits_and_finds_all_done(record):
    class Slow(FakeDecoder):
        def answers(self, jobs):
            time.sleep(0.05)  # until both have seen what is missing
            yield from super().answers(jobs)

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(generate, record, STUDY, Slow) for _ in range(2)]
    assert sorted(call.result()["answers"] for call in calls) == [0, EXPECTED]
    assert sum(map(len, rows(record).values())) == EXPECTED


def test_the_bar_ends_full_and_says_how_many_cells_are_done(record, monkeypatch):
    bars, totals = [], []
    monkeypatch.setattr(stage, "Bar", lambda **options: bars.append(Bar(**options)) or bars[-1])
    monkeypatch.setattr(Bar, "refresh", lambda bar, *_, **__: totals.append(bar.total))
    generate(record)
    generate(record)
    assert set(totals) == {EXPECTED}  # where another process draws it, another total is a new bar
    assert [(bar.n, bar.total) for bar in bars] == [(EXPECTED, EXPECTED)] * 2
    assert bars[0].postfix.endswith("tokens/s, 7 of 7 cells")
    assert bars[1].postfix == "7 of 7 cells"


def test_sessions_account_for_every_answer_also_of_interrupted_ones(record):
    FakeDecoder.stop_after = 7
    with pytest.raises(KeyboardInterrupt):
        generate(record)
    FakeDecoder.stop_after = None
    generate(record)
    sessions = 0
    for _, run in runs_of(record):
        lines = run.answers()
        assert sum(session["answers"] for session in run.sessions()) == len(lines)
        tokens = sum(session["new_tokens"] for session in run.sessions())
        assert tokens == sum(line["n_new_tokens"] for line in lines)
        for session in run.sessions():
            assert session["wall_s"] >= 0 and session["peak_gib"] is None
            assert {"device", "started", "environment"} <= set(session)
        sessions = max(sessions, len(run.sessions()))
    assert sessions == 2


def test_index_lists_the_runs_once_all_are_answered_and_keeps_other_models(record):
    FakeDecoder.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        generate(record)
    assert "tiny" not in record.index()["runs"]
    FakeDecoder.stop_after = None
    generate(record)
    assert record.index()["runs"]["control"] == {"empty": "0"}
    narrower = replace(STUDY, temperatures=(1.0,))
    generate(record, narrower)
    assert "temperature=0.001" not in record.index()["runs"]["tiny"]  # no stale cell in a table


def ids(record):
    generate(record)
    return record.index()["runs"]["tiny"]


def test_another_adapter_never_reads_these_answers_but_shares_the_base(tmp_path, record):
    first, second = ids(record), ids(new_record(tmp_path / "b", adapter="b" * 64))
    assert first["base"] == second["base"]
    assert all(first[cell] != second[cell] for cell in first if cell != "base")


def test_a_request_holds_all_that_decides_the_answers(record):
    run_ids = ids(record)
    request = record.run(run_ids["num_beams=4"]).request()
    assert request["engine"] == "beams" and request["setting"]["num_beams"] == 4
    assert request["questions"] == hashlib.sha256(b"q0\nq1\nq2\nq3\nq4").hexdigest()
    assert set(request) == {
        "model", "adapter", "template", "questions", "data", "setting", "repeats", "seed",
        "engine", "dtype",
    }  # fmt: skip
    greedy, base = (record.run(run_ids[cell]).request() for cell in ("greedy", "base"))
    assert (greedy["engine"], greedy["adapter"], base["adapter"]) == ("slots", "a" * 64, None)
    assert greedy | {"adapter": None} == base


def test_slots_change_no_request_and_the_seed_changes_every_one(record):
    first = ids(record)
    generate(record, replace(STUDY, slots=7))
    assert record.index()["runs"]["tiny"] == first
    generate(record, replace(STUDY, seed=1))
    assert not set(record.index()["runs"]["tiny"].values()) & set(first.values())


def test_references_are_read_once_by_each_of_the_two_models(record):
    generate(record)
    assert [adapter is None for adapter in FakeDecoder.read] == [False, True]
    measured = {cell: run.likelihood() for cell, run in runs_of(record) if run.has_likelihood}
    assert set(measured) == {"greedy", "base"}
    assert measured["greedy"]["id"].tolist() == [question["id"] for question in QUESTIONS]
    generate(record)
    assert len(FakeDecoder.read) == 2


def test_each_model_is_checked_once(record):
    generate(record)
    checked = [(check, folder is None) for check, folder in FakeDecoder.checked]
    assert checked == [
        ("agreement", False), ("identity", False), ("agreement", True), ("identity", True),
    ]  # fmt: skip
    found = {cell: set(run.checks()) for cell, run in runs_of(record) if run.checks()}
    assert found == {"greedy": {"dense", "identity"}, "base": {"dense", "identity"}}
    generate(record)
    assert len(FakeDecoder.checked) == 4


def test_a_check_that_was_interrupted_is_the_only_one_that_is_done_again(record, monkeypatch):
    def stop(self, questions):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FakeDecoder, "identity", stop)
        generate(record)
    FakeDecoder.checked.clear()
    generate(record)
    assert FakeDecoder.checked[0][0] == "identity" and len(FakeDecoder.checked) == 3


def test_a_merge_that_departs_too_far_is_decoded_unmerged_under_ids_of_its_own(tmp_path, record):
    merged, answers = ids(record), rows(record)
    FakeDecoder.agreeing = 0.97
    other = new_record(tmp_path / "b")
    unmerged = ids(other)
    assert not set(merged.values()) & set(unmerged.values())
    for cell, run in runs_of(other):
        request = dict(run.request())
        assert request.pop("weights") == "unmerged"
        assert request == record.run(merged[cell]).request()
    assert rows(other)["greedy"] != answers["greedy"]
    assert other.run(unmerged["greedy"]).checks()["dense"]["agreement"] == 0.97
    FakeDecoder.checked.clear()
    assert ids(other) == unmerged and not FakeDecoder.checked  # what was found is kept
    looser = generate(other, replace(STUDY, min_agreement=0.9))
    assert looser["answers"] == EXPECTED and dict(other.index()["runs"]["tiny"]) == merged


def test_a_run_sealed_before_there_were_checks_is_left_as_it_is(record):
    generate(record)
    for _, run in runs_of(record):
        (run.folder / "checks.json").unlink(missing_ok=True)
        run.seal({})
    FakeDecoder.checked.clear()
    FakeDecoder.agreeing = 0.0
    assert generate(record)["answers"] == 0 and not FakeDecoder.checked
    for _, run in runs_of(record):
        run.verify()
        assert run.checks() == {}


def test_white_space_alone_is_an_empty_answer(record):
    class Blank(FakeDecoder):
        def text(self, ids):
            return " \n"

    assert generate(record, open_decoder=Blank)["counts"] == {"empty": EXPECTED}


def test_a_model_that_the_study_does_not_have_is_refused(record):
    with pytest.raises(SettingError, match="choose from tiny"):
        stage.generate(STUDY, "other", record=record, open_decoder=FakeDecoder)


def test_a_model_that_is_not_finetuned_is_refused(tmp_path):
    with pytest.raises(RecordError, match="no such file"):
        generate(Record(tmp_path))


class Tokenizer:
    """Turns the end of a text into tokens: it tells the questions apart, and is soon read."""

    eos_token_id, pad_token_id = 2, 0

    def __call__(self, text, *, add_special_tokens=True, split_special_tokens=False):
        return SimpleNamespace(input_ids=[3 + ord(letter) % 120 for letter in text[-60:]])

    def decode(self, ids, *, skip_special_tokens):
        assert skip_special_tokens
        return " ".join(map(str, ids))


@pytest.fixture
def loads(monkeypatch):
    """Let a small random model stand for every checkpoint; holds what was loaded."""
    pytest.importorskip("torch")
    from alpaca_lab import memory
    from alpaca_lab.decoding import decoders
    from alpaca_lab.weights import checkpoints
    from random_models import random_model

    loads = []

    def load_decoder(spec, adapter, *, merged):
        loads.append((adapter and adapter.name, merged))
        return random_model("llama"), Tokenizer()

    shape = memory.KNOWN_SHAPES["microsoft/phi-2"]
    monkeypatch.setattr(decoders.models, "load_decoder", load_decoder)
    monkeypatch.setattr(checkpoints, "locate", lambda spec: None)
    monkeypatch.setattr(checkpoints, "read_shape", lambda folder: shape)
    return loads


@pytest.mark.model
def test_a_real_model_answers_through_the_same_stage(record, loads):
    """Slots, beams and tokenizer joined: greedy, base, T .001 and beams of one tiny model."""
    generate(record, open_decoder=stage.ModelDecoder)
    found = rows(record)
    assert loads == [("adapter", False), ("adapter", True), (None, False), (None, True)]
    assert found["base"] == found["greedy"]  # the same random model stands for both
    cold = {key: line for key, line in found["temperature=0.001"].items() if key[1] == 0}
    assert cold == found["greedy"]
    assert found["num_beams=2"] != found["greedy"]


@pytest.mark.model
def test_memory_that_runs_out_halves_the_slots_and_changes_no_answer(
    tmp_path, loads, monkeypatch, capsys
):
    """Twice, in the middle of a pass: what was finished is kept, and sessions say so."""
    import torch

    from alpaca_lab.decoding import slots

    study = replace(STUDY, slots=16)
    roomy, tight = new_record(tmp_path / "roomy"), new_record(tmp_path / "tight")
    generate(roomy, study, stage.ModelDecoder)
    run, widths = slots.run, []

    def short_of_memory(engine, jobs, **settings):
        of_a_pass = not settings.keys() & {"watch", "slots"}
        if of_a_pass:
            widths.append(engine.rows)
        for n, finished in enumerate(run(engine, jobs, **settings)):
            if of_a_pass and engine.rows > 4 and n == 3:
                raise torch.OutOfMemoryError("no room")
            yield finished

    monkeypatch.setattr(slots, "run", short_of_memory)
    generate(tight, study, stage.ModelDecoder)
    assert widths[:3] == [16, 8, 4]
    assert rows(tight) == rows(roomy)
    sessions = [run.sessions()[-1] for cell, run in runs_of(tight) if cell != "base"]
    assert {session["halvings"] for session in sessions} == {2}
    assert {session["slots"] for session in sessions} == {4}
    assert (
        "the memory ran out; from here on up to 4 answers side by side" in capsys.readouterr().err
    )


@pytest.mark.model
def test_memory_that_is_gone_when_an_engine_is_made_halves_it(loads, monkeypatch):
    """Whoever asks for it, the checks too."""
    import torch

    from alpaca_lab.engine.engine import Engine

    make, rows = Engine.__init__, []

    def short_of_memory(engine, model, **sizes):
        rows.append(sizes["rows"])
        if sizes["rows"] > 4:
            raise torch.OutOfMemoryError("no room")
        make(engine, model, **sizes)

    monkeypatch.setattr(Engine, "__init__", short_of_memory)
    decoder = stage.ModelDecoder(STUDY.models[0], None, replace(STUDY, slots=16))
    assert decoder.identity(QUESTIONS)["slots"] == 4
    assert rows[:3] == [16, 8, 4] and decoder.facts()["halvings"] == 2


@pytest.mark.model
def test_with_one_slot_fewer_questions_are_answered(loads, monkeypatch):
    from alpaca_lab.decoding import checks

    monkeypatch.setattr(checks, "ALONE_QUESTIONS", 2)
    decoder = stage.ModelDecoder(STUDY.models[0], None, replace(STUDY, slots=4))
    pairs = decoder.identity(QUESTIONS)["pairs"]
    assert [(pair["slots"], pair["n"]) for pair in pairs] == [(1, 2), (4, len(QUESTIONS))]


@pytest.mark.model
def test_memory_that_does_not_hold_one_slot_stops_the_stage_and_says_what_to_do(
    record, loads, monkeypatch
):
    import torch

    from alpaca_lab.decoding import slots

    def no_memory(engine, jobs, **settings):
        raise torch.OutOfMemoryError("no room")
        yield

    monkeypatch.setattr(slots, "run", no_memory)
    with pytest.raises(SettingError, match="runs out even for one slot.*what is answered is kept"):
        generate(record, open_decoder=stage.ModelDecoder)
