"""The committed small study: what notebook 08 says of it stands in its tables."""

import json
import re

import pandas as pd
import pytest

from alpaca_lab import report, table_files
from alpaca_lab.config import ROOT
from alpaca_lab.store import RESULTS, Record

RECORD = Record.of("small")
TABLES = ("main", "contrasts", "temperature", "num_beams", "top_k", "checks")


def prose():
    cells = json.loads((ROOT / "notebooks" / "08_small_study.ipynb").read_text(encoding="utf-8"))
    texts = ["".join(cell["source"]) for cell in cells["cells"] if cell["cell_type"] == "markdown"]
    return "\n".join(texts)


def test_every_score_that_notebook_08_names_stands_in_a_table():
    """Numbers with two decimals are scores, differences, shares or ratios as the pages print."""
    frames = [table_files.from_csv(table_files.read(RECORD, name, "csv")) for name in TABLES]
    numbers = pd.concat([frame.select_dtypes("number").stack() for frame in frames])
    printed = {f"{abs(value) * scale:.2f}" for value in numbers for scale in (1, 100)}
    named = re.findall(r"(?<![\d.])\d+\.\d\d(?![\d.])", prose())
    settings = {"0.25", "0.75"}
    assert len(named) > 25
    assert set(named) - settings <= printed


def test_what_survives_is_what_notebook_08_calls_a_finding():
    found = {}
    for axis in ("temperature", "num_beams", "top_k"):
        frame = table_files.from_csv(table_files.read(RECORD, axis, "csv"))
        kept = frame[(frame["metric"] == "rougeL") & (frame["p_holm"] < 0.05)]
        found[axis] = {
            (model.removeprefix("small-"), value, "rises" if delta > 0 else "falls")
            for model, value, delta in zip(kept["model"], kept["value"], kept["delta"], strict=True)
        }
    every = ("llama", "mistral", "phi")
    assert found == {
        "temperature": {(name, "1", "falls") for name in every}
        | {("phi", value, "rises") for value in ("0.25", "0.5")},
        "num_beams": {(name, beams, "falls") for name in every for beams in ("4", "8")},
        "top_k": {("llama", "16", "falls"), ("mistral", "16", "falls"), ("phi", "2", "rises")},
    }


def test_one_of_63_scores_rises_with_beams():
    frame = table_files.from_csv(table_files.read(RECORD, "num_beams", "csv"))
    tested = frame[frame["p_holm"].notna() | frame["p_bh"].notna()]
    rises = tested[(tested[["p_holm", "p_bh"]].min(axis=1) < 0.05) & (tested["delta"] > 0)]
    assert len(tested) == 63
    assert rises[["model", "value", "metric"]].to_numpy().tolist() == [
        ["small-phi", "2", "corpus_chrf"]
    ]


def test_8_beams_took_as_many_times_the_seconds_of_greedy_as_notebook_08_says():
    frame = pd.read_csv(RESULTS / "small" / "performance" / "cost.csv").set_index("cell")
    seconds = frame["wall_s"] / frame["answers"]
    times = seconds["num_beams=8"].to_numpy() / seconds["greedy"].to_numpy()
    assert len(times) == 3
    assert f"8 beams took {min(times):.0f} to {max(times):.0f} times the seconds" in prose()


@pytest.mark.parametrize("model", ["small-llama", "small-mistral", "small-phi"])
def test_temperature_0_001_alone_is_shown_to_be_as_greedy(model):
    card = (RECORD.card(model) / "README.md").read_text(encoding="utf-8")
    shown = [line for line in card.splitlines() if "equivalent to greedy" in line]
    assert [line.split(":")[0] for line in shown] == ["- Temperature 0.001"]


def test_no_finetuned_model_clears_the_highest_floor():
    frame = table_files.from_csv(table_files.read(RECORD, "main", "csv"))
    scores = frame[frame["metric"] == "rougeL"].set_index("value")
    floor = scores.loc["copied instruction", "mean"]
    assert (scores.loc["finetuned", "ci_high"] < floor).all()


def test_every_table_follows_from_the_committed_scores():
    assert report.check(RECORD) == []


@pytest.mark.parametrize("name", ["bases.csv", "loss.csv"])
def test_bases_of_the_record_are_those_whose_page_is_committed(name):
    frame = pd.read_csv(RESULTS / "small_bases" / name)
    assert list(dict.fromkeys(frame["base"])) == [
        model.key for model in report.study_from_dict(RECORD.index()["spec"]).models
    ]
