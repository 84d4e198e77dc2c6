"""What is rated, by whom, in which order: drawn, written, read again, and what it could see.

No person rated any of this: ratings made here are synthetic.
"""

import json
import math
import re
import shutil
from collections import Counter
from dataclasses import replace

import pytest

from alpaca_lab import stats
from alpaca_lab.config import SettingError
from alpaca_lab.files import RecordError, read_json, sha256_file, write_json, write_lines
from alpaca_lab.human import draw, power, progress, ratings, sheet
from alpaca_lab.human import plan as plans
from alpaca_lab.human.items import Texts
from alpaca_lab.human.rubric import RUBRICS
from alpaca_lab.human.session import Session
from alpaca_lab.store import CONTROL, Record
from human_records import CONTROLS, MODELS, STUDY, borrow, fabricate, secrets_of, text_of

ALPHA, BETA = MODELS
SIDES = "base, num_beams=2, top_k=4"
"""Settings whose answers all differ from greedy's."""


@pytest.fixture
def record(fabricated, tmp_path):
    return borrow(fabricated, tmp_path / "made-up")


@pytest.fixture
def damaged(fabricated, tmp_path):
    """A copy down to the runs, which a test may damage."""
    return Record(shutil.copytree(fabricated.folder, tmp_path / "damaged"))


def what(plan, name):
    """What an item is, without the name that it has by a secret."""
    item = plan.items[name]
    return item.question, item.model, item.cell, item.repeat, item.opponent, item.opponent_left


def orders(plan):
    return {rater: [what(plan, name) for name in ids] for rater, ids in plan.order.items()}


def rate_one(record, rater="anna", mode="acceptability"):
    session = Session(record, rater, mode=mode)
    item = session.current
    session.rate(item, 4)
    return item


def files(record, mode="acceptability"):
    """What a mode's folder holds, but for the lock."""
    return {
        file.name: file.read_bytes()
        for file in record.human(mode).iterdir()
        if not file.name.startswith(".")
    }


@pytest.mark.parametrize("mode", RUBRICS)
def test_same_seed_draws_the_same_plan_from_two_copies_of_a_study(fabricated, tmp_path, mode):
    """So that what people rate in one can be merged into the other."""
    copies = [borrow(fabricated, tmp_path / name) for name in ("one", "other")]
    asked = {"mode": mode, "questions": 7, "raters": "anna, ben", "seed": 5}
    one, other = (draw.write(copy, **asked) for copy in copies)
    assert one == other
    assert files(copies[0], mode) == files(copies[1], mode)


def test_names_of_items_depend_on_a_secret_that_all_answers_make(fabricated, tmp_path):
    """One answer, not even a rated one, differs: the same plan under other names."""

    def texts(model, cell, question, repeat):
        changed = (model, cell, question, repeat) == (BETA, "top_k=4", 5, 1)
        return "Another." if changed else text_of(model, cell, question, repeat)

    one = draw.write(borrow(fabricated, tmp_path / "one"), raters="anna, ben")
    other = draw.write(fabricate(tmp_path / "other", text_of=texts), raters="anna, ben")
    assert orders(one) == orders(other)
    assert not set(one.items) & set(other.items)


def test_drawing_the_same_plan_again_changes_nothing(record):
    draw.write(record, raters="anna, ben", seed=3)
    before = files(record)
    draw.write(record, raters="anna, ben", seed=3)
    assert files(record) == before


def test_another_seed_draws_other_questions_in_another_order(record):
    few, others = (draw.write(record, questions=6, raters="anna", seed=seed) for seed in (0, 1))
    asked, others_asked = ({what(plan, name)[0] for name in plan.items} for plan in (few, others))
    assert asked != others_asked
    one, other = (draw.write(record, raters="anna", seed=seed) for seed in (0, 1))
    assert sorted(orders(one)["anna"]) == sorted(orders(other)["anna"])  # all there is, both times
    assert orders(one)["anna"] != orders(other)["anna"]


def test_raters_have_orders_of_their_own_and_no_stratum_comes_in_one_piece(record):
    plan = draw.write(record, raters="anna, ben", overlap=1.0)
    assert orders(plan)["anna"] != orders(plan)["ben"]
    for rated in orders(plan).values():
        strata = [(model, cell) for _, model, cell, *_ in rated]
        changes = sum(a != b for a, b in zip(strata, strata[1:], strict=False))
        assert changes > 30  # of 59; 4 if strata came one after the other


def test_unnamed_settings_are_those_of_the_main_table(record):
    plan = draw.write(record, raters="anna, ben")
    assert [(one.model, one.cell) for one in plan.strata] == [
        (ALPHA, "greedy"), (ALPHA, "base"), (BETA, "greedy"), (BETA, "base"), (CONTROL, "reference")
    ]  # fmt: skip
    assert {(one.planned, one.pool, one.failed, one.identical) for one in plan.strata} == {
        (12, 12, 0, 0)  # 20 are asked for, 12 there are
    }
    # Of 12 questions every fourth is shared; of the other 9 anna has 5, ben 4; times 5 strata.
    assert {rater: len(ids) for rater, ids in plan.order.items()} == {"anna": 40, "ben": 35}


@pytest.mark.parametrize(
    ("overlap", "raters", "all_rate", "questions"),
    [
        (0.0, "a", 12, [12]),
        (0.0, "a,b", 0, [6, 6]),
        (0.0, "a,b,c", 0, [4, 4, 4]),
        (0.25, "a", 12, [12]),
        (0.25, "a,b", 3, [8, 7]),  # 9 of their own: 5 and 4
        (0.25, "a,b,c", 3, [6, 6, 6]),
        (0.5, "a,b", 6, [9, 9]),
        (0.5, "a,b,c", 6, [8, 8, 8]),
        (1.0, "a,b", 12, [12, 12]),
        (1.0, "a,b,c", 12, [12, 12, 12]),
    ],
)
def test_share_that_all_rate_and_each_raters_part(record, overlap, raters, all_rate, questions):
    plan = draw.write(record, settings="reference", raters=raters, overlap=overlap)
    assert len(list(draw.shared(plan))) == all_rate
    assert [len(ids) for ids in plan.order.values()] == questions
    assert set().union(*plan.order.values()) == set(plan.items)


@pytest.mark.parametrize("mode", RUBRICS)
def test_all_answers_to_a_question_go_to_the_same_raters(record, mode):
    plan = draw.write(record, mode=mode, settings=SIDES, raters="anna, ben, cleo", overlap=0.25)
    raters = {}
    for item in plan.items.values():
        who = frozenset(rater for rater, ids in plan.order.items() if item.id in ids)
        raters.setdefault(item.question, set()).add(who)
    assert len(raters) == 12
    assert all(len(groups) == 1 for groups in raters.values())
    sizes = Counter(len(next(iter(groups))) for groups in raters.values())
    assert sizes == {3: 3, 1: 9}


def test_one_question_of_near_duplicates_is_asked(tmp_path):
    record = fabricate(tmp_path, cluster_of=lambda number: number // 2)
    plan = draw.write(record, settings="greedy", raters="anna")
    clusters = [item.cluster for item in plan.items.values()]
    assert sorted(clusters) == [f"c{number:02}" for number in (0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5)]
    assert len({item.question for item in plan.items.values()}) == 6  # the same for both models
    assert {one.pool for one in plan.strata} == {6}


def test_fewer_questions_can_be_asked(record):
    plan = draw.write(record, settings="greedy", questions=5, raters="anna")
    assert [(one.planned, one.pool) for one in plan.strata] == [(5, 12), (5, 12)]


FAILED = {(ALPHA, "greedy", 2), (ALPHA, "temperature=1", 4), (BETA, "base", 0)}


@pytest.fixture(scope="module")
def lossy(tmp_path_factory):
    return fabricate(tmp_path_factory.mktemp("lossy") / "made-up", failed=FAILED)


def counted(plan):
    return {(one.model, one.cell): (one.planned, one.failed, one.identical) for one in plan.strata}


def test_failed_answers_are_left_out_and_counted(lossy, tmp_path):
    record = borrow(lossy, tmp_path / "made-up")
    plan = draw.write(record, settings="greedy, base, temperature=1", raters="anna")
    assert counted(plan) == {
        (ALPHA, "greedy"): (11, 1, 0),
        (ALPHA, "base"): (12, 0, 0),
        (ALPHA, "temperature=1"): (11, 1, 0),
        (BETA, "greedy"): (12, 0, 0),
        (BETA, "base"): (11, 1, 0),
        (BETA, "temperature=1"): (12, 0, 0),
    }
    rated = {(item.model, item.cell, int(item.question[1:])) for item in plan.items.values()}
    assert not rated & FAILED


def test_pairs_without_an_answer_or_a_difference_are_left_out_and_counted(lossy, tmp_path):
    """The sampled answers to questions 3 and 7 are the greedy ones; a failed greedy answer is
    missing in each of its model's pairs."""
    record = borrow(lossy, tmp_path / "made-up")
    plan = draw.write(record, mode="pairwise", settings="base, temperature=1", raters="anna")
    assert counted(plan) == {
        (ALPHA, "base"): (11, 1, 0),
        (ALPHA, "temperature=1"): (8, 2, 2),
        (BETA, "base"): (11, 1, 0),
        (BETA, "temperature=1"): (10, 0, 2),
    }
    assert all(item.text_sha256 != item.opponent_sha256 for item in plan.items.values())


def test_two_blank_answers_are_no_pair(tmp_path):
    def texts(model, cell, question, repeat):
        if question < 5:
            return {"greedy": " ", "base": "\n\n"}.get(cell, "")
        return text_of(model, cell, question, repeat)

    plan = draw.write(fabricate(tmp_path, text_of=texts), mode="pairwise", raters="anna")
    assert counted(plan) == {(ALPHA, "base"): (7, 0, 5), (BETA, "base"): (7, 0, 5)}


def test_one_of_a_sampled_settings_answers_is_rated_and_not_always_the_first(record):
    plan = draw.write(record, settings="temperature=1", raters="anna")
    assert len(plan.items) == 24
    assert {item.repeat for item in plan.items.values()} == {0, 1}


@pytest.mark.parametrize("questions", [1, 2, 11, 12])
def test_sides_are_balanced_in_every_stratum(record, questions):
    for seed in range(3):
        plan = draw.write(
            record, mode="pairwise", settings=SIDES, questions=questions, raters="a", seed=seed
        )
        left = Counter()
        for item in plan.items.values():
            left[item.model, item.cell] += 1 if item.opponent_left else -1
        assert len(left) == 6
        assert all(abs(more) == questions % 2 for more in left.values())


def test_which_side_greedy_stands_on_depends_neither_on_who_rates_nor_on_what_is_shared(record):
    """With one question in two for anna, sides that alternate would be all left or all right."""
    groups = {"anna's": [], "shared": []}
    for seed in range(6):
        asked = {"mode": "pairwise", "settings": SIDES, "seed": seed}
        apart = draw.write(record, **asked, raters="anna, ben", overlap=0.0)
        half = draw.write(record, **asked, raters="anna, ben", overlap=0.5)
        for group, plan, ids in (
            ("anna's", apart, apart.order["anna"]),
            ("shared", half, draw.shared(half)),
        ):
            by_stratum = {}
            for item in map(plan.items.__getitem__, ids):
                by_stratum.setdefault((item.model, item.cell), []).append(item.opponent_left)
            groups[group] += by_stratum.values()
    for sides in groups.values():
        assert [len(one) for one in sides] == [6] * 36
        share = sum(map(sum, sides)) / (6 * 36)
        assert 0.4 < share < 0.6  # 216 tosses of a coin: a standard deviation of .034
        mixed = sum(0 < sum(one) < 6 for one in sides)
        assert mixed > 30  # a coin leaves 1 of 36 on one side


def test_sides_are_what_is_shown(record):
    plan = draw.write(record, mode="pairwise", raters="anna")
    texts = Texts(record)
    for item in plan.items.values():
        question = int(item.question[1:])
        words = [text_of(item.model, cell, question, 0).split()[2] for cell in ("base", "greedy")]
        if item.opponent_left:
            words.reverse()
        answers = texts.of(item).answers
        assert [label for label, _ in answers] == ["Answer A", "Answer B"]
        assert [text.split()[2] for _, text in answers] == words


def test_controls_can_be_rated(record):
    plan = draw.write(record, settings=", ".join(CONTROLS), raters="anna")
    assert counted(plan) == {(CONTROL, name): (12, 0, 0) for name in CONTROLS}
    empty = [item for item in plan.items.values() if item.cell == "empty"]
    assert {Texts(record).of(item).answers for item in empty} == {(("Answer", ""),)}


def test_plan_grows_without_moving_what_is_there(record):
    asked = {"mode": "pairwise", "raters": "anna, ben", "overlap": 0.5, "seed": 1}
    small = draw.write(record, questions=4, settings="base", **asked)
    rated = rate_one(record, mode="pairwise")
    large = draw.write(record, questions=9, settings="top_k=4, base", **asked)
    assert len(small.items) == 8 and len(large.items) == 36
    assert {name: large.items[name] for name in small.items} == small.items  # sides and all
    for rater, ids in small.order.items():
        assert tuple(name for name in large.order[rater] if name in ids) == ids
    assert [row.item for row in ratings.read(record, "pairwise")] == [rated]
    assert Session(record, "anna", mode="pairwise").screen()["progress"]["rated"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"questions": 1, "seed": 4},
        {"settings": "base"},
        {"raters": "ben"},
        {"raters": "ben, anna"},
        {"overlap": 0.0, "raters": "ben, cleo, dora, anna"},
    ],
)
def test_plan_that_would_lose_a_rating_is_refused_and_changes_nothing(record, change):
    asked = {"questions": 4, "settings": "greedy", "raters": "anna, ben", "overlap": 0.0}
    draw.write(record, **asked)
    session = Session(record, "anna")
    while session.current:
        session.rate(session.current, 3)
    before = files(record)
    with pytest.raises(RecordError, match=r"would drop .* the first by anna: keep seed, raters"):
        draw.write(record, **asked | change)
    assert files(record) == before


def test_taken_back_rating_keeps_its_item_in_the_plan(record):
    """Or its two rows in the log would be of an item that nobody was asked about."""
    draw.write(record, questions=2, settings="greedy", raters="anna")
    session = Session(record, "anna")
    session.rate(session.current, 3)
    session.undo()
    with pytest.raises(RecordError, match="would drop 1 of the ratings"):
        draw.write(record, questions=2, settings="base", raters="anna")
    assert len(ratings.read(record, "acceptability")) == 2


def test_plan_without_ratings_may_become_any_other(record):
    draw.write(record, questions=2, settings="greedy", raters="anna")
    plan = draw.write(record, questions=3, settings="base", raters="ben, cleo", seed=9)
    assert plans.read(record, "acceptability") == plan


def test_open_page_of_a_plan_that_is_gone_writes_nothing(record):
    draw.write(record, questions=3, settings="greedy", raters="anna")
    page = Session(record, "anna")
    draw.write(record, questions=3, settings="base", raters="anna")
    with pytest.raises(RecordError, match="anna was not asked about item"):
        page.rate(page.current, 3)
    assert ratings.read(record, "acceptability") == ()
    assert Session(record, "anna").screen()["progress"]["rated"] == 0


def test_other_wording_is_refused_once_someone_rated(record, monkeypatch):
    draw.write(record, questions=2, raters="anna")
    other = replace(RUBRICS["acceptability"], question="How nice is this answer?")
    monkeypatch.setitem(draw.RUBRICS, "acceptability", other)
    assert draw.write(record, questions=2, raters="anna").rubric == other
    rate_one(record)
    monkeypatch.undo()
    with pytest.raises(RecordError, match=r"another rubric than this version has.*move the folder"):
        draw.write(record, questions=2, raters="anna")
    assert Session(record, "anna").screen()["question"] == "How nice is this answer?"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"mode": "pairs"}, 'mode: choose acceptability or pairwise, not "pairs"'),
        ({"settings": "hot"}, 'settings: no "hot"; choose from greedy, temperature=0.75,'),
        ({"settings": "greedy,greedy"}, "settings: name each once, got greedy, greedy"),
        ({"mode": "pairwise", "settings": "base, greedy"}, "greedy is what the others"),
        ({"mode": "pairwise", "settings": "reference"}, 'no "reference"; choose from temp'),
        ({"raters": ""}, "raters: name who rates, such as anna,ben"),
        ({"raters": " , "}, "raters: name who rates, such as anna,ben"),
        ({"raters": "anna, anna"}, "raters: name each once, got anna, anna"),
        ({"raters": "Anna"}, 'raters: "Anna" is no name for a rater; use 1 to 32 of a-z'),
        ({"raters": "anna ben"}, '"anna ben" is no name'),
        ({"raters": "an/na"}, '"an/na" is no name'),
        ({"raters": "=anna"}, '"=anna" is no name'),
        ({"raters": "-anna"}, '"-anna" is no name'),
        ({"raters": "a" * 33}, "is no name"),
        ({"raters": "änna"}, "is no name"),
        ({"overlap": -0.1}, "overlap: need a share from 0 to 1, got -0.1"),
        ({"overlap": 25.0}, "overlap: need a share from 0 to 1, got 25.0"),
        ({"overlap": math.nan}, "overlap: need a share from 0 to 1, got nan"),
        ({"questions": 0}, "questions: need at least 1, got 0"),
        ({"questions": -3}, "questions: need at least 1, got -3"),
    ],
)  # fmt: skip
def test_wrong_choice_is_one_sentence_and_writes_nothing(fabricated, asked, message):
    with pytest.raises(SettingError) as caught:
        draw.write(fabricated, **{"raters": "anna"} | asked)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (fabricated.folder / "human").exists()


def test_pairs_that_never_differ_are_nothing_to_rate(tmp_path):
    record = fabricate(tmp_path, text_of=lambda model, cell, question, repeat: f"{question}")
    with pytest.raises(SettingError, match="base have no answers that differ from greedy's"):
        draw.write(record, mode="pairwise", raters="anna")


def run_of(record, model, cell):
    return record.run(record.index()["runs"][model][cell])


def test_run_that_is_not_scored_is_refused(damaged):
    (run_of(damaged, BETA, "base").folder / "manifest.json").unlink()
    with pytest.raises(RecordError, match=f"base of {BETA} is not scored in .*; run the study"):
        draw.write(damaged, raters="anna")
    draw.write(damaged, raters="anna", settings="greedy")  # nothing is wrong with the others


def test_study_that_is_only_prepared_is_said_to_be_unscored(record):
    record.write_index(record.index() | {"runs": {}})
    for mode in RUBRICS:
        with pytest.raises(RecordError, match="is not scored in .*; run the study first"):
            draw.write(record, mode=mode, raters="anna")


def test_changed_run_is_refused(damaged):
    scores = run_of(damaged, ALPHA, "greedy").folder / "scores.parquet"
    scores.write_bytes(scores.read_bytes() + b" ")
    for mode in RUBRICS:  # in pairs it is the opponent's
        with pytest.raises(RecordError, match="scores.parquet is damaged"):
            draw.write(damaged, mode=mode, raters="anna")


def test_run_that_lacks_a_question_is_refused(record):
    new = {"id": "q99", "cluster": "c99", "instruction": "New?", "input": "", "reference": "Yes."}
    record.write_questions([*record.questions(), new])
    with pytest.raises(RecordError, match=f"greedy of {ALPHA} does not answer every question"):
        draw.write(record, raters="anna")


def test_texts_are_those_that_were_drawn_or_none(damaged):
    """A run that was decoded again has the same name, and may say something else."""
    plan = draw.write(damaged, settings="greedy", raters="anna")
    run = run_of(damaged, ALPHA, "greedy")
    [mine, *_] = [i for i in plan.items.values() if (i.model, i.question) == (ALPHA, "q00")]
    answers, manifest = run.folder / "answers.jsonl", run.manifest()
    rows = [row | {"text": row["text"].replace("Answer 0 ", "Another 0 ")} for row in run.answers()]
    write_lines(answers, rows)
    manifest["sha256"]["answers.jsonl"] = sha256_file(answers)
    write_json(run.folder / "manifest.json", manifest)
    with pytest.raises(RecordError, match=f"no longer has the answer that item {mine.id} was"):
        Texts(damaged).of(mine)
    others = [i for i in plan.items.values() if i.id != mine.id]
    assert all(Texts(damaged).of(item).answers for item in others[:3])


# On disk


@pytest.mark.parametrize("mode", RUBRICS)
def test_plan_on_disk_does_not_say_whose_answer_an_item_is(record, mode):
    plan = draw.write(record, mode=mode, raters="anna, ben")
    facts = read_json(record.human(mode) / "plan.json")
    assert facts.pop("order") == {rater: list(ids) for rater, ids in plan.order.items()}
    rest = json.dumps(facts)
    assert not [name for name in plan.items if name in rest]
    runs = {run for by_cell in record.index()["runs"].values() for run in by_cell.values()}
    hashes = {item.text_sha256 for item in plan.items.values()}
    assert not [word for word in runs | hashes if word in rest]
    assert '"q0' not in rest
    salt = plans.salt(record, mode)
    assert len(salt) == 64 and salt not in rest


def test_names_of_items_are_texts_to_a_spreadsheet(record):
    """A spreadsheet would write 12 digits, or 1234e5678901, back as another number."""
    plan = draw.write(record, raters="anna")
    for name, item in plan.items.items():
        assert name == item.id and len(name) == 12 and name[0] == "i"
        assert set(name[1:]) <= set("0123456789abcdef")


@pytest.mark.parametrize("mode", RUBRICS)
def test_plan_is_read_as_it_was_written(record, mode):
    plan = draw.write(record, mode=mode, questions=3, raters="anna, ben", seed=-4)
    assert plans.read(record, mode) == plan
    assert plan.rubric == RUBRICS[mode]


def key_of(record, mode="acceptability"):
    [key] = record.human(mode).glob("key-*.json")
    return key


@pytest.mark.parametrize(
    "damage",
    [
        lambda key: key.unlink(),
        lambda key: key.write_bytes(key.read_bytes() + b"\n"),
        lambda key: key.write_text(key.read_text().replace(ALPHA, BETA)),
        lambda key: key.rename(key.with_name("key-000000000000.json")),
        lambda key: (key.unlink(), key.mkdir()),
    ],
)
def test_key_that_is_not_the_plans_is_refused(record, damage):
    draw.write(record, questions=2, raters="anna")
    key = key_of(record)
    damage(key)
    with pytest.raises(RecordError) as caught:
        plans.read(record, "acceptability")
    assert f"{key} is not the key that plan.json was written with; restore it, or move" in str(
        caught.value
    )
    with pytest.raises(RecordError, match="is not the key"):  # nor is it overwritten
        draw.write(record, questions=2, raters="anna")


def test_missing_plan_says_how_to_write_one(record):
    for use in (lambda: plans.read(record, "pairwise"), lambda: progress.table(record, "pairwise")):
        with pytest.raises(RecordError, match="no plan in .*; write one with .* --mode pairwise"):
            use()
    assert not plans.exists(record, "pairwise")
    assert plans.salt(record, "pairwise") is None


def test_ratings_without_their_plan_are_never_planned_over(record):
    """A new plan would name every item anew, and the ratings would be of nothing."""
    draw.write(record, questions=2, raters="anna")
    rate_one(record)
    (record.human("acceptability") / "plan.json").unlink()
    for use in (
        lambda: draw.write(record, questions=2, raters="anna"),
        lambda: ratings.read(record, "acceptability"),
    ):
        with pytest.raises(
            RecordError, match=r"has ratings, but no plan.json; restore it, or move"
        ):
            use()


def use_all(record):
    """Everything that reads a plan; raises what it raises."""
    plan = plans.read(record, "acceptability")
    power.sentences(plan)
    progress.table(record, "acceptability")
    for rater in plan.raters:
        session = Session(record, rater)
        session.screen()
        file = record.folder / f"{rater}.csv"
        for path in (file, file.with_suffix(".txt")):
            path.unlink(missing_ok=True)
        sheet.export(record, "acceptability", rater, file)


@pytest.fixture
def small(record):
    """A plan of six items, and all that is read from it works."""
    draw.write(record, questions=2, settings="greedy, reference", raters="anna, ben")
    use_all(record)
    return record


def test_truncated_plan_is_one_clear_error(small):
    file = small.human("acceptability") / "plan.json"
    whole = file.read_bytes()
    for length in range(0, len(whole) - 2, 7):
        file.write_bytes(whole[:length])
        with pytest.raises(RecordError, match=r"plan.json is damaged.* restore it, or move"):
            plans.read(small, "acceptability")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"null", b"[]", b"3", b'"plan"', b"{}", b"[" * 100_000, b"\0"]
)
def test_something_else_in_place_of_the_plan_is_one_clear_error(small, content):
    (small.human("acceptability") / "plan.json").write_bytes(content)
    with pytest.raises(RecordError, match="plan.json is damaged"):
        plans.read(small, "acceptability")


def put(path, values):
    """Write what only a program could: JSON with its checksum. NaN has none that is right."""
    try:
        write_json(path, values)
    except ValueError:
        path.write_text(json.dumps(values))


ODD = (None, True, -1, 5, 0.5, "", "x", [], [1], ["x"], {}, {"x": 1}, float("nan"))


def mutations(values, most=2):
    """Yield copies of a JSON value with one part, at any depth, gone or replaced by another."""
    if isinstance(values, dict):
        for name in list(values)[:20]:
            yield {key: value for key, value in values.items() if key != name}
            yield from (values | {name: odd} for odd in ODD if odd != values[name])
            yield from (values | {name: part} for part in mutations(values[name]))
        yield values | {"another": 1}
    elif isinstance(values, list):
        yield from (values[1:], [*values, *values[:1]])
        for place in range(min(most, len(values))):
            yield from ([*values[:place], odd, *values[place + 1 :]] for odd in ODD)
            for part in mutations(values[place]):
                yield [*values[:place], part, *values[place + 1 :]]


def survives(record):
    """True if a damaged plan is still readable and usable; False if it is refused in a sentence."""
    try:
        use_all(record)
    except (RecordError, SettingError) as error:
        assert "\n" not in str(error)
        return False
    return True


def test_damaged_plan_is_refused_in_a_sentence_or_still_whole(small):
    file = small.human("acceptability") / "plan.json"
    facts = read_json(file)
    kept = []
    for damaged in mutations(facts):
        put(file, damaged)
        try:
            plan = plans.read(small, "acceptability")
        except RecordError as error:
            assert re.search("is no plan|is not the key|is damaged", str(error))
            continue
        kept.append(damaged)
        assert plan.mode == "acceptability" and plan.raters == tuple(plan.order)
    # What reads well is another seed, count or word, or one item less, and does no harm.
    changed = Counter(name for one in kept for name in facts if one.get(name) != facts[name])
    assert set(changed) <= {"seed", "questions", "overlap", "rubric", "strata", "order"}
    for damaged in kept[:: max(1, len(kept) // 15)]:
        put(file, damaged)
        assert survives(small)


def test_damaged_key_is_refused_even_if_the_plan_vouches_for_it(small):
    place = small.human("acceptability")
    facts = read_json(place / "plan.json")
    file = key_of(small)
    key = read_json(file)
    first = next(iter(key["items"]))
    one = {"salt": key["salt"], "items": {first: key["items"][first]}}
    refused = 0
    for damaged in mutations(one):
        items = damaged.get("items")
        whole = damaged
        if isinstance(items, dict) and first in items:
            whole = damaged | {"items": key["items"] | items}
        put(file, whole)
        facts["key_sha256"] = sha256_file(file)
        put(place / "plan.json", facts)
        refused += not survives(small)
    assert refused > 100


def test_item_without_a_key_is_refused_by_name(small):
    place = small.human("acceptability")
    facts = read_json(place / "plan.json")
    facts["order"]["anna"].append("i0123456789a")
    put(place / "plan.json", facts)
    with pytest.raises(RecordError, match="is no plan .*i0123456789a"):
        plans.read(small, "acceptability")


def test_plan_of_another_mode_is_refused(record):
    draw.write(record, questions=2, raters="anna")
    shutil.copytree(record.human("acceptability"), record.human("pairwise"))
    with pytest.raises(RecordError, match="is no plan .*mode"):
        plans.read(record, "pairwise")


def test_kill_between_key_and_plan_leaves_the_old_pair(record, monkeypatch):
    old = draw.write(record, questions=2, raters="anna")
    rated = rate_one(record)
    write_json = plans.write_json

    def killed(path, values):
        if path.name == "plan.json":
            raise KeyboardInterrupt
        write_json(path, values)

    monkeypatch.setattr(plans, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        draw.write(record, questions=5, raters="anna")
    assert plans.read(record, "acceptability") == old
    assert rated in Session(record, "anna").standing
    monkeypatch.undo()
    new = draw.write(record, questions=5, raters="anna")
    assert plans.read(record, "acceptability") == new
    assert sorted(files(record)) == sorted(
        [key_of(record).name, "plan.json", "ratings.csv", "ratings.csv.crc32"]
    )


def test_kill_before_the_first_plan_leaves_none(record, monkeypatch):
    monkeypatch.setattr(plans, "sha256_file", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw.write(record, questions=2, raters="anna")
    assert not plans.exists(record, "acceptability")
    monkeypatch.undo()
    draw.write(record, questions=2, raters="anna")
    assert sorted(files(record)) == sorted([key_of(record).name, "plan.json"])


def test_rater_who_is_not_asked_is_told_who_is(small):
    with pytest.raises(SettingError, match='the plan asks anna, ben, not "cleo"'):
        plans.read(small, "acceptability").items_of("cleo")


# What it can see


def sized(record, planned, *, mode="pairwise", raters="anna"):
    """A plan with so many items in its strata; the items themselves are not asked for here."""
    plan = draw.write(record, mode=mode, questions=2, settings="base", raters=raters, overlap=1.0)
    strata = tuple(replace(plan.strata[0], planned=number) for number in planned)
    return replace(plan, strata=strata)


def test_pairs_say_the_win_rate_that_they_can_see(record):
    """12 pairs: 10 wins are needed, since P(X >= 10) = 79 / 4096 and 2 * 79 / 4096 = .0386."""
    rate = stats.detectable_win_rate(12)
    found = sum(math.comb(12, k) * rate**k * (1 - rate) ** (12 - k) for k in (10, 11, 12))
    assert found == pytest.approx(0.8)
    assert f"{rate:.1%}" == "86.9%"
    corrected = stats.detectable_win_rate(12, level=0.975)  # 11 wins: 2 * 13 / 4096 = .0063
    assert f"{corrected:.1%}" == "93.1%"
    assert power.sentences(draw.write(record, mode="pairwise", raters="anna, ben")) == (
        "24 pairs from 2 strata (model and setting): anna rates 16, ben rates 14.",
        "12 pairs per stratum can see a win rate of 86.9% or more, or 93.1% once 2 strata are "
        "corrected for; a pair called equal does not count.",
        "Agreement will be measured on the 6 pairs that every rater rates.",
    )


def test_a_hundred_pairs_can_see_a_win_rate_of_two_in_three_or_so(record):
    """61 wins are needed: P(X >= 61) = .0176 for a coin, and P(X >= 60) = .0284 is too much."""
    _, sentence, _ = power.sentences(sized(record, [100]))
    assert "100 pairs per stratum can see a win rate of 64.5% or more;" in sentence


def test_pairs_that_can_see_nothing_say_so(record):
    _, sentence, _ = power.sentences(sized(record, [5]))
    assert sentence == "5 pairs per stratum can see nothing: ask more questions."
    _, sentence, _ = power.sentences(sized(record, [1]))
    assert sentence == "1 pair per stratum can see nothing: ask more questions."


def test_pairs_that_see_something_alone_but_nothing_once_corrected_say_so(record):
    """6 of 6 has p = 1/32 = .03125, above .05 / 2; a rate of .8 ** (1/6) = 96.3% wins all six."""
    _, sentence, _ = power.sentences(sized(record, [6]))
    assert "can see a win rate of 96.3% or more; a pair" in sentence
    _, sentence, _ = power.sentences(sized(record, [6, 6]))
    assert "96.3% or more, and none once 2 strata are corrected for;" in sentence


def test_strata_of_unlike_size_are_told_apart_and_empty_ones_are_not_tested(record):
    sentences = power.sentences(sized(record, [12, 0, 5, 12, 0]))
    assert sentences[1] == (
        "Nothing is rated in 2 of 5 strata: each answer failed or is the same as greedy's."
    )
    assert sentences[2].startswith("5 pairs per stratum (in 1 of 3 strata) can see nothing")
    assert sentences[3].startswith("12 pairs per stratum (in 2 of 3 strata) can see a win rate of")
    assert "once 3 strata are corrected for" in sentences[3]
    assert len(sentences) == 5


def test_study_whose_sampled_answers_are_all_greedys_is_planned_and_told(tmp_path):
    def texts(model, cell, question, repeat):
        return text_of(model, "greedy" if cell == "temperature=1" else cell, question, 0)

    record = fabricate(tmp_path, text_of=texts)
    plan = draw.write(record, mode="pairwise", settings="base, temperature=1", raters="anna")
    assert [(one.planned, one.identical) for one in plan.strata] == [(12, 0), (0, 12)] * 2
    assert plans.read(record, "pairwise") == plan
    assert "Nothing is rated in 2 of 4 strata" in power.sentences(plan)[1]


def test_answers_say_the_difference_that_they_can_see(record):
    """(1.959964 + .841621) * .25 / 12 ** .5 = .202186, and twice that."""
    assert stats.minimum_detectable_effect(0.25, 12) == pytest.approx(0.202186, abs=1e-6)
    first, sentence, last = power.sentences(draw.write(record, raters="anna, ben"))
    assert first == "60 answers from 5 strata (model and setting): anna rates 40, ben rates 35."
    assert sentence.startswith("12 answers per stratum can see a difference of 0.20 between")
    assert "and of 0.40 if by two" in sentence
    assert last == "Agreement will be measured on the 15 answers that every rater rates."


def test_one_question_can_see_nothing(record):
    plan = draw.write(record, questions=1, settings="reference", raters="anna")
    assert power.sentences(plan) == (
        "1 answer from 1 stratum (model and setting): anna rates 1.",
        "1 answer per stratum can see nothing: ask more questions.",
        "One rater: nobody can say how far others would agree. Two or more are better.",
    )


@pytest.mark.parametrize(("questions", "seen"), [(5, False), (6, True)])
def test_fewest_answers_that_can_see_anything_are_six(record, questions, seen):
    """Flipping the signs of five differences that all point one way: p = 2 / 32, not below .05."""
    assert (stats.sign_flip_p([0.25] * questions) <= 0.05) == seen
    plan = draw.write(record, questions=questions, settings="greedy", raters="anna")
    assert ("can see a difference" in power.sentences(plan)[1]) == seen


def test_plan_that_hardly_overlaps_says_so(record):
    plan = draw.write(record, questions=2, settings="reference", raters="anna, ben", overlap=0.0)
    assert power.sentences(plan)[-1].startswith("Hardly anything is rated twice: raise the overlap")


def test_answers_that_all_failed_are_told_and_nothing_breaks(tmp_path):
    failed = {(ALPHA, "base", number) for number in range(STUDY.questions)}
    record = fabricate(tmp_path, failed=failed)
    plan = draw.write(record, settings="base", raters="anna")
    assert [(one.planned, one.failed) for one in plan.strata] == [(0, 12), (12, 0)]
    assert power.sentences(plan)[1] == "Nothing is rated in 1 of 2 strata: each answer failed."
    assert "12 answers per stratum can see a difference" in power.sentences(plan)[2]


def test_rubric_survives_its_way_to_disk():
    for rubric in RUBRICS.values():
        assert len(rubric.levels) == 5
        assert type(rubric).from_dict(json.loads(json.dumps(rubric.as_dict()))) == rubric
        for place, level in enumerate(rubric.levels, start=1):
            assert f"\n  {place}  {level.label}: {level.detail}" in rubric.as_text()


def test_rubric_names_no_model_and_no_setting(record):
    said = " ".join(rubric.as_text() for rubric in RUBRICS.values())
    assert not [word for word in secrets_of(record) if word in said]
