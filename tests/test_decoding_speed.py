"""The decoding benchmark's tables worked by hand, and its runs with stubs in place of a GPU."""

import json
import os
import subprocess
import sys
from copy import deepcopy
from math import nan
from pathlib import Path

import pandas as pd
import pytest

from alpaca_lab.config import SettingError
from alpaca_lab.files import RecordError, write_lines
from alpaca_lab.speed import decoding_speed
from alpaca_lab.speed.decoding_arms import (
    BANDWIDTH,
    NINE,
    ONE,
    ONE_FEW,
    OURS_NAME,
    PEERS,
    step_limit_s,
)
from alpaca_lab.speed.decoding_goals import goals
from alpaca_lab.speed.finetuning_arms import OURS
from benchmark_scripts import BENCHMARKS, load

NAMES = {peer.key: peer.name for peer in PEERS}
PLAIN = NAMES["transformers"]
CONDITIONS = {
    "gpu": "NVIDIA H200",
    "cap_gib": 24.0,
    "data": {"file": "rows.jsonl", "rows": 999, "sha256": "0123456789abcdef" * 4},
    "weights": "random",
    "questions": 200,
    "beam_questions": 48,
    "packages": {"torch": "2.11.0", "triton": None},
}
SPEEDS = {
    "transformers": 250.0,
    "transformers-beams-2": 200.0,
    "transformers-beams-4": 100.0,
    "transformers-beams-8": 50.0,
}
STEPS = {
    "steps": 1000,
    "slot_steps": 32000,
    "busy_slot_steps": 28800,
    "drawn": 28000,
    "distinct_columns": 4000.0,
    "read_columns": 8000.0,
}
"""28 tokens a step; 12 GB of weights and 2 GB of columns are 3.5 ms at 4 TB/s, with 4 GB 4 ms."""


def done(name, *, cells=1, questions=200, new_tokens, seconds, **steps):
    speed = {"new_tokens": new_tokens, "seconds": seconds, "tok_s": new_tokens / seconds}
    identity = {"name": name, "cells": cells, "questions": questions}
    return {**identity, "answers": cells * questions, **speed, **STEPS, **steps}


OURS_RESULT = {
    "arm": "alpaca lab",
    "load_s": 12.0,
    "merge_s": 3.5,
    "warm_up_s": 20.0,
    "slots": 32,
    "columns": 7000,
    "weight_bytes": 12_000_000_000,
    "column_bytes": 500_000,
    "predicted_gib": 22.0,
    "peak_gib": 20.0,
    "passes": [
        done("nine cells", cells=9, new_tokens=28000, seconds=7.0),
        done("one cell", new_tokens=3500, seconds=0.875),
        done("nine cells, few", cells=9, questions=20, new_tokens=2800, seconds=1.4),
        done("one cell, few", questions=20, new_tokens=350, seconds=0.35),
        done("num_beams=2", questions=48, new_tokens=900, seconds=1.0),
        done("num_beams=4", questions=48, new_tokens=400, seconds=1.0),
        done("num_beams=8", questions=48, new_tokens=150, seconds=1.0),
    ],
}


@pytest.fixture(scope="module")
def bench():
    """benchmarks/generate.py."""
    return load("generate")


def row(arm, result, *, model="llama-2-7b", repeat=0, error=None, status=None, **changed):
    status = status or ("failed" if result is None else "ok")
    identity = {"model": model, "arm": arm, "repeat": repeat, "status": status, "error": error}
    return {**identity, "result": deepcopy(result), **CONDITIONS, "commit": "c0ffee"} | changed


def rows(model="llama-2-7b"):
    """A line per arm, the copy bandwidth first and ours last."""
    peers = [
        row(key, {"tok_s": speed, "peak_gib": 23.5, "n": 200, "new_tokens": 50, "seconds": 1.0},
            model=model)
        for key, speed in SPEEDS.items()
    ]  # fmt: skip
    return [row(BANDWIDTH, {"tb_s": 4.0}, model=model), *peers, row(OURS, OURS_RESULT, model=model)]


def without(lines, arm):
    return [line for line in lines if line["arm"] != arm]


def peers(frame):
    return frame[frame["arm"] != OURS_NAME].set_index("arm")


def passes(frame):
    return frame[frame["arm"] == OURS_NAME].set_index("pass")


def reached(lines):
    return goals(decoding_speed.table(lines)).set_index("what")


def test_each_peer_is_followed_by_the_passes_of_ours_that_stand_beside_it():
    frame = decoding_speed.table([*rows("phi-2"), *rows()])
    assert frame["model"].tolist() == ["llama-2-7b"] * 11 + ["phi-2"] * 11
    assert frame["pass"].tolist()[:7] == [
        "nine cells", "nine cells", "one cell", "nine cells, few", "one cell, few",
        "num_beams=2", "num_beams=2",
    ]  # fmt: skip
    assert frame["arm"].tolist()[:6] == [PLAIN, *[OURS_NAME] * 4, "transformers, 2 beams, batch 24"]


def test_a_ratio_is_the_pass_beside_a_peer_over_the_peer():
    """4,000 over 250, and beams of a width over beams of that width; 4 meets a goal of 4."""
    frame = peers(decoding_speed.table(rows()))
    assert frame["ratio"].tolist() == [16.0, 4.5, 4.0, 3.0]
    assert frame["goal"].tolist() == [15.0, 4.0, 4.0, 4.0]
    assert frame["met"].tolist() == ["yes", "yes", "yes", "no"]
    assert passes(decoding_speed.table(rows()))["ratio"].isna().all()


def test_the_limit_is_a_step_that_only_moves_its_bytes():
    """28 tokens in 3.5 ms are 8,000 per second, of which 4,000 are half; in 4 ms they are 7,000."""
    nine = passes(decoding_speed.table(rows())).loc[NINE]
    assert nine["limit_tok_s"] == pytest.approx(8000)
    assert nine["share_of_limit"] == pytest.approx(0.5)
    assert nine["share_of_limit_read"] == pytest.approx(4 / 7)
    assert nine["busy_share"] == 0.9
    assert (nine["rows_per_step"], nine["step_ms"], nine["copy_tb_s"]) == (32.0, 7.0, 4.0)
    sizes = {"weight_bytes": 12e9, "column_bytes": 500_000, "tb_s": 4.0}
    assert step_limit_s(columns=4000, **sizes) == pytest.approx(0.0035)


def test_every_goal_is_a_row_with_what_was_measured():
    """8 times the seconds for nine cells, 4 for a few questions; a token costs 0.25 of 0.5 ms, and
    0.25 of 1 ms."""
    found = reached(rows())
    assert found["measured"].tolist() == pytest.approx(
        [16.0, 4.5, 4.0, 3.0, 16.0, 0.5, 0.9, 8.0, 4.0, 0.5, 0.25]
    )
    goal = found["goal"].tolist()
    assert goal[:4] + goal[5:] == [15.0, 4.0, 4.0, 4.0, 0.55, 0.9, 9.5, 3.0, 1.0, 1.0]
    met = "yes yes yes no - no yes yes no yes yes"
    assert found["met"].fillna("-").tolist() == met.split()
    assert set(found.loc[found["bound"] == "at most"].index) == {
        "nine cells / one cell: seconds",
        "nine cells / one cell, few questions: seconds",
        "nine cells, all / few questions: seconds per token",
        "one cell, all / few questions: seconds per token",
    }


def test_one_cell_alone_is_told_beside_the_peer_without_a_goal():
    told = reached(rows()).loc[f"one cell: times {PLAIN}"]
    assert told["measured"] == 16.0 and pd.isna(told["goal"]) and pd.isna(told["met"])


def test_a_peer_that_failed_is_blank_with_its_reason():
    failed = row("transformers-beams-8", None, error="OutOfMemoryError('CUDA')")
    lines = [*without(rows(), "transformers-beams-8"), failed]
    frame = peers(decoding_speed.table(lines))
    line = frame.loc[NAMES["transformers-beams-8"]]
    assert line[["tok_s", "ratio", "met", "peak_gib"]].isna().all()
    assert line["note"] == "no result: OutOfMemoryError('CUDA')"
    assert pd.isna(reached(lines).loc[f"num_beams=8: times {line.name}", "met"])


def test_without_ours_there_is_no_ratio_and_no_goal_is_met():
    failed = row(OURS, None, status="timeout", error="no result within 1200 s")
    lines = [*without(rows(), OURS), failed]
    frame = decoding_speed.table(lines)
    assert frame["ratio"].isna().all() and frame["met"].isna().all()
    assert set(passes(frame)["note"]) == {"no result: no result within 1200 s"}
    assert reached(lines)["met"].isna().all()
    assert decoding_speed.once(lines).empty


def test_what_was_not_run_says_so():
    frame = decoding_speed.table(without(rows(), "transformers"))
    assert frame.iloc[0]["note"] == "not run"
    assert set(passes(decoding_speed.table(rows()[:1]))["note"]) == {"not run"}


def test_a_pass_that_a_result_lacks_is_blank_and_the_others_stand():
    lines = rows()
    del lines[-1]["result"]["passes"][3]
    frame = passes(decoding_speed.table(lines))
    assert frame.loc[ONE_FEW, "note"] == "not in the result"
    assert (frame.loc[ONE_FEW, "runs"], frame.loc[ONE, "tok_s"]) == (0, 4000.0)


def test_a_number_that_a_pass_lacks_blanks_what_follows_from_it():
    lines = rows()
    lines[-1]["result"]["passes"][0]["distinct_columns"] = None
    nine = passes(decoding_speed.table(lines)).loc[NINE]
    assert nine[["limit_tok_s", "share_of_limit"]].isna().all()
    assert nine["share_of_limit_read"] == pytest.approx(4 / 7)


def test_without_the_copy_bandwidth_there_is_no_limit():
    frame = passes(decoding_speed.table(without(rows(), BANDWIDTH)))
    assert frame[["limit_tok_s", "share_of_limit"]].isna().all(axis=None)
    assert set(frame["note"]) == {"no limit: the copy bandwidth was not measured"}
    assert frame.loc[NINE, "tok_s"] == 4000.0


def test_repeats_are_medians_and_the_highest_memory():
    lines = rows()
    for repeat, speed, peak in ((1, 4400.0, 21.0), (2, 4100.0, 20.5)):
        result = deepcopy(OURS_RESULT) | {"peak_gib": peak}
        result["passes"][0] |= {"tok_s": speed, "distinct_columns": None}
        lines.append(row(OURS, result, repeat=repeat))
    lines.append(row(OURS, None, repeat=3, error="Killed"))
    nine = passes(decoding_speed.table(lines)).loc[NINE]
    assert (nine["runs"], nine["tok_s"], nine["peak_gib"]) == (3, 4100.0, 21.0)
    assert nine["note"] == "median of 3 runs, 4,000 to 4,400; 1 of 4 runs failed: Killed"
    assert nine["limit_tok_s"] == pytest.approx(8000)  # of the run that knows it


def test_what_a_model_costs_once_is_told_run_by_run():
    """22 GiB predicted lie a tenth above 20."""
    again = row(OURS, OURS_RESULT | {"predicted_gib": None}, repeat=1)
    found = decoding_speed.once([*rows("phi-2"), *rows(), again])
    assert list(zip(found["model"], found["repeat"], strict=True)) == [
        ("llama-2-7b", 0), ("llama-2-7b", 1), ("phi-2", 0)
    ]  # fmt: skip
    assert found["difference"].tolist() == pytest.approx([0.1, nan, 0.1], nan_ok=True)
    assert found.loc[0, ["load_s", "merge_s", "warm_up_s", "slots"]].tolist() == [12, 3.5, 20, 32]


@pytest.mark.parametrize(("name", "value"), [("gpu", "A100"), ("questions", 20), ("cap_gib", 80.0)])
def test_runs_of_other_conditions_do_not_share_a_table(name, value):
    with pytest.raises(SettingError, match=f"ran with {name}"):
        decoding_speed.table([*rows(), row("transformers", {"tok_s": 1.0}, **{name: value})])


def test_nothing_run_yet_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(SettingError, match=r"nothing was run yet: run benchmarks/generate\.py"):
        decoding_speed.table([])
    monkeypatch.setattr(decoding_speed, "RESULTS", tmp_path)
    with pytest.raises(RecordError, match=r"no generate\.jsonl in .*run benchmarks/generate\.py"):
        decoding_speed.load()
    with pytest.raises(RecordError, match=r"no generate_summary\.md in .*benchmarks/generate\.py"):
        decoding_speed.show()


def test_lines_of_another_card_stay_out_of_a_table_that_is_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding_speed, "RESULTS", tmp_path)
    (tmp_path / "mine").mkdir()
    lines = [row("transformers", {"tok_s": 1.0}, gpu="A100"), *rows()]
    write_lines(tmp_path / "mine" / decoding_speed.LINES, lines)
    assert decoding_speed.load("mine") == rows()


# What is written


@pytest.fixture
def written(tmp_path):
    error = "ValueError: a|b $5 " + "x" * 200
    failed = row("transformers-beams-8", None, model="phi-2", error=error)
    lines = [*rows(), *without(rows("phi-2"), "transformers-beams-8"), failed]
    return decoding_speed.write(tmp_path, lines), tmp_path


def page_of(folder, name="generate"):
    return (folder / f"{name}.md").read_text(encoding="utf-8").replace("\u00a0", " ")


def test_csv_holds_the_tables_unrounded_and_the_page_rounds(written):
    frame, folder = written
    read = pd.read_csv(folder / "generate.csv")
    assert tuple(read.columns) == decoding_speed.COLUMNS
    pd.testing.assert_frame_equal(read.fillna({"note": ""}), frame, check_dtype=False)
    read = pd.read_csv(folder / "generate_goals.csv")
    assert read["measured"].tolist()[:4] == [16.0, 4.5, 4.0, 3.0]
    page = page_of(folder)
    peer = "| LLaMA-2-7B | transformers, batch 24 | vs nine cells | 250 | 16.00 | 15 | yes | 23.5 |"
    ours = "| LLaMA-2-7B | alpaca lab | nine cells | 4,000 | - | - | - | 20.0 | 90.0% | 32.0 |"
    assert peer in page and f"{ours} 7.00 | 8,000 | 50.0% | 57.1% |" in page
    assert "| nine cells / one cell: seconds | 8.00 | at most 9.5 | yes |" in page
    assert "| LLaMA-2-7B | 12.0 | 3.5 | 20.0 | 32 | 7,000 | 22.0 | 20.0 | +10.0% |" in page


def test_page_says_what_was_run_and_how_to_run_it_again(written):
    page = page_of(written[1])
    command = "python benchmarks/generate.py --data ROWS.jsonl --cap 24 --random TOKENIZERS"
    for words in (
        "Decoding of LLaMA-2-7B and Phi-2 in bf16, on one NVIDIA H200, each process capped at 24",
        "random at the true shapes",
        "the first 200 (with beams 48) of rows.jsonl, 999 of them, sha256 0123456789ab",
        "torch 2.11.0, triton (not installed)",
        "commit c0ffee",
        "4.00 TB/s beside LLaMA-2-7B",
        f"{command} --delete --questions 200 --beam-questions 48",
    ):
        assert words in page
    assert "a\\|b" in page  # an error's own signs do not break the table


def test_summary_has_a_row_per_model(written):
    page = page_of(written[1], "generate_summary")
    assert "| LLaMA-2-7B | 250 | 4,000 | 16.0 | 16.0 | 50% | 4.5 | 4.0 | 3.0 |" in page
    assert "| Phi-2 | 250 | 4,000 | 16.0 | 16.0 | 50% | 4.5 | 4.0 | - |" in page


def test_same_rows_give_the_same_files(tmp_path):
    for folder in ("a", "b"):
        decoding_speed.write(tmp_path / folder, rows())
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == [
        "generate.csv", "generate.md", "generate.png", "generate_goals.csv", "generate_summary.md",
    ]  # fmt: skip
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_figure_is_a_png_and_needs_neither_a_limit_nor_a_speed(written, tmp_path):
    assert (written[1] / "generate.png").read_bytes().startswith(b"\x89PNG\r\n")
    decoding_speed.write(tmp_path / "bare", [row("transformers", None, error="it failed")])
    assert (tmp_path / "bare" / "generate.png").read_bytes().startswith(b"\x89PNG\r\n")


COMMITTED = BENCHMARKS.parent / "results" / "performance"
TABLES = ("generate.csv", "generate_goals.csv", "generate.md", "generate_summary.md")


def test_the_committed_tables_follow_from_the_committed_lines(tmp_path):
    decoding_speed.write(tmp_path, decoding_speed.load())
    for name in TABLES:
        assert (tmp_path / name).read_text() == (COMMITTED / name).read_text(), name


def test_committed_predictions_are_within_a_tenth_of_what_was_measured():
    runs = decoding_speed.once(decoding_speed.load())
    assert set(runs["model"]) == {"llama-2-7b", "mistral-7b", "phi-2"}
    assert runs["difference"].abs().max() < 0.1


# The runs


@pytest.fixture
def plan(bench, tmp_path):
    """A plan over given checkpoints; the folders hold no weights, for nothing loads them."""
    data = tmp_path / "rows.jsonl"
    data.write_text('{"instruction": "a", "input": "", "output": "b"}\n' * 3)
    for model in ("llama-2-7b", "phi-2"):
        (tmp_path / "checkpoints" / model).mkdir(parents=True)
        (tmp_path / "checkpoints" / model / "config.json").write_text("{}")

    def make(**changed):
        fields = {"models": ("phi-2",), "arms": ("transformers", OURS), "timeout_s": 60.0}
        folders = {"data": data, "checkpoints": tmp_path / "checkpoints"}
        return bench.Plan(**(fields | folders | changed))

    return make


@pytest.fixture
def go(bench, tmp_path, capsys):
    """Run a plan with stubs, and return (what was run, the lines on file, what was printed)."""
    stubs = {BANDWIDTH: {"tb_s": 4.0}, OURS: OURS_RESULT}

    def run(plan, *, code=None):
        seen = []

        def command(arm, *, model, plan):
            seen.append((model, arm))
            shown = json.dumps(stubs.get(arm, {"tok_s": 250.0, "n": 200, "model": "/a/folder"}))
            return [sys.executable, "-c", (code or {}).get(arm, f"print('RESULT', {shown!r})")]

        raw = tmp_path / "raw" / "generate.jsonl"
        bench.arms_in_turn.benchmark(
            plan, raw=raw, out=tmp_path / "out", logs=tmp_path / "logs", command=command
        )
        lines = [json.loads(line) for line in raw.read_text().splitlines()]
        return seen, lines, capsys.readouterr().out

    return run


def test_every_arm_of_every_model_runs_after_the_copy(go, plan, tmp_path):
    seen, lines, printed = go(plan(models=("phi-2", "llama-2-7b")))
    arms = (BANDWIDTH, "transformers", OURS)
    assert seen == [(model, arm) for model in ("phi-2", "llama-2-7b") for arm in arms]
    assert [(line["model"], line["arm"]) for line in lines] == seen
    assert (lines[0]["questions"], lines[0]["beam_questions"]) == (200, 48)
    assert set(lines[0]["packages"]) == {"torch", "transformers", "triton"}
    assert "/a/folder" not in (tmp_path / "raw" / "generate.jsonl").read_text()
    assert peers(pd.read_csv(tmp_path / "out" / "generate.csv")).loc[PLAIN, "ratio"].eq(16).all()
    said = [line.partition(" (")[0] for line in printed.splitlines()[:3]]
    assert said == [
        "phi-2, copy-bandwidth: 4.00 TB/s",
        "phi-2, transformers: 250 tokens/s",
        "phi-2, alpaca-lab: 4,000 tokens/s",
    ]


def test_a_second_command_skips_what_is_there_unless_its_questions_differ(go, plan):
    go(plan())
    assert go(plan())[0] == []
    seen, lines, _ = go(plan(questions=20))
    assert len(seen) == 3 and len(lines) == 6


def test_a_run_that_fails_or_takes_too_long_is_recorded_and_the_next_goes_on(go, plan, tmp_path):
    code = {
        "transformers": "raise ValueError('no such kernel')",
        "transformers-beams-2": "import time; time.sleep(60)",
    }
    arms = ("transformers", "transformers-beams-2", OURS)
    _, lines, _ = go(plan(arms=arms, timeout_s=3.0), code=code)
    assert [line["status"] for line in lines] == ["ok", "failed", "timeout", "ok"]
    table = peers(pd.read_csv(tmp_path / "out" / "generate.csv"))
    assert table.loc[PLAIN, "note"] == "no result: ValueError: no such kernel"
    note = table.loc[NAMES["transformers-beams-2"], "note"]
    assert note == "no result: no result within 3 s"


def test_wrong_sizes_and_unknown_arms_are_refused_before_anything_runs(plan):
    with pytest.raises(SettingError, match="unknown arms: vllm; choose from copy-bandwidth"):
        plan(arms=("vllm",))
    with pytest.raises(SettingError, match="must be at least 1"):
        plan(beam_questions=0)


EXPECTED = {
    "transformers": "--beams 1 --bs 24 --lengths real MODEL DATA --n 40",
    "transformers-beams-2": "--beams 2 --bs 24 --lengths real MODEL DATA --n 12",
    "transformers-beams-4": "--beams 4 --bs 12 --lengths real MODEL DATA --n 12",
    "transformers-beams-8": "--beams 8 --bs 6 --lengths real MODEL DATA --n 12",
}


@pytest.mark.parametrize("arm", EXPECTED)
def test_each_peer_has_the_command_line_that_its_name_says(bench, plan, arm):
    asked = plan(cap_gib=23.5, questions=40, beam_questions=12)
    _, script, *rest = bench.command_of(arm, model="phi-2", plan=asked)
    places = {
        "MODEL": ["--model", str(asked.checkpoints / "phi-2")],
        "DATA": ["--data", str(asked.data)],
    }
    words = [word for part in EXPECTED[arm].split() for word in places.get(part, [part])]
    name = "beams_peer.py" if "beams" in arm else "peer_generate.py"
    assert script == str(BENCHMARKS / name)
    assert rest == ["--arm", "hf16", *words, "--cap", "23.5"]


def test_ours_does_all_its_passes_in_one_command_and_the_copy_takes_no_options(bench, plan):
    asked = plan(questions=40, beam_questions=12)
    python, script, *rest = bench.command_of(OURS, model="phi-2", plan=asked)
    assert (python, script) == (sys.executable, str(BENCHMARKS / "arm_generate.py"))
    place = ["--model", str(asked.checkpoints / "phi-2"), "--data", str(asked.data)]
    sizes = ["--questions", "40", "--beam-questions", "12", "--cap", "24"]
    assert rest == ["--key", "phi-2", *place, *sizes]
    copy = bench.command_of(BANDWIDTH, model="phi-2", plan=asked)
    assert copy == [sys.executable, str(BENCHMARKS / "copy_bandwidth.py")]


def test_the_command_line_becomes_the_plan(bench, plan, tmp_path):
    data = str(plan().data)
    words = ["--data", data, "--models", "phi-2", "--questions", "20", "--random", str(tmp_path)]
    asked = bench.plan_of(bench.parse(words))
    assert (asked.models, asked.questions, asked.beam_questions) == (("phi-2",), 20, 48)
    assert (asked.tokenizers, asked.arms) == (tmp_path, (*NAMES, OURS))
    assert bench.parse(words).raw.name == "generate.jsonl"


@pytest.mark.parametrize("script", ["generate", "copy_bandwidth", "arms_in_turn"])
def test_no_script_needs_torch_to_be_read(script):
    code = f"import sys, runpy; runpy.run_path({str(BENCHMARKS / script)!r} + '.py'); "
    code += "sys.exit('torch' in sys.modules)"
    places = filter(None, (str(BENCHMARKS), os.environ.get("PYTHONPATH")))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_a_copy_reads_and_writes_its_bytes():
    """2 GiB there and back in a millisecond."""
    assert load("copy_bandwidth").tb_s(0.001) == pytest.approx(4.294967296)


def test_the_gpus_clock_counts_each_call_after_the_warm_ones(monkeypatch):
    """A stand-in for a GPU on which the nth call takes n milliseconds."""
    import torch

    calls, clock = [], [0.0]

    class Event:
        def __init__(self, *, enable_timing):
            assert enable_timing

        def record(self):
            self.at = clock[0]

        def elapsed_time(self, end):
            return end.at - self.at

    def work():
        calls.append(None)
        clock[0] += len(calls)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    assert load("gpu_clock").seconds_of(work) == pytest.approx([n / 1e3 for n in range(4, 14)])


def test_draw_writes_the_tables_without_running_anything(tmp_path):
    raw = tmp_path / "generate.jsonl"
    write_lines(raw, rows())
    words = ["--draw", "--raw", str(raw), "--out", str(tmp_path)]
    subprocess.run([sys.executable, str(BENCHMARKS / "generate.py"), *words], check=True)
    assert peers(pd.read_csv(tmp_path / "generate.csv"))["tok_s"].tolist() == list(SPEEDS.values())


def ends(base, limits, *, prompt, beams):
    """The peer's criterion, on a CPU."""
    import torch

    class StopAtReference(base):
        def __init__(self):
            self.ends = prompt + torch.tensor(limits).repeat_interleave(beams)

        def __call__(self, input_ids, scores, **kwargs):
            return input_ids.shape[1] >= self.ends

    return StopAtReference()


@pytest.mark.parametrize("beams", [2, 4, 8])
def test_a_peers_beams_end_where_their_references_do(beams):
    """Without the script around it, the peer's criterion ends Transformers' beam search."""
    import torch
    import transformers

    from random_models import EOS, random_model, random_prompts

    model, limits = random_model("llama"), (3, 11, 1)
    ids = torch.tensor(random_prompts(5, 5, 5))
    plain = transformers.StoppingCriteria
    wrapped = load("beams_peer").asked_of_candidates(plain)

    def generate(base):
        criterion = ends(base, limits, prompt=5, beams=beams)
        return model.generate(
            ids,
            num_beams=beams,
            do_sample=False,
            max_new_tokens=max(limits),
            min_new_tokens=max(limits),
            pad_token_id=EOS,  # no answer has it: it is barred before the longest ends
            stopping_criteria=[criterion],
        )

    with pytest.raises(RuntimeError, match="size of tensor"):
        generate(plain)
    found = generate(wrapped)
    assert [int((row[5:] != EOS).sum()) for row in found] == list(limits)


def test_the_peers_script_is_run_as_it_was_handed_to_us():
    data = os.environ.get("ALPACA_LAB_REFERENCE_DATA")
    source = Path(data) / ".." / "bench" / "peer_generate.py" if data else None
    if source is None or not source.is_file():
        pytest.skip("the script it was copied from is not here")
    assert (BENCHMARKS / "peer_generate.py").read_bytes() == source.read_bytes()
