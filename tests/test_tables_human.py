"""From ratings to tables, worked by hand. All ratings here are synthetic: no person gave them."""

import pandas as pd
import pytest

from alpaca_lab import report, stats
from alpaca_lab.estimates import Scored
from alpaca_lab.files import RecordError
from alpaca_lab.human import draw, values
from alpaca_lab.human.session import Session
from alpaca_lab.pages import markdown, render_human
from alpaca_lab.store import Record
from alpaca_lab.tables import human, human_metrics
from human_records import MODELS, STUDY, fabricate

ALPHA, BETA = MODELS
TITLES = {model.key: model.title for model in STUDY.models}


def rate_synthetically(record, rater, level_of, *, mode="acceptability"):
    """Answer a whole plan by a rule of a test: a level 1-5, or a reason to skip."""
    session = Session(record, rater, mode=mode)
    while session.current:
        item = session.plan.items[session.current]
        chosen = level_of(item)
        if isinstance(chosen, str):
            session.skip(item.id, chosen, seconds=2.0)
        else:
            session.rate(item.id, chosen, seconds=4.0)


def preferring(level):
    """A level of preference for the setting, 1 (greedy, clearly) to 5, as chosen on screen."""
    return lambda item: level(item) if item.opponent_left else 6 - level(item)


def number(item):
    """The question's number in the made-up study."""
    return int(item.question[1:])


@pytest.fixture
def record(tmp_path):
    return fabricate(tmp_path)


def collected(record, mode="acceptability"):
    return values.read(record, mode)


def row_of(frame, **labels):
    for name, value in labels.items():
        frame = frame[frame[name] == value]
    [(_, row)] = frame.iterrows()
    return row


def test_score_is_the_mean_over_questions_with_its_t_interval(record):
    """Greedy: levels 1, 3, 5 by question number mod 3, so scores 0, .5, 1, four times each.

    Mean .5; the sum of squares is 8 * .25 = 2, sd (2/11)**.5 = .426401; t(.975, 11) = 2.200985,
    half-width 2.200985 * .426401 / 12**.5 = .270923.
    """
    draw.write(record, questions=12, settings="greedy, base", raters="anna")
    rate_synthetically(record, "anna", lambda item: 1 + 2 * (number(item) % 3))
    row = row_of(human.score_table(collected(record)), model=ALPHA, cell="greedy")
    assert (row["n"], row["answers"], row["ratings"], row["raters"]) == (12, 12, 12, 1)
    assert row["mean"] == pytest.approx(0.5)
    assert row["ci_high"] - row["mean"] == pytest.approx(0.270923, abs=2e-6)
    assert row["mean"] - row["ci_low"] == pytest.approx(0.270923, abs=2e-6)


def test_difference_from_greedy_is_paired_by_question_and_corrected(record):
    """Alpha's base is one level, .25, below greedy on 9 of 12 questions and equal on 3.

    Mean -.1875; p by flipping signs: only the 9 that differ can flip, so 2 / 2**9; Beta's base is
    equal throughout: p 1. Holm over the two: twice the first.
    """
    draw.write(record, questions=12, settings="greedy, base", raters="anna")

    def level(item):
        lower = item.cell == "base" and item.model == ALPHA and number(item) % 4
        return 4 - bool(lower)

    rate_synthetically(record, "anna", level)
    table = human.score_table(collected(record))
    row = row_of(table, model=ALPHA, cell="base")
    assert row["delta"] == pytest.approx(-0.1875)
    assert row["p"] == pytest.approx(2 / 2**9, abs=1e-6)
    assert row["p_holm"] == pytest.approx(4 / 2**9, abs=1e-6)
    assert row["mde"] == pytest.approx(
        stats.minimum_detectable_effect((9 * 0.0625**2 + 3 * 0.1875**2) ** 0.5 / 11**0.5, 12),
        abs=1e-6,
    )
    greedy = row_of(table, model=ALPHA, cell="greedy")
    assert pd.isna(greedy["delta"]) and pd.isna(greedy["p"])
    page = markdown.page(render_human.scores(table, TITLES))
    assert "Hidden secretalpha, untuned, greedy: people find it less acceptable, -0.19 [" in page
    assert "Hidden secretbeta, untuned, greedy: inconclusive" in page


def test_few_ratings_that_could_see_nothing_on_the_scale_say_so(record):
    """Differences of 1 and -1: sd 2**.5 over two questions sees 2.8, and the scale ends at 1."""
    draw.write(record, questions=2, settings="greedy, base", raters="anna")
    high = []

    def level(item):
        if not high:
            high.append(item.question)
        return 5 if (item.question == high[0]) == (item.cell == "base") else 1

    rate_synthetically(record, "anna", level)
    table = human.score_table(collected(record))
    assert row_of(table, model=ALPHA, cell="base")["mde"] == pytest.approx(2.8016, abs=1e-4)
    page = markdown.page(render_human.scores(table, TITLES))
    assert "so few ratings could see nothing." in page and "| nothing |" in page


def test_raters_of_one_answer_are_averaged_first(record):
    """Both rate all: anna always 5, ben always 3, so each answer is .75 however many rate it."""
    draw.write(record, questions=4, settings="greedy", raters="anna, ben", overlap=1.0)
    rate_synthetically(record, "anna", lambda item: 5)
    rate_synthetically(record, "ben", lambda item: 3)
    row = row_of(human.score_table(collected(record)), model=ALPHA)
    assert (row["n"], row["answers"], row["ratings"], row["raters"]) == (4, 4, 8, 2)
    assert row["mean"] == pytest.approx(0.75)
    assert pd.isna(row["ci_low"])
    assert row["note"] == "all are rated alike, so there is no interval"


def test_interval_ends_where_the_scale_does(record):
    draw.write(record, questions=4, settings="greedy", raters="anna")
    rate_synthetically(record, "anna", lambda item: 5 if number(item) % 3 else 1)
    table = human.score_table(collected(record))
    assert table["ci_high"].dropna().le(1).all() and table["ci_low"].dropna().ge(0).all()


def test_skipped_answer_is_counted_and_never_a_middling_score(record):
    draw.write(record, questions=4, settings="greedy", raters="anna")
    skipped = []

    def level(item):
        if item.model == ALPHA and not skipped:
            skipped.append(item)
            return "I do not know the subject"
        return 5

    rate_synthetically(record, "anna", level)
    row = row_of(human.score_table(collected(record)), model=ALPHA)
    assert (row["n"], row["ratings"], row["skipped"]) == (3, 3, 1)
    assert row["mean"] == 1


def test_win_rate_counts_equal_as_half_and_has_wilsons_interval(record):
    """Alpha's base: 6 won, 2 equal, 4 lost of 12: 7 / 12. p: the exact sign test of 6 to 4."""
    draw.write(record, mode="pairwise", questions=12, settings="base", raters="anna")
    places = [5] * 6 + [3] * 2 + [2] * 4
    rate_synthetically(
        record, "anna", preferring(lambda item: places[number(item)]), mode="pairwise"
    )
    table = human.pair_table(collected(record, "pairwise"))
    row = row_of(table, model=ALPHA)
    assert (row["won"], row["equal"], row["lost"]) == (6, 2, 4)
    assert row["win_rate"] == pytest.approx(7 / 12, abs=1e-6)
    wilson = stats.wilson(7, 12)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((wilson.low, wilson.high), abs=1e-6)
    # 10 decided: P(X >= 6 or X <= 4) = 1 - C(10,5)/2**10.
    assert row["p"] == pytest.approx(1 - 252 / 1024, abs=1e-6)
    assert row["mde"] == pytest.approx(stats.detectable_win_rate(10), abs=1e-6)


def test_preference_is_for_the_setting_whichever_side_it_stood_on(record):
    draw.write(record, mode="pairwise", questions=12, settings="base", raters="anna")
    rate_synthetically(record, "anna", preferring(lambda item: 4), mode="pairwise")
    found = collected(record, "pairwise")
    assert set(found.rows["value"]) == {0.75}
    assert set(found.rows["score"]) == {1.0, 3.0}
    assert human.pair_table(found)["win_rate"].tolist() == [1.0, 1.0]


def test_share_of_identical_answers_stands_beside_the_win_rate(record):
    """Questions 3 and 7 of 12 are answered as by greedy: nobody is asked about them."""
    draw.write(record, mode="pairwise", questions=12, settings="temperature=1", raters="anna")
    rate_synthetically(record, "anna", preferring(lambda item: 5), mode="pairwise")
    row = row_of(human.pair_table(collected(record, "pairwise")), model=ALPHA)
    assert row["identical"] == pytest.approx(2 / 12, abs=1e-6)
    assert row["n"] == 10


def test_side_that_draws_raters_is_shown(record):
    draw.write(record, mode="pairwise", questions=12, settings="base", raters="anna")
    rate_synthetically(record, "anna", lambda item: 1, mode="pairwise")
    row = row_of(human.agreement_table(both(record)), mode="pairwise")
    assert row["first"] == 1 and row["decided"] == 24
    # Sides are balanced, so a rater who always takes A favours nobody.
    assert human.pair_table(collected(record, "pairwise"))["win_rate"].tolist() == [0.5, 0.5]


def both(record):
    return {mode: values.read(record, mode) for mode in ("acceptability", "pairwise")}


def test_agreement_is_krippendorffs_alpha_over_the_answers_that_several_rated(record):
    """Of 6 shared answers ben is one level above anna on one: ordinal alpha of that table."""
    draw.write(record, questions=6, settings="greedy", raters="anna, ben", overlap=0.5)
    rate_synthetically(record, "anna", lambda item: 1 + number(item) % 4)
    odd = []

    def higher_once(item):
        level = 1 + number(item) % 4
        if not odd and item.id in asked_of_both(record):
            odd.append(level)
            return level + 1
        return level

    rate_synthetically(record, "ben", higher_once)
    row = row_of(human.agreement_table(both(record)), mode="acceptability")
    rows = collected(record).rows
    table = rows.pivot(index="item", columns="rater", values="score").dropna()
    assert len(table) == row["answers"] == 6
    assert row["same"] == pytest.approx(5 / 6, abs=1e-6)
    assert row["alpha"] == pytest.approx(
        stats.krippendorff_alpha(table.to_numpy(), level="ordinal"), abs=1e-6
    )
    assert row["ci_low"] <= row["alpha"] <= row["ci_high"]


def asked_of_both(record):
    plan = Session(record, "anna").plan
    return set(plan.order["anna"]) & set(plan.order["ben"])


def test_agreement_of_one_rater_is_unknown_and_says_so(record):
    draw.write(record, questions=4, settings="greedy", raters="anna")
    rate_synthetically(record, "anna", lambda item: 4)
    table = human.agreement_table(both(record))
    assert pd.isna(row_of(table, mode="acceptability")["alpha"])
    page = markdown.page(render_human.agreement(table))
    assert "Acceptability: nothing is rated by two." in page


def test_metric_that_ranks_as_people_do_has_rho_one(record):
    """BERTScore of the made-up study is 50 + the question's number; so are these ratings, in five
    levels: rho is Spearman's of the two, and no other metric comes near it."""
    draw.write(record, questions=12, settings="greedy", raters="anna")
    rate_synthetically(record, "anna", lambda item: 1 + number(item) * 5 // 12)
    evidence_runs = runs_of(record)
    table = human_metrics.metric_table(both(record), evidence_runs)
    row = row_of(table, mode="acceptability", model="all", metric="bertscore_f1")
    levels = [number * 5 // 12 for number in range(12)] * 2
    scores = list(range(12)) * 2
    assert row["rho"] == pytest.approx(stats.spearman(levels, scores), abs=1e-6)
    assert row["rho"] > 0.97
    assert (row["n"], row["answers"]) == (12, 24)
    page = markdown.page(render_human.metrics(table, TITLES))
    assert "Nearest to the human score is BERTScore F1, rho +0.98" in page


def test_reference_is_left_out_of_the_correlations(record):
    draw.write(record, questions=12, settings="greedy, reference", raters="anna")
    rate_synthetically(record, "anna", lambda item: 1 + number(item) % 5)
    table = human_metrics.metric_table(both(record), runs_of(record))
    assert row_of(table, mode="acceptability", model="all", metric="rougeL")["answers"] == 24


def test_preference_is_set_beside_the_difference_of_scores(record):
    """BERTScore is the same on both sides of every pair: there is nothing to rank by."""
    draw.write(record, mode="pairwise", questions=12, settings="base", raters="anna")
    rate_synthetically(
        record, "anna", preferring(lambda item: 1 + number(item) % 5), mode="pairwise"
    )
    table = human_metrics.metric_table(both(record), runs_of(record))
    row = row_of(table, mode="pairwise", model="all", metric="bertscore_f1")
    assert pd.isna(row["rho"]) and row["note"] == "all scores are the same"


def test_few_ratings_have_no_correlation(record):
    draw.write(record, questions=4, settings="greedy", raters="anna")
    rate_synthetically(record, "anna", lambda item: 1 + number(item) % 5)
    table = human_metrics.metric_table(both(record), runs_of(record))
    assert table["rho"].isna().all()
    assert set(table["note"]) == {"fewer than 10 rated answers"}


def runs_of(record):
    return {
        (model, cell): Scored(run=run.id, scores=run.scores(), manifest=run.manifest())
        for model, cell, run in record.runs()
    }


def test_ratings_of_answers_that_are_gone_are_counted_and_never_used(record):
    draw.write(record, questions=4, settings="greedy", raters="anna")
    rate_synthetically(record, "anna", lambda item: 5)
    index = record.index()
    index["runs"][ALPHA]["greedy"] = index["runs"][ALPHA]["base"]
    record.write_index(index)
    found = collected(record)
    assert found.stale == 4
    row = row_of(human.score_table(found), model=ALPHA)
    assert pd.isna(row["mean"])
    assert "4 ratings are of answers that this study no longer has" in row["note"]
    assert row_of(human.score_table(found), model=BETA)["mean"] == 1


def test_ratings_of_a_text_that_was_decoded_anew_are_not_used_either(record):
    draw.write(record, questions=4, settings="greedy", raters="anna")
    rate_synthetically(record, "anna", lambda item: 5)
    run = record.run(record.index()["runs"][ALPHA]["greedy"])
    scores = run.scores()
    rated = set(collected(record).rows["id"])
    scores.loc[scores["id"] == min(rated), "text_sha256"] = "another"
    run.write_scores(scores)
    assert collected(record).stale == 1


def test_damaged_rating_stops_the_tables_with_its_line(record):
    draw.write(record, questions=4, settings="greedy", raters="anna")
    rate_synthetically(record, "anna", lambda item: 5)
    file = record.human("acceptability") / "ratings.csv"
    file.write_text(file.read_text().replace(",rated,4,", ",rated,9,", 1))
    with pytest.raises(RecordError, match=r"ratings.csv:2: a score is 0, 1, 2, 3 or 4, not .9."):
        values.read(record, "acceptability")


@pytest.fixture
def whole(tmp_path):
    """A record that a whole report can be built from."""
    import test_report

    return test_report.fabricate(tmp_path, study=test_report.STUDY)


def quick(monkeypatch):
    for module in (report.figures, report.human_figures):
        for name in ("axis", "main", "contrasts", "cost", "loss", "scores", "metrics"):
            monkeypatch.setattr(module, name, lambda *_, **__: b"\x89PNG", raising=False)


def test_human_column_fills_from_the_ratings_alone_and_else_says_not_collected(whole, monkeypatch):
    quick(monkeypatch)
    report.build(whole)
    main = report.read_table(whole, "main")
    assert main[main["metric"] == "human"]["mean"].isna().all()
    assert report.show(whole, "main").data.count("not<br>collected") == 8
    draw.write(whole, questions=12, settings="greedy, reference", raters="anna")
    rate_synthetically(whole, "anna", lambda item: 1 + number(item) % 5)
    assert report.check(whole) != []
    report.build(whole)
    assert report.check(whole) == []
    main = report.read_table(whole, "main")
    human = main[main["metric"] == "human"].set_index(["model", "value"])
    # Levels 1-5 by number mod 5 over 0..11: 3 x 0, 3 x .25, then 2 of each: (.75 + 6 x .75)/12.
    expected = (3 * 0 + 3 * 0.25 + 2 * 0.5 + 2 * 0.75 + 2 * 1) / 12
    assert human.loc[("alpha", "finetuned"), "mean"] == pytest.approx(expected, abs=1e-6)
    assert human.loc[("control", "reference"), "n"] == 12
    assert pd.isna(human.loc[("alpha", "untuned"), "mean"])
    page = report.show(whole, "main").data
    assert page.count("not<br>collected") == 5
    assert "Human: how acceptable people find the answers, rated blind" in page
    assert "over 12 questions; the page human has the raters." in page


def test_one_rating_changed_is_refused_or_without_checksums_found_by_check(whole, monkeypatch):
    quick(monkeypatch)
    draw.write(whole, questions=12, settings="greedy", raters="anna")
    rate_synthetically(whole, "anna", lambda item: 1 + number(item) % 5)
    report.build(whole)
    file = whole.human("acceptability") / "ratings.csv"
    file.write_text(file.read_text().replace(",rated,4,", ",rated,0,", 1))
    with pytest.raises(RecordError, match="is not what was rated"):
        report.check(whole)
    file.with_name("ratings.csv.crc32").unlink()
    assert "human.csv" in report.check(whole) and "main.csv" in report.check(whole)


def test_figures_draw_with_and_without_ratings(record, tmp_path):
    from alpaca_lab.pages import human_figures

    empty = both(record)
    pages = (
        human.score_table(empty["acceptability"]),
        human.pair_table(empty["pairwise"]),
    )
    assert human_figures.scores(*pages, titles=TITLES).startswith(b"\x89PNG")
    nothing = human_metrics.metric_table(empty, runs_of(record))
    assert human_figures.metrics(nothing).startswith(b"\x89PNG")
    draw.write(record, questions=12, settings="greedy", raters="anna")
    rate_synthetically(record, "anna", lambda item: 1 + number(item) % 5)
    rated = both(record)
    drawn = human_figures.scores(
        human.score_table(rated["acceptability"]),
        human.pair_table(rated["pairwise"]),
        titles=TITLES,
    )
    assert drawn.startswith(b"\x89PNG")
    assert human_figures.metrics(human_metrics.metric_table(rated, runs_of(record)))


def test_record_without_a_plan_has_empty_tables_that_say_how_to_begin(tmp_path):
    record = Record(tmp_path)
    nothing = values.read(record, "acceptability")
    assert nothing.plan is None and nothing.rows.empty
    table = human.score_table(nothing)
    assert table.empty
    assert "python -m alpaca\\_lab rate" in markdown.page(render_human.scores(table, TITLES))
