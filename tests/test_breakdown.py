"""Where a step goes: traces worked by hand, and the table and figure made of them."""

import json
import math
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from alpaca_lab.config import ROOT, SettingError
from alpaca_lab.files import RecordError
from alpaca_lab.speed import breakdown, finetuning_speed
from alpaca_lab.speed.finetuning_arms import ARMS, OURS
from benchmark_scripts import BENCHMARKS, load

NAMES = {arm.key: arm.name for arm in ARMS}


@pytest.fixture(scope="module")
def script():
    """benchmarks/breakdown.py."""
    return load("breakdown")


# What is read from a trace


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("nvjet_sm90_tst_128x232_64x4_2x1_v_bz_coopA_bias_TNT", "products"),
        ("void cublasLt::splitKreduce_kernel<32, 16, int, float>", "products"),
        ("sm80_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize160x128x32", "products"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_bprop_wgmma_f16_knob_26", "attention"),
        ("void cudnn::fusion::compute_dot_do_o<true>(void const*)", "attention"),
        ("pytorch_flash::flash_fwd_kernel<96, 128, cutlass::bfloat16_t>", "attention"),
        ("fmha_cutlassF_bf16_aligned_64x128_rf_sm80(PyTorchMemEffAttention)", "attention"),
        ("triton_poi_fused__scaled_dot_product_cudnn_attention__to_copy_where_4", "other"),
        ("void kDequantizeBlockwise<__nv_bfloat16, 512, 64, 8, 2>(float*)", "unpacking"),
        ("_nf4_dequant_kernel", "unpacking"),
        ("void kOptimizerStatic8bit2StateBlockwise<float, 0, 256, 1>(float*)", "other"),
        ("Memcpy DtoH (Device -> Pinned)", "copies"),
        ("Memset (Device)", "copies"),
        ("void at::native::vectorized_elementwise_kernel<8, GeluCUDAKernelImpl>", "other"),
    ],
)
def test_a_kernel_is_told_by_its_name(script, name, part):
    assert script.part_of(name) == part


def test_every_moment_of_the_steps_belongs_to_one_part(script):
    """A product from 10 to 40; attention that begins inside it and lasts to 50; a copy beside both,
    from 0 to 60, which is alone for 20; 40 of 100 in which nothing runs."""
    spans = [
        script.Span("gemm", 10, 40),
        script.Span("flash", 30, 50),
        script.Span("Memcpy DtoH", 0, 60),
        script.Span("gemm", 15, 20),
    ]
    parts = script.split(spans, wall=100)
    assert {part: value for part, value in parts.items() if value} == {
        "products": 30, "attention": 10, "copies": 20, "waiting": 40,
    }  # fmt: skip
    assert sum(parts.values()) == 100


def test_the_parts_that_are_measured_are_those_of_the_table(script):
    assert set(script.split([], wall=1.0)) == set(breakdown.PARTS)


def test_the_longest_come_first_with_calls_and_seconds_per_step(script):
    calls = [("a", 1e6), ("b", 3e6), ("a", 4e6), ("c", 1.0)]
    found = script.longest(calls, steps=2)
    assert found[0] == {"name": "a", "calls": 1.0, "s": 2.5, "longest_s": 4.0}
    assert [entry["name"] for entry in found] == ["a", "b", "c"]
    assert len(script.longest([(str(i), 1.0) for i in range(99)], steps=1)) == 12


def test_a_long_name_is_told_by_its_end_and_listed_by_its_beginning(script):
    spans, calls = [script.Span("x" * 200 + "gemm", 0, 1e6)], [script.Call("y" * 200, 1.0)]
    times = {"untraced": 2.0, "wall": 2.0, "host_wall": 2.0}
    found = script.described(spans, calls, **times, steps=1)
    assert found["kernels"][0]["part"] == "products" and found["parts"]["products"] == 1.0
    assert [found[side][0]["name"] for side in ("kernels", "host")] == ["x" * 160, "y" * 160]


class FakeTrace:
    """Stands for `Trace`; 12 s on the clock for the steps it sees."""

    log: list = []

    def __init__(self, *, host):
        self.host = host
        self.log.append(("start", host))

    def begin(self):
        self.log.append(("begin", self.host))

    def end(self):
        self.log.append(("end", self.host))
        return 12.0

    def events(self, *, gpu):
        if gpu:
            return [SimpleNamespace(name="gemm", time_range=SimpleNamespace(start=0, end=6e6))]
        return [SimpleNamespace(name="aten::mm", self_cpu_time_total=2e6)]


def test_the_steps_are_taken_apart_after_the_warm_ones(script, monkeypatch):
    """8 pass, 9 to 12 are timed. 13 warms the profiler up, 14 and 15 are discarded; 16 warms it up
    again, 17 to 20 count; so does 21, and 22 is the host's."""
    monkeypatch.setattr(FakeTrace, "log", [])
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(script, "_now", lambda: clock.now)
    watching, seen = script.Watch(after=8, steps=4, trace=FakeTrace), {}
    for step in range(1, 24):
        clock.now += 2.5
        watching.step_ended()
        seen[step], FakeTrace.log[:] = list(FakeTrace.log), []
        assert (watching.result is not None) == (step >= 8 + 4 + script.beside(4))
    assert {step: log for step, log in seen.items() if log} == {
        12: [("start", False)],
        13: [("begin", False)],
        15: [("end", False), ("start", False)],
        16: [("begin", False)],
        20: [("end", False), ("start", True)],
        21: [("begin", True)],
        22: [("end", True)],
    }
    found = watching.result
    assert (found["untraced_step_s"], found["step_s"], found["launches"]) == (2.5, 3.0, 0.25)
    assert found["parts"]["products"] == found["parts"]["waiting"] == 1.5
    assert found["kernels"][0]["part"] == "products"
    assert found["host"] == [{"name": "aten::mm", "calls": 1.0, "s": 2.0, "longest_s": 2.0}]
    assert found["host_step_s"] == 12.0


def test_the_steps_of_any_optimiser_are_seen(script):
    import torch
    from torch.optim import optimizer

    watching = script.watch(after=10, steps=1)
    try:
        weight = torch.nn.Parameter(torch.ones(2))
        for kind in (torch.optim.AdamW, torch.optim.SGD):
            weight.grad = torch.ones(2)
            kind([weight], lr=0.1).step()
    finally:
        optimizer._global_optimizer_post_hooks.clear()
    assert watching.done == 2


def test_without_a_gpu_there_is_one_clear_sentence(script, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    watching = script.Watch(after=1, steps=1)
    with pytest.raises(RuntimeError, match="taken apart on an NVIDIA GPU, and there is none"):
        watching.step_ended()


@pytest.mark.parametrize("result", [None, {"step_s": 1.0}])
def test_a_script_is_run_as_it_is_and_the_result_comes_last(
    script, result, tmp_path, monkeypatch, capsys
):
    (tmp_path / "peer.py").write_text("import sys; print(__name__, sys.argv[1:])")
    asked = {}

    def watch(**given):
        asked.update(given)
        return SimpleNamespace(result=result)

    monkeypatch.setattr(script, "watch", watch)
    words = ["--after", "8", "--steps", "4", str(tmp_path / "peer.py"), "--arm", "hf", "--steps=7"]
    monkeypatch.setattr(sys, "argv", ["breakdown.py", *words])
    script.main()
    first, *rest = capsys.readouterr().out.splitlines()
    assert asked == {"after": 8, "steps": 4}
    assert first == "__main__ ['--arm', 'hf', '--steps=7']"
    assert rest == ([f"RESULT {json.dumps({'breakdown': result})}"] if result else [])


# How it is asked for


@pytest.fixture
def plan(tmp_path):
    bench = load("finetune")
    data = tmp_path / "rows.jsonl"
    data.write_text("{}\n")
    folders = {"data": data, "checkpoints": tmp_path}
    made = bench.Plan(
        models=("phi-2",), arms=("unsloth-varlen", OURS), warm=8, steps=4, breakdown=True, **folders
    )
    return bench, made


def test_no_rate_is_measured_and_every_arm_is_watched_for_the_steps_that_count(plan):
    bench, made = plan
    assert list(made.runs("phi-2")) == [("unsloth-varlen", 0), (OURS, 0)]
    _, *peer = bench.command_of("unsloth-varlen", model="phi-2", plan=made)
    script = [str(BENCHMARKS / "varlen_peer.py"), "--arm", "unsloth"]
    assert peer[:8] == [str(BENCHMARKS / "breakdown.py"), "--after", "8", "--steps", "4", *script]
    assert peer[-6:] == ["--cap", "24", "--warm", "8", "--steps", "14"]
    _, *ours = bench.command_of(OURS, model="phi-2", plan=made)
    assert ours[:4] == [str(BENCHMARKS / "arm_finetune.py"), "--key", "phi-2", "--breakdown"]
    assert ours[-4:] == ["--warm", "8", "--steps", "4"]


def test_one_run_of_each_arm_is_taken_apart(plan):
    _, made = plan
    with pytest.raises(SettingError, match="once per arm: leave out --repeats"):
        replace(made, repeats=2)


def test_our_own_arm_runs_the_steps_that_are_watched(monkeypatch, tmp_path):
    arm, asked = load("arm_finetune"), {}

    def alone(function, **arguments):
        asked.update(arguments)
        return {"breakdown": {"step_s": 1.0}}

    monkeypatch.setattr(arm, "alone", alone)
    options = {"key": "phi-2", "model": "m", "data": "d", "cap": 24.0, "steps": 4, "warm": 8}
    found = arm.run(SimpleNamespace(**options, set=[], breakdown=True), folder=tmp_path)
    assert found == {"breakdown": {"step_s": 1.0}}
    assert asked["watched"] == {"after": 8, "steps": 4}
    assert asked["changes"]["train.max_steps"] == 22


def test_lines_and_tables_have_names_of_their_own(tmp_path):
    bench = load("finetune")
    words = ["--draw", "--out", str(tmp_path)]
    assert bench.parse(words).raw == tmp_path / "finetune.jsonl"
    assert bench.parse([*words, "--breakdown"]).raw == tmp_path / "breakdown.jsonl"
    assert bench.parse([*words, "--raw", "mine.jsonl"]).raw.name == "mine.jsonl"


# The table


SEEN = {
    "steps": 4,
    "untraced_step_s": 1.75,
    "step_s": 2.0,
    "parts": dict.fromkeys(breakdown.PARTS, 0.0)
    | {"products": 0.5, "attention": 1.0, "waiting": 0.5},
    "launches": 7777.0,
    "kernels": [
        {"name": "flash", "calls": 31.0, "s": 1.0, "longest_s": 0.25, "part": "attention"},
    ],
    "host_step_s": 2.5,
    "host": [{"name": "aten::mm", "calls": 9.0, "s": 0.125, "longest_s": 0.0625}],
}


def line(arm, *, model="phi-2", seen=SEEN, error=None, **changed):
    conditions = dict.fromkeys(finetuning_speed.CONDITIONS) | {"gpu": "NVIDIA H200"} | changed
    ran = {"status": "failed" if error else "ok", "error": error}
    result = None if error else {"breakdown": seen}
    return {"model": model, "arm": arm, "repeat": 0, **ran, "result": result, **conditions}


LINES = [
    line("unsloth-packed"),
    line("transformers", error="ValueError: a$b"),
    line(OURS, model="llama-2-7b"),
]


def test_the_table_has_shares_of_the_step_in_the_order_of_models_and_arms():
    frame = breakdown.table(LINES)
    assert list(zip(frame["model"], frame["arm"], strict=True)) == [
        ("llama-2-7b", NAMES[OURS]),
        ("phi-2", NAMES["transformers"]),
        ("phi-2", NAMES["unsloth-packed"]),
    ]
    row = frame.iloc[2]
    shares = row[["attention", "products", "waiting"]].tolist()
    assert (row["step_s"], shares) == (2.0, [0.5, 0.25, 0.25])
    assert (row["steps"], row["untraced_step_s"], row["launches"]) == (4, 1.75, 7777.0)
    assert row["note"] == ""


def test_an_arm_that_failed_is_blank_with_its_reason():
    row = breakdown.table(LINES).iloc[1]
    assert row["note"] == "no result: ValueError: a$b" and row["steps"] == 0
    assert all(math.isnan(row[name]) for name in ("step_s", "launches", *breakdown.PARTS))


@pytest.mark.parametrize("result", [{"breakdown": None}, {"tok_s": 10.0}])
def test_an_arm_that_trained_too_few_steps_is_blank_with_its_reason(result):
    short = line("unsloth") | {"result": result}
    row = breakdown.table([short]).iloc[0]
    assert row["note"] == "no result: the training ended before its steps were taken apart"
    with pytest.raises(SettingError, match="was not taken apart"):
        breakdown.longest([short], "phi-2", "unsloth")


def test_what_was_run_again_counts_and_other_conditions_are_refused():
    again = line("unsloth-packed", seen=SEEN | {"launches": 5.0})
    assert breakdown.table([*LINES, again])["launches"].tolist()[2] == 5.0
    with pytest.raises(SettingError, match="ran with gpu A100"):
        breakdown.table([*LINES, line("unsloth", gpu="A100")])


def test_what_took_longest_is_told_in_milliseconds_for_each_side():
    kernels = breakdown.longest(LINES, "phi-2", "unsloth-packed").to_dict("records")
    assert kernels == [
        {"name": "flash", "calls": 31.0, "part": "attention", "ms": 1000.0, "longest_ms": 250.0}
    ]
    host = breakdown.longest(LINES, "phi-2", "unsloth-packed", side="host").to_dict("records")
    assert host == [{"name": "aten::mm", "calls": 9.0, "ms": 125.0, "longest_ms": 62.5}]
    for arm in ("transformers", "unsloth"):
        with pytest.raises(SettingError, match="was not taken apart"):
            breakdown.longest(LINES, "phi-2", arm)


def test_the_same_lines_give_the_same_table_and_figure(tmp_path):
    for folder in ("a", "b"):
        breakdown.write(tmp_path / folder, LINES)
    for name in ("breakdown.csv", "breakdown.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / "breakdown.png").read_bytes().startswith(b"\x89PNG\r\n")
    read = pd.read_csv(tmp_path / "a" / "breakdown.csv", keep_default_na=False)
    assert tuple(read.columns) == breakdown.COLUMNS


# What is on record


def test_the_committed_table_follows_from_the_committed_lines(tmp_path):
    breakdown.write(tmp_path, breakdown.load())
    committed = BENCHMARKS.parent / "results" / "performance" / "breakdown.csv"
    assert (tmp_path / "breakdown.csv").read_text() == committed.read_text()


def test_a_folder_without_lines_says_what_leaves_them(tmp_path, monkeypatch):
    monkeypatch.setattr(finetuning_speed, "RESULTS", tmp_path)
    with pytest.raises(RecordError, match=r"no breakdown\.jsonl .*finetune\.py --breakdown"):
        breakdown.load()


def test_unsloth_packed_spends_its_step_in_attention_and_two_rows_a_pass_in_waiting():
    """What notebook 06 says of the committed lines."""
    frame = breakdown.table(breakdown.load()).set_index("arm")
    assert frame.loc[NAMES["unsloth-packed"], "attention"] > 0.5
    assert (frame.loc[[NAMES["transformers"], NAMES["unsloth"]], "waiting"] > 0.9).all()
    assert frame.loc[NAMES[OURS], "products"] > 0.5


def test_notebook_06_names_its_columns_in_words_with_their_units():
    notebook = json.loads((ROOT / "notebooks" / "06_performance.ipynb").read_text())
    shown = "".join(
        "".join(out["data"].get("text/html", ""))
        for cell in notebook["cells"]
        for out in cell.get("outputs", [])
    )
    columns = re.findall(r"<th[^>]*>(.*?)</th>", shown)
    assert {"tokens/s", "peak GiB", "step, ms", "longest, ms"} <= set(columns)
    assert not [column for column in columns if "_" in column]
