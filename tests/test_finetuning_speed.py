"""The benchmark's table worked by hand, and its runs with stubs in place of a GPU."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from alpaca_lab.config import SettingError
from alpaca_lab.files import RecordError, write_lines
from alpaca_lab.memory import KNOWN_SHAPES
from alpaca_lab.speed import finetuning_speed
from alpaca_lab.speed.finetuning_arms import ARMS, OURS, RATE, block_weights
from benchmark_scripts import BENCHMARKS, load

NAMES = {arm.key: arm.name for arm in ARMS}
CONDITIONS = {
    "gpu": "NVIDIA H200",
    "cap_gib": 24.0,
    "data": {"file": "rows.jsonl", "rows": 999, "sha256": "0123456789abcdef" * 4},
    "weights": "random",
    "warm": 3,
    "steps": 8,
    "packages": {"torch": "2.11.0", "unsloth": None},
}
SPEEDS = {
    "transformers": 750.0,
    "unsloth": 2000.0,
    "unsloth-packed": 7500.0,
    "unsloth-varlen": 8000.0,
    OURS: 9000.0,
}
LEFT = {
    "layout": "packed",
    "micro_batch_tokens": 5504,
    "predicted_gib": 22.0,
    "device_gib": 20.0,
    "first_loss": 11.25,
    "last_loss": 9.5,
    "adapted_layers": 224,
    "trainable_parameters": 39976960,
    "load_s": 21.0,
    "first_step_s": 3.5,
}
"""What a run of ours says beside its speed."""
N = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
"""Weights of LLaMA-2-7B's blocks: 6.48 billion."""


@pytest.fixture(scope="module")
def bench():
    """benchmarks/finetune.py."""
    return load("finetune")


def row(arm, result, *, model="llama-2-7b", repeat=0, error=None, status=None, **changed):
    status = status or ("failed" if result is None else "ok")
    identity = {"model": model, "arm": arm, "repeat": repeat, "status": status}
    return {
        **identity,
        "error": error,
        "result": result,
        **CONDITIONS,
        "commit": "c0ffee",
    } | changed


def rows(model="llama-2-7b", tflops=600.0, **speeds):
    """A line per arm, and the matrix rate."""
    results = {key: {"tok_s": value, "peak_gib": 6.25} for key, value in (SPEEDS | speeds).items()}
    results[OURS] |= {"recomputed_share": 0.0, "reloaded": True, **LEFT}
    lines = [row(key, result, model=model) for key, result in results.items()]
    return [row(RATE, {"tflops": tflops}, model=model), *lines]


def without(lines, arm):
    return [line for line in lines if line["arm"] != arm]


def by_arm(frame):
    return frame.set_index("arm")


def test_ratio_is_ours_over_each_arm_and_a_goal_is_met_at_or_above_it():
    table = by_arm(finetuning_speed.table(rows()))
    assert table["ratio"].tolist() == [12.0, 4.5, 1.2, 1.125, 1.0]
    assert table["goal"].tolist()[:3] == [12.0, 5.0, 1.3]
    assert table["met"].tolist()[:3] == ["yes", "no", "no"]
    rest = table.loc[[NAMES["unsloth-varlen"], NAMES[OURS]]]
    assert rest["goal"].isna().all() and rest["met"].isna().all()


def test_phi_has_goals_of_its_own():
    table = by_arm(finetuning_speed.table(rows("phi-2")))
    assert table["goal"].tolist()[:3] == [12.0, 9.0, 4.0]


def test_limit_is_the_matrix_rate_over_the_flop_of_a_token():
    assert block_weights("llama-2-7b") == N
    table = by_arm(finetuning_speed.table(rows()))
    peer, ours = table.loc[NAMES["unsloth"]], table.loc[NAMES[OURS]]
    assert peer["limit_tok_s"] == pytest.approx(600e12 / (6 * N))
    assert ours["limit_tok_s"] == pytest.approx(600e12 / (4 * N))
    assert peer["share_of_limit"] == peer["share_6n"] == pytest.approx(2000 * 6 * N / 600e12)
    assert ours["share_of_limit"] == ours["share_4n"] == pytest.approx(9000 * 4 * N / 600e12)
    assert ours["share_6n"] == pytest.approx(1.5 * ours["share_4n"])
    assert (peer["note"], ours["note"]) == ("recomputes", "keeps")


def test_blocks_that_run_again_in_part_lie_between_the_limits():
    lines = rows()
    lines[-1]["result"]["recomputed_share"] = 0.5
    ours = by_arm(finetuning_speed.table(lines)).loc[NAMES[OURS]]
    assert ours["limit_tok_s"] == pytest.approx(600e12 / (5 * N))
    assert ours["note"] == "recomputes 50% of the blocks"


def test_an_arm_that_failed_is_blank_with_its_reason():
    failed = row("unsloth", None, error="torch.OutOfMemoryError: CUDA out of memory.")
    table = by_arm(finetuning_speed.table([*without(rows(), "unsloth"), failed]))
    line = table.loc[NAMES["unsloth"]]
    assert line[["tok_s", "ratio", "met", "peak_gib", "share_6n"]].isna().all()
    assert line["note"] == "no result: torch.OutOfMemoryError: CUDA out of memory."
    assert not table["tok_s"].eq(0).any()


def test_without_ours_there_is_no_ratio_and_no_goal_is_met():
    failed = row(OURS, None, status="timeout", error="no result within 1200 s")
    table = finetuning_speed.table([*without(rows(), OURS), failed])
    assert table["ratio"].isna().all() and table["met"].isna().all()
    assert table["tok_s"].notna().sum() == 4


def test_an_arm_that_was_not_run_says_so():
    table = by_arm(finetuning_speed.table(without(rows(), "unsloth-varlen")))
    assert len(table) == len(ARMS)
    assert table.loc[NAMES["unsloth-varlen"], "note"] == "not run"


def test_without_the_matrix_rate_there_is_no_limit():
    table = finetuning_speed.table(without(rows(), RATE))
    assert table[["limit_tok_s", "limit_4n", "share_of_limit"]].isna().all(axis=None)
    assert table["note"].str.contains("no limit: the matrix rate was not measured").all()
    assert table["tok_s"].tolist() == list(SPEEDS.values())


def test_repeats_are_their_median_speed_and_highest_memory():
    more = [
        row(OURS, {"tok_s": speed, "peak_gib": peak, "recomputed_share": 0, "reloaded": True},
            repeat=repeat)
        for repeat, speed, peak in ((1, 9600.0, 7.5), (2, 9100.0, 7.0))
    ]  # fmt: skip
    failed = row(OURS, None, repeat=3, error="Killed")
    ours = by_arm(finetuning_speed.table([*rows(), *more, failed])).loc[NAMES[OURS]]
    assert (ours["runs"], ours["tok_s"], ours["peak_gib"]) == (3, 9100.0, 7.5)
    assert ours["note"] == "keeps; median of 3 runs, 9,000 to 9,600; 1 of 4 runs failed: Killed"


def test_what_was_run_again_counts():
    again = row("unsloth", {"tok_s": 2250.0, "peak_gib": 5.0})
    table = by_arm(finetuning_speed.table([*rows(), again]))
    assert table.loc[NAMES["unsloth"], "tok_s"] == 2250.0
    assert table.loc[NAMES["unsloth"], "ratio"] == 4.0


def test_an_adapter_that_did_not_reload_is_said_beside_its_speed():
    lines = rows()
    lines[-1]["result"] |= {"reloaded": False, "reload_error": "48 tensors differ in name"}
    ours = by_arm(finetuning_speed.table(lines)).loc[NAMES[OURS]]
    assert ours["note"] == "keeps; ADAPTER NOT RELOADED: 48 tensors differ in name"


def test_rows_that_were_padded_for_want_of_a_packed_pass_are_said():
    lines = rows()
    lines[-1]["result"]["layout"] = "padded"
    assert by_arm(finetuning_speed.table(lines)).loc[NAMES[OURS], "note"] == "keeps; rows padded"


@pytest.mark.parametrize(("name", "value"), [("gpu", "A100"), ("cap_gib", 80.0), ("steps", 4)])
def test_runs_of_other_conditions_do_not_share_a_table(name, value):
    lines = [*rows(), row("unsloth", {"tok_s": 1.0, "peak_gib": 1.0}, **{name: value})]
    with pytest.raises(SettingError, match=f"ran with {name}"):
        finetuning_speed.table(lines)


def test_nothing_run_yet_is_one_sentence():
    with pytest.raises(SettingError, match="nothing was run yet"):
        finetuning_speed.table([])


def test_every_model_with_goals_has_a_known_shape():
    for arm in ARMS:
        assert all(block_weights(model) for model in arm.goals)
    with pytest.raises(SettingError, match="no shape"):
        block_weights("tiny-phi")
    assert len(KNOWN_SHAPES) == 3


def test_our_runs_are_told_one_by_one_with_predicted_beside_measured(tmp_path):
    again = row(OURS, LEFT | {"device_gib": None, "reloaded": False}, repeat=1)
    failed = row(OURS, None, repeat=2, error="Killed")
    found = finetuning_speed.finetunes([*rows("phi-2"), *rows(), again, failed])
    assert list(zip(found["model"], found["repeat"], strict=True)) == [
        ("llama-2-7b", 0), ("llama-2-7b", 1), ("phi-2", 0)
    ]  # fmt: skip
    finetuning_speed.write(tmp_path, [*rows(), again])
    page = (tmp_path / "finetune.md").read_text(encoding="utf-8").replace("\u00a0", " ")
    told = "| LLaMA-2-7B | packed | 5,504 | 0% | 22.0 | 20.0 | 1.10 | 11.250 | 9.500 | 224 |"
    assert f"{told} 39,976,960 | yes | 21 | 3.5 |" in page
    assert "| - | 22.0 | - | - | 11.250 |" in page and "| no | 21 | 3.5 |" in page


def test_summary_has_a_row_per_model_with_its_ratio_to_every_peer(tmp_path):
    finetuning_speed.write(tmp_path, [*rows(), *without(rows("phi-2"), "unsloth")])
    page = (tmp_path / "finetune_summary.md").read_text(encoding="utf-8").replace("\u00a0", " ")
    assert "| LLaMA-2-7B | 9,000 | 39% | 20.0 | 12.0 | 4.5 | 1.2 | 1.1 |" in page
    assert "| Phi-2 | 9,000 | 15% | 20.0 | 12.0 | - | 1.2 | 1.1 |" in page


def test_lines_of_another_card_stay_out_of_a_table_that_is_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(finetuning_speed, "RESULTS", tmp_path)
    with pytest.raises(RecordError, match="run benchmarks/finetune.py"):
        finetuning_speed.load()
    lines = [row("unsloth", {"tok_s": 1.0}, gpu="A100"), *rows(), row("unsloth", None, gpu="A100")]
    (tmp_path / "performance").mkdir()
    for count, gpu in ((7, "NVIDIA H200"), (8, "A100")):
        write_lines(tmp_path / "performance" / finetuning_speed.LINES, lines[:count])
        assert {line["gpu"] for line in finetuning_speed.load()} == {gpu}


@pytest.fixture
def written(tmp_path):
    failed = row("unsloth-packed", None, model="phi-2", error="ValueError: a|b $5 " + "x" * 200)
    lines = [*rows(), *without(rows("phi-2"), "unsloth-packed"), failed]
    return finetuning_speed.write(tmp_path, lines), tmp_path


def test_csv_holds_the_table_unrounded_and_the_page_rounds(written):
    frame, folder = written
    read = pd.read_csv(folder / "finetune.csv")
    assert tuple(read.columns) == finetuning_speed.COLUMNS
    pd.testing.assert_frame_equal(read, frame, check_dtype=False)
    page = (folder / "finetune.md").read_text(encoding="utf-8")
    page = page.replace("\u00a0", " ")  # a cell does not break
    assert "| LLaMA-2-7B | unsloth, 2 x 4 | 2,000 | 4.50 | 5 | no | 6.2 |" in page
    assert str(read["limit_6n"][0]) not in page


def test_page_says_what_was_run_and_how_to_run_it_again(written):
    page = (written[1] / "finetune.md").read_text(encoding="utf-8")
    for words in (
        "one NVIDIA H200, each process capped at 24 GiB",
        "random at the true shapes",
        "rows.jsonl, 999 of them, sha256 0123456789ab",
        "torch 2.11.0, unsloth (not installed)",
        "commit c0ffee",
        "600 TFLOP/s beside LLaMA-2-7B",
        "python benchmarks/finetune.py --data ROWS.jsonl --cap 24 --random TOKENIZERS --delete",
    ):
        assert words in page
    assert "a\\|b" in page  # an error's own signs do not break the table


def test_every_commit_of_our_runs_is_named_with_its_mark(tmp_path):
    dirty = row(OURS, LEFT | {"tok_s": 9000.0}, repeat=1, commit="a" * 40 + "+changes")
    finetuning_speed.write(tmp_path, [*rows(), dirty])
    page = (tmp_path / "finetune.md").read_text(encoding="utf-8")
    assert f"at commit {'a' * 12}+changes and c0ffee." in page


@pytest.mark.parametrize(("warm", "said"), [(11, True), (12, False)])
def test_a_peer_that_was_slow_in_what_was_timed_is_said_on_both_pages(warm, said, tmp_path):
    finetuning_speed.write(tmp_path, [line | {"warm": warm} for line in rows("phi-2")])
    for name in ("finetune.md", "finetune_summary.md"):
        page = (tmp_path / name).read_text(encoding="utf-8")
        assert ("Beware: with an empty compile cache, Unsloth packed has slow" in page) == said


def test_same_rows_give_the_same_files(written, tmp_path):
    again = tmp_path / "again"
    lines = [*rows(), *rows("phi-2")]
    for folder in (again, tmp_path):
        finetuning_speed.write(folder, lines)
    for name in ("finetune.csv", "finetune.md", "finetune_summary.md", "finetune.png"):
        assert (again / name).read_bytes() == (tmp_path / name).read_bytes()


def test_figure_is_a_png_and_needs_no_limit(written, tmp_path):
    assert (written[1] / "finetune.png").read_bytes().startswith(b"\x89PNG\r\n")
    finetuning_speed.write(tmp_path / "bare", [row("unsloth", None, error="it failed")])
    assert (tmp_path / "bare" / "finetune.png").read_bytes().startswith(b"\x89PNG\r\n")


COMMITTED = BENCHMARKS.parent / "results" / "performance"


@pytest.mark.parametrize("name", ["finetune.csv", "finetune.md", "finetune_summary.md"])
def test_the_committed_table_follows_from_the_committed_lines(name, tmp_path):
    finetuning_speed.write(tmp_path, finetuning_speed.load())
    assert (tmp_path / name).read_text() == (COMMITTED / name).read_text()


def test_committed_predictions_are_within_a_tenth_of_what_was_measured():
    runs = finetuning_speed.finetunes(finetuning_speed.load())
    assert set(runs["model"]) == {"llama-2-7b", "mistral-7b", "phi-2"}
    assert runs["device_gib"].between(0.9 * runs["predicted_gib"], runs["predicted_gib"]).all()
    assert runs["reloaded"].all() and (runs["last_loss"] < runs["first_loss"]).all()


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
        fields = {"models": ("phi-2",), "arms": ("unsloth", OURS), "timeout_s": 60.0}
        folders = {"data": data, "checkpoints": tmp_path / "checkpoints"}
        return bench.Plan(**(fields | folders | changed))

    return make


@pytest.fixture
def go(bench, tmp_path):
    """Run a plan with stubs, and return (what was run, the lines that are on file)."""

    def run(plan, *, results=None, code=None):
        seen = []

        def command(arm, *, model, plan):
            seen.append((model, arm))
            result = {"tok_s": 10.0, "peak_gib": 1.0, "tflops": 600.0, "model": "/a/folder"}
            shown = json.dumps((results or {}).get(arm, result))
            return [sys.executable, "-c", (code or {}).get(arm, f"print('RESULT', {shown!r})")]

        raw = tmp_path / "raw" / "finetune.jsonl"
        bench.arms_in_turn.benchmark(
            plan, raw=raw, out=tmp_path / "out", logs=tmp_path / "logs", command=command
        )
        return seen, [json.loads(line) for line in raw.read_text().splitlines()]

    return run


def test_every_arm_of_every_model_runs_after_the_matrix_rate(go, plan, tmp_path):
    seen, lines = go(plan(models=("phi-2", "llama-2-7b")))
    arms = (RATE, "unsloth", OURS)
    assert seen == [(model, arm) for model in ("phi-2", "llama-2-7b") for arm in arms]
    assert [(line["model"], line["arm"]) for line in lines] == seen
    assert all(line["status"] == "ok" and line["cap_gib"] == 24.0 for line in lines)
    assert lines[0]["weights"] == "given" and lines[0]["data"]["rows"] == 3
    assert "/a/folder" not in (tmp_path / "raw" / "finetune.jsonl").read_text()
    table = pd.read_csv(tmp_path / "out" / "finetune.csv")
    assert len(table) == 10 and table["tok_s"].notna().sum() == 4


def test_a_second_command_skips_what_is_there_and_again_repeats_it(go, plan):
    go(plan())
    seen, lines = go(plan(arms=("unsloth", "transformers", OURS), repeats=2))
    second = [RATE, "unsloth", "transformers", OURS]
    assert [arm for _, arm in seen] == ["transformers", *second]
    assert [line["repeat"] for line in lines if line["arm"] == OURS] == [0, 1]
    seen, lines = go(plan(again=True))
    assert len(seen) == 3 and len(lines) == 11


def test_a_run_of_another_cap_is_no_reason_to_skip_and_stays_out_of_the_table(go, plan, tmp_path):
    go(plan(models=("llama-2-7b", "phi-2")))
    seen, lines = go(plan(cap_gib=16.0))
    assert len(seen) == 3 and len(lines) == 9
    assert set(pd.read_csv(tmp_path / "out" / "finetune.csv")["model"]) == {"phi-2"}


def test_a_run_that_fails_is_recorded_with_its_error_and_the_next_goes_on(go, plan, tmp_path):
    code = {"unsloth": "print('loading'); raise ValueError('no such kernel')"}
    _, lines = go(plan(), code=code)
    by = {line["arm"]: line for line in lines}
    assert by["unsloth"]["status"] == "failed" and by["unsloth"]["result"] is None
    assert by["unsloth"]["error"] == "ValueError: no such kernel"
    assert by[OURS]["status"] == "ok"
    table = pd.read_csv(tmp_path / "out" / "finetune.csv").set_index("arm")
    assert math.isnan(table.loc[NAMES["unsloth"], "tok_s"])
    assert table.loc[NAMES["unsloth"], "note"] == "no result: ValueError: no such kernel"
    assert "loading" in (tmp_path / "logs" / "phi-2-unsloth-0.log").read_text()


def test_a_peer_that_prints_its_error_has_failed(go, plan):
    _, lines = go(plan(), results={"unsloth": {"error": "OutOfMemoryError('CUDA')"}})
    assert (lines[1]["status"], lines[1]["error"]) == ("failed", "OutOfMemoryError('CUDA')")


def test_a_number_that_is_none_is_recorded_as_unknown(go, plan):
    _, lines = go(plan(), results={"unsloth": {"tok_s": 10.0, "peak_gib": math.nan}})
    assert lines[1]["result"]["peak_gib"] is None


def test_a_run_out_of_time_is_ended_with_what_it_started(go, plan, tmp_path):
    child = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    slow = (
        "import subprocess, sys; "
        f"subprocess.run([sys.executable, '-c', {('import os, time; ' + child)!r}])"
    )
    _, lines = go(plan(arms=("unsloth",), timeout_s=3.0), code={"unsloth": slow})
    assert (lines[1]["status"], lines[1]["error"]) == ("timeout", "no result within 3 s")
    state = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_unknown_names_and_missing_files_are_refused_before_anything_runs(plan, go, tmp_path):
    with pytest.raises(SettingError, match="unknown arms: axolotl"):
        plan(arms=("axolotl",))
    with pytest.raises(SettingError, match='no shape of "gpt-2"'):
        plan(models=("gpt-2",))
    with pytest.raises(SettingError, match="no such file"):
        plan(data=tmp_path / "none.jsonl")
    with pytest.raises(SettingError, match="no checkpoint in .*mistral-7b"):
        go(plan(models=("mistral-7b",)))


def test_a_random_checkpoint_is_written_kept_for_its_arms_and_deleted_if_asked(
    bench, go, plan, tmp_path, monkeypatch
):
    """A stub stands for random_checkpoint.py, which needs a GPU."""
    stub = (
        "import sys, pathlib; name, tokenizer, out = sys.argv[1:]; f = pathlib.Path(out); f.mkdir()"
        "; assert name == 'llama2-7b'"
        "; [(f / n).write_text('{}') for n in ('config.json', 'tokenizer.json')]"
    )
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "random_checkpoint.py").write_text(stub)
    (tmp_path / "tokenizers" / "llama-2-7b").mkdir(parents=True)
    monkeypatch.setattr(bench.arms_in_turn, "HERE", tmp_path / "scripts")
    random = plan(
        models=("llama-2-7b",), checkpoints=tmp_path / "random", tokenizers=tmp_path / "tokenizers"
    )
    _, lines = go(random)
    folder = tmp_path / "random" / "llama-2-7b"
    assert lines[0]["weights"] == "random" and (folder / bench.arms_in_turn.MARK).is_file()
    again = {"delete": True, "again": True, "models": ("llama-2-7b",)}
    go(plan(checkpoints=random.checkpoints, tokenizers=random.tokenizers, **again))
    assert not folder.exists()


def test_a_checkpoint_that_was_not_written_here_is_neither_called_random_nor_deleted(
    go, plan, tmp_path
):
    with pytest.raises(SettingError, match="was not written here: leave out --random"):
        go(plan(tokenizers=tmp_path))
    go(plan(delete=True))
    assert (tmp_path / "checkpoints" / "phi-2" / "config.json").is_file()


def test_a_checkpoint_that_cannot_be_written_is_said_in_one_sentence(
    bench, go, plan, tmp_path, monkeypatch
):
    (tmp_path / "random_checkpoint.py").write_text("raise RuntimeError('no GPU')")
    (tmp_path / "phi-2").mkdir()
    monkeypatch.setattr(bench.arms_in_turn, "HERE", tmp_path)
    with pytest.raises(SettingError, match="phi-2: no random checkpoint: RuntimeError: no GPU"):
        go(plan(checkpoints=tmp_path / "random", tokenizers=tmp_path))


EXPECTED = {
    "transformers": "peer_finetune.py --arm hf --bs 2 --ga 4",
    "unsloth": "peer_finetune.py --arm unsloth --bs 2 --ga 4 --gc true",
    "unsloth-packed": "peer_finetune.py --arm unsloth --packing 1 --bs 4 --ga 1 --gc unsloth",
    "unsloth-varlen": "varlen_peer.py --arm unsloth --packing 1 --bs 4 --ga 1 --gc unsloth",
    OURS: "arm_finetune.py --key phi-2",
}


@pytest.mark.parametrize("arm", EXPECTED)
def test_each_arm_has_the_command_line_that_its_name_says(bench, plan, arm):
    asked = plan(cap_gib=23.5, steps=5)
    python, script, *rest = bench.command_of(arm, model="phi-2", plan=asked)
    name, *own = EXPECTED[arm].split()
    shared = ["--model", str(asked.checkpoints / "phi-2"), "--data", str(asked.data)]
    assert (python, script) == (sys.executable, str(BENCHMARKS / name))
    assert rest == [*own, *shared, "--cap", "23.5", "--warm", "12", "--steps", "5"]


def test_the_arms_of_the_table_are_those_that_can_be_run(bench):
    assert set(bench.SCRIPTS) == {RATE, *NAMES}
    for script, *_ in bench.SCRIPTS.values():
        assert (BENCHMARKS / script).is_file()


def test_the_command_line_becomes_the_plan(bench, plan, tmp_path):
    data = str(plan().data)
    words = ["--data", data, "--models", "phi-2", "--arms", f"unsloth,{OURS}", "--cap", "16"]
    asked = bench.plan_of(bench.parse([*words, "--random", str(tmp_path), "--repeats", "3"]))
    assert (asked.models, asked.arms, asked.cap_gib) == (("phi-2",), ("unsloth", OURS), 16.0)
    assert (asked.tokenizers, asked.repeats, asked.again) == (tmp_path, 3, False)
    everything = bench.plan_of(bench.parse(["--data", data]))
    assert len(everything.models) == 3 and everything.arms == tuple(NAMES)


@pytest.mark.parametrize(
    "script", ["finetune", "arm_finetune", "varlen_peer", "breakdown", "matrix_rate", "one_run"]
)
def test_no_script_needs_torch_to_be_read(script):
    """So that --help, a wrong option and these tests need no GPU."""
    code = f"import sys, runpy; runpy.run_path({str(BENCHMARKS / script)!r} + '.py'); "
    code += "sys.exit('torch' in sys.modules)"
    places = filter(None, (str(BENCHMARKS), os.environ.get("PYTHONPATH")))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_a_wrong_option_is_one_sentence(tmp_path):
    words = ["--data", str(tmp_path / "none.jsonl")]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "finetune.py"), *words], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.strip() == f"error: no such file: {tmp_path / 'none.jsonl'}"


def test_draw_writes_the_table_without_running_anything(tmp_path):
    raw = tmp_path / "finetune.jsonl"
    write_lines(raw, rows())
    words = ["--draw", "--raw", str(raw), "--out", str(tmp_path)]
    subprocess.run([sys.executable, str(BENCHMARKS / "finetune.py"), *words], check=True)
    assert pd.read_csv(tmp_path / "finetune.csv")["tok_s"].tolist() == list(SPEEDS.values())


# Our own arm


LOSSES = pd.DataFrame(
    [
        (1, "train", 3.0, 100.0, 10.0, 5.0),  # compiles
        (2, "train", 2.5, 100.0, 1.0, 6.0),
        (3, "train", 2.25, 300.0, 1.0, 6.5),
        (4, "train", 2.0, 500.0, 2.0, 6.5),
        (4, "validation", 2.125, None, None, None),
    ],
    columns=["step", "kind", "loss", "tokens", "seconds", "gib"],
)


def test_our_arm_is_measured_like_the_peers_over_all_steps_after_the_warm_ones():
    """Steps 2 to 4 hold 900 tokens and take 4 seconds."""
    found = load("arm_finetune").measure(LOSSES, warm=1)
    assert (found["tok_s"], found["step_s"], found["peak_gib"]) == (225.0, 1.0, 6.5)
    assert found["first_step_s"] == 10.0
    assert (found["steps"], found["tokens"]) == (3, 900)
    assert (found["first_loss"], found["last_loss"]) == (3.0, 2.0)


def test_memory_that_was_not_measured_is_unknown():
    found = load("arm_finetune").measure(LOSSES.assign(gib=math.nan), warm=1)
    assert found["peak_gib"] is None


def test_nothing_left_to_time_is_refused():
    with pytest.raises(ValueError, match="4 steps, of which 4 warm up"):
        load("arm_finetune").measure(LOSSES, warm=4)


@pytest.mark.model
def test_an_adapter_reloads_by_transformers_and_peft_alone(finetuned, adapter):
    """Seven linear layers in each block of the tiny LLaMA."""
    study, _, manifest = finetuned
    place = {"key": "tiny-llama", "model": study.models[0].source}
    layers = load("arm_finetune").reload(**place, adapter=adapter, cap=None)
    assert layers == manifest["adapted_layers"] > 0


@pytest.mark.model
def test_an_adapter_with_a_tensor_missing_does_not_reload(finetuned, adapter, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(adapter, tmp_path / "adapter")
    tensors = load_file(broken / "adapter_model.safetensors")
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, broken / "adapter_model.safetensors", metadata={"format": "pt"})
    place = {"key": "tiny-llama", "model": finetuned[0].models[0].source}
    with pytest.raises(SettingError, match="does not fit the base: 1 tensors differ"):
        load("arm_finetune").reload(**place, adapter=broken, cap=None)


def test_a_failed_reload_is_a_fact_beside_the_speed(monkeypatch):
    arm = load("arm_finetune")

    def alone(function, **arguments):
        raise SettingError("48 tensors differ in name")

    monkeypatch.setattr(arm, "alone", alone)
    assert arm.reloaded(key="phi-2") == {
        "reloaded": False,
        "reload_error": "48 tensors differ in name",
    }


# The peers


def old_attention(query, key, *, scale=None, window_size=(-1, -1)):
    return query, key, scale, window_size


def test_varlen_attention_without_enable_gqa_gets_it_and_behaves_the_same():
    import inspect

    module = SimpleNamespace(varlen_attn=old_attention)
    load("varlen_peer").extend(module)
    names = inspect.signature(module.varlen_attn).parameters
    assert {"window_size", "enable_gqa"} < set(names)  # what Unsloth looks for
    expected = old_attention("q", "k", scale=0.5, window_size=(-1, 0))
    assert module.varlen_attn("q", "k", scale=0.5, window_size=(-1, 0), enable_gqa=True) == expected
    assert module.varlen_attn("q", "k", scale=0.5, window_size=(-1, 0)) == expected


def test_varlen_attention_that_has_enable_gqa_is_left_alone():
    def new_attention(query, *, window_size=(-1, -1), enable_gqa=False):
        return query

    module = SimpleNamespace(varlen_attn=new_attention)
    load("varlen_peer").extend(module)
    assert module.varlen_attn is new_attention


def test_a_torch_too_old_for_the_kernel_fails_rather_than_measure_another_arm():
    module = SimpleNamespace(varlen_attn=lambda query, is_causal=False: query)
    with pytest.raises(RuntimeError, match=r"torch 2\.11 or newer is needed"):
        load("varlen_peer").extend(module)


def test_the_varlen_arm_runs_the_peers_script_with_the_same_arguments(
    tmp_path, monkeypatch, capsys
):
    peer = load("varlen_peer")
    (tmp_path / "peer.py").write_text(
        "import sys; from torch.nn.attention.varlen import varlen_attn as f\n"
        "print(__name__, sys.argv[1:], f('q', 'k', enable_gqa=True))"
    )
    fake = SimpleNamespace(varlen_attn=old_attention)
    attention = SimpleNamespace(varlen=fake)
    for name, module in (("torch.nn.attention", attention), ("torch.nn.attention.varlen", fake)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torch.nn", SimpleNamespace())
    monkeypatch.setattr(peer, "PEER", tmp_path / "peer.py")
    monkeypatch.setattr(sys, "argv", ["varlen_peer.py", "--arm", "unsloth"])
    peer.main()
    printed = capsys.readouterr().out
    assert printed == "__main__ ['--arm', 'unsloth'] ('q', 'k', None, (-1, -1))\n"


@pytest.mark.parametrize("name", ["peer_finetune.py", "random_checkpoint.py"])
def test_the_peers_scripts_are_run_as_they_were_handed_to_us(name):
    data = os.environ.get("ALPACA_LAB_REFERENCE_DATA")
    source = Path(data) / ".." / "bench" / name if data else None
    if source is None or not source.is_file():
        pytest.skip("the scripts they were copied from are not here")
    assert (BENCHMARKS / name).read_bytes() == source.read_bytes()
