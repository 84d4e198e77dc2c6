"""The embedded default is whole, small, clean and what its manifest says. No torch; two seconds."""

import json
import re
from collections import Counter
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from statistics import mean

import pytest
from tokenizers import Tokenizer

TINY = Path(__file__).resolve().parents[1] / "assets" / "tiny"
MODELS = ("llama", "mistral", "phi")
ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "phi": "PhiForCausalLM",
}
MIB = 2**20
PROMPT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\nName three fruits.\n\n### Response:\n"
)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    """All rows, as `datasets` or anyone else would read them."""
    return [
        json.loads(line) for line in (TINY / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    ]


@pytest.fixture(scope="module")
def manifest() -> dict:
    """What the generator recorded."""
    return json.loads((TINY / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=MODELS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """The tokenizer of each checkpoint folder in turn."""
    return Tokenizer.from_file(str(TINY / request.param / "tokenizer.json"))


def test_every_row_has_alpacas_three_fields_and_an_answer(rows):
    assert all(set(row) == {"instruction", "input", "output"} for row in rows)
    assert all(
        isinstance(value, str) and value == value.strip() for row in rows for value in row.values()
    )
    assert all(row["instruction"] and row["output"] for row in rows)


def test_there_are_about_six_hundred_rows_of_at_least_eight_kinds(rows, manifest):
    assert 550 <= len(rows) <= 700
    assert sum(manifest["kinds"].values()) == len(rows)
    assert len(manifest["kinds"]) >= 8
    assert min(manifest["kinds"].values()) >= 15


def test_some_rows_have_an_input_and_some_do_not(rows):
    share = mean(bool(row["input"]) for row in rows)
    assert 0.2 < share < 0.5


def test_answers_vary_in_length_and_most_are_long_enough_for_bleu_4(rows):
    lengths = [len(row["output"].split()) for row in rows]
    assert min(lengths) == 1
    assert 30 <= max(lengths) <= 45
    assert 8 <= mean(lengths) <= 13
    assert mean(length > 4 for length in lengths) > 0.7


def test_no_two_questions_are_near_duplicates(rows):
    texts = [f"{row['instruction']} {row['input']}" for row in rows]
    words = [re.findall(r"\w+", text.lower()) for text in texts]
    grams = [set(zip(w, w[1:], w[2:], strict=False)) or {tuple(w)} for w in words]
    alike = (
        (len(x & y) / len(x | y), s, t)
        for (x, s), (y, t) in combinations(zip(grams, texts, strict=True), 2)
    )
    assert max(alike)[0] < 0.7


def test_no_question_has_two_rows(rows):
    keys = Counter(
        " ".join(f"{row['instruction']} {row['input']}".casefold().split()) for row in rows
    )
    assert max(keys.values()) == 1


def test_the_folder_is_small_enough_to_clone():
    assert sum(path.stat().st_size for path in TINY.rglob("*") if path.is_file()) < 15 * MIB


def test_weights_are_safetensors_only():
    names = {path.suffix for path in TINY.rglob("*") if path.is_file()}
    assert not names & {".bin", ".pt", ".pth", ".pkl", ".ckpt", ".gguf"}
    assert all((TINY / model / "model.safetensors").is_file() for model in MODELS)


def test_every_file_is_the_one_the_manifest_hashed(manifest):
    made = {
        path.relative_to(TINY).as_posix()
        for path in TINY.rglob("*")
        if path.suffix in {".json", ".jsonl", ".safetensors"} and path.name != "manifest.json"
    }
    assert made == set(manifest["sha256"])
    assert all(
        sha256((TINY / name).read_bytes()).hexdigest() == digest
        for name, digest in manifest["sha256"].items()
    )


@pytest.mark.parametrize("model", MODELS)
def test_each_checkpoint_is_a_plain_library_architecture(model):
    config = json.loads((TINY / model / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == [ARCHITECTURES[model]]
    assert "auto_map" not in config
    assert config["hidden_size"] % 64 == config["intermediate_size"] % 64 == 0
    assert config["max_position_embeddings"] == 2048
    assert config["tie_word_embeddings"] is False


@pytest.mark.parametrize("model", MODELS)
def test_generation_settings_are_neutral_so_that_none_is_inherited(model):
    settings = json.loads((TINY / model / "generation_config.json").read_text(encoding="utf-8"))
    assert not {
        "temperature",
        "top_p",
        "top_k",
        "do_sample",
        "num_beams",
        "repetition_penalty",
    } & set(settings)
    assert len({settings["bos_token_id"], settings["eos_token_id"], settings["pad_token_id"]}) == 3


def test_special_tokens_are_distinct_and_pad_is_not_eos(tokenizer):
    ids = [tokenizer.token_to_id(token) for token in ("<unk>", "<s>", "</s>", "<pad>")]
    assert ids == [0, 1, 2, 3]


def test_encoding_starts_with_one_bos_and_ends_without_eos(tokenizer):
    ids = tokenizer.encode(PROMPT).ids
    assert ids[0] == 1
    assert ids.count(1) == 1
    assert 2 not in ids


@pytest.mark.parametrize(
    "text",
    [
        PROMPT,
        "Two  spaces,\ttabs\n\nand lines. ",
        "naïve façade — 东京 🦊 \u0000",
        "don't , stop !",
        "",
    ],
)
def test_any_text_survives_a_round_trip(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_every_row_survives_a_round_trip(tokenizer, rows):
    texts = [value for row in rows for value in row.values()]
    encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
    assert [tokenizer.decode(encoding.ids) for encoding in encodings] == texts


def test_the_template_costs_few_tokens(tokenizer):
    assert len(tokenizer.encode(PROMPT).ids) < 50


def test_the_three_folders_share_one_tokenizer(manifest):
    assert len({manifest["sha256"][f"{model}/tokenizer.json"] for model in MODELS}) == 1
