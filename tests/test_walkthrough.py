"""What the notebook on finetuning shows, from rows and manifests alone: nothing is trained."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from alpaca_lab import batches, data, fitting
from alpaca_lab.config import ResourceSpec
from alpaca_lab.memory import KNOWN_SHAPES
from alpaca_lab.profiles import MODELS, PROFILES
from alpaca_lab.store import Record
from alpaca_lab.walkthrough import (
    facts_table,
    memory_table,
    passes_table,
    recipe_table,
    step_rows,
)

FULL, SMOKE = PROFILES["full"], PROFILES["smoke"]
MANIFEST = {
    "train_rows": 525,
    "rows_cut": 3,
    "rows_dropped": 1,
    "tokens": 31380,
    "response_tokens": 6962,
    "steps": 132,
    "order_sha256": "3660d326aa64" + "0" * 52,
    "adapted_layers": 28,
    "trainable_parameters": 163840,
    "layout": "packed",
    "micro_batch_tokens": 4096,
    "recompute": 0.25,
    "halved_at_steps": [7, 9],
    "predicted_gib": 0.88,
    "peak_gib": 0.94,
    "wall_s": 17.4,
    "load_s": 9.1,
}


class Letters:
    """A tokenizer that makes a token of every `size` characters, and knows no start."""

    eos_token_id = 1

    def __init__(self, size):
        self.size = size

    def __call__(self, text, *, add_special_tokens=True, split_special_tokens=False):
        if isinstance(text, list):
            return SimpleNamespace(input_ids=[self(one).input_ids for one in text])
        return SimpleNamespace(input_ids=[5] * -(-len(text) // self.size))


@pytest.fixture(scope="module")
def rows():
    return data.load(SMOKE.data)


@pytest.mark.parametrize("part", [FULL.lora, FULL.train, FULL.resources])
def test_every_field_of_the_recipe_is_shown_with_what_it_means(part):
    table = recipe_table(part)
    assert list(table["field"]) == list(vars(part))
    assert (table["meaning"].str.len() > 10).all()


def test_recipe_shows_the_values_of_this_study():
    table = recipe_table(replace(FULL.lora, rank=8)).set_index("field")
    assert table.loc["rank", "value"] == "8"
    assert table.loc["rank", "meaning"] == "Rank r of the update, >= 1."


def test_a_step_shows_its_rows_in_order_under_any_tokenizer(rows):
    """One epoch of 525 rows in eights is 66 steps; step 2 is the second batch of the shuffle."""
    recipe = SMOKE.train
    planned = batches.plan_steps(len(rows.train), batch_size=8, epochs=3.0, seed=recipe.seed)
    fine, coarse = (step_rows(SMOKE, rows, Letters(size), step=2) for size in (3, 9))
    assert list(fine["train row"]) == list(coarse["train row"]) == planned[1]
    assert list(fine["place"]) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (fine["prompt"] + fine["response"] == fine["total"]).all()
    assert (fine["total"] > coarse["total"]).all()
    first = rows.train[planned[1][0]]
    assert fine["response"].iloc[0] == -(-len(first.output) // 3) + 1, "the end carries loss too"


def test_a_row_whose_prompt_leaves_no_room_is_not_in_the_step(rows):
    longest = step_rows(SMOKE, rows, Letters(1))["prompt"].max()
    narrow = replace(SMOKE, train=replace(SMOKE.train, max_length=int(longest)))
    shown = step_rows(narrow, rows, Letters(1))
    assert 0 < len(shown) < 8
    assert (shown["prompt"] < longest).all()


def test_passes_match_those_worked_by_hand():
    """Rows of 5, 1, 4, 2 tokens in passes of 8: padded, 1 and 2 become two rows of 2."""
    table = passes_table([5, 1, 4, 2], room=8)
    assert list(table.itertuples(index=False, name=None)) == [
        ("packed", 1, "1, 2", 6, 6),
        ("packed", 2, "3, 4", 6, 6),
        ("padded", 1, "2, 4", 3, 4),
        ("padded", 2, "3", 4, 4),
        ("padded", 3, "1", 5, 5),
    ]


def test_memory_is_what_a_finetune_on_that_card_would_begin_with():
    phi = MODELS["phi-2"]
    shown = memory_table(FULL, [phi], cards=(24,)).iloc[0]
    plan = fitting.plan(FULL, phi, shape=KNOWN_SHAPES[phi.source], memory_gib=24)
    assert shown["tokens per pass"] == plan.micro_batch_tokens
    assert shown["blocks run twice (%)"] == round(100 * plan.recompute)
    assert shown["predicted GiB"] == plan.gib
    assert (shown["model"], shown["fits"]) == ("Phi-2", "yes")


def test_a_card_that_is_too_small_has_blanks_and_says_so():
    shown = memory_table(FULL, [MODELS["llama-2-7b"]], cards=(4,)).iloc[0]
    assert shown["fits"] == "does not fit"
    assert shown[["tokens per pass", "blocks run twice (%)", "predicted GiB"]].isna().all()


def test_a_wish_that_no_small_card_can_grant_does_not_fit():
    greedy = ResourceSpec(micro_batch_tokens=19200, recompute=0.0)
    table = memory_table(replace(FULL, resources=greedy), [MODELS["mistral-7b"]], cards=(8, 80))
    assert list(table["fits"]) == ["does not fit", "yes"]


def test_a_model_of_unknown_sizes_is_not_guessed_at():
    other = replace(MODELS["phi-2"], source="someone/else")
    shown = memory_table(FULL, [other], cards=(24,)).iloc[0]
    assert shown["fits"] == "unknown: shape not known before download"
    assert pd.isna(shown["predicted GiB"])


def facts(folder, **changes):
    record = Record(folder)
    losses = pd.DataFrame({"step": [1], "kind": ["train"], "loss": [1.0]})
    record.write_training("tiny-llama", MANIFEST | changes, losses)
    return facts_table(record, MODELS["tiny-llama"]).set_index("fact")


def test_record_is_read_out_fact_by_fact(tmp_path):
    shown = facts(tmp_path)["value"]
    assert shown["layers adapted"] == "28 of 28"
    assert shown["trainable parameters"] == "163,840"
    assert (shown["predicted memory"], shown["measured memory"]) == ("0.9", "0.9")
    assert shown["blocks run twice"] == "25%"
    assert shown["memory ran out"] == "7, 9"
    assert facts(tmp_path)["note"]["rows"] == "3 cut to max_length, 1 without room"


def test_what_a_cpu_did_not_measure_is_blank_with_its_reason(tmp_path):
    shown = facts(tmp_path, peak_gib=None, halved_at_steps=[])
    assert shown.loc["measured memory", "value"] == ""
    assert shown.loc["measured memory", "note"] == "not measured on a CPU"
    assert shown.loc["memory ran out", "value"] == "never"
