"""What other cards would take: the arithmetic, worked by hand, and the committed page."""

import shutil
import subprocess
import sys
from math import isnan

import pandas as pd
import pytest

from alpaca_lab import preflight
from alpaca_lab.config import SettingError
from alpaca_lab.files import RecordError, append_line, read_lines
from alpaca_lab.profiles import PROFILES
from alpaca_lab.speed import cards, scale_out
from alpaca_lab.store import RESULTS
from benchmark_scripts import BENCHMARKS

COMMITTED = RESULTS / "performance"
FULL = PROFILES["full"]


def timed(**changed):
    """Return scale_out.csv as it might be: on one GPU 100 s, 48 s and 10 s of each model."""
    rows = [
        {"model": model, "gpus": gpus, "finetune_s": 100.0 / gpus, "decode_s": 48.0 / gpus,
         "start_s": 10.0, "note": None} | changed.get(model.replace("-", "_"), {})
        for model in ("llama-2-7b", "mistral-7b", "phi-2") for gpus in (1, 8)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def frame(**changed):
    return cards.table(timed(**changed), cap_gib=24.0, study=FULL).set_index(["card", "model"])


def test_measured_card_has_the_seconds_of_one_gpu():
    row = frame().loc[("H200", "phi-2")]
    assert (row["basis"], row["gib"], row["note"]) == ("measured", 24.0, "")
    assert (row["finetune_s"], row["decode_s"], row["total_s"]) == (100.0, 48.0, 158.0)


def test_finetuning_scales_by_matrix_rate_decoding_by_bandwidth_and_start_by_nothing():
    """L4: 100 x 989.4 / 121 = 817.69 s; 48 x 4800 / 300 = 768 s; and 10 s."""
    row = frame().loc[("L4", "phi-2")]
    assert row["finetune_s"] == pytest.approx(817.69, abs=0.01)
    assert (row["decode_s"], row["start_s"]) == (pytest.approx(768.0), 10.0)
    assert row["total_s"] == pytest.approx(1595.69, abs=0.01)
    assert row["basis"] == "predicted"
    same = frame().loc[("H100", "phi-2")]  # the H200's chip, with slower memory
    assert (same["finetune_s"], same["decode_s"]) == (100.0, pytest.approx(48 * 4800 / 3350))


def test_memory_is_what_preflight_plans_for_the_card():
    planned = frame()["planned_gib"]
    for card in ("L4", "A100", "H100"):
        told = preflight.table(FULL, card=card).set_index("what")["needs"]
        for model in FULL.models:
            stages = [told[f"{stage} {model.title}"] for stage in ("finetune", "decode")]
            most = max(float(text.partition(" GiB")[0]) for text in stages)
            assert planned[card, model.key] == pytest.approx(most, abs=0.051)
            assert planned[card, model.key] < preflight.CARDS[card][0]


def test_passes_of_another_size_than_those_timed_are_told():
    notes = frame()["note"]
    assert notes["L4", "llama-2-7b"] == (
        "passes of 5,312 tokens, not the 5,952 that were timed: not in its seconds"
    )
    assert notes["H200", "llama-2-7b"] == ""


def test_a_model_that_was_inferred_is_not_called_measured():
    found = frame(mistral_7b={"note": "inferred from llama-2-7b: as fast"})
    assert found.loc[("H200", "mistral-7b"), "basis"] == "inferred"
    assert found.loc[("L4", "mistral-7b"), "basis"] == "predicted"
    assert found.loc[("L4", "mistral-7b"), "note"].startswith("inferred from llama-2-7b: as fast; ")


def test_a_card_without_bfloat16_has_no_time_and_says_why():
    row = frame().loc[("T4", "phi-2")]
    assert row["basis"] == "cannot run" and isnan(row["total_s"]) and isnan(row["planned_gib"])
    assert row["note"].startswith("T4 has no bfloat16")


def test_every_card_is_one_that_preflight_knows():
    assert {card.key for card in cards.CARDS} <= preflight.CARDS.keys()


def test_what_the_measured_card_reached_is_a_share_of_its_stated_rates():
    """Of 989.4 TFLOP/s 763.15 to 776.71, and of 4.8 TB/s 4.193 to 4.258."""
    found = cards.reached(COMMITTED)
    assert found["matrix"] == pytest.approx((0.7713, 0.7850), abs=1e-4)
    assert found["copy"] == pytest.approx((0.8736, 0.8870), abs=1e-4)
    assert found["finetune"] == pytest.approx((0.4905, 0.6168), abs=1e-4)
    assert found["gib"][1] == pytest.approx(23.98, abs=0.01)


def folder_of(tmp_path, *names):
    for name in names:
        shutil.copy(COMMITTED / name, tmp_path)
    return tmp_path


def test_cards_are_not_predicted_from_another_card(tmp_path):
    folder = folder_of(tmp_path, *cards.BASES)
    for line in read_lines(COMMITTED / scale_out.LINES):
        append_line(folder / "lines.jsonl", line | {"gpu": "NVIDIA A100"})
    with pytest.raises(SettingError, match=r"lines.jsonl was measured on NVIDIA A100"):
        cards.write(folder, lines=folder / "lines.jsonl")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(RecordError, match=r"no generate.csv in "):
        cards.write(folder_of(tmp_path, "finetune.csv"), lines=COMMITTED / scale_out.LINES)


def draw(folder):
    command = [sys.executable, str(BENCHMARKS / "scale.py"), "--draw", "--out", str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True)


def test_the_committed_page_is_drawn_from_the_committed_tables(tmp_path):
    folder = folder_of(tmp_path, scale_out.LINES, *cards.BASES)
    assert draw(folder).stderr == ""
    for name in ("cards.csv", "cards.md", "scale_out.csv", "scale_out.md"):
        assert (folder / name).read_text() == (COMMITTED / name).read_text()


def test_scale_out_is_drawn_where_the_cards_cannot_be(tmp_path):
    done = draw(folder_of(tmp_path, scale_out.LINES))
    assert done.stderr.startswith("no cards.md: no finetune.csv in ")
    assert (tmp_path / "scale_out.md").is_file() and not (tmp_path / "cards.md").exists()


def test_the_page_is_a_table_that_a_readme_can_hold():
    """One minute is 60 s, three models: L4 whole (4258.0 + 4341.3 + 1916.3) / 60 = 175."""
    text = (COMMITTED / "cards.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 1 + len(cards.CARDS) and {len(row) for row in rows} == {7}
    cells = {row[0].removeprefix("| "): row for row in rows}
    assert cells["L4"][-1] == "175 |"
    assert cells["T4"][1].replace("\u00a0", " ") == "cannot run" and cells["T4"][-1] == "- |"
    assert "#" not in text
