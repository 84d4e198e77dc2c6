"""Anyone's answers: what is read, refused, scored and compared."""

import json
import math

import pytest
import sacrebleu

from alpaca_lab.config import SettingError
from alpaca_lab.metrics.closeness import Closeness
from alpaca_lab.scoring import answers_file
from alpaca_lab.scoring.answers_text import to_text

LINES = [
    {"id": "q1", "reference": "the cat sat on the mat", "answer": "the cat on the mat"},
    {"id": "q2", "reference": "Paris", "answer": "Paris"},
    {"id": "q3", "reference": "a b c", "answer": "c b a"},
]


def write(tmp_path, lines):
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def scored(tmp_path, lines, **options):
    answers = answers_file.read(write(tmp_path, lines))
    return answers_file.table(answers, **options), answers


def entry(frame, group, metric):
    [(_, row)] = frame[(frame["group"] == group) & (frame["metric"] == metric)].iterrows()
    return row


def test_scores_are_those_worked_by_hand(tmp_path):
    """ROUGE-L F1: 10/11, 1 and 1/3; corpus BLEU is sacreBLEU's of the same texts."""
    frame, _ = scored(tmp_path, LINES)
    row = entry(frame, "answers", "rougeL")
    assert row["mean"] == pytest.approx(100 * (10 / 11 + 1 + 1 / 3) / 3)
    assert (row["n"], row["answers"], row["missing"]) == (3, 3, 0)
    texts = [[line[name] for line in LINES] for name in ("answer", "reference")]
    bleu = sacrebleu.corpus_bleu(texts[0], [texts[1]]).score
    chrf = sacrebleu.corpus_chrf(texts[0], [texts[1]]).score
    assert entry(frame, "answers", "corpus_bleu")["mean"] == pytest.approx(bleu)
    assert entry(frame, "answers", "corpus_chrf")["mean"] == pytest.approx(chrf)
    assert entry(frame, "answers", "length_ratio")["mean"] == pytest.approx(9 / 10)


def test_every_row_says_how_it_was_computed(tmp_path):
    closeness = Closeness(signature="bertscore_f1|some-encoder", score=lambda a, b: [9.0] * len(a))
    frame, _ = scored(tmp_path, LINES, closeness=closeness)
    assert frame["signature"].ne("").all()
    row = entry(frame, "answers", "bertscore_f1")
    assert (row["signature"], row["mean"]) == ("bertscore_f1|some-encoder", 9)


def test_without_an_encoder_there_is_no_bertscore_rather_than_a_zero(tmp_path):
    frame, _ = scored(tmp_path, LINES)
    assert "bertscore_f1" not in set(frame["metric"])


def groups_of(n, moves):
    """Group "new" scores above "old" where its move says so: a right answer or a wrong one."""
    right = {"reference": "one two", "answer": "one two"}
    wrong = {"reference": "one two", "answer": "six"}
    for question in range(n):
        yield {"id": question, "group": "old", **wrong}
        yield {"id": question, "group": "new", **(right if moves[question] else wrong)}


def test_groups_are_paired_by_question_with_the_baseline(tmp_path):
    """4 of 5 questions move by 100: mean 80, and of 2**5 flips 2 + 2 reach it: p = 4/32."""
    frame, answers = scored(tmp_path, groups_of(5, [1, 1, 1, 1, 0]), baseline="old")
    row = entry(frame, "new", "rougeL")
    assert row["delta"] == pytest.approx(80)
    assert row["p"] == row["p_holm"] == pytest.approx(4 / 32)
    assert math.isnan(entry(frame, "old", "rougeL")["delta"])
    exploratory = entry(frame, "new", "corpus_bleu")
    assert exploratory["p_bh"] >= exploratory["p"] > 0
    text = to_text(frame, answers, baseline="old")
    assert "Differences from old, paired by question" in text
    assert "+80.00 [+24.47, +135.53]" in text


def test_repeats_are_averaged_before_anything_else(tmp_path):
    lines = [LINES[2] | {"repeat": 0, "answer": "a b c"}, LINES[2] | {"repeat": 1, "answer": "x"}]
    frame, _ = scored(tmp_path, [*lines, LINES[1]])
    row = entry(frame, "answers", "rougeL")
    assert (row["mean"], row["n"], row["answers"]) == (75, 2, 3)
    assert entry(frame, "answers", "unique_answers")["mean"] == 1


def test_missing_answer_is_blank_and_counted_and_an_empty_one_scores_zero(tmp_path):
    lines = [LINES[0] | {"answer": None}, LINES[1] | {"answer": "  "}, LINES[2]]
    frame, answers = scored(tmp_path, lines)
    row = entry(frame, "answers", "rougeL")
    assert row["mean"] == pytest.approx(100 / 3 / 2)
    assert (row["answers"], row["missing"]) == (2, 1)
    assert "1 of 3 answers have no score (1 failed)" in to_text(frame, answers)
    assert entry(frame, "answers", "empty_rate")["mean"] == 0.5


def test_reference_that_is_empty_is_left_out_and_counted(tmp_path):
    frame, answers = scored(tmp_path, [*LINES, {"id": "q4", "reference": " ", "answer": "x"}])
    assert entry(frame, "answers", "rougeL")["n"] == 3
    assert "1 lines have an empty reference: left out" in to_text(frame, answers)
    assert json.loads(answers_file.to_json(frame, answers))["excluded_without_reference"] == 1


def test_reference_that_rouge_cannot_see_is_undefined_and_said_to_be(tmp_path):
    lines = [*LINES, {"id": "q4", "reference": "Привет", "answer": "Привет"}]
    frame, answers = scored(tmp_path, lines)
    assert entry(frame, "answers", "rougeL")["missing"] == 1
    assert entry(frame, "answers", "corpus_bleu")["missing"] == 0
    assert "whose reference the metric cannot see" in to_text(frame, answers)


def test_one_word_reference_has_no_rouge2_and_the_librarys_zero_stands_beside(tmp_path):
    frame, _ = scored(tmp_path, LINES)
    row = entry(frame, "answers", "rouge2")
    assert (row["n"], row["missing"]) == (2, 1)
    assert row["note"].endswith("with 0 for them, as rouge_score has it")


def test_json_and_csv_hold_every_number_and_no_nan(tmp_path):
    frame, answers = scored(tmp_path, groups_of(5, [1, 1, 1, 1, 0]), baseline="old")
    rows = json.loads(answers_file.to_json(frame, answers))["rows"]
    assert len(rows) == len(frame)
    assert "NaN" not in answers_file.to_json(frame, answers)
    assert rows[0]["group"] == "old" and rows[0]["delta"] is None


BAD = [
    ({"id": "q1", "answer": "x"}, "answers.jsonl:2 has no `reference`"),
    ({"id": "q1", "reference": "x"}, "answers.jsonl:2 has no `answer`"),
    (["q1"], "answers.jsonl:2: expected an object"),
    (LINES[0] | {"answer": 5}, "answers.jsonl:2: `answer` must be text, or null"),
    (LINES[0] | {"id": [1]}, "answers.jsonl:2: `id` must be text or a whole number"),
    (LINES[0] | {"repeat": "0"}, "answers.jsonl:2: `repeat` must be a whole number"),
    (LINES[0] | {"group": None}, "answers.jsonl:2: `group` must be text"),
    (LINES[0], r"answers.jsonl:2 answers q1 a second time \(first on line 1\)"),
    (LINES[0] | {"repeat": 1, "reference": "y"}, "answers.jsonl:2 has another reference for q1"),
    (LINES[1] | {"answer": "\ud83e"}, "answers.jsonl:2: `answer` is not valid Unicode"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_bad_line_is_named_with_its_cure(tmp_path, line, message):
    with pytest.raises(SettingError, match=message):
        answers_file.read(write(tmp_path, [LINES[0], line]))


def test_file_without_lines_or_without_references_is_refused(tmp_path):
    with pytest.raises(SettingError, match="has no lines"):
        answers_file.read(write(tmp_path, []))
    with pytest.raises(SettingError, match="every reference is empty"):
        answers_file.read(write(tmp_path, [{"id": 1, "reference": "", "answer": "x"}]))


def test_unknown_baseline_lists_the_groups(tmp_path):
    answers = answers_file.read(write(tmp_path, groups_of(2, [1, 0])))
    with pytest.raises(SettingError, match='no group "greedy".*choose from old, new'):
        answers_file.table(answers, baseline="greedy")


def test_rescaled_bertscore_stands_beside_the_raw_one_and_is_not_tested_again(tmp_path):
    """Raw 90 over a baseline of 80 is half of what is left: 50."""
    closeness = Closeness(
        signature="bertscore_f1|x|rescaled:no", score=lambda a, b: [90.0] * len(a), baseline=80.0
    )
    frame, answers = scored(tmp_path, groups_of(5, [1] * 5), baseline="old", closeness=closeness)
    row = entry(frame, "new", "bertscore_f1_rescaled")
    assert row["mean"] == pytest.approx(50)
    assert row["signature"] == "bertscore_f1|x|rescaled:en-baseline"
    assert math.isnan(row["p"]) and not math.isnan(entry(frame, "new", "bertscore_f1")["p"])
    assert "BERTScore F1, rescaled" in to_text(frame, answers, baseline="old")
