"""From a record to its pages: two made-up models, whose tables can be worked by hand."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest

from alpaca_lab import report
from alpaca_lab.config import ModelSpec, StudySpec, as_dict
from alpaca_lab.files import RecordError
from alpaca_lab.metrics.bleu_chrf import BLEU_STATISTICS, chrf
from alpaca_lab.metrics.text_scores import SIGNATURES
from alpaca_lab.store import CONTROL, Record
from alpaca_lab.sweep import cells
from alpaca_lab.table_files import JUDGE, TABLES

QUESTIONS = 12
GREEDY_SCORES = [10.0 + question for question in range(QUESTIONS)]
HALF_RIGHT = (4, 3, 2, 1, 8, 6, 4, 2, 8, 8)  # half of the n-grams of each order match: BLEU 50
ALIKE = chrf("some letters", reference="some letters")
CONTROLS = ("empty", "copy", "other", "reference")
ALWAYS = tuple(name for name in TABLES if name not in JUDGE)
"""Tables of every study; a judge's are there if one was asked."""
HOSTILE = "<script>alert(1)</script> $x$ </style> \x1b[31m"
ENCODER = {"name": "some-encoder", "layer": 6, "sha256": "0" * 64, "rescaled": False}


def spec_of(key, title):
    return ModelSpec(key=key, title=title, source=f"someone/{key}", revision="0" * 40)


STUDY = StudySpec(
    name="made-up",
    models=(spec_of("alpha", "Alpha|7B"), spec_of("beta", "Beta <b>2</b>")),
    temperatures=(0.25, 1.0),
    beams=(2,),
    top_ks=(4,),
    questions=QUESTIONS,
    repeats=2,
)


def answer_row(question, repeat, rouge_l, **changes):
    """One row of scores.parquet: 60 words for 40, ended by EOS, half of the n-grams right."""
    return {
        "id": f"q{question:02}",
        "cluster": f"c{question:02}",
        "repeat": repeat,
        "status": "ok",
        "finish_reason": "eos",
        "n_new_tokens": 70,
        "text_sha256": f"{question:08x}{repeat:08x}",
        **dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), rouge_l),
        "bleu": 50.0,
        "bertscore_f1": 50.0,
        **ALIKE,
        **dict(zip(BLEU_STATISTICS, map(float, HALF_RIGHT), strict=True)),
        "n_words": 60.0,
        "n_ref_words": 40.0,
        "distinct_1": 0.75,
        "distinct_2": 1.0,
        "repeated_4grams": 0.0,
        "rouge_defined": True,
        "rouge2_defined": True,
    } | changes


def failed_row(question, repeat, status="failed"):
    """An answer that does not exist: every score is blank."""
    row = answer_row(question, repeat, None, status=status, finish_reason=None)
    shown = ("id", "cluster", "repeat", "status", "n_ref_words", "rouge_defined", "text_sha256")
    return {name: value if name in shown else None for name, value in row.items()}


def fabricate(folder, *, overrides=(), encoders=(), study=STUDY, likelihood=None, text=None):
    """Write a record in which every answer scores as greedy does, but for `overrides`.

    `overrides` maps (model, cell) to rows, `encoders` maps it to another encoder's name;
    `likelihood` is what greedy and base runs know of their references; `text` is every answer.
    """
    record = Record(folder)
    overrides, encoders = dict(overrides), dict(encoders)
    record.write_questions(
        {
            "id": f"q{question:02}",
            "cluster": f"c{question:02}",
            "instruction": f"Say {question} & stop",
            "input": "",
            "reference": f"<{question}>",
        }
        for question in range(QUESTIONS)
    )
    repeats = {cell.name: cell.repeats for cell in cells(study)} | {"base": 1}
    wanted = [(model.key, cell) for model in study.models for cell in repeats]
    index = {"spec": as_dict(study), "runs": {}}
    fixed = {(CONTROL, "reference"): [full_marks(question) for question in range(QUESTIONS)]}
    overrides = fixed | overrides
    for model, cell in (*wanted, *((CONTROL, control) for control in CONTROLS)):
        run = record.open_run({"model": model, "cell": cell})
        default = [
            answer_row(question, repeat, score)
            for question, score in enumerate(GREEDY_SCORES)
            for repeat in range(repeats.get(cell, 1))
        ]
        rows = pd.DataFrame(overrides.get((model, cell), default))
        for row in rows.itertuples():
            said = text or f"one\n<i>{row.id}</i> costs $5 or $6"
            run.append({"id": row.id, "repeat": row.repeat, "status": row.status, "text": said})
        if likelihood is not None and cell in ("greedy", "base"):
            run.write_likelihood(likelihood)
        run.write_scores(rows)
        run.seal(
            {
                "counts": rows["status"].value_counts().to_dict(),
                "signatures": SIGNATURES | {"bertscore_f1": "bertscore|some-encoder"},
                "encoder": ENCODER | {"name": encoders.get((model, cell), ENCODER["name"])},
                "wall_s": 2.5,
                "new_tokens": 1000,
                "tokens_per_s": 400.0,
                "peak_gib": None,
            }
        )
        index["runs"].setdefault(model, {})[cell] = run.id
    record.write_index(index)
    losses = pd.DataFrame(
        [(1, "train", 4.0), (2, "train", 3.0), (2, "validation", 3.5), (3, "train", 2.0)],
        columns=["step", "kind", "loss"],
    )
    for model in study.models:
        facts = {
            "adapted_layers": 14,
            "trainable_parameters": 1234567,
            "train_rows": 100,
            "steps": 3,
            "best_validation_loss": 3.5,
            "wall_s": 9.0,
            "peak_gib": 1.25,
        }
        record.write_training(model.key, facts, losses)
    return record


def full_marks(question):
    """The reference against itself: every score is full."""
    full = dict(zip(BLEU_STATISTICS, (8, 6, 4, 2, 8, 6, 4, 2, 8, 8), strict=True))
    return answer_row(question, 0, 100.0, bertscore_f1=100.0, finish_reason=None, **full)


def moved(*steps, repeats=2):
    """Rows that depart from greedy by `steps` in turn; the two repeats by 1 to either side.

    Which repeat is the higher one changes from question to question: the halves do not differ.
    """
    return [
        answer_row(
            question, repeat, score + steps[question % len(steps)] + (-1) ** (question + repeat)
        )
        for question, score in enumerate(GREEDY_SCORES)
        for repeat in range(repeats)
    ]


def entry(record, table, **labels):
    """The one row of a written table with these labels."""
    frame = report.read_table(record, table)
    for name, value in labels.items():
        frame = frame[frame[name] == value]
    [(_, row)] = frame.iterrows()
    return row


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A record where one setting of one model moves by 4, 2, 3, 4, 2, 3, ... points; only read."""
    folder = tmp_path_factory.mktemp("built")
    record = fabricate(folder, overrides={("alpha", "temperature=1"): moved(4, 2, 3)})
    report.build(record)
    return record


@pytest.fixture(autouse=True)
def sketched(monkeypatch):
    """Figures are drawn for `built` alone: they take most of a build's seconds."""
    for name in ("axis", "main", "contrasts", "cost", "loss"):
        monkeypatch.setattr(report.figures, name, lambda *_, **__: b"\x89PNG")
    for name in ("scores", "metrics"):
        monkeypatch.setattr(report.human_figures, name, lambda *_, **__: b"\x89PNG")


@pytest.fixture
def copied(built, tmp_path):
    """A copy of the built record, to be damaged."""
    return Record(shutil.copytree(built.folder, tmp_path / "copy"))


def plain(page):
    """A page with the breaks inside its cells as spaces."""
    return page.replace("\u00a0", " ").replace("<br>", " ").replace("\\<", "<")


def test_difference_interval_and_corrected_p_match_values_worked_by_hand(built):
    """Mean 3, SS 8 over 12 questions: sd (8/11)**.5, t(.975, 11) = 2.200985, half-width .541845.

    All 12 differences are positive: p = 2/2**12, times 8 comparisons after Holm.
    """
    row = entry(built, "temperature", model="alpha", value="1", metric="rougeL")
    assert row["delta"] == pytest.approx(3)
    assert row["delta_low"] == pytest.approx(3 - 0.541845, abs=2e-6)
    assert row["delta_high"] == pytest.approx(3 + 0.541845, abs=2e-6)
    assert row["p"] == pytest.approx(2 / 2**12, abs=1e-6)
    assert row["p_holm"] == pytest.approx(8 * 2 / 2**12, abs=1e-6)
    assert row["mean"] == pytest.approx(15.5 + 3)
    assert (row["n"], row["answers"], row["repeats"]) == (12, 24, 2)


def test_page_shows_the_rounded_row(built):
    page = plain(report.show(built, "temperature").data)
    line = next(line for line in page.splitlines() if line.startswith(r"| Alpha\|7B | 1 |"))
    assert "| +3.00 [+2.46, +3.54] | 0.004 | 12 | 2 | 1.50 | 100.00 | 0.00 |" in line
    assert "| 50.00 [50.00, 50.00] | 18.50 [" in line


def test_greedy_is_the_first_row_of_each_axis_and_has_no_difference(built):
    for axis, value in (("temperature", "greedy"), ("num_beams", "1"), ("top_k", "greedy")):
        frame = report.read_table(built, axis)
        first = frame[frame["model"] == "beta"].iloc[0]
        assert first["value"] == value
        assert pd.isna(first["delta"])


def test_verdict_names_what_survives_correction_and_is_inconclusive_elsewhere(built):
    page = plain(report.show(built, "temperature").data)
    assert "single setting from greedy is +3.00 points [+2.46, +3.54] of ROUGE-L" in page
    assert "1 of 4 differences survive" in page
    assert "8 comparisons" in page
    for axis in ("num_beams", "top_k"):
        assert "inconclusive: no difference from greedy survives" in report.show(built, axis).data
        assert "no effect" not in report.show(built, axis).data


def test_knob_as_a_whole_has_a_verdict_sentence_per_model(built):
    """Alpha moves by 0 at .25 and by d, of mean 3, at 1: over 0, .25, 1 the slope is 14 d / 13.

    Its sd is 14/13 of that of d, so the half-width is .541845 * 14/13. All 12 are positive:
    p = 2/2**12, times 6 contrasts after Holm.
    """
    page = plain(report.show(built, "temperature").data)
    assert (
        "- Raising the temperature from 0 (greedy) to 1 changes Alpha\\|7B's ROUGE-L by "
        "+3.23 points [+2.65, +3.81], p = 0.003 after Holm." in page
    )
    row = entry(built, "contrasts", model="alpha", axis="temperature")
    assert row["mean"] == pytest.approx(42 / 13, abs=1e-6)
    assert row["p_holm"] == pytest.approx(6 * 2 / 2**12, abs=1e-6)
    assert "to 2 leaves Alpha\\|7B's ROUGE-L equivalent within 1 point: +0.00 points" in plain(
        report.show(built, "num_beams").data
    )
    sentences = plain(report.show(built, "contrasts").data)
    assert sentences.count("- Raising ") == 6


def test_exploratory_metrics_are_labelled_and_read_on_a_page_of_their_own(built):
    assert "Exploratory, a hint and no finding" in report.show(built, "temperature").data
    page = plain(report.show(built, "temperature_secondary").data)
    line = next(line for line in page.splitlines() if line.startswith(r"| Alpha\|7B | 1 |"))
    row = entry(built, "temperature", model="alpha", value="1", metric="rouge1")
    assert rf"| 18.50 +3.00 \[+2.46, +3.54\] p {row['p_bh']:.3f} |" in line
    assert line.endswith("| 0.75 | 1.00 | 0.00 | 1.00 |")
    assert "one answer per question has none to differ from" in page
    frame = report.read_table(built, "temperature_secondary")
    assert frame.equals(report.read_table(built, "temperature"))


def test_cells_of_the_exploratory_page_are_narrow_enough_for_a_laptop(built):
    """Ten columns of numbers: a cell of 16 characters a line was 48 pixels too wide at 1280."""
    page = report.show(built, "temperature_secondary").data.replace("\\", "")
    rows = [line for line in page.splitlines() if line.startswith("| Alpha")]
    cells = [cell for row in rows for cell in row.replace("a|7B", "a").split("|")[3:-1]]
    lines = [line.strip() for cell in cells for line in cell.split("<br>")]
    assert "[+2.46," in lines and "+3.54]" in lines
    assert max(map(len, lines)) <= len("[-27.64,")


def test_glance_has_one_row_per_model_with_the_numbers_of_the_pages_it_is_made_of(built):
    page = plain(report.show(built, "glance").data)
    [line] = [line for line in page.splitlines() if line.startswith(r"| Alpha\|7B |")]
    tuned = entry(built, "main", model="alpha", value="finetuned", metric="rougeL")
    untuned = entry(built, "main", model="alpha", value="untuned", metric="rougeL")
    frame = report.read_table(built, "contrasts").set_index(["model", "axis"])
    knobs = [frame.loc["alpha", axis] for axis in ("temperature", "num_beams", "top_k")]
    cells = [cell.strip() for cell in line.replace("\\|", "/").split("|")[2:-1]]
    assert [cell.split()[0] for cell in cells] == [
        f"{untuned['mean']:.2f}",
        f"{tuned['mean']:.2f}",
        f"{tuned['delta']:+.2f}",
        *(f"{knob['mean']:+.2f}" for knob in knobs),
    ]
    assert [cell.split()[-1] for cell in cells[3:]] == [knob["verdict"] for knob in knobs]
    header = next(line for line in page.splitlines() if line.startswith("| Model"))
    assert "temperature, 0 (greedy) to 1" in header


def test_answers_too_short_for_a_share_are_counted_in_one_line(tmp_path):
    """3 of the 24 answers at temperature 1 have no bigram: 12.5%, and 12% to the reader."""
    rows = moved(1, 2, 3)
    for row in rows[:3]:
        row["distinct_2"] = float("nan")
    record = fabricate(tmp_path, overrides={("alpha", "temperature=1"): rows})
    report.build(record)
    page = plain(report.show(record, "temperature_secondary").data)
    assert "Answers too short for it, or missing: distinct-2, up to 12% of a row's answers." in page
    row = entry(record, "temperature", model="alpha", value="1", metric="distinct_2")
    assert (row["answers"], row["missing"]) == (21, 3)


def test_noise_of_identical_halves_is_null(built):
    page = plain(report.show(built, "aa").data)
    assert "| Beta \\<b\\>" not in page
    assert "it must come out null. It does: none of 2 differs after Holm" in page


def test_noise_that_is_not_null_is_said_loudly(tmp_path):
    rows = [
        answer_row(question, repeat, score + 5 * repeat)
        for question, score in enumerate(GREEDY_SCORES)
        for repeat in range(2)
    ]
    record = fabricate(tmp_path, overrides={("beta", "temperature=1"): rows})
    report.build(record)
    page = plain(report.show(record, "aa").data)
    assert "**The A/A comparison of Beta <b\\>2</b\\>, temperature 1, is not null: -5.00" in page
    assert 'class="warning"' in (tmp_path / "report.html").read_text()


def test_main_table_gives_gain_over_the_untuned_base_between_floors_and_ceiling(tmp_path):
    base = [answer_row(question, 0, score - 5) for question, score in enumerate(GREEDY_SCORES)]
    nothing = {"n_words": 0.0, "status": "empty", "finish_reason": None, "bertscore_f1": 0.0}
    zero = dict.fromkeys(BLEU_STATISTICS[:-1], 0.0)
    floor = [answer_row(question, 0, 0.0, **nothing, **zero) for question in range(QUESTIONS)]
    record = fabricate(tmp_path, overrides={("alpha", "base"): base, (CONTROL, "empty"): floor})
    report.build(record)
    page = plain(report.show(record, "main").data)
    assert (
        r"| Alpha\|7B finetuned | 50.00 [50.00, 50.00] | 100.00 [100.00, 100.00] | 15.50 [" in page
    )
    # All 12 gains are positive: p = 2/2**12, times 2 models.
    assert "| not collected | +5.00 [+5.00, +5.00] p <0.001 | 12 | 1.50 | - | - |" in page
    assert "| floor: empty answer | 0.00 [0.00, 0.00] |" in page
    assert "- Finetuning changes Alpha\\|7B's ROUGE-L by +5.00 points [+5.00, +5.00]" in page
    assert "not recorded" not in page  # no model ended the empty answers; nor is that a column
    rows = [line for line in page.splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[0] for line in rows] == [
        r"| Alpha\|7B finetuned",
        r"| Beta <b\>2</b\> finetuned",
        r"| Alpha\|7B untuned",
        r"| Beta <b\>2</b\> untuned",
        "| floor: empty answer",
        "| floor: copied instruction",
        "| floor: another row's answer",
        "| ceiling: the reference itself",
    ]


def test_surprise_at_the_references_is_shown_where_it_was_measured(tmp_path):
    """20 nats for 10 tokens and 40 characters: 2 a token, 20 / 40 / ln 2 bits a character."""
    known = pd.DataFrame({"id": [f"q{n:02}" for n in range(QUESTIONS)]})
    record = fabricate(tmp_path, likelihood=known.assign(nats=20.0, tokens=10, characters=40))
    report.build(record)
    page = plain(report.show(record, "main").data)
    assert page.count("| 1.50 | 2.00 | 0.72 |") == 4
    assert "not comparable between models whose tokens differ" in page


def test_failed_answers_are_left_out_counted_and_explained(tmp_path):
    rows = moved(0)
    rows[0], rows[1], rows[2] = failed_row(0, 0), failed_row(0, 1, "oom"), failed_row(1, 0)
    record = fabricate(tmp_path, overrides={("beta", "top_k=4"): rows})
    report.build(record)
    row = entry(record, "top_k", model="beta", value="4", metric="rougeL")
    assert (row["n"], row["answers"], row["missing"]) == (11, 21, 3)
    # Question 1 keeps its second repeat alone, 1 point above; question 0 is in neither mean.
    assert row["delta"] == pytest.approx(1 / 11, abs=1e-6)
    assert row["mean"] == pytest.approx((sum(GREEDY_SCORES[1:]) + 1) / 11, abs=1e-6)
    page = plain(report.show(record, "top_k").data)
    reason = "3 of 24 answers have no score (2 failed, 1 out of memory)"
    assert rf"- BLEU, ROUGE-L, BERTScore F1: {reason}: Beta <b\>2</b\> 4." in page


def test_cell_without_any_answer_is_blank_and_leaves_the_family(tmp_path):
    rows = [failed_row(question, 0, "oom") for question in range(QUESTIONS)]
    record = fabricate(tmp_path, overrides={("beta", "num_beams=2"): rows})
    report.build(record)
    row = entry(record, "num_beams", model="beta", value="2", metric="rougeL")
    assert row[["mean", "ci_low", "delta", "p", "p_holm"]].isna().all()
    page = plain(report.show(record, "num_beams").data)
    assert r"| Beta <b\>2</b\> | 2 | - | - | - | - | - | 0 | 1 | - | - | - |" in page
    assert "12 of 12 answers have no score (12 out of memory)" in page
    assert "7 comparisons" in page


def test_check_finds_nothing_after_a_build(built):
    assert report.check(built) == []


def test_check_names_the_table_that_was_edited_or_lost(copied):
    page = copied.table("temperature").with_suffix(".md")
    page.write_text(page.read_text().replace("+3.00", "+4.00"))
    copied.table("main").with_suffix(".csv").unlink()
    cost = copied.folder / "performance" / "cost.tex"
    cost.write_text(cost.read_text().replace("2.50", "9.90"))
    assert report.check(copied) == ["main.csv", "temperature.md", "performance/cost.tex"]


def test_scores_edited_after_sealing_are_refused(copied):
    run = copied.run(copied.index()["runs"]["alpha"]["greedy"])
    scores = run.scores()
    scores.loc[0, "rougeL"] = 99.0
    run.write_scores(scores)
    for stage in (report.check, report.build):
        with pytest.raises(RecordError, match="does not match its manifest"):
            stage(copied)


def test_runs_of_two_encoders_are_never_mixed(tmp_path):
    record = fabricate(tmp_path, encoders={("beta", "base"): "another-encoder"})
    with pytest.raises(RecordError, match="different encoder"):
        report.build(record)


def test_missing_run_is_named_with_the_stage_that_makes_it(tmp_path):
    record = fabricate(tmp_path)
    index = record.index()
    del index["runs"]["beta"]["top_k=4"]
    record.write_index(index)
    with pytest.raises(
        RecordError, match="no run for beta, top_k=4; run `python -m alpaca_lab generate, then"
    ):
        report.build(record)


def test_cost_and_quality_stand_side_by_side(built):
    page = plain(report.show(built, "performance/cost").data)
    assert r"| Alpha\|7B | greedy | 15.50 [" in page
    assert "] | 2.50 | 400.00 | - | 12 | 1,000 | 0.208 |" in page
    assert '"-": not measured' in page
    assert r"Alpha\|7B: an answer takes longest with" in page


def test_training_table_shows_first_last_and_best_loss(built):
    page = plain(report.show(built, "training").data)
    assert r"| Alpha\|7B | 14 | 1,234,567 | 100 | 3 | 4.00 | 2.00 | 3.50 |" in page


def test_every_score_carries_its_signature(built):
    table = report.read_table(built, "main").set_index("metric")["signature"]
    assert set(table["rougeL"]) == {SIGNATURES["rougeL"]}
    assert set(table["bertscore_f1"]) == {"bertscore|some-encoder"}
    assert set(table["length_ratio"]) == {SIGNATURES["length_ratio"]}


def test_each_score_page_ends_with_signatures_encoder_and_runs(built):
    page = plain(report.show(built, "num_beams").data)
    runs = built.index()["runs"]
    assert SIGNATURES["corpus_bleu"] in page
    assert SIGNATURES["rougeL"] in page
    assert "some-encoder, layer 6, not rescaled" in page
    for model in ("alpha", "beta"):
        assert runs[model]["num_beams=2"] in page
        assert runs[model]["greedy"] in page


def test_every_figure_is_a_png(built):
    for name in ("main", "temperature", "num_beams", "top_k", "contrasts", "cost", "loss"):
        assert built.figure(name).read_bytes().startswith(b"\x89PNG")


def test_unknown_and_unbuilt_tables_are_refused_by_name(tmp_path):
    with pytest.raises(RecordError, match='no table "top_p": choose from glance'):
        report.show(Record(tmp_path), "top_p")
    with pytest.raises(RecordError, match="no such file.*run `python -m alpaca_lab report`"):
        report.read_table(Record(tmp_path), "main")


def test_examples_show_what_was_written_and_render_none_of_it(built):
    page = report.examples(built, n=2).data
    assert "Say 0 &amp; stop" in page
    assert "one<br>&lt;i&gt;q00&lt;/i&gt;" in page
    assert "<span>$</span>5" in page
    assert "Alpha|7B, untuned" in page
    assert "Beta &lt;b&gt;2&lt;/b&gt;, finetuned" in page
    assert "q02" not in page


def test_examples_say_what_is_not_answered_yet_and_cut_what_is_long(tmp_path):
    record = fabricate(tmp_path)
    index = record.index()
    del index["runs"]["beta"]
    record.write_index(index)
    record.write_questions(
        [{"id": "q00", "instruction": "a" * 601, "input": "b\nc", "reference": "d"}]
    )
    page = report.examples(record).data
    assert page.count("not answered yet") == 2
    assert f"{'a' * 600} ... <i>(601 characters in all)</i>" in page
    assert "b<br>c" in page


def test_report_needs_no_torch():
    code = "import sys, alpaca_lab.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0


def test_every_table_is_written_as_csv_markdown_and_latex(built):
    for name in ALWAYS:
        folder = built.folder if name.startswith("performance/") else built.folder / "tables"
        written = {path.suffix for path in folder.glob(f"{name}.*")}
        assert written == ({".md", ".tex"} if name in report.DERIVED else {".csv", ".md", ".tex"})


def test_report_page_holds_every_table_and_figure_and_escapes_every_text(tmp_path):
    models = (replace(STUDY.models[0], title=f"Alpha {HOSTILE}"), *STUDY.models[1:])
    record = fabricate(tmp_path, study=replace(STUDY, models=models), text=HOSTILE)
    report.build(record)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for name in ALWAYS:
        anchor = name.replace("/", "-")
        assert f'<section id="{anchor}">' in page and f'href="#{anchor}"' in page
    assert page.count('<img src="data:image/png;base64,') == 9
    assert "<script" not in page and "\x1b" not in page
    assert page.count("</style>") == 1
    assert "Alpha &lt;script&gt;alert(1)&lt;/script&gt; $x$ &lt;/style&gt; ␛[31m" in page
    assert "\x1b" not in (tmp_path / "tables" / "main.md").read_text(encoding="utf-8")


def test_study_without_a_knob_still_has_its_pages(tmp_path):
    record = fabricate(tmp_path, study=replace(STUDY, temperatures=(), beams=(), top_ks=()))
    report.build(record)
    assert report.check(record) == []
    assert "No other value of this knob" in report.show(record, "temperature").data
    assert "No knob of this study" in report.show(record, "contrasts").data
    assert "no sampled setting has two repeats" in report.show(record, "aa").data


def test_readme_is_filled_from_the_written_pages_and_then_left_alone(built, tmp_path):
    readme = tmp_path / "README.md"
    study = built.folder.name
    readme.write_text(f"# Lab\n\n<!-- table: {study}/aa -->\n<!-- /table -->\n")
    assert report.update_readme(readme, results=built.folder.parent)
    assert report.show(built, "aa").data.strip() in readme.read_text()
    assert not report.update_readme(readme, results=built.folder.parent)
    readme.write_text(f"<!-- table: {study}/nothing -->\n<!-- /table -->\n")
    with pytest.raises(RecordError, match='no table "nothing": choose from glance'):
        report.update_readme(readme, results=built.folder.parent)
