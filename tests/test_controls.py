"""What the controls answer: floors and a ceiling, the same for every model."""

import pytest

from alpaca_lab.scoring import controls
from alpaca_lab.store import CONTROL, Record

QUESTIONS = [
    {"id": name, "cluster": cluster, "instruction": f"say {name}", "input": text, "reference": text}
    for name, cluster, text in (("a", "x", "one"), ("b", "x", "two"), ("c", "y", "three"))
] + [{"id": "d", "cluster": "z", "instruction": "say d", "input": "", "reference": "four"}]


@pytest.fixture
def record(tmp_path):
    made = Record(tmp_path)
    made.write_questions(QUESTIONS)
    made.write_index({"spec": {}, "runs": {}})
    controls.answer(made)
    return made


def texts(record, control):
    run = record.run(record.index()["runs"][CONTROL][control])
    return {row["id"]: row["text"] for row in run.answers()}


def test_silence_and_the_reference_are_the_ends_of_the_scale(record):
    assert set(texts(record, "empty").values()) == {""}
    assert texts(record, "reference") == {row["id"]: row["reference"] for row in QUESTIONS}


def test_a_copied_question_is_its_instruction_and_its_input(record):
    copied = texts(record, "copy")
    assert copied["a"] == "say a\none"
    assert copied["d"] == "say d"


def test_another_rows_answer_is_never_that_of_a_near_duplicate(record):
    """a and b share a cluster: a takes c's answer, not b's; the last takes the first's."""
    assert texts(record, "other") == {"a": "three", "b": "three", "c": "four", "d": "one"}


def test_a_study_of_one_cluster_has_no_other_answer_to_take(tmp_path):
    record = Record(tmp_path)
    record.write_questions(QUESTIONS[:2])
    record.write_index({"spec": {}, "runs": {}})
    controls.answer(record)
    run = record.run(record.index()["runs"][CONTROL]["other"])
    assert [(row["text"], row["status"]) for row in run.answers()] == [("", "empty")] * 2


def test_answering_again_adds_nothing(record):
    before = record.index()["runs"][CONTROL]
    controls.answer(record)
    assert record.index()["runs"][CONTROL] == before
    for name in before:
        assert len(texts(record, name)) == len(QUESTIONS)
        assert len(record.run(before[name]).answers()) == len(QUESTIONS)


def test_another_question_asks_for_other_runs(record):
    before = record.index()["runs"][CONTROL]
    record.write_questions([QUESTIONS[0] | {"instruction": "shout a"}, *QUESTIONS[1:]])
    controls.answer(record)
    assert not set(before.values()) & set(record.index()["runs"][CONTROL].values())
