"""What is rated, by whom and in which order: all of it from a seed, none of it to be seen."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import pytest

from alpaca_lab import stats
from alpaca_lab.config import SettingError
from alpaca_lab.human import draw, plan, power
from alpaca_lab.human.rubric import RUBRICS, Level
from alpaca_lab.human.session import Session
from alpaca_lab.store import Record, RecordError
from human_records import MODELS, STUDY, fabricate

LABELS = ("question", "model", "cell", "repeat")


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    return fabricate(tmp_path_factory.mktemp("made-up") / "results")


@pytest.fixture
def record(made_up, tmp_path):
    return Record(shutil.copytree(made_up.folder, tmp_path / "results"))


def what(drawn, rater):
    """What a rater's items are of, in their order: their names aside, which the salt decides."""
    items = [drawn.items[name] for name in drawn.order[rater]]
    return [(*(getattr(item, label) for label in LABELS), item.opponent_left) for item in items]


def test_same_seed_draws_the_same_plan_and_another_seed_another(made_up, tmp_path):
    copies = [Record(shutil.copytree(made_up.folder, tmp_path / name)) for name in "abc"]
    plans = [
        draw.write(copy, mode="pairwise", questions=5, raters="anna, ben", seed=seed)
        for copy, seed in zip(copies, (3, 3, 4), strict=True)
    ]
    assert what(plans[0], "anna") == what(plans[1], "anna")
    assert plans[0] == plans[1]  # names of items too: two copies of a study can merge
    assert what(plans[0], "anna") != what(plans[2], "anna")


def test_another_study_names_the_same_items_otherwise(record, tmp_path):
    other = fabricate(tmp_path / "other", study=replace(STUDY, temperatures=(0.5,)))
    names = [set(draw.write(each, questions=4, raters="anna").items) for each in (record, other)]
    assert not names[0] & names[1]


def test_a_setting_has_as_many_questions_as_asked_for_or_as_there_are(record):
    drawn = draw.write(record, questions=5, settings="greedy, base, reference", raters="anna")
    counted = Counter((item.model, item.cell) for item in drawn.items.values())
    assert set(counted.values()) == {5} and len(counted) == 5
    drawn = draw.write(record, questions=500, settings="greedy", raters="anna")
    assert [stratum.planned for stratum in drawn.strata] == [12, 12]


def test_all_models_and_settings_are_asked_about_the_same_questions(record):
    drawn = draw.write(record, questions=5, settings="greedy, base, temperature=1", raters="anna")
    by_stratum = {}
    for item in drawn.items.values():
        by_stratum.setdefault((item.model, item.cell), set()).add(item.question)
    assert len(set(map(frozenset, by_stratum.values()))) == 1


def test_one_question_of_a_cluster_is_asked(made_up, tmp_path):
    record = Record(shutil.copytree(made_up.folder, tmp_path / "results"))
    rows = record.questions()
    record.write_questions([row | {"cluster": f"c{place // 2}"} for place, row in enumerate(rows)])
    drawn = draw.write(record, questions=12, settings="greedy", raters="anna")
    assert [stratum.planned for stratum in drawn.strata] == [6, 6]


@pytest.mark.parametrize(("overlap", "shared"), [(0.0, 0), (0.25, 3), (0.5, 6), (1.0, 12)], ids=str)
@pytest.mark.parametrize("raters", ["anna, ben", "anna, ben, carl"])
def test_overlap_is_the_share_of_questions_that_everybody_rates(record, overlap, shared, raters):
    """12 questions in 4 strata; what is not shared is dealt round."""
    drawn = draw.write(
        record, questions=12, settings="greedy, base", raters=raters, overlap=overlap
    )
    people = raters.split(", ")
    asked = {rater: {item[0] for item in what(drawn, rater)} for rater in people}
    assert len(set.intersection(*asked.values())) == shared
    assert set.union(*asked.values()) == {item.question for item in drawn.items.values()}
    own = [len(questions) - shared for questions in asked.values()]
    assert sum(own) == 12 - shared and max(own) - min(own) <= 1


def test_whoever_is_asked_about_a_question_rates_every_answer_to_it(record):
    drawn = draw.write(record, questions=8, settings="greedy, base", raters="anna, ben")
    for rater in ("anna", "ben"):
        counted = Counter(item[0] for item in what(drawn, rater))
        assert set(counted.values()) == {4}


def test_one_rater_rates_everything(record):
    drawn = draw.write(record, questions=8, settings="greedy", raters="anna", overlap=0.0)
    assert set(drawn.order["anna"]) == set(drawn.items)


def test_order_is_shuffled_over_models_settings_and_questions(record):
    drawn = draw.write(record, questions=12, settings="greedy, base", raters="anna, ben")
    models = [item[1] for item in what(drawn, "anna")]
    assert models not in (sorted(models), sorted(models, reverse=True))
    shared = set(draw.shared(drawn))
    orders = [[name for name in drawn.order[rater] if name in shared] for rater in ("anna", "ben")]
    assert orders[0] != orders[1]


def test_a_plan_grows_and_what_is_there_keeps_its_name_its_place_and_its_sides(record):
    asked = {"mode": "pairwise", "settings": "base", "raters": "anna, ben"}
    before = draw.write(record, questions=4, **asked)
    Session(record, "anna", mode="pairwise").rate(before.order["anna"][0], 5)
    after = draw.write(record, questions=9, **asked)
    assert before.items.items() <= after.items.items()
    for rater, names in before.order.items():
        kept = tuple(name for name in after.order[rater] if name in before.items)
        assert kept == names
    assert Session(record, "anna", mode="pairwise").standing.keys() == {before.order["anna"][0]}


@pytest.mark.parametrize(
    "change",
    [{"questions": 1}, {"seed": 7}, {"settings": "greedy"}, {"raters": "ben"}],
    ids=lambda change: next(iter(change)),
)
def test_a_plan_that_would_lose_a_rating_is_refused_and_the_old_one_stays(record, change):
    asked = {"questions": 9, "settings": "base, greedy", "raters": "anna"}
    before = draw.write(record, **asked)
    session = Session(record, "anna")
    while session.current:
        session.rate(session.current, 3)
    with pytest.raises(RecordError, match="would drop .* move the folder .* away first"):
        draw.write(record, **(asked | change))
    assert plan.read(record, "acceptability") == before


def test_a_plan_without_ratings_is_simply_replaced(record):
    draw.write(record, questions=9, raters="anna")
    drawn = draw.write(record, questions=2, raters="ben", seed=5)
    assert plan.read(record, "acceptability") == drawn


def test_ratings_by_another_rubric_are_not_joined_by_new_ones(record, monkeypatch):
    drawn = draw.write(record, questions=4, raters="anna")
    Session(record, "anna").rate(drawn.order["anna"][0], 5)
    old = RUBRICS["acceptability"]
    levels = (Level(label="Bad", detail="bad"), *old.levels[1:])
    monkeypatch.setitem(RUBRICS, "acceptability", replace(old, levels=levels))
    with pytest.raises(RecordError, match="another rubric"):
        draw.write(record, questions=5, raters="anna")
    assert Session(record, "anna").screen()["levels"][0]["label"] == "Useless"  # the plan's own


def test_answers_that_failed_are_left_out_and_counted(tmp_path):
    failed = [(MODELS[0], "greedy", 2), (MODELS[0], "greedy", 5)]
    record = fabricate(tmp_path, failed=failed)
    drawn = draw.write(record, questions=12, settings="greedy", raters="anna")
    ours, theirs = drawn.strata
    assert (ours.planned, ours.pool, ours.failed) == (10, 10, 2)
    assert (theirs.planned, theirs.failed) == (12, 0)
    drawn = draw.write(record, mode="pairwise", questions=12, settings="base", raters="anna")
    assert drawn.strata[0].failed == 2  # without a greedy answer there is no pair


def test_pairs_of_the_same_text_are_left_out_and_counted(record):
    drawn = draw.write(record, mode="pairwise", settings="temperature=1", raters="anna")
    assert {(stratum.pool, stratum.identical) for stratum in drawn.strata} == {(10, 2)}
    asked = {item.question for item in drawn.items.values()}
    assert not asked & {"q03", "q07"}


@pytest.mark.parametrize("seed", range(6))
def test_sides_are_balanced_in_every_stratum_and_not_by_who_rates(record, seed):
    drawn = draw.write(
        record, mode="pairwise", questions=12, settings="base, num_beams=2",
        raters="anna, ben", overlap=0.5, seed=seed,
    )  # fmt: skip
    for stratum in drawn.strata:
        sides = [
            item.opponent_left
            for item in drawn.items.values()
            if (item.model, item.cell) == (stratum.model, stratum.cell)
        ]
        assert sum(sides) == len(sides) / 2
    shared = [drawn.items[name].opponent_left for name in draw.shared(drawn)]
    assert 0 < sum(shared) < len(shared)  # the shared half is not all of one side


def test_the_answer_to_a_sampled_setting_is_one_of_its_repeats(record):
    drawn = draw.write(record, settings="temperature=1", questions=12, raters="anna")
    repeats = Counter(item.repeat for item in drawn.items.values())
    assert set(repeats) == {0, 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "rank"}, 'mode: choose acceptability or pairwise, not "rank"'),
        ({"questions": 0}, "questions: need at least 1, got 0"),
        ({"overlap": 1.5}, "overlap: need a share from 0 to 1, got 1.5"),
        ({"raters": ""}, "raters: name who rates"),
        ({"raters": "anna, anna"}, "raters: name each once, got anna, anna"),
        ({"raters": "Anna B."}, 'raters: "Anna B." is no name for a rater; use'),
        ({"settings": "beams"}, 'settings: no "beams"; choose from greedy, temperature=0.75'),
        ({"mode": "pairwise", "settings": "greedy"}, "greedy is what the others are compared with"),
        ({"mode": "pairwise", "settings": "reference"}, 'settings: no "reference"'),
    ],
)
def test_wrong_choice_is_one_sentence_and_writes_nothing(record, change, message):
    with pytest.raises(SettingError) as refused:
        draw.write(record, **({"raters": "anna"} | change))
    assert message in str(refused.value)
    assert not (record.folder / "human").exists()


def test_study_that_is_not_scored_cannot_be_rated(record):
    run = record.run(record.index()["runs"][MODELS[0]]["greedy"])
    (run.folder / "manifest.json").unlink()
    with pytest.raises(RecordError, match="greedy of secretalpha is not scored"):
        draw.write(record, raters="anna")


def test_changed_answers_cannot_be_rated(record):
    run = record.run(record.index()["runs"][MODELS[0]]["greedy"])
    scores = run.folder / "scores.parquet"
    scores.write_bytes(scores.read_bytes()[:-1] + b"x")
    with pytest.raises(RecordError, match="does not match its manifest"):
        draw.write(record, raters="anna")


def test_plan_says_nothing_of_whose_answer_an_item_is(record):
    """An item's name stands in the order alone; models and settings stand in the strata alone."""
    drawn = draw.write(record, questions=5, raters="anna, ben")
    facts = json.loads((record.human("acceptability") / "plan.json").read_text())
    order = json.dumps(facts["order"])
    assert all(name in order for name in drawn.items)
    rest = json.dumps({name: value for name, value in facts.items() if name != "order"})
    assert not any(name in rest for name in drawn.items)
    assert not any(word in order for word in (*MODELS, "greedy", "base"))


def test_plan_and_key_are_read_back_as_they_were_drawn(record):
    drawn = draw.write(record, mode="pairwise", questions=5, raters="anna, ben")
    assert plan.read(record, "pairwise") == drawn


@pytest.mark.parametrize("damage", ["edited", "gone"])
def test_key_that_is_not_the_plans_is_refused(record, damage):
    draw.write(record, questions=5, raters="anna")
    [key] = record.human("acceptability").glob("key-*.json")
    if damage == "edited":
        key.write_text(key.read_text().replace(MODELS[0], MODELS[1], 1))
    else:
        key.unlink()
    with pytest.raises(RecordError, match="is not the key that plan.json was written with"):
        plan.read(record, "acceptability")


def damaged(text):
    """Every way in which a plan is cut, emptied or has a value of another kind."""
    facts = json.loads(text)
    yield from (text[: len(text) * part // 7] for part in range(7))
    yield from ("[]", "null", "3", '"plan"')
    for name in facts:
        without = {other: value for other, value in facts.items() if other != name}
        yield json.dumps(without)
        for value in (None, 3, "x", [], {}, [{}], {"anna": ["nobody"]}):
            if value != facts[name]:
                yield json.dumps(facts | {name: value})


def test_a_damaged_plan_is_one_sentence_or_still_a_plan(record):
    draw.write(record, questions=2, raters="anna")
    file = record.human("acceptability") / "plan.json"
    refused = 0
    for text in list(damaged(file.read_text())):
        file.write_text(text)
        try:
            Session(record, "anna").screen()
        except (RecordError, SettingError) as error:
            refused += 1
            assert "\n" not in str(error).strip()
    assert refused > 60


def test_a_kill_between_key_and_plan_leaves_the_old_plan_whole(record, monkeypatch):
    before = draw.write(record, questions=2, raters="anna")
    real = plan.write_json

    def killed(path, values):
        if path.name == "plan.json":
            raise KeyboardInterrupt
        real(path, values)

    monkeypatch.setattr(plan, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        draw.write(record, questions=6, raters="anna")
    monkeypatch.undo()
    assert plan.read(record, "acceptability") == before
    draw.write(record, questions=6, raters="anna")
    assert len(list(record.human("acceptability").glob("key*.json"))) == 1


def test_rater_who_is_not_asked_is_told_who_is(record):
    draw.write(record, questions=2, raters="anna, ben")
    with pytest.raises(SettingError, match='the plan asks anna, ben, not "carl"'):
        Session(record, "carl")


def test_without_a_plan_the_way_to_one_is_said(record):
    with pytest.raises(RecordError, match=r"no plan in .*04_human_eval.ipynb or .*rate --plan"):
        Session(record, "anna")


def test_what_pairs_can_see_is_told_before_anyone_starts(tmp_path):
    """100 pairs find a win rate of 64.5% in 4 of 5 cases: the exact sign test's, 61 to 39."""
    record = fabricate(tmp_path, study=replace(STUDY, questions=100))
    drawn = draw.write(record, mode="pairwise", questions=100, settings="base", raters="anna, ben")
    said = power.sentences(drawn)
    family = stats.detectable_win_rate(100, level=0.975)
    assert (
        "100 pairs per stratum can see a win rate of 64.5% or more, or "
        f"{family:.1%} once 2 strata are corrected for; fewer where pairs are called equal."
    ) in said
    assert said[0] == "200 pairs from 2 strata (model and setting): anna rates 126, ben rates 124."
    assert said[-1] == "Agreement will be measured on the 50 pairs that every rater rates."


def test_what_answers_can_see_rests_on_two_suppositions_that_are_said(record):
    """Of 12: 2.8016 sd / 12**.5, so .20 for one level (.25) and .40 for two."""
    drawn = draw.write(record, questions=12, raters="anna")
    [sees] = [line for line in power.sentences(drawn) if "can see" in line]
    assert "a difference of 0.20 between two" in sees and "of 0.40 if by two" in sees
    assert "One rater: nobody can say how far others would agree" in power.sentences(drawn)[-1]


def test_plan_too_small_to_see_anything_says_so(record):
    drawn = draw.write(record, mode="pairwise", questions=5, settings="base", raters="anna")
    assert "5 pairs per stratum can see nothing: ask more questions." in power.sentences(drawn)
    drawn = draw.write(record, questions=1, settings="greedy", raters="anna")
    assert "1 answer per stratum can see nothing: ask more questions." in power.sentences(drawn)
