"""A judge that is a model: asked in both orders, never twice, and told apart from people."""

import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from alpaca_lab import report
from alpaca_lab.config import TINY, SettingError, as_dict, fingerprint
from alpaca_lab.files import RecordError
from alpaca_lab.human.plan import Item
from alpaca_lab.judge import command, judging, model, people, prompt, stage
from alpaca_lab.judge.judging import judge
from alpaca_lab.judge.pairs import Pair, reference_pairs
from alpaca_lab.judge.record import LINES, judgements
from alpaca_lab.judge.verdicts_table import agreement, judge_table
from alpaca_lab.pages import latex, markdown, render_judge, study_pages, webpage
from alpaca_lab.profiles import PROFILES
from alpaca_lab.scoring import controls
from alpaca_lab.store import CONTROL, Record

IDENTITY = {"source": "stub", "revision": None, "sha256": "a" * 64, "dtype": "float32"}
TITLES = {"alpha": "Alpha", "beta": "Beta"}
LN = math.log


class Stub:
    """A judge by a rule: how likely it says A of two texts. Counts what it is asked."""

    def __init__(self, rule, *, obstacles=None):
        self.rule = rule
        self.obstacles = obstacles or {}
        self.asked = []
        self.calls = 0

    def __call__(self, questions):
        self.calls += 1
        self.asked += questions
        rows = []
        for question in questions:
            first, second = shown(question)
            chance = self.rule(first, second)
            with np.errstate(divide="ignore"):
                rows.append(np.log([chance, 1 - chance]))
        return np.array(rows)

    def obstacle(self, question):
        return next((why for text, why in self.obstacles.items() if text in question), None)

    def facts(self):
        return {"device": "stub"}


def shown(question):
    """Return the two answers of a question, in the order in which they are shown."""
    return re.findall(r"\[Answer [AB]\]\n(.*?)\n\[End of answer [AB]\]", question, re.DOTALL)


def first(_, __):
    return 1.0


def longer(one, other):
    return 0.8 if len(one.split()) > len(other.split()) else 0.2


def marked(one, other):
    return 0.9 if "*" in one else 0.2


def pair(n, answer="an answer", other="the reference", **changes):
    fields = {
        "id": f"q{n}",
        "cluster": f"c{n}",
        "model": "alpha",
        "cell": "greedy",
        "repeat": 0,
        "instruction": f"Do {n}.",
        "input": "",
        "answer": answer,
        "opponent": "reference",
        "opponent_answer": other,
        "runs": ("0123456789ab",),
    }
    return Pair(**fields | changes)


def judged(pairs, stub, folder, **identity):
    return judge(pairs, root=folder, identity=IDENTITY | identity, open_judge=lambda: stub)


def table(pairs, rule, folder):
    return judge_table(judgements(judged(pairs, Stub(rule), folder))).iloc[0]


def refuse():
    raise AssertionError("the judge was opened")


# What a judge prefers


def test_judge_that_likes_the_first_place_likes_neither_answer(tmp_path):
    row = table([pair(n) for n in range(4)], first, tmp_path)
    assert (row["win_rate"], row["ci_low"], row["ci_high"]) == (0.5, 0.5, 0.5)
    assert (row["first_share"], row["consistent"], row["label_mass"]) == (1.0, 0.0, 1.0)


def test_judge_that_likes_length_is_even_once_length_is_controlled(tmp_path):
    texts = ["one two three"] * 18 + ["one"] * 2  # against two words
    row = table([pair(n, text, "one two") for n, text in enumerate(texts)], longer, tmp_path)
    assert row["win_rate"] == pytest.approx(0.74)  # 18 at .8, 2 at .2
    assert row["ci_low"] > 0.6
    assert row["length_controlled"] == pytest.approx(0.5, abs=0.02)
    assert row["length_controlled_low"] < 0.5 < row["length_controlled_high"]
    assert (row["consistent"], row["first_share"]) == (1.0, 0.5)


def test_judge_that_likes_a_mark_prefers_it_in_both_places(tmp_path):
    run = judged([pair(0, "marked *"), pair(1, "plain", "marked *")], Stub(marked), tmp_path)
    found = judgements(run).set_index("id")
    # Shown first the mark gets .9; shown second it gets what the plain text leaves, .8.
    assert found.loc["q0", ["p_first", "p_second"]].tolist() == pytest.approx([0.9, 0.8])
    assert found.loc["q1", ["p_first", "p_second"]].tolist() == pytest.approx([0.2, 0.1])
    assert found["preference"].tolist() == pytest.approx([0.85, 0.15])


def test_both_orders_are_asked_with_the_same_instruction(tmp_path):
    stub = Stub(marked)
    judged([pair(0, "mine", "theirs", input="gold, cake")], stub, tmp_path)
    assert [shown(question) for question in stub.asked] == [["mine", "theirs"], ["theirs", "mine"]]
    assert all("[Input]\ngold, cake\n" in question for question in stub.asked)


def test_label_mass_is_what_the_two_letters_have_together(tmp_path):
    class Evasive(Stub):
        def __call__(self, questions):
            return np.array([[LN(0.03), LN(0.01)], [LN(0.01), LN(0.01)]])

    line = judgements(judged([pair(0)], Evasive(first), tmp_path)).iloc[0]
    assert line["p_first"] == pytest.approx(0.75)  # .03 of .03 + .01
    assert line["p_second"] == pytest.approx(0.5)
    assert line["label_mass"] == pytest.approx(0.03)  # the mean of .04 and .02


# What is not judged


def test_what_cannot_be_judged_is_blank_counted_and_has_its_reason(tmp_path):
    class Broken(Stub):
        def __call__(self, questions):
            found = super().__call__(questions)
            found[[("broken" in question) for question in questions], 1] = math.nan
            return found

    pairs = [
        pair(0, None),
        pair(1, None),
        pair(2, "the reference\n"),
        pair(3, "very long"),
        pair(4, "broken"),
        pair(5, ""),
        pair(6),
    ]
    stub = Broken(first, obstacles={"very long": model.TOO_LONG})
    run = judged(pairs, stub, tmp_path)
    assert run.manifest()["counts"] == {
        "missing": 2, "identical": 1, model.TOO_LONG: 1, "failed": 1, "judged": 2,
    }  # fmt: skip
    found = judgements(run).set_index("id")
    assert found.loc[["q0", "q2", "q3", "q4"], ["p_first", "preference"]].isna().all().all()
    assert len(stub.asked) == 6  # the broken one, the empty one and the last, in both orders
    row = judge_table(judgements(run)).iloc[0]
    assert (row["n"], row["pairs"], row["identical"], row["missing"]) == (2, 2, 1, 4)
    assert "2 without an answer" in row["note"] and "1 failed in the judge" in row["note"]
    assert "1 longer than the judge's context" in row["note"]


def test_labels_without_any_probability_are_a_failure_and_no_tie(tmp_path):
    class Mute(Stub):
        def __call__(self, questions):
            return np.full((len(questions), 2), -math.inf)

    assert judgements(judged([pair(0)], Mute(first), tmp_path))["status"].tolist() == ["failed"]


def test_judge_is_not_even_loaded_where_nothing_can_be_asked(tmp_path):
    run = judge([pair(0, None)], root=tmp_path, identity=IDENTITY, open_judge=refuse)
    assert run.is_sealed and run.manifest()["judge"] is None


def test_same_texts_are_asked_about_once(tmp_path):
    stub = Stub(marked)
    run = judged([pair(0), pair(0, cell="base"), pair(0, model="beta")], stub, tmp_path)
    assert len(stub.asked) == 2
    assert len(judgements(run)) == 3


def test_two_pairs_with_one_key_are_refused(tmp_path):
    with pytest.raises(RecordError, match="2 pairs to judge have one key"):
        judged([pair(0), pair(0, "another")], Stub(first), tmp_path)


# The record


def test_cut_line_and_an_interrupt_cost_only_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(judging, "TEXTS_AT_ONCE", 2)
    pairs = [pair(n, f"answer {n}") for n in range(6)]

    class Interrupted(Stub):
        def __call__(self, questions):
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().__call__(questions)

    with pytest.raises(KeyboardInterrupt):
        judged(pairs, Interrupted(marked), tmp_path)
    [folder] = [path for path in tmp_path.iterdir() if path.is_dir()]
    lines = folder / LINES
    assert len(lines.read_text().splitlines()) == 4
    assert not (folder / "manifest.json").exists()
    lines.write_bytes(lines.read_bytes()[:-9])  # a kill in the middle of the fourth

    again = Stub(marked)
    run = judged(pairs, again, tmp_path)
    assert len(again.asked) == 2 * 3
    assert run.folder == folder and run.is_sealed
    whole = judged(pairs, Stub(marked), tmp_path / "whole")
    pd.testing.assert_frame_equal(judgements(run), judgements(whole))
    # The killed line was counted by its session, so what all of it took is not known.
    assert run.manifest()["wall_s"] is None and whole.manifest()["wall_s"] >= 0


def test_finished_judging_is_read_and_not_paid_for_again(tmp_path):
    run = judged([pair(0)], Stub(first), tmp_path)
    again = judge([pair(0)], root=tmp_path, identity=IDENTITY, open_judge=refuse)
    assert again.folder == run.folder == tmp_path / fingerprint(run.request())


def test_another_judge_text_or_wording_is_another_judging(tmp_path, monkeypatch):
    folders = {
        judged([pair(0)], Stub(first), tmp_path).id,
        judged([pair(0)], Stub(first), tmp_path, sha256="b" * 64).id,
        judged([pair(0, "else")], Stub(first), tmp_path).id,
        judged([pair(0, cluster="c9")], Stub(first), tmp_path).id,
    }
    monkeypatch.setattr(judging, "TEMPLATE_SHA256", "c" * 64)
    folders.add(judged([pair(0)], Stub(first), tmp_path).id)
    assert len(folders) == 5


def test_record_holds_no_text_and_a_changed_one_is_judged_again(tmp_path):
    run = judged([pair(0, "a private matter")], Stub(first), tmp_path)
    texts = "".join(path.read_text() for path in run.folder.iterdir())
    assert "private" not in texts and "Do 0." not in texts
    assert "not of people" in run.manifest()["kind"]
    assert set(run.manifest()["sha256"]) == {"request.json", "judgements.jsonl", "sessions.jsonl"}
    lines = run.folder / LINES
    whole = lines.read_bytes()
    lines.write_bytes(whole.replace(b'"p_first": 1.0', b'"p_first": 0.0'))
    with pytest.raises(RecordError, match="does not match its manifest"):
        run.verify()
    judged([pair(0, "a private matter")], Stub(first), tmp_path).verify()
    assert lines.read_bytes() == whole


def test_each_line_can_be_traced_to_its_texts(tmp_path):
    run = judged([pair(0, "one two", "three")], Stub(first), tmp_path)
    line = json.loads((run.folder / LINES).read_text())
    assert (line["answer_words"], line["opponent_words"]) == (2, 1)
    assert line["answer_sha256"] == "8ab63e29a4ba14e4"  # printf "one two" | sha256sum


# The question


def test_hostile_texts_stay_as_they_are():
    text = "{second} {instruction} \\1 <script>alert(1)</script> [End of answer A]\x1b[31m"
    question = prompt.render(text, text, first=text, second="{first}")
    assert question.count(text) == 3
    assert question.count("{first}") == 1 and question.count("{second}") == 3


def test_question_without_input_has_no_empty_section():
    assert "[Input]" not in prompt.render("Say hello.", "", first="a", second="b")


# The table, by hand


def lines(rows):
    """Return judgements from (id, cluster, p_first, p_second, mass)."""
    frame = pd.DataFrame(rows, columns=["id", "cluster", "p_first", "p_second", "label_mass"])
    frame = frame.assign(
        opponent="reference", model="alpha", cell="greedy", repeat=0, status="judged",
        preference=(frame["p_first"] + frame["p_second"]) / 2, opponent_words=10.0,
    )  # fmt: skip
    return frame.assign(answer_words=[9.0 + 2 * (n % 2) for n in range(len(frame))])


FOUR = [
    ("q1", "c1", 0.9, 0.7, 0.9),  # preference .8
    ("q2", "c1", 0.6, 0.2, 0.8),  # .4; the first shown is preferred in either order
    ("q3", "c2", 1.0, 0.6, 0.7),  # .8
    ("q4", "c3", 0.3, 0.1, 0.6),  # .2
]


def test_table_of_four_pairs_is_as_worked_by_hand():
    row = judge_table(lines(FOUR)).iloc[0]
    assert (row["n"], row["pairs"], row["identical"], row["missing"]) == (3, 4, 0, 0)
    assert row["win_rate"] == pytest.approx((0.6 + 0.8 + 0.2) / 3, abs=1e-6)
    # sd .305505, t of two degrees 4.302653: half a width of .758920 passes both bounds.
    assert (row["ci_low"], row["ci_high"]) == (0.0, 1.0)
    assert row["first_share"] == pytest.approx(0.65)  # .6 and .7; .7; .6
    assert row["consistent"] == pytest.approx(5 / 6, abs=1e-6)  # one of two; one; one
    assert row["label_mass"] == pytest.approx((0.85 + 0.7 + 0.6) / 3, abs=1e-6)
    assert row["note"] == ""


def test_interval_is_the_t_interval_over_clusters_where_it_fits():
    rows = [(f"q{n}", f"c{n}", p, p, 1.0) for n, p in enumerate((0.4, 0.5, 0.6, 0.5))]
    row = judge_table(lines(rows)).iloc[0]
    half = 3.182446 * math.sqrt(0.02 / 3) / 2  # t of three degrees; sd of .4 .5 .6 .5; root of 4
    assert row["win_rate"] == 0.5
    assert row["ci_low"] == pytest.approx(0.5 - half, abs=1e-5)
    assert row["ci_high"] == pytest.approx(0.5 + half, abs=1e-5)


def test_one_question_has_a_rate_and_no_interval():
    row = judge_table(lines(FOUR[:1])).iloc[0]
    assert row["win_rate"] == 0.8 and math.isnan(row["ci_low"])
    assert row["note"] == "one question has no interval"


def test_length_is_not_controlled_where_every_answer_is_shorter():
    row = judge_table(lines(FOUR).assign(answer_words=0.0)).iloc[0]
    assert math.isnan(row["length_controlled"])
    assert "every answer is shorter than its opponent" in row["note"]


# Agreement with people


def twelve(opponent, preferences, scores):
    rows = [(f"q{n}", f"c{n}", p, p, 1.0) for n, p in enumerate(preferences)]
    judged = lines(rows).assign(opponent=opponent)
    keys = ["opponent", "model", "cell", "repeat", "id", "cluster"]
    return judged, judged[keys].assign(score=scores)


def test_agreement_is_the_share_of_pairs_on_which_both_side_alike():
    preferences = [0.9] * 6 + [0.1] * 5 + [0.5]
    scores = [1.0] * 5 + [0.0] + [0.0] * 4 + [0.5] + [1.0]
    row = agreement(*twelve("greedy", preferences, scores)).iloc[0]
    # Two are undecided, one by each; of the other ten, nine alike.
    assert (row["pairs"], row["decided"], row["alike"]) == (12, 10, 0.9)
    assert row["alike_low"] == pytest.approx(0.59585, abs=1e-5)  # Wilson, 9 of 10
    assert row["alike_high"] == pytest.approx(0.98213, abs=1e-5)
    assert 0 < row["spearman"] < 1 and row["spearman_low"] < row["spearman"]


def test_acceptability_is_compared_by_rank_alone():
    values = [n / 12 for n in range(12)]
    row = agreement(*twelve("reference", values, [value**2 for value in values])).iloc[0]
    assert row["spearman"] == 1.0
    assert row["decided"] == 0 and math.isnan(row["alike"])


def test_fewer_than_ten_shared_pairs_are_no_agreement():
    judged, human = twelve("greedy", [0.9] * 12, [1.0] * 12)
    row = agreement(judged, human.head(9)).iloc[0]
    assert row["pairs"] == 9 and math.isnan(row["alike"]) and math.isnan(row["spearman"])
    assert row["note"] == "9 pairs are judged and rated by people; 10 are needed"


def test_side_that_never_varies_has_no_rank_correlation():
    row = agreement(*twelve("greedy", [0.9] * 12, [1.0] * 12)).iloc[0]
    assert row["alike"] == 1.0 and math.isnan(row["spearman"])
    assert "never varies" in row["note"]


# The page


def study_table(**rates):
    """Return a judge's table of two models and three floors, each at the rate given, give .05."""
    rows = {"alpha greedy": 0.4, "beta greedy": 0.45, f"{CONTROL} empty": 0.02} | rates
    return pd.DataFrame(
        [
            {
                "opponent": "reference", "model": name.split()[0], "cell": name.split()[1],
                "n": 50, "pairs": 50, "identical": 0, "missing": 0, "win_rate": rate,
                "ci_low": max(rate - 0.05, 0), "ci_high": rate + 0.05,
                "length_controlled": rate, "length_controlled_low": rate - 0.05,
                "length_controlled_high": rate + 0.05, "first_share": 0.55, "consistent": 0.8,
                "label_mass": 0.97, "note": "",
            }
            for name, rate in rows.items()
        ]
    )  # fmt: skip


def rendered(frame, agreed=None, source="owner/judge"):
    if agreed is None:
        agreed = pd.DataFrame({"pairs": [0]})
    return render_judge.judge(frame, agreed, TITLES, name=source, recipe="llm-judge|...")


def test_title_says_that_a_model_judges_and_no_people():
    page = rendered(study_table())
    assert page.title == (
        "LLM judge owner/judge (a model, not people): how often it prefers answers to the reference"
    )
    assert "no human ratings" in " ".join(page.reading)
    assert page.warnings == ()
    assert page.rows[0][:3] == ("Alpha, finetuned", "the reference", "40.00 [35.00, 45.00]")
    assert page.rows[2][0] == "floor: empty answer"


def test_judge_that_likes_a_floor_is_worth_nothing_and_the_page_says_so():
    page = rendered(study_table(**{f"{CONTROL} copy": 0.46}))
    likes, meets = page.warnings
    assert "floor: copied instruction" in likes and "worth nothing" in likes
    assert "floor: copied instruction and finetuned Alpha and Beta" in meets
    assert "empty answer" not in likes + meets
    assert "clearly above every floor: no model" in page.reading[0]


def test_floor_that_reaches_one_model_is_a_warning_about_that_one():
    [warning] = rendered(study_table(**{f"{CONTROL} other": 0.32})).warnings
    assert "floor: another row's answer and finetuned Alpha." in warning
    assert "Beta" not in warning


def test_judge_without_a_floor_is_itself_unjudged():
    frame = study_table()
    [warning] = rendered(frame[frame["model"] != CONTROL]).warnings
    assert warning.startswith("No floor was judged")


def test_place_that_decides_and_labels_that_it_avoids_are_warned_of():
    warnings = rendered(study_table().assign(consistent=0.3, label_mass=0.1)).warnings
    assert "a place, not an answer: both orders prefer the same answer in 30.00%" in warnings[0]
    assert "something else than A or B: together they have 10.00%" in warnings[1]


def test_people_who_agree_stand_on_the_page_with_their_interval():
    agreed = agreement(*twelve("greedy", [0.9] * 12, [1.0] * 12))
    assert "people side with it in 100.00 [" in " ".join(rendered(study_table(), agreed).reading)


def test_hostile_name_of_a_judge_is_shown_and_never_rendered():
    page = rendered(study_table(), source="<img src=x>|\x1b[31m`$\\x$")
    assert "\\<img src=x\\>\\|" in markdown.page(page)
    assert "<img" not in webpage.page(page)
    written = (markdown.page(page), webpage.page(page), latex.page(page, label="judge"))
    assert not any("\x1b" in text for text in written)


# A study


@pytest.fixture
def study(tmp_path):
    """The record of a study with two questions and one model, decoded and scored."""
    record = Record(tmp_path / "results")
    record.write_questions(
        {"id": f"q{n}", "cluster": f"c{n}", "instruction": f"Say {n}.", "input": "",
         "reference": f"reference {n}"}
        for n in range(2)
    )  # fmt: skip
    spec = replace(PROFILES["smoke"], models=PROFILES["smoke"].models[:1])
    record.write_index({"spec": as_dict(spec), "runs": {}})
    runs = {}
    for cell in ("greedy", "base"):
        run = record.open_run({"cell": cell, "repeats": 1})
        run.append({"id": "q0", "repeat": 0, "status": "ok", "text": f"{cell} *"})
        run.append({"id": "q1", "repeat": 0, "status": "failed", "text": ""})
        runs[cell] = run.id
    record.add_runs("tiny-llama", runs)
    controls.answer(record)
    for _, _, run in record.runs():
        run.seal({})
    return record


def test_main_tables_rows_are_set_beside_the_reference(study):
    pairs = reference_pairs(study)
    assert [(p.model, p.cell) for p in pairs[::2]] == [
        ("tiny-llama", "greedy"), ("tiny-llama", "base"),
        (CONTROL, "empty"), (CONTROL, "copy"), (CONTROL, "other"),
    ]  # fmt: skip
    assert [p.answer for p in pairs[:2]] == ["greedy *", None]
    assert pairs[4].answer == "" and pairs[4].opponent_answer == "reference 0"
    assert pairs[-1].answer == "reference 0"  # of the other row
    assert {p.id for p in reference_pairs(study, questions=1)} == {"q0"}


def test_changed_answers_are_not_judged(study):
    run = study.run(study.index()["runs"]["tiny-llama"]["greedy"])
    answers = run.folder / "answers.jsonl"
    answers.write_text(answers.read_text().replace("greedy", "better"))
    with pytest.raises(RecordError, match="does not match"):
        reference_pairs(study)


def test_study_is_scored_before_it_is_judged(study):
    run = study.run(study.index()["runs"]["tiny-llama"]["base"])
    (run.folder / "manifest.json").unlink()
    with pytest.raises(RecordError, match="tiny-llama, base is not scored"):
        reference_pairs(study)


def test_study_is_judged_beside_pairs_of_its_own_greedy_answer(study, monkeypatch):
    monkeypatch.setattr(stage, "identity", lambda spec: IDENTITY)
    own = pair(0, "hot *", "greedy *", model="tiny-llama", cell="top_k=4", opponent="greedy")
    stub = Stub(marked)
    run = stage.judge_study(study, str(TINY / "llama"), pairs=[own], open_judge=lambda spec: stub)
    page = study_pages.judge_page(study)
    assert [row[:2] for row in page.rows][-1] == ("Tiny LLaMA, top-k 4", "its own greedy answer")
    assert "to the reference and its own greedy answer" in page.title
    judged_runs = {r.id for _, cell, r in study.runs() if cell != "reference"}
    assert set(page.runs) == judged_runs | set(own.runs)
    assert page.title.startswith("LLM judge stub (a model, not people")
    assert study.index()["judging"] == run.id
    run.verify()


def planned(study, monkeypatch):
    """Plan one pair for people: the untuned answer beside the greedy one."""
    runs = study.index()["runs"]["tiny-llama"]
    item = Item(
        id="0123456789ab", question="q0", cluster="c0", model="tiny-llama", cell="base", repeat=0,
        run=runs["base"], text_sha256="", opponent=runs["greedy"], opponent_sha256="",
    )  # fmt: skip
    monkeypatch.setattr(people.plans, "exists", lambda record, mode: mode == "pairwise")
    plan = SimpleNamespace(items={item.id: item})
    monkeypatch.setattr(people.plans, "read", lambda record, mode: plan)


def test_pairs_that_people_are_asked_about_can_be_judged_too(study, monkeypatch):
    assert people.planned_pairs(study) == []
    planned(study, monkeypatch)
    [found] = people.planned_pairs(study)
    assert found.key == ("greedy", "tiny-llama", "base", 0, "q0")
    assert (found.answer, found.opponent_answer) == ("base *", "greedy *")
    assert len(found.runs) == 2


def test_ratings_of_several_people_are_averaged_and_none_are_invented(study, monkeypatch):
    assert people.ratings(study).empty
    rows = pd.DataFrame(
        {"model": "m", "cell": "base", "repeat": 0, "id": "q0", "cluster": "c0",
         "value": [1.0, 0.5, math.nan]}
    )  # fmt: skip
    nothing = rows.iloc[:0]
    monkeypatch.setattr(
        people.values,
        "read",
        lambda record, mode: SimpleNamespace(rows=rows if mode == "pairwise" else nothing),
    )
    [found] = people.ratings(study).to_dict("records")
    assert (found["opponent"], found["id"], found["score"]) == ("greedy", "q0", 0.75)


def test_command_prints_the_page_and_says_where_it_is(study, monkeypatch):
    monkeypatch.setattr(stage, "identity", lambda spec: IDENTITY)
    stub = Stub(marked)
    judge_study = stage.judge_study
    monkeypatch.setattr(
        stage,
        "judge_study",
        lambda *args, **options: judge_study(*args, **options, open_judge=lambda spec: stub),
    )
    monkeypatch.setattr(command.Record, "of", lambda name: study)
    planned(study, monkeypatch)
    nobody = people.ratings(study)
    monkeypatch.setattr(people, "ratings", lambda record: nobody)
    app = typer.Typer()
    app.command()(command.judge)
    said = CliRunner().invoke(app, ["--judge", str(TINY / "llama"), "--questions", "1"])
    assert said.exit_code == 0, said.output
    assert "(a model, not people)" in said.output and "no human ratings" in said.output
    assert "its\u00a0own\u00a0greedy\u00a0answer" in said.output
    assert f"written to {study.folder / 'judge'}" in said.output
    # Five answers to one question against the reference, and the pair; all in both orders.
    assert len(stub.asked) == 12


@pytest.fixture
def whole(tmp_path, monkeypatch):
    """A record that a whole report can be built from; its figures are not drawn."""
    import test_report

    for module in (report.figures, report.human_figures):
        for name in ("axis", "main", "contrasts", "cost", "loss", "scores", "metrics"):
            monkeypatch.setattr(module, name, lambda *_, **__: b"\x89PNG", raising=False)
    monkeypatch.setattr(stage, "identity", lambda spec: IDENTITY)
    record = test_report.fabricate(tmp_path)
    stage.judge_study(record, str(TINY / "llama"), open_judge=lambda spec: Stub(first_by_3_to_1))
    return record


def first_by_3_to_1(_, __):
    return 0.75


def test_judge_has_a_column_of_its_own_and_human_stays_not_collected(whole):
    report.build(whole)
    assert report.check(whole) == []
    main = report.read_table(whole, "main")
    judged = main[main["metric"] == "judge"]
    assert set(judged["mean"]) == {0.5} and len(judged) == 7  # all rows but the reference
    assert judged["signature"].str.startswith("llm-judge|stub|").all()
    assert main[main["metric"] == "human"]["mean"].isna().all()
    page = report.show(whole, "main").data
    assert "| Human (0-1) | LLM judge (a model) (0-1) |" in page
    assert page.count("not<br>collected") == 8
    assert "LLM judge: how often the model stub prefers the answer to the reference" in page
    assert "There are no human ratings to compare it with" in report.show(whole, "judge").data
    assert report.read_table(whole, "judge_agreement")["alike"].isna().all()


def test_judging_of_answers_that_are_gone_leaves_the_column_blank_with_its_reason(whole):
    index = whole.index()
    index["runs"]["alpha"]["greedy"] = index["runs"]["alpha"]["base"]
    whole.write_index(index)
    report.build(whole)
    main = report.read_table(whole, "main")
    assert main[main["metric"] == "judge"]["mean"].isna().all()
    assert "judged were answers that this study no longer has" in report.show(whole, "main").data


def test_changed_judgement_stops_the_tables(whole):
    [lines] = whole.judgings.glob("*/judgements.jsonl")
    lines.write_text(lines.read_text().replace('"judged"', '"failed"', 1))
    with pytest.raises(RecordError, match="does not match its manifest"):
        report.build(whole)


# The judge itself


def test_judge_is_a_folder_or_a_pinned_commit():
    assert model.parse_judge(str(TINY / "llama")).is_local
    commit = "0123456789" * 4
    found = model.parse_judge(f"owner/some.judge-7B@{commit}")
    assert (found.source, found.revision) == ("owner/some.judge-7B", commit)
    for wrong in ("owner/judge", "owner/judge@main", f"judge@{commit}", f"a/b/c@{commit}", "/none"):
        with pytest.raises(SettingError, match="owner/name@COMMIT"):
            model.parse_judge(wrong)


def letters(text):
    return [ord(character) for character in text]


def test_letter_is_taken_as_the_one_token_that_follows():
    spaced = lambda text: letters(text.replace(" A", "\u0410").replace(" B", "\u0412"))  # noqa: E731
    assert model.label_ids(spaced, "is:", name="j") == ((65, 0x410), (66, 0x412))
    assert model.label_ids(letters, "is:", name="j") == ((65,), (66,))  # " A" is two tokens


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: [0 if c in "AB" else ord(c) for c in text],  # both are unknown to it
        lambda text: letters(text.replace("A", "aa").replace("B", "ab")),  # two tokens each
        lambda text: letters(text.replace(":A", "1").replace(":B", "2").replace(": ", "3")),
    ],
)
def test_tokenizer_that_cannot_tell_the_letters_apart_is_refused(encode):
    with pytest.raises(SettingError, match="does not tell A from B"):
        model.label_ids(encode, "is:", name="j")


QUESTIONS = [
    prompt.render("Name a colour.", "", first="Red.", second="An ant is tiny. " * 9),
    prompt.render("Sort the words.", "gold, cake", first="cake, gold", second=""),
    prompt.render("Describe an ant.", "", first="An ant is tiny.", second="Gold is dear."),
]


@pytest.fixture(scope="module", params=["llama", "mistral", "phi"])
def loaded(request):
    return model.ModelJudge(model.parse_judge(str(TINY / request.param)))


@pytest.mark.model
def test_batched_judgements_are_those_of_each_question_alone(loaded):
    import torch

    together = loaded(QUESTIONS)
    alone = np.concatenate([loaded([question]) for question in QUESTIONS])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    ids = torch.tensor([loaded._read(QUESTIONS[0])])
    with torch.no_grad():  # and those are Transformers' own
        chances = loaded.model(input_ids=ids).logits[0, -1].log_softmax(-1)
    assert together[0] == pytest.approx([float(chances[i]) for (i,) in loaded.labels], abs=1e-4)
    assert (together < 0).all() and len(np.unique(together)) == 6


@pytest.mark.model
def test_questions_of_any_length_keep_their_order(loaded, monkeypatch):
    monkeypatch.setattr(model, "BATCH_TOKENS", {"cpu": 1, "cuda": 1})
    one_by_one = loaded(QUESTIONS)
    np.testing.assert_allclose(loaded(QUESTIONS[::-1])[::-1], one_by_one, atol=1e-6)


@pytest.mark.model
def test_pass_that_memory_is_too_short_for_is_split(loaded, monkeypatch):
    import torch

    wanted, real = loaded(QUESTIONS), loaded._pass

    def short(rows):
        if len(rows) > 1:
            raise torch.OutOfMemoryError
        return real(rows)

    monkeypatch.setattr(loaded, "_pass", short)
    np.testing.assert_allclose(loaded(QUESTIONS), wanted, atol=1e-4)

    def none(rows):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(loaded, "_pass", none)
    with pytest.raises(SettingError, match="memory is too short"):
        loaded(QUESTIONS)


@pytest.mark.model
def test_question_beyond_the_context_or_with_a_control_token_is_not_asked(loaded):
    assert loaded.obstacle(QUESTIONS[0]) is None
    long = prompt.render("Say.", "", first="ant " * loaded.context, second="b")
    assert loaded.obstacle(long) == model.TOO_LONG
    ended = prompt.render("Say.", "", first="a</s>", second="b")
    assert loaded.obstacle(ended) == model.CONTROL_TOKEN


@pytest.mark.model
def test_question_that_just_fills_the_context_is_asked(loaded, monkeypatch):
    exact = len(loaded._read(QUESTIONS[0]))
    monkeypatch.setattr(loaded, "context", exact)
    assert loaded.obstacle(QUESTIONS[0]) is None
    monkeypatch.setattr(loaded, "context", exact - 1)
    assert loaded.obstacle(QUESTIONS[0]) == model.TOO_LONG


@pytest.mark.model
def test_real_checkpoint_judges_a_study_seals_it_and_is_not_asked_again(study, monkeypatch):
    source = str(TINY / "llama")
    asked = []
    real = model.ModelJudge.__call__
    monkeypatch.setattr(
        model.ModelJudge, "__call__", lambda self, q: asked.extend(q) or real(self, q)
    )
    run = stage.judge_study(study, source)
    # Of ten pairs two lack an answer; each of the others is asked in both orders.
    assert len(asked) == 16 and run.is_sealed
    manifest = run.manifest()
    assert manifest["counts"] == {"missing": 2, "judged": 8}
    assert manifest["judge"]["device"] in ("cpu", "cuda")
    assert manifest["judge"]["chat_template"] is None
    assert len(manifest["request"]["judge"]["sha256"]) == 64
    found = judgements(run)
    judged_rows = found[found["status"] == "judged"]
    assert judged_rows["label_mass"].between(0, 1).all()
    assert judged_rows["preference"].between(0, 1).all()
    assert stage.judge_study(study, source, open_judge=lambda spec: refuse()) == run
    assert "model, not people" in study_pages.judge_page(study).title


@pytest.mark.model
def test_chat_template_is_used_where_there_is_one_and_is_part_of_who_judges(copied):
    spec, folder = copied
    before = model.identity(model.parse_judge(str(folder)))
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}<s>user: {{ m['content'] }}</s>{% endfor %}"
        "{{ date_string }}{% if enable_thinking %}<think>{% endif %}"
        "{% if add_generation_prompt %}{{ '\\njudge:' }}{% endif %}"
    )
    after = model.identity(model.parse_judge(str(folder)))
    assert before["sha256"] == after["sha256"] and before["tokenizer"] != after["tokenizer"]
    judge = model.ModelJudge(model.parse_judge(str(folder)))
    text = prompt.as_read(judge.tokenizer, QUESTIONS[0])
    assert text == f"<s>user: {QUESTIONS[0]}</s>26 Jul 2024\njudge:"
    ids = judge._read(QUESTIONS[0])
    assert ids.count(judge.tokenizer.bos_token_id) == 1
    assert judge.facts()["chat_template"] is not None
    assert np.isfinite(judge(QUESTIONS)).all()


@pytest.mark.model
def test_damaged_weights_are_a_failed_judgement_and_never_a_tie(copied, tmp_path):
    import torch

    _, folder = copied
    judge = model.ModelJudge(model.parse_judge(str(folder)))
    with torch.no_grad():
        judge.model.lm_head.weight[7] = math.nan
    found = judgements(judged([pair(0)], judge, tmp_path / "judge"))
    assert found["status"].tolist() == ["failed"] and found["preference"].isna().all()
