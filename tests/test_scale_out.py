"""What several GPUs would take: the arithmetic, worked by hand, and the committed page."""

import math
import shutil

import pytest

from alpaca_lab.profiles import PROFILES
from alpaca_lab.speed import scale_out
from alpaca_lab.speed.benchmark_lines import load
from alpaca_lab.store import RESULTS

FULL = PROFILES["full"]
FACTS = {
    "gpu": "G", "cap_gib": 24.0, "data": {"file": "r", "rows": 1, "sha256": "0" * 64},
    "weights": "random", "gpus": 2, "warm": 4, "steps": 12, "packages": {"torch": "2"},
    "commit": "c", "repeat": 0, "status": "ok", "error": None,
}  # fmt: skip
STEP = {"step_s": 1.0, "first_step_s": 3.0, "tok_s": 100.0, "load_s": 10.0, "sum_s": None}
DECODED = {
    "load_s": 2.0, "merge_s": 1.0, "warm_up_s": 4.0,
    "shares": [
        {"questions": 250, "seconds": [20.0, 10.0]},
        {"questions": 63, "seconds": [6.0, 2.0]},
        {"questions": 8, "seconds": [1.0, 1.0]},
    ],
}  # fmt: skip


def lines(**changed):
    results = {
        "finetune": STEP,
        "finetune-together": STEP | {"step_s": 0.6, "tok_s": 180.0, "sum_s": 0.1},
        "finetune-share-8": STEP | {"step_s": 0.25},
        "finetune-share-64": STEP | {"step_s": 0.2},
        "decode": DECODED,
    } | changed
    return [
        {**FACTS, "model": "phi-2", "arm": arm, "result": result}
        | ({} if result else {"status": "failed", "error": "no memory"})
        for arm, result in results.items()
    ]


def test_steps_are_those_of_the_rows_that_are_trained_on():
    assert scale_out.train_steps(FULL, rows=51_760) == math.ceil(51_760 * 0.97 / 128) == 393


def test_seconds_add_up_steps_sums_passes_and_starts():
    """One GPU: 393 x 1 + 3, twice the 30 s of 250 questions, 10 + 2 x (2 + 1) + 4 to start."""
    frame = scale_out.table(lines())
    alone, eight, many = frame[frame["model"] == "phi-2"].to_dict("records")
    assert (alone["finetune_s"], alone["decode_s"], alone["start_s"]) == (396.0, 60.0, 20.0)
    assert (alone["sum_s"], alone["times"], alone["total_s"]) == (0.0, 1.0, 476.0)
    assert eight["sum_s"] == pytest.approx(0.1 * 2 * 7 / 8)
    assert eight["finetune_s"] == pytest.approx(393 * (0.25 + 0.175) + 3)
    assert eight["decode_s"] == 8.0  # 62.5 questions, timed at 63
    assert eight["gpu_hours"] == pytest.approx(8 * eight["total_s"] / 3600)
    assert many["decode_s"] == 2.0
    assert many["times"] == pytest.approx(476.0 / many["total_s"])


def test_what_was_not_measured_is_blank_and_says_why():
    frame = scale_out.table(lines(**{"finetune-share-8": None}))
    others = frame[frame["model"] != "phi-2"]
    assert len(others) == 6 and others["total_s"].isna().all()
    assert others["note"].str.startswith("finetune: not run").any()
    frame = frame[frame["model"] == "phi-2"]
    eight = frame[frame["gpus"] == 8].iloc[0]
    assert math.isnan(eight["finetune_s"]) and math.isnan(eight["total_s"])
    assert eight["note"] == "finetune-share-8: no result: no memory"
    assert frame[frame["gpus"] == 1]["note"].tolist() == [""]


def test_a_model_that_was_not_timed_is_inferred_from_one_like_it_and_says_so():
    """Half as fast to finetune, twice as fast to decode: 2 x 396, 60 / 2, and 20 to start."""
    timed = [line | {"model": "llama-2-7b"} for line in lines()]
    known = {"llama-2-7b": (100.0, 100.0), "mistral-7b": (50.0, 200.0)}
    frame = scale_out.table(timed, known=known).set_index(["model", "gpus"])
    alone, eight = frame.loc[("mistral-7b", 1)], frame.loc[("mistral-7b", 8)]
    assert (alone["finetune_s"], alone["decode_s"], alone["total_s"]) == (792.0, 30.0, 842.0)
    assert eight["times"] == pytest.approx(842.0 / eight["total_s"])
    assert alone["note"] == (
        "inferred from llama-2-7b: 2.00 of its seconds to finetune, 0.50 to decode"
    )
    assert scale_out.table(timed).set_index(["model", "gpus"]).loc[("mistral-7b", 1)]["note"] == (
        "finetune: not run; decode: not run"
    )


def test_speeds_are_those_of_our_own_arms():
    found = scale_out.speeds(RESULTS / "performance")
    assert set(found) == {"llama-2-7b", "mistral-7b", "phi-2"}
    assert found["mistral-7b"] == pytest.approx((16861.798, 17641.434), abs=1e-3)
    assert scale_out.speeds(RESULTS / "nowhere") == {}


def test_several_gpus_stand_beside_one():
    [row] = scale_out.together(lines()).to_dict("records")
    assert (row["gpus"], row["one_tok_s"], row["together_tok_s"]) == (2, 100.0, 180.0)
    assert (row["times"], row["sum_s"]) == (1.8, 0.1)


def test_the_committed_page_follows_from_its_lines(tmp_path):
    folder = RESULTS / "performance"
    rows = load(folder / scale_out.LINES, scale_out.CONDITIONS, command=scale_out.COMMAND)
    for name in ("finetune.csv", "generate.csv"):
        shutil.copy(folder / name, tmp_path)
    scale_out.write(tmp_path, rows)
    for name in ("scale_out.csv", "scale_out.md"):
        assert (tmp_path / name).read_text() == (folder / name).read_text()
