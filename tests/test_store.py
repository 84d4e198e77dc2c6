"""The record: nothing half-written is taken for a result, and nothing finished is changed."""

import json

import pandas as pd
import pytest

from alpaca_lab.store import Record, RecordError, read_json, read_lines, write_json

REQUEST = {"model": "m", "setting": {"do_sample": False}}
ANSWER = {"id": "q1", "repeat": 0, "status": "ok", "text": "line\u2028break \u0000 \U0001f999"}


def sealed_run(record):
    run = record.open_run(REQUEST)
    run.append(ANSWER)
    run.write_scores(pd.DataFrame([{"id": "q1", "repeat": 0, "rougeL": 50.0}]))
    run.seal({"counts": {"ok": 1}})
    return run


def test_same_request_is_the_same_run(tmp_path):
    record = Record(tmp_path)
    assert record.open_run(REQUEST).id == record.open_run(dict(reversed(REQUEST.items()))).id
    assert record.open_run(REQUEST | {"model": "n"}).id != record.open_run(REQUEST).id


def test_answers_come_back_as_they_were(tmp_path):
    run = Record(tmp_path).open_run(REQUEST)
    run.append(ANSWER)
    assert run.answers() == [ANSWER]
    assert run.done() == {("q1", 0)}


def test_line_cut_short_by_a_kill_is_removed_and_redone(tmp_path):
    run = Record(tmp_path).open_run(REQUEST)
    run.append(ANSWER)
    path = run.folder / "answers.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    assert run.answers() == [ANSWER]
    assert path.read_bytes() == whole


def test_session_is_not_glued_to_a_line_cut_short(tmp_path):
    run = Record(tmp_path).open_run(REQUEST)
    run.append_session({"answers": 1})
    with (run.folder / "sessions.jsonl").open("a") as file:
        file.write('{"answers": 2, "wall')
    run.append_session({"answers": 3})
    assert run.sessions() == [{"answers": 1}, {"answers": 3}]


def test_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(RecordError, match=r"answers\.jsonl:2 is damaged"):
        read_lines(path)


def test_finished_run_is_never_changed(tmp_path):
    run = sealed_run(Record(tmp_path))
    with pytest.raises(RecordError, match="never changed"):
        run.append(ANSWER)
    with pytest.raises(RecordError, match="never changed"):
        run.seal({})


def test_edited_scores_are_refused(tmp_path):
    run = sealed_run(Record(tmp_path))
    run.verify()
    pd.DataFrame([{"id": "q1", "repeat": 0, "rougeL": 99.0}]).to_parquet(
        run.folder / "scores.parquet"
    )
    with pytest.raises(RecordError, match="scores.parquet does not match its manifest"):
        run.verify()


def test_checks_stand_side_by_side_and_are_sealed_with_the_run(tmp_path):
    record = Record(tmp_path)
    run = record.open_run(REQUEST)
    assert run.checks() == {}
    run.add_check("dense", {"agreement": 1.0})
    run.add_check("identity", {"slots": 4})
    assert run.checks() == {"dense": {"agreement": 1.0}, "identity": {"slots": 4}}
    run = sealed_run(record)
    run.verify()
    with pytest.raises(RecordError, match="never changed"):
        run.add_check("dense", {"agreement": 0.5})
    write_json(run.folder / "checks.json", {"dense": {"agreement": 0.5}})
    with pytest.raises(RecordError, match="checks.json does not match its manifest"):
        run.verify()


def test_run_is_whole_only_with_its_manifest(tmp_path):
    run = Record(tmp_path).open_run(REQUEST)
    run.append(ANSWER)
    assert not run.is_sealed
    run.seal({})
    assert run.is_sealed and run.manifest()["request"] == REQUEST


def test_interrupted_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "manifest.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["manifest.json"]


def test_missing_record_says_what_to_do(tmp_path):
    with pytest.raises(RecordError, match="run the stage that writes it"):
        read_json(tmp_path / "study.json")


def test_models_decoded_at_the_same_time_do_not_lose_each_others_runs(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    record = Record(tmp_path)
    record.write_index({"runs": {}})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: record.add_runs(f"m{n}", {"greedy": f"{n:012x}"}), range(40)))
    assert len(record.index()["runs"]) == 40
