"""A small base on a GPU: at its true shape, a pass, a step and a training are twice the same."""

import json
import sys
from itertools import islice
from pathlib import Path

import pytest

from alpaca_lab.config import TINY

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PASSES, STEPS = 200, 20
"""How often the same is done again. What parts by chance may part seldom: in one pass of a hundred,
and then in every training."""

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
    pytest.mark.parametrize("key", ["small-llama", "small-mistral", "small-phi"]),
]


@pytest.fixture
def training(monkeypatch):
    """The module that trains the bases, set to be deterministic as it sets itself."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import small_training

    small_training.take_sums_in_one_order()
    yield small_training
    torch.use_deterministic_algorithms(False)


def bits(tensor):
    """A sum of integers, in which no order plays a part: another for other bits."""
    words = tensor.detach().contiguous().view(torch.int32).flatten().long()
    return (words * (torch.arange(len(words), device=words.device) % 8191 + 1)).sum()


def parted(rows, names):
    """How many rows are not as most are, and what differs in them, the most often first."""
    rows = torch.stack(rows)
    differ = rows != rows.mode(0).values
    count = differ.sum(0)
    odd = {names[i]: int(count[i]) for i in count.argsort(descending=True).tolist() if count[i]}
    return int(differ.any(1).sum()), odd


def trained_a_little(training, key):
    """A base whose biases and norms have left their first values, and blocks that it has not read.

    At zero, a bias hides what happens to it.
    """
    from small_bases import BASES, Recipe
    from small_tokens import Tokens

    recipe = Recipe()
    vocabulary = BASES[key].config["vocab_size"]
    shape = (4 * recipe.batch, recipe.length + 1)
    blocks = torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(0)).numpy()
    model = training.build(BASES[key], seed=0, device="cuda")
    tokens = Tokens(train=blocks, held_out=blocks[:0], bytes_per_token=1.0)
    list(islice(training.train(model, tokens, recipe), 3))
    return model, recipe, torch.from_numpy(blocks[-recipe.at_once :]).cuda()


def test_same_pass_has_the_same_gradient(key, training):
    model, _, part = trained_a_little(training, key)
    names, found = ["loss", *(name for name, _ in model.named_parameters())], []
    for _ in range(PASSES):
        model.zero_grad(set_to_none=True)
        loss = training._loss(model, part)
        loss.backward()
        found.append(torch.stack([bits(loss), *(bits(p.grad) for p in model.parameters())]))
    assert parted(found, names) == (0, {})


def test_same_step_has_the_same_weights(key, training):
    model, recipe, part = trained_a_little(training, key)
    model.zero_grad(set_to_none=True)
    training._loss(model, part).backward()
    first = [(p.detach().clone(), p.grad.clone()) for p in model.parameters()]
    names, found = ["norm", *(name for name, _ in model.named_parameters())], []
    for _ in range(STEPS):
        optimizers = training._optimizers(model, recipe)
        with torch.no_grad():
            for parameter, (value, gradient) in zip(model.parameters(), first, strict=True):
                parameter.copy_(value)
                parameter.grad = gradient.clone()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, _ in optimizers:
            optimizer.step()
        found.append(torch.stack([bits(norm), *(bits(p) for p in model.parameters())]))
    assert parted(found, names) == (0, {})


def test_step_has_the_gradient_of_plain_code(key, training, monkeypatch):
    """Compiled, and added up over passes, a gradient is what it is without either, and alone."""
    model, recipe, part = trained_a_little(training, key)
    from small_tokens import Tokens

    found, blocks = [], part.cpu().numpy().repeat(recipe.batch // recipe.at_once, 0)
    monkeypatch.setattr(
        torch.nn.utils,
        "clip_grad_norm_",
        lambda parameters, _: found.extend(parameter.grad.clone() for parameter in parameters),
    )
    model.zero_grad(set_to_none=True)
    with torch.compiler.set_stance("force_eager"):
        for row in part.split(1):
            (training._loss(model, row) / len(part)).backward()
    plain = [parameter.grad.clone() for parameter in model.parameters()]
    tokens = Tokens(train=blocks, held_out=blocks[:0], bytes_per_token=1.0)
    list(training.train(model, tokens, recipe))
    assert len({parameter.grad.data_ptr() for parameter in model.parameters()}) == len(plain)
    names = [name for name, _ in model.named_parameters()]
    # A key's bias has hardly a gradient: attention adds the same to all that are compared.
    hardly = 1e-3 * torch.stack([gradient.norm() for gradient in plain]).norm()
    apart = {
        name: float((a - b).norm() / (b.norm() + hardly))
        for name, a, b in zip(names, found, plain, strict=True)
    }
    assert max(apart.values()) < 0.1, apart


def test_base_trained_twice_has_the_same_weights(key, training, tmp_path):
    from small_bases import BASES, Recipe
    from small_tokens import write_tokens

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
        training.train_base(
            tmp_path / name, BASES[key], recipe, {}, tokenizer, tokens=tmp_path / "tokens.npz"
        )
        made.append(training.manifest_of(tmp_path / name))
    assert made[0]["steps"] >= 10
    assert made[0]["losses"] == made[1]["losses"]
    assert made[0]["sha256"] == made[1]["sha256"]
