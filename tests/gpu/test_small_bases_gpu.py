"""A small base on a GPU: at its true width and depth, a few steps, twice the same weights."""

import json
import sys
from pathlib import Path

import pytest

from alpaca_lab.config import TINY

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.mark.parametrize("key", ["small-llama", "small-mistral", "small-phi"])
def test_a_base_trained_twice_has_the_same_weights(key, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    from small_bases import BASES, Recipe
    from small_tokens import write_tokens
    from small_training import manifest_of, train_base

    lines = [
        {"text": f"Sentence {n} says that {n} and {n + 1} are {2 * n + 1}. " * 40}
        for n in range(900)
    ]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    recipe, tokenizer = Recipe(length=256, batch=64), TINY / "llama"
    write_tokens(tmp_path / "tokens.npz", [corpus], tokenizer, recipe)
    made = []
    for name in ("one", "two"):
        train_base(
            tmp_path / name, BASES[key], recipe, {}, tokenizer, tokens=tmp_path / "tokens.npz"
        )
        made.append(manifest_of(tmp_path / name))
    assert made[0]["steps"] >= 10
    assert made[0]["losses"] == made[1]["losses"]
    assert made[0]["sha256"] == made[1]["sha256"]
