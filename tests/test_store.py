"""The record: nothing half-written or damaged is taken for a result, or finished is changed."""

import pandas as pd
import pytest

from alpaca_lab.files import RecordError, as_line, write_json
from alpaca_lab.store import Record

REQUEST = {"model": "m", "setting": {"do_sample": False}}
ANSWER = {"id": "q1", "repeat": 0, "status": "ok", "text": "line\u2028break \u0000 \U0001f999"}
SCORES = pd.DataFrame([{"id": "q1", "repeat": 0, "rougeL": 50.0}])
LIKELIHOOD = pd.DataFrame({"id": ["q1"], "nats": [2.5], "tokens": [3], "characters": [7]})


@pytest.fixture
def record(tmp_path):
    return Record(tmp_path)


@pytest.fixture
def run(record):
    """A run with every file, not sealed."""
    run = record.open_run(REQUEST)
    for repeat in range(3):
        run.append(ANSWER | {"repeat": repeat})
    run.append_session({"answers": 3})
    run.write_likelihood(LIKELIHOOD)
    run.add_check("dense", {"agreement": 1.0})
    run.write_scores(SCORES)
    return run


@pytest.fixture
def sealed(run):
    run.seal({"counts": {"ok": 1}})
    return run


def flip(path, at):
    """Turn one bit of a file, `at` being where, 0-1."""
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 1
    path.write_bytes(data)


def test_same_request_is_the_same_run(record):
    assert record.open_run(REQUEST).id == record.open_run(dict(reversed(REQUEST.items()))).id
    assert record.open_run(REQUEST | {"model": "n"}).id != record.open_run(REQUEST).id


def test_answers_come_back_as_they_were(record):
    run = record.open_run(REQUEST)
    run.append(ANSWER)
    assert run.answers() == [ANSWER]
    assert run.done() == {("q1", 0)}


def test_line_cut_short_by_a_kill_is_not_read_and_the_next_takes_its_place(record):
    run = record.open_run(REQUEST)
    run.append(ANSWER)
    path = run.folder / "answers.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    assert run.answers() == [ANSWER]
    assert path.read_bytes() != whole  # who reads may meet a line that is being written
    run.append(ANSWER | {"repeat": 1})
    assert run.answers() == [ANSWER, ANSWER | {"repeat": 1}]


def test_session_is_not_glued_to_a_line_cut_short(record):
    run = record.open_run(REQUEST)
    run.append_session({"answers": 1})
    with (run.folder / "sessions.jsonl").open("a") as file:
        file.write('{"answers": 2, "wall')
    run.append_session({"answers": 3})
    assert run.sessions() == [{"answers": 1}, {"answers": 3}]


def test_finished_run_is_never_changed(sealed):
    with pytest.raises(RecordError, match="never changed"):
        sealed.append(ANSWER)
    with pytest.raises(RecordError, match="never changed"):
        sealed.write_likelihood(LIKELIHOOD)
    with pytest.raises(RecordError, match="never changed"):
        sealed.seal({})


def test_edited_scores_are_refused(sealed):
    sealed.verify()
    SCORES.assign(rougeL=99.0).to_parquet(sealed.folder / "scores.parquet")
    with pytest.raises(RecordError, match=r"scores.parquet is damaged.* run the study again"):
        sealed.verify()


def test_manifest_holds_the_checksum_of_every_file(sealed):
    others = {path.name for path in sealed.folder.iterdir()} - {"manifest.json"}
    assert set(sealed.manifest()["sha256"]) == others
    assert len(others) == 6


def test_checks_stand_side_by_side_and_are_sealed_with_the_run(run):
    run.add_check("identity", {"slots": 4})
    assert run.checks() == {"dense": {"agreement": 1.0}, "identity": {"slots": 4}}
    run.seal({})
    with pytest.raises(RecordError, match="never changed"):
        run.add_check("dense", {"agreement": 0.5})
    write_json(run.folder / "checks.json", {"dense": {"agreement": 0.5}})
    with pytest.raises(RecordError, match="checks.json is damaged"):
        run.verify()


def test_run_is_whole_only_with_its_manifest(run):
    assert not run.is_sealed
    run.seal({})
    assert run.is_sealed and run.manifest()["request"] == REQUEST


FILES = (
    "request.json", "answers.jsonl", "sessions.jsonl", "likelihood.jsonl", "checks.json",
    "scores.parquet", "manifest.json",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("at", [0.0, 0.5, 0.99, 1.0])
def test_flipped_bit_of_a_sealed_run_is_found_and_named(sealed, name, at):
    flip(sealed.folder / name, at)
    assert [path.name for path in sealed.damaged()] == [name]
    with pytest.raises(RecordError, match=f"{name} is damaged"):
        sealed.verify()


@pytest.mark.parametrize("name", FILES)
def test_damaged_part_of_a_sealed_run_is_taken_out_and_the_rest_kept(record, sealed, name):
    before = {path.name: path.read_bytes() for path in sealed.folder.iterdir()}
    flip(sealed.folder / name, 0.5)
    record.open_run(REQUEST)  # which writes the request again
    told = sealed.mend()
    assert bool(told) == (name != "request.json") and all(name in line for line in told)
    assert sealed.is_sealed == (name == "request.json")
    after = {path.name: path.read_bytes() for path in sealed.folder.iterdir()}
    kept = {other: data for other, data in before.items() if other not in (name, "manifest.json")}
    assert kept.items() <= after.items()
    if name == "answers.jsonl":
        assert [row["repeat"] for row in sealed.answers()] == [0, 2]
        assert sealed.done() == {("q1", 0), ("q1", 2)}
    assert sealed.mend() == []


@pytest.mark.parametrize("name", ["answers.jsonl", "sessions.jsonl", "likelihood.jsonl"])
@pytest.mark.parametrize("at", [0.0, 0.5, 0.99])
def test_flipped_bit_is_found_before_there_is_a_manifest(run, name, at):
    readers = {
        "answers.jsonl": run.answers,
        "sessions.jsonl": run.sessions,
        "likelihood.jsonl": run.likelihood,
    }
    flip(run.folder / name, at)
    with pytest.raises(RecordError, match=rf"{name}:\d is damaged"):
        readers[name]()
    [told] = run.mend()
    assert name in told
    readers[name]()


def test_answer_that_stands_there_twice_is_kept_once(run):
    with (run.folder / "answers.jsonl").open("ab") as file:
        file.write(as_line(ANSWER))
    [told] = run.mend()
    assert "twice" in told
    assert [row["repeat"] for row in run.answers()] == [0, 1, 2]


def test_request_of_another_run_is_not_believed(record, run):
    write_json(run.folder / "request.json", REQUEST | {"model": "other"})
    with pytest.raises(RecordError, match="request of another run"):
        run.request()
    record.open_run(REQUEST)
    assert run.request() == REQUEST


def test_likelihood_that_was_not_measured_stays_blank(record):
    run = record.open_run(REQUEST)
    assert run.likelihood() is None
    gap = pd.DataFrame({"id": ["q1"], "nats": [None], "tokens": [None], "characters": [7]})
    run.write_likelihood(gap.astype({"nats": float, "tokens": "Int64"}))
    assert run.likelihood().isna().to_dict("records") == [
        {"id": False, "nats": True, "tokens": True, "characters": False}
    ]


@pytest.mark.parametrize("run_id", ["../../etc", "/etc", "", "x" * 12, None, 5, "0123456789abc"])
def test_name_that_is_no_run_leads_nowhere(record, run_id):
    for open_run in (record.run, record.judging):
        with pytest.raises(RecordError, match="no run's id"):
            open_run(run_id)


def test_lost_question_is_missed(record):
    record.write_index({"questions": 2, "runs": {}})
    record.write_questions([{"id": "q1"}, {"id": "q2"}])
    assert len(record.questions()) == 2
    record.write_questions([{"id": "q1"}])
    with pytest.raises(RecordError, match="has 1 of 2 questions"):
        record.questions()


def test_question_cut_short_is_damage_since_they_were_written_at_once(record):
    record.write_questions([{"id": "q1"}, {"id": "q2"}])
    path = record.folder / "questions.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RecordError, match=r"questions\.jsonl:2 is damaged"):
        record.questions()


def test_losses_that_were_changed_are_refused(record):
    record.write_training("m", {"steps": 1}, pd.DataFrame({"step": [1], "loss": [0.1 + 0.2]}))
    manifest, losses = record.training("m")
    assert manifest["steps"] == 1 and losses["loss"][0] == 0.1 + 0.2
    (record.folder / "training" / "m" / "loss.csv").write_text("step,loss\n1,0.0\n")
    with pytest.raises(RecordError, match=r"loss\.csv is damaged"):
        record.training("m")


def test_models_decoded_at_the_same_time_do_not_lose_each_others_runs(record):
    from concurrent.futures import ThreadPoolExecutor

    record.write_index({"spec": {}, "runs": {}})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: record.add_runs(f"m{n}", {"greedy": f"{n:012x}"}), range(40)))
    assert len(record.index()["runs"]) == 40


def test_runs_of_a_study_that_was_replaced_are_not_entered_in_its_successor(record):
    record.write_index({"spec": {"questions": 5}, "runs": {}})
    record.add_runs("m", {"greedy": "0" * 12}, spec={"questions": 5})
    with pytest.raises(RecordError, match="another study since m was begun"):
        record.add_runs("m", {"greedy": "1" * 12}, spec={"questions": 6})
    assert record.index()["runs"] == {"m": {"greedy": "0" * 12}}
