"""What common noise buys: intervals worked by hand, simulations of known truth, the page."""

import doctest
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from alpaca_lab import stats
from alpaca_lab.config import SettingError
from alpaca_lab.pages import render_common_noise
from alpaca_lab.profiles import MODELS, PROFILES
from alpaca_lab.store import Record
from alpaca_lab.sweep import GREEDY, cells
from alpaca_lab.tables import common_noise
from alpaca_lab.tables.common_noise import ANSWERS, COLUMNS, COMPARISONS, Comparison
from benchmark_scripts import load

FOLDER = Path(__file__).parents[1] / "results" / "performance"
TITLES = {key: spec.title for key, spec in MODELS.items()}
LOW, HIGH = "temperature=0.5", "temperature=1"
STEP = Comparison(kind="one step", axis="temperature", weights={LOW: -1.0, HIGH: 1.0})
T_OF_TWO = 12.706205
"""The 97.5% quantile of t with one degree of freedom: what two questions have."""


def answers(scores, *, ids=None, clusters=None):
    """Rows of answers from scores by cell, each of shape (questions, seeds, repeats)."""
    rows = []
    for cell, values in scores.items():
        for (question, seed, repeat), score in np.ndenumerate(np.asarray(values, dtype=float)):
            cluster = (clusters or {}).get(question, question)
            tokens = ids[cell][question][seed] if ids else ()
            rows.append((cell, seed, f"q{question}", f"c{cluster}", repeat, score, tokens))
    return pd.DataFrame(rows, columns=list(ANSWERS))


def measured(scores, comparison=STEP, **options):
    frame = common_noise.table(
        answers(scores, **options), model="tiny-llama", weights="shipped", comparisons=[comparison]
    )
    assert tuple(frame.columns) == COLUMNS
    return frame.iloc[0]


def simulated(*, questions, seeds, repeats, shared, seed=0):
    """Two settings whose noise has sd 1 and correlation `shared` where the seed is the same."""
    rng = np.random.default_rng(seed)
    shape = (questions, seeds, repeats)
    question = 5 * rng.normal(size=(questions, 1, 1))
    common = shared**0.5 * rng.normal(size=shape)
    own = (1 - shared) ** 0.5
    return {cell: question + common + own * rng.normal(size=shape) for cell in (LOW, HIGH)}


def test_examples_hold():
    assert doctest.testmod(common_noise).attempted == 2
    assert doctest.testmod(common_noise).failed == 0


# Intervals


def test_half_widths_ratio_and_worth_worked_by_hand():
    """Two questions, two seeds. Common differences: (1, 3) under both seeds, so t * 1. Independent:
    (5, 11) and (-3, -5), so t * 3 and t * 1; the root mean square is t * sqrt 5."""
    row = measured({LOW: [[[0], [4]], [[0], [8]]], HIGH: [[[1], [5]], [[3], [11]]]})
    assert row["half_common"] == pytest.approx(T_OF_TWO)
    assert row["half_independent"] == pytest.approx(T_OF_TWO * 5**0.5)
    assert row["ratio"] == pytest.approx(1 / 5**0.5)
    assert row["worth"] == pytest.approx(5)
    assert (row["n"], row["repeats"], row["seeds"], row["note"]) == (2, 1, 2, "")
    assert (row["from"], row["to"]) == ("0.5", "1")


def test_settings_a_constant_apart_under_common_noise_have_ratio_0():
    """Independent: (5, 9) and (-3, -7), so t * 2 both times."""
    row = measured({LOW: [[[0], [4]], [[0], [8]]], HIGH: [[[1], [5]], [[1], [9]]]})
    assert row["half_common"] == row["ratio"] == row["ratio_low"] == row["ratio_high"] == 0
    assert row["half_independent"] == pytest.approx(2 * T_OF_TWO)
    assert np.isnan(row["worth"])


def test_the_common_interval_is_the_studys_own():
    """Repeats averaged, then the questions of a cluster: as `estimates` lines answers up."""
    scores = simulated(questions=9, seeds=2, repeats=3, shared=0.5)
    row = measured(scores, clusters={1: 0, 2: 0})
    means = {cell: values.mean(axis=2) for cell, values in scores.items()}
    merged = {cell: np.vstack([m[:3].mean(axis=0), m[3:]]) for cell, m in means.items()}
    found = [stats.paired_difference(merged[HIGH][:, s], merged[LOW][:, s]) for s in range(2)]
    squares = np.mean([(it.high - it.mean) ** 2 for it in found])
    assert row["n"] == 7
    assert row["half_common"] == pytest.approx(squares**0.5)


@pytest.mark.parametrize(("shared", "ratio"), [(0.0, 1.0), (0.75, 0.5)])
def test_the_ratio_of_simulated_noise_is_the_known_one(shared, ratio):
    """The variance of a difference is 2 (1 - correlation)."""
    row = measured(simulated(questions=400, seeds=5, repeats=2, shared=shared))
    assert row["ratio"] == pytest.approx(ratio, rel=0.06)
    assert row["ratio_low"] < ratio < row["ratio_high"]


def test_the_interval_of_the_ratio_covers_what_it_should():
    covered = 0
    for seed in range(200):
        row = measured(simulated(questions=60, seeds=3, repeats=1, shared=0.5, seed=seed))
        covered += row["ratio_low"] <= 0.5**0.5 <= row["ratio_high"]
    assert 0.88 <= covered / 200 <= 0.99


def test_noise_shared_by_settings_on_one_side_widens_the_interval():
    """Weights -1, 1/2, 1/2: of noise that is all shared the halves add up to 1, else to 1/2."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(300, 3, 1))
    mean = Comparison(
        kind="whole knob", axis="temperature", weights={GREEDY: -1.0, LOW: 0.5, HIGH: 0.5}
    )
    row = measured({GREEDY: np.zeros((300, 1, 1)), LOW: noise, HIGH: noise}, mean)
    assert row["ratio"] == pytest.approx(2**0.5, rel=0.05)
    assert row["from"] == GREEDY and np.isnan(row["same_common"])


def test_no_setting_shares_a_seed_with_another_under_independent_noise():
    """Powers of ten tell who meets whom: of 5 settings no column sums two of one seed."""
    weights = {f"temperature={place}": 10.0**place for place in range(5)}
    seeds = np.tile(np.arange(5.0), (2, 1))[:, :, None]
    part = answers(dict.fromkeys(weights, seeds))
    scores = common_noise._by_cluster(part)
    settings = [(scores[cell].to_numpy(), weight) for cell, weight in weights.items()]
    for shift in range(1, 5):
        for value in common_noise._moves(settings, shift)[0]:
            assert sorted(f"{value:05.0f}") == list("01234")


# Blanks


def test_one_question_is_a_blank_with_its_reason():
    row = measured({LOW: [[[1], [2]]], HIGH: [[[3], [4]]]})
    assert row["n"] == 1 and "fewer than two questions" in row["note"]
    assert row[["half_common", "half_independent", "ratio", "worth"]].isna().all()


def test_a_question_whose_reference_rouge_cannot_see_is_left_out():
    scores = simulated(questions=5, seeds=2, repeats=2, shared=0.5)
    for values in scores.values():
        values[3] = np.nan
    assert measured(scores)["n"] == 4


def test_settings_without_noise_have_none_to_share():
    steady = np.array([1.0, 2.0, 4.0])[:, None, None].repeat(2, axis=1)
    row = measured({LOW: steady, HIGH: steady + 1})
    assert row["half_independent"] == 0 and np.isnan(row["ratio"])
    assert "no noise to share" in row["note"]


def test_fewer_seeds_than_settings_are_refused():
    with pytest.raises(SettingError, match="1 seeds for the 2 settings"):
        measured({LOW: [[[1]], [[2]]], HIGH: [[[1]], [[2]]]})


# Answers


def test_agreement_worked_by_hand():
    """One question, two seeds. Under one seed: the same, and parted after 1 of 4. Across: 0 of 2
    tokens, and 0 of 4."""
    zeros = [[[0], [0]]]
    ids = {LOW: [[(1, 2), (3, 4)]], HIGH: [[(1, 2), (3, 5, 6, 7)]]}
    row = measured({LOW: zeros, HIGH: zeros}, ids=ids)
    assert (row["same_common"], row["same_independent"]) == (0.5, 0.0)
    assert (row["shared_common"], row["shared_independent"]) == (0.625, 0.0)
    assert row["tokens"] == 2.5


@pytest.mark.parametrize(
    ("one", "two", "share"),
    [((), (1,), 0.0), ((1, 2), (1, 2, 3, 4), 0.5), ((2, 1), (1, 2), 0.0), ((1, 9), (1, 8), 0.5)],
)
def test_a_shared_start_is_counted_in_the_longer_answer(one, two, share):
    assert common_noise.shared_start(one, two) == common_noise.shared_start(two, one) == share


# What is compared


def test_every_comparison_is_a_difference_of_cells_that_a_sweep_can_visit():
    for item in COMPARISONS:
        assert item.kind in render_common_noise.KINDS
        assert sum(item.weights.values()) == pytest.approx(0)


def test_a_whole_knob_has_the_values_of_the_standard_sweep():
    sweep = list(cells(PROFILES["smoke"]))
    knobs = [item for item in COMPARISONS if item.kind == "whole knob"]
    assert [item.axis for item in knobs] == ["temperature", "top_k"]
    for item in knobs:
        assert list(item.weights) == [
            GREEDY,
            *(cell.name for cell in sweep if cell.axis == item.axis),
        ]


def test_a_whole_knob_is_the_line_that_a_study_fits():
    """Top-k 1, 2, 4, 8, 16 are 0 to 4 by their logarithm: weights (-2, -1, 0, 1, 2) * 4 / 10."""
    assert list(COMPARISONS[-1].weights.values()) == pytest.approx([-0.8, -0.4, 0, 0.4, 0.8])


# The page


@pytest.fixture(scope="module")
def committed():
    words = dict.fromkeys(("from", "to", "note"), str)
    frame = pd.read_csv(FOLDER / "common_noise.csv", dtype=words)
    return frame.fillna({"note": ""})


def test_the_committed_page_is_that_of_the_committed_table(committed, tmp_path):
    assert tuple(committed.columns) == COLUMNS
    common_noise.write(tmp_path, committed)
    for name in ("common_noise.csv", "common_noise.md"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()


def test_the_committed_table_holds_every_comparison_of_the_tiny_models(committed):
    wanted = [
        (model.key, item.kind, item.axis)
        for model in PROFILES["smoke"].models
        for item in COMPARISONS
    ]
    assert list(committed[["model", "kind", "axis"]].itertuples(index=False, name=None)) == wanted


def row_of(kind, ratio, low, high, **others):
    blank = dict.fromkeys(COLUMNS, np.nan)
    facts = {
        "model": "tiny-phi",
        "weights": "shipped",
        "kind": kind,
        "axis": "top_k",
        "signature": "r|f1",
        "note": "",
    }
    found = {"ratio": ratio, "ratio_low": low, "ratio_high": high, "worth": ratio**-2}
    return blank | facts | {"from": "4", "to": "8", "n": 9, "tokens": 12.0} | found | others


def test_the_page_ends_with_what_the_intervals_say():
    frame = pd.DataFrame(
        [
            row_of("one step", 0.5, 0.4, 0.6),
            row_of("one step", 0.8, 0.6, 1.1),
            row_of("whole knob", 1.25, 1.1, 1.4),
            row_of("far apart", np.nan, np.nan, np.nan, note="no noise | to share"),
        ]
    )
    page = render_common_noise.page(frame, titles=TITLES)
    *_, steps, far, knob, short = page.replace("\n\n", "\n").splitlines()
    assert (
        "One step of a knob (2): with common noise the interval is narrower in 1 and not" in steps
    )
    assert "0.50 to 0.80 of the independent width, worth 1.56 to 4.00 times the questions." in steps
    assert far == "- Two settings far apart: not measured."
    assert "wider in 1; 1.25 of the independent width, worth 0.64 times the questions." in knob
    assert "2.78 for one step of a knob, - for two settings far apart and 0.64 for" in short
    assert "Tiny Phi, as shipped, not finetuned" in page
    assert "- ROUGE-L: `r|f1`" in page
    assert r"Tiny Phi, top-k 4 to 8: no noise \| to share." in page


# The script


@pytest.fixture(scope="module")
def script():
    """benchmarks/common_noise.py."""
    return load("common_noise")


class Tokenizer:
    """A token is a character."""

    eos_token_id = 0

    def __call__(self, text, **_):
        return SimpleNamespace(input_ids=[ord(letter) for letter in text])

    def decode(self, ids, *, skip_special_tokens):
        assert skip_special_tokens
        return "".join(map(chr, ids))


QUESTIONS = [
    {"id": "a", "cluster": "a", "instruction": "Say", "input": "", "reference": "one two"},
    {"id": "b", "cluster": "b", "instruction": "Tell", "input": "it", "reference": "three"},
]


@pytest.fixture
def decoded(script, monkeypatch):
    """Stands for `slots.decode`: answers "one", and under seed 1 nothing. Holds its calls."""
    calls = []

    def decode(model, jobs, *, slots, eos_token_id, seed):
        calls.append((model, slots, eos_token_id, seed, jobs))
        ids = () if seed == 1 else tuple(map(ord, "one"))
        for job in reversed(jobs):
            yield SimpleNamespace(job=job, ids=ids)

    monkeypatch.setattr(script.slots, "decode", decode)
    return calls


def test_every_cell_is_decoded_under_every_seed_and_greedy_once(script, decoded):
    study = replace(PROFILES["smoke"], slots=3)
    told = []
    frame = script.answers(
        "model", Tokenizer(), QUESTIONS, study=study, seeds=2, advance=lambda: told.append(1)
    )
    assert tuple(frame.columns) == ANSWERS
    assert [call[:4] for call in decoded] == [("model", 3, 0, 0), ("model", 3, 0, 1)]
    counted = frame.groupby(["cell", "seed"]).size()
    names = {name for item in COMPARISONS for name in item.weights}
    assert counted[GREEDY].to_dict() == {0: 2}
    assert counted.drop(GREEDY).to_dict() == {
        (name, seed): 4 for name in names - {GREEDY} for seed in (0, 1)
    }
    assert len(told) == len(frame)
    by = frame.set_index(["id", "seed"])["rougeL"]
    assert set(by["a", 0].round(2)) == {66.67}  # "one" of "one two"
    assert set(by["a", 1]) == set(by["b", 0]) == {0.0}


def test_a_prompts_jobs_stand_together(script, decoded):
    script.answers(None, Tokenizer(), QUESTIONS, study=PROFILES["smoke"], seeds=2)
    jobs = decoded[0][-1]
    asked = [job.question for job in jobs]
    assert asked == sorted(asked)
    assert all(job.setting.max_new_tokens == 256 for job in jobs)


def test_models_without_a_finetune_are_taken_as_shipped(script, decoded, monkeypatch, tmp_path):
    study = replace(PROFILES["smoke"], models=PROFILES["smoke"].models[:2])
    loaded = []

    def load_decoder(spec, adapter):
        loaded.append((spec.key, adapter))
        return None, Tokenizer()

    monkeypatch.setattr(script.models, "load_decoder", load_decoder)
    monkeypatch.setattr(script.hardware, "claim_device", lambda cap: None)
    monkeypatch.setattr(script.data, "load", lambda spec: SimpleNamespace(test=QUESTIONS))
    monkeypatch.setattr(script.data, "question", dict)
    frame = script.measure(study, seeds=7, record=Record(tmp_path))
    assert loaded == [("tiny-llama", None), ("tiny-mistral", None)]
    assert set(frame["weights"]) == {"shipped"}
    assert len(frame) == 2 * len(COMPARISONS)


def test_too_few_seeds_are_refused_before_anything_is_decoded(script, tmp_path):
    with pytest.raises(SettingError, match="--seeds 5: take 6 or more"):
        script.measure(PROFILES["smoke"], seeds=5, record=Record(tmp_path))


def test_a_finetune_is_taken_only_where_every_model_has_a_whole_one(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "is_whole", lambda folder: folder.name != "b" * 12)
    specs, record = PROFILES["smoke"].models[:2], Record(tmp_path / "results")
    losses = pd.DataFrame({"step": [1]})

    def finetuned(spec, folder):
        manifest = {"adapter": {"folder": f"outputs/{folder}/adapter"}}
        record.write_training(spec.key, manifest, losses)

    finetuned(specs[0], "1" * 12)
    assert script.adapters(specs, record=record) is None
    finetuned(specs[1], "b" * 12)
    assert script.adapters(specs, record=record) is None
    finetuned(specs[1], "2" * 12)
    assert script.adapters(specs, record=record) == {
        specs[0].key: tmp_path / "outputs/111111111111/adapter",
        specs[1].key: tmp_path / "outputs/222222222222/adapter",
    }
