"""The first study's protocol: what it computed, what that hides, and its tables taken apart."""

import json
import math
import os
import sys
from pathlib import Path

import pandas as pd
import pytest

from alpaca_lab.config import BERT_BASE, SettingError
from alpaca_lab.metrics import closeness, rouge
from alpaca_lab.metrics.closeness import Closeness
from alpaca_lab.original import page as original_page
from alpaca_lab.original import protocol, published, whole_text
from alpaca_lab.original import readme as original_readme

DATA = os.environ.get("ALPACA_LAB_REFERENCE_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="ALPACA_LAB_REFERENCE_DATA is not set")
NONE = Closeness()


def row(answer, *, reference="Paris is the capital.", id="q1", group="a", prompt="Name it."):
    return {
        "id": id,
        "group": group,
        "reference_text": protocol.render(prompt, "", reference),
        "candidate_text": protocol.render(prompt, "", answer),
    }


def score(rows, whole=NONE, answers=NONE):
    frame = protocol.score(rows, whole=whole, answers=answers)
    return frame.set_index(["protocol", "group", "metric"])


# Texts: the two BLEU calls, the other ROUGE, and where a prompt ends.


def test_published_bleu_takes_letters_for_words_and_prints_as_zero():
    """Only "a" is a word of the answer and a letter of a reference word: 1 of 8 unigrams match."""
    text = "a cat sat on the mat all day"
    found = whole_text.scores(text, reference_text=text)
    # Brevity 1; orders 2 to 4 have no match, which nltk replaces by the smallest float.
    expected = math.exp((math.log(1 / 8) + 3 * math.log(sys.float_info.min)) / 4)
    assert found["bleu"] == pytest.approx(expected) and f"{found['bleu']:.5f}" == "0.00000"
    assert found["bleu_corrected"] == 1.0


def test_published_bleu_without_a_lone_letter_is_zero_itself():
    assert whole_text.scores("the cat", reference_text="the cat")["bleu"] == 0


def test_rouge_of_the_study_counts_distinct_words_and_is_not_googles():
    """Distinct words of the answer: a, b; of the reference: a, b. Google: P 2/4, R 2/2, F 2/3."""
    found = whole_text.scores("a b b a", reference_text="a b")["rougeL"]
    assert found == pytest.approx(1.0, abs=1e-7)
    google = rouge.rouge("a b b a", reference="a b")["rougeL"] / 100
    assert google == pytest.approx(2 / 3)


@pytest.mark.parametrize("text", ["", "  \n", "...", " . "])
def test_text_without_a_word_scores_zero_where_the_package_would_raise(text):
    assert set(whole_text.scores(text, reference_text="a b").values()) == {0.0}


def test_reference_without_a_word_is_refused():
    with pytest.raises(SettingError, match="no word to score against"):
        whole_text.scores("a", reference_text=" . ")


def test_sentence_longer_than_the_recursion_limit_is_scored_and_the_limit_restored():
    limit = sys.getrecursionlimit()
    words = " ".join(f"w{i}" for i in range(700))
    assert whole_text.scores(words, reference_text=words)["rougeL"] == pytest.approx(1)
    assert sys.getrecursionlimit() == limit


def test_sentence_that_would_fill_the_memory_is_refused_with_its_size():
    with pytest.raises(SettingError, match="a sentence of 3,000 words against one of 2,000"):
        whole_text.scores("x " * 3000, reference_text="x " * 2000)


SPLITS = [
    ("P\n### Response:\nYes.", "P\n### Response:\nNo.", "No.", True),
    ("P\r\n### Response:\r\nYes.", "P\n### Response:\nNo.\r\n", "No.", True),
    ("P\n### Response:\nYes.</s>", "<s> P\n### Response:\nNo.</s></s>", "No.", True),
    ("P\n### Response:\nYes.<|endoftext|>", "P\n### Response:\n<|endoftext|>", "", True),
    ("P\n### Response:\nYes.", "P ### Response:", "", True),
    ("P\n### Response:\nYes.", "Other\n### Response:\nNo.", "No.", False),
    # A model that runs on: what it writes after its answer is its answer too.
    ("P\n### Response:\nYes.", "P\n### Response:\nNo.\nQ\n### Response:\nWell.",
     "No.\nQ\n### Response:\nWell.", True),
    # A marker within the instruction, and one within the reference's answer.
    ("Explain ### Response: in P\n### Response:\nYes.",
     "Explain ### Response: in P\n### Response:\nNo.", "No.", True),
    ("P\n### Response:\nWrite ### Response: there.", "P\n### Response:\nNo.", "No.", True),
]  # fmt: skip


@pytest.mark.parametrize(("reference", "candidate", "answer", "same"), SPLITS)
def test_answer_is_what_follows_the_prompt_of_both(reference, candidate, answer, same):
    parts = whole_text.split(reference, candidate)
    assert (parts.answer, parts.same_prompt) == (answer, same)


def test_special_token_within_an_answer_stays():
    parts = whole_text.split("P ### Response: a", "P ### Response: <s>bold</s> tags</s>")
    assert parts.answer == "<s>bold</s> tags"


# The table: both protocols, and what silence earns.


def test_silence_scores_high_under_the_original_protocol_and_nothing_under_the_canonical():
    frame = score([row("")])
    whole = frame.loc["original", "a", "rougeL"]
    assert whole["value"] == whole["floor"] > 0.85
    alone = frame.loc["canonical"]
    assert alone.loc[alone.index.get_level_values("metric") != "bertscore_f1", "value"].eq(0).all()


def test_floor_is_the_prompt_against_the_whole_reference():
    rows = [row("Paris is the capital."), row("No idea.", id="q2")]
    text = rows[0]["reference_text"]
    prompt = text[: text.index("### Response:") + len("### Response:")]
    expected = whole_text.scores(prompt, reference_text=text)
    frame = score(rows)
    for name, value in expected.items():
        assert frame.loc[("original", "a", name), "floor"] == pytest.approx(value)


def test_canonical_scores_beside_it_are_those_of_the_answers_alone():
    """ROUGE-L of "Paris is big." against "Paris is the capital.": LCS 2, P 2/3, R 2/4, F 4/7."""
    frame = score([row("Paris is big.")])
    assert frame.loc[("canonical", "a", "rougeL"), "value"] == pytest.approx(100 * 4 / 7)
    assert frame.loc[("canonical", "a", "length_ratio"), "value"] == pytest.approx(3 / 4)
    assert frame.loc[("original", "a", "rougeL"), "value"] > 0.9


def test_means_are_over_the_rows_of_a_group():
    rows = [row("Paris is the capital."), row("", id="q2"), row("", id="q1", group="b")]
    frame = score(rows)
    one, silent = (frame.loc[("original", g, "rougeL"), "value"] for g in ("a", "b"))
    assert one == pytest.approx((1 + silent) / 2, abs=1e-6)
    assert list(dict.fromkeys(frame.index.get_level_values("group"))) == ["a", "b"]


def test_bertscore_is_of_whole_texts_on_one_side_and_of_answers_on_the_other():
    seen = []

    def similarity(texts, references):
        seen.append((texts, references))
        return [50.0] * len(texts)

    by = {
        name: Closeness(signature=f"b|{name}|unit:answer|v", score=similarity, missing="")
        for name in ("whole", "answers")
    }
    frame = score([row("Paris is big.")], **by)
    assert seen[0][0] == [row("Paris is big.")["candidate_text"]]
    assert seen[1] == (["Paris is big."], ["Paris is the capital."])
    whole, alone = (frame.loc[(p, "a", "bertscore_f1")] for p in ("original", "canonical"))
    assert (whole["value"], alone["value"]) == (0.5, 50.0)
    assert whole["signature"] == "b|whole|unit:prompt + answer|v"


def test_encoder_that_cannot_be_had_leaves_a_blank_that_says_why(monkeypatch):
    def unreachable(spec):
        raise SettingError(f"encoder {spec.source} could not be fetched")

    monkeypatch.setattr(closeness.bertscore, "load_encoder", unreachable)
    frame = score([row("Paris.")], whole=closeness.of(BERT_BASE))
    blank = frame.loc["original", "a", "bertscore_f1"]
    assert math.isnan(blank["value"])
    assert blank["note"] == "encoder google-bert/bert-base-uncased could not be fetched"
    assert "bert-base-uncased|layer:9" in blank["signature"]


def test_reference_without_an_answer_is_left_out_of_the_canonical_scores_and_counted():
    frame = score([row("Paris.", reference=""), row("Paris is big.", id="q2")])
    alone = frame.loc["canonical", "a", "rougeL"]
    assert (alone["n"], frame.loc[("original", "a", "rougeL"), "n"]) == (1, 2)
    assert alone["note"] == "1 rows have no reference to score"
    assert alone["value"] == pytest.approx(100 * 4 / 7)


def test_prompts_that_differ_are_said_to():
    other = row("Paris.") | {"candidate_text": protocol.render("Name something.", "", "Paris.")}
    note = score([other]).loc[("canonical", "a", "rougeL"), "note"]
    assert note.startswith("the prompts of 1 rows differ, first q1")


def test_row_that_cannot_be_scored_is_named():
    with pytest.raises(SettingError, match="row q7 of a: .*no word|row q7 of a: no"):
        score([{**row("x", id="q7"), "candidate_text": "no marker"}])


# A file of someone's texts.


def write(tmp_path, lines):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_file_is_read_with_its_groups_and_further_fields_are_passed_over(tmp_path):
    line = {name: value for name, value in row("Paris.").items() if name != "group"}
    [read] = protocol.read_file(write(tmp_path, [line | {"id": 7, "model": "x"}]))
    assert (read["id"], read["group"], set(read)) == ("7", "answers", set(row("")))


BAD = [
    ({"id": "q2", "reference_text": "x"}, "texts.jsonl:2 has no `candidate_text`"),
    ({"id": "q2", "candidate_text": "x"}, "texts.jsonl:2 has no `reference_text`"),
    (["q2"], "texts.jsonl:2: expected an object"),
    (row("x", id=[2]), "texts.jsonl:2: `id` must be text or a whole number"),
    (row("x") | {"candidate_text": None}, "texts.jsonl:2: `candidate_text` must be text"),
    (row("x"), r"texts.jsonl:2 answers q1 a second time \(first on line 1\)"),
    (row("x", id="q2") | {"candidate_text": "Paris"}, 'texts.jsonl:2: no "### Response:" in `cand'),
    (row("x", id="q2") | {"reference_text": "Paris"}, 'texts.jsonl:2: no "### Response:" in `ref'),
    (row("\ud83e", id="q2"), "texts.jsonl:2: `candidate_text` is not valid Unicode"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_bad_line_is_named_with_its_cure(tmp_path, line, message):
    with pytest.raises(SettingError, match=message):
        protocol.read_file(write(tmp_path, [row("Paris."), line]))


def test_file_without_lines_is_refused(tmp_path):
    with pytest.raises(SettingError, match="has no lines"):
        protocol.read_file(write(tmp_path, []))


# The page.


def test_page_says_that_the_protocol_is_not_valid_and_why():
    frame = protocol.score([row("Paris is big."), row("", group="b")], whole=NONE, answers=NONE)
    text = original_page.to_markdown(frame)
    assert text.index("Not a valid measurement") < text.index("Canonical protocol")
    assert "0 of 2 groups score less" in text
    assert "bertscore_f1: no encoder was asked for".replace("_", r"\_") in text


def test_page_counts_the_groups_that_silence_beats():
    """An answer of other words lowers a score that the prompt alone has."""
    frame = protocol.score([row("No idea whatsoever, sorry, my friend")], whole=NONE, answers=NONE)
    assert "1 of 1 group score less" in original_page.to_markdown(frame)


def test_json_keeps_the_tiny_bleu_and_writes_blanks_as_null():
    frame = protocol.score([row("Paris is a big town.")], whole=NONE, answers=NONE)
    found = json.loads(original_page.to_json(frame))
    values = {r["metric"]: r["value"] for r in found["rows"] if r["protocol"] == "original"}
    assert 0 < values["bleu"] < 1e-200 and values["bertscore_f1"] is None
    assert found["warning"] == original_page.BANNER


# The published tables.


def test_published_tables_have_a_row_for_every_model_and_setting():
    rows = published.figures()
    assert rows["table"].value_counts().to_dict() == {
        "default": 3, "temperature": 12, "num_beams": 12, "top_k": 12,
    }  # fmt: skip
    assert rows["bleu"].eq(0).all()
    assert rows["human"].dropna().tolist() == [0.86, 0.89, 0.90]
    assert (
        rows["rougeL"].between(0.59, 0.65).all() and rows["bertscore_f1"].between(0.77, 0.81).all()
    )
    assert not rows.duplicated(["table", "value", "model"]).any()


@pytest.mark.parametrize(
    ("axis", "value", "model", "rouge", "bert"),
    [
        ("temperature", 0.5, "mistral-7b", 0.61920, 0.79508),
        ("num_beams", 2, "phi-2", 0.64762, 0.80356),
        ("top_k", 16, "llama-2-7b", 0.62263, 0.79828),
    ],
)
def test_published_figures_are_those_printed(axis, value, model, rouge, bert):
    rows = published.figures()
    found = rows[rows["table"].eq(axis) & rows["value"].eq(value) & rows["model"].eq(model)]
    assert found[["rougeL", "bertscore_f1"]].to_numpy().tolist() == [[rouge, bert]]


def test_trend_of_a_rising_row_is_its_share_of_all_orders():
    """4 values in order: 2 of 24 orders are as steep; the fitted change is 3 steps."""
    change, p = published.trend([[1, 2, 3, 4]], [1, 2, 3, 4])
    assert (change, p) == (pytest.approx(3), pytest.approx(2 / 24))
    _, both = published.trend([[1, 2, 3, 4], [5, 6, 7, 8]], [1, 2, 3, 4])
    assert both == pytest.approx(2 / 24**2)


def test_trend_is_the_share_among_orders_drawn_at_random():
    """Another way to the same p: 200,000 shuffles within each row."""
    import numpy as np

    rows = published.by_value(published.figures(), "top_k", "rougeL").to_numpy()
    places = np.arange(4.0)
    generator = np.random.default_rng(0)
    drawn = sum(
        generator.permuted(np.tile(row, (200_000, 1)), axis=1) @ (places - 1.5) for row in rows
    )
    share = (np.abs(drawn) >= abs((rows @ (places - 1.5)).sum()) - 1e-12).mean()
    _, p = published.trend(rows, places)
    assert p == pytest.approx(share, abs=0.002)


def test_no_published_trend_survives():
    found = published.trends(published.figures()).set_index(["metric", "axis"])
    expected = {"temperature": 0.0548, "num_beams": 0.1868, "top_k": 0.0557}
    for axis, p in expected.items():
        assert found.loc[("rougeL", axis), "p"] == pytest.approx(p, abs=5e-5)
    assert (found["p_holm"] > 0.05).all() and (found["p"] > 0.05).all()


def test_larger_beams_do_not_improve_all_metrics():
    assert published.falling(published.figures(), "num_beams", 2, 8) == (6, 6)


def test_the_whole_of_the_tables_spans_five_points():
    low, high = published.span(published.figures(), "rougeL")
    assert 100 * (high - low) == pytest.approx(4.894)


def test_committed_readme_is_what_the_program_writes():
    written = (original_readme.FOLDER / "README.md").read_text(encoding="utf-8")
    assert written == original_readme.readme()


def test_readme_has_every_published_figure_and_no_open_place():
    text = original_readme.readme()
    for value in published.figures()[["rougeL", "bertscore_f1"]].to_numpy().ravel():
        assert f"{value:.5f}" in text
    assert "{" not in text


def test_readme_follows_the_scores_it_is_given(tmp_path):
    for name in ("published.csv", "reported.csv"):
        (tmp_path / name).write_bytes((original_readme.FOLDER / name).read_bytes())
    scores = pd.read_csv(original_readme.FOLDER / "replication.csv")
    scores.loc[scores["metric"].eq("rougeL"), "floor"] = 0.0
    scores.to_csv(tmp_path / "scores.csv", index=False)
    path = original_readme.write(tmp_path, scores=tmp_path / "scores.csv")
    assert "and 0 of 39\nsettings score less" in path.read_text()


# Real rows and published vectors.


def reference(name):
    return Path(DATA) / name


@needs_data
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_nltk_scores_its_published_vectors():
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    cases = json.loads(reference("metric_vectors/nltk_bleu.json").read_text())["sentence_bleu"]
    for case in cases:
        smoothing = case.get("smoothing")
        found = sentence_bleu(
            [text.split() for text in case["refs"]],
            case["hyp"].split(),
            weights=tuple(case["weights"]),
            smoothing_function=getattr(SmoothingFunction(), smoothing) if smoothing else None,
        )
        assert found == pytest.approx(case["value"], abs=1e-6)


@needs_data
def test_rouge_package_has_its_own_ngram_vectors_and_google_has_not():
    """Its test data are of an older version, whose texts are one sentence and whose F of ROUGE-L
    weighs recall: n-grams agree to the last digit, and neither agrees with rouge_score."""
    from rouge.rouge_score import rouge_n

    cases = json.loads(reference("metric_vectors/rouge_pltrdy_data.json").read_text())
    assert len(cases) == 4
    for case in cases:
        google = rouge.rouge(case["hyp"], reference=case["ref"])
        for order in (1, 2):
            expected = case["scores"][f"rouge-{order}"]
            found = rouge_n([case["hyp"]], [case["ref"]], order)
            assert found == pytest.approx(expected)
        assert google["rouge1"] / 100 != pytest.approx(case["scores"]["rouge-1"]["f"], abs=1e-3)


@needs_data
def test_first_twenty_rows_of_alpaca_have_the_reported_floor_and_a_bleu_of_zero():
    lines = reference("alpaca/alpaca_first_2000.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines[: protocol.ROWS]]
    rows = [
        {"id": str(i), "group": "a", "reference_text": protocol.render(**record),
         "candidate_text": protocol.render(record["instruction"], record["input"],
                                           record["output"][:120])}
        for i, record in enumerate(records)
    ]  # fmt: skip
    frame = score(rows)
    reported = pd.read_csv(original_readme.FOLDER / "reported.csv", dtype=str).set_index("key")
    floor = frame.loc[("original", "a", "rougeL"), "floor"]
    assert f"{floor:.3f}" == reported.loc["stanford", "reported"]
    assert f"{frame.loc[('original', 'a', 'bleu'), 'value']:.5f}" == "0.00000"
    assert frame.loc[("original", "a", "bleu_corrected"), "floor"] > 0.4


def test_reference_that_a_metric_cannot_see_is_not_called_a_missing_one():
    rows = [
        {"id": str(n), "group": "g", "reference_text": text, "candidate_text": text}
        for n, text in enumerate(f"Say it.\n\n### Response:\n{word}" for word in ("yes", "да", ""))
    ]
    frame = protocol.score(rows, whole=Closeness(), answers=Closeness())
    alone = frame[(frame["protocol"] == protocol.ANSWER)].set_index("metric")
    assert alone.loc["rougeL", "n"] == 1
    assert alone.loc["rougeL", "note"] == (
        "1 rows have no reference to score; 1 rows have a reference that the metric cannot see"
    )
    assert alone.loc["bleu", "note"] == "1 rows have no reference to score"
