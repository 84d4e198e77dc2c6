"""Our own arm of the decoding benchmark, on a tiny model: it prints what the tables read."""

import json
from argparse import Namespace

import pytest

from alpaca_lab import sweep
from alpaca_lab.config import TINY
from alpaca_lab.profiles import PROFILES
from alpaca_lab.speed import decoding_speed
from alpaca_lab.speed.decoding_arms import BANDWIDTH, PEERS
from alpaca_lab.speed.finetuning_arms import OURS
from benchmark_scripts import load

pytestmark = pytest.mark.model
pytest.importorskip("torch")

ROWS = [
    {"instruction": "Name a colour.", "input": "", "output": "Red is a colour."},
    {"instruction": "Name it again.", "input": "x" * 900, "output": "Blue " * 400},
    {"instruction": "Say when.", "input": "", "output": ""},
]


@pytest.fixture(scope="module")
def arm():
    return load("arm_generate")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def result(arm, data):
    patch = pytest.MonkeyPatch()
    for name, value in {"REPEATS": 2, "FEW": 2, "LONGEST": 12}.items():
        patch.setattr(arm, name, value)
    options = Namespace(
        key="tiny-llama", model=str(TINY / "llama"), data=str(data), questions=3,
        beam_questions=2, cap=24.0, slots=12,
    )  # fmt: skip
    try:
        return json.loads(json.dumps(arm.run(options)))
    finally:
        patch.undo()


def test_prompts_and_lengths_are_those_of_the_peers_script(arm, data):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TINY / "llama")
    found = arm.rows_of(data, tokenizer, questions=3)
    assert [length for _, length in found] == [len(tokenizer(ROWS[0]["output"]).input_ids), 512, 1]
    prompt = tokenizer.decode(found[1][0])
    assert "x" * 400 in prompt and "x" * 401 not in prompt
    assert len(arm.rows_of(data, tokenizer, questions=2)) == 2


def test_nine_cells_are_those_of_the_study_that_share_a_pass(arm):
    cells = {cell.name: cell.setting for cell in sweep.cells(PROFILES["full"])}
    found = arm.nine_cells()
    assert len(found) == 9 and found.items() <= cells.items()


def test_every_answer_ends_where_its_row_does(result):
    nine, one = result["passes"][:2]
    assert nine["new_tokens"] == 9 * one["new_tokens"] == nine["drawn"]
    assert (nine["answers"], nine["cells"], nine["questions"]) == (27, 9, 3)
    assert len(nine["seconds_repeats"]) == 2
    assert nine["busy_slot_steps"] <= nine["slot_steps"] == 12 * nine["steps"]


def test_a_step_reads_all_weights_but_the_input_embedding(arm, result):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(TINY / "llama", dtype="float32")
    embedding = model.config.vocab_size * model.config.hidden_size * 4
    assert result["weight_bytes"] == model.num_parameters() * 4 - embedding
    assert result["column_bytes"] * 2 == 2 * 4 * 4 * 32 * 4  # counted in 16 bits; this is float32


def test_the_tables_find_all_that_they_look_for(result):
    conditions = dict.fromkeys(decoding_speed.CONDITIONS, "x")
    lines = [
        {"model": "phi-2", "arm": key, "repeat": 0, "status": "ok", "error": None, "commit": "c"}
        | {"result": found}
        | conditions
        for key, found in {
            BANDWIDTH: {"tb_s": 4.0},
            OURS: result,
            **{peer.key: {"tok_s": 1.0, "seconds": 1.0, "new_tokens": 1} for peer in PEERS},
        }.items()
    ]
    frame = decoding_speed.table(lines)
    ours = frame[frame["arm"] == "alpaca lab"]
    assert list(ours["pass"]) == [name for peer in PEERS for name in peer.passes]
    wanted = ["tok_s", "busy_share", "rows_per_step", "step_ms", "share_of_limit"]
    assert ours[wanted].notna().all(axis=None)
    assert (
        decoding_speed.once(lines)[["load_s", "merge_s", "warm_up_s", "slots"]]
        .notna()
        .all(axis=None)
    )
