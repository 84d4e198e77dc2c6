"""The GPU's kernels compute what the CPU's formulas do, and no more noise than 16 bits have."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from random_models import fill_adapters

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

ROWS = [
    {"input_ids": list(range(3, 3 + n)), "labels": [-100] * 4 + list(range(7, 3 + n))}
    for n in (90, 17, 33, 128, 5)
]


CHECKPOINTS = os.environ.get("ALPACA_LAB_CHECKPOINTS", "")
"""A folder with a checkpoint per model key, of true or random weights."""
TINY = ["tiny-llama", "tiny-mistral", "tiny-phi"]
TRUE_SHAPES = [
    pytest.param(
        key,
        marks=pytest.mark.skipif(
            not (Path(CHECKPOINTS) / key / "config.json").is_file(),
            reason=f"ALPACA_LAB_CHECKPOINTS names no folder with a checkpoint {key}",
        ),
    )
    for key in ("llama-2-7b", "mistral-7b", "phi-2")
]


def load(key):
    from alpaca_lab import models
    from alpaca_lab.config import LoraSpec, TrainSpec
    from alpaca_lab.profiles import MODELS

    spec = MODELS[key]
    if key not in TINY:
        spec = replace(
            spec, source=str(Path(CHECKPOINTS).resolve() / key), revision=None, gated=False
        )
    model, _ = models.load_trainable(spec, lora=LoraSpec(), train=TrainSpec(loader="plain"))
    return fill_adapters(model)


def gradients(model):
    found = [w.grad.float().clone() for w in model.parameters() if w.grad is not None]
    model.zero_grad()
    return torch.cat([gradient.flatten() for gradient in found])


def packed(model, rows=ROWS):
    from alpaca_lab.packed.model import PackedModel, lay_out

    loss = PackedModel(model).loss(lay_out(rows, device=torch.device("cuda")))
    loss.backward()
    return loss.item(), gradients(model)


def plain(model):
    total = 0.0
    for row in ROWS:
        ids, labels = (torch.tensor([row[k]], device="cuda") for k in ("input_ids", "labels"))
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = model(input_ids=ids, labels=labels, num_items_in_batch=1, use_cache=False).loss
        loss.backward()
        total += loss.item()
    return total, gradients(model)


@pytest.mark.parametrize("key", TINY + TRUE_SHAPES)
def test_packed_pass_is_no_noisier_than_plain_peft(key):
    """Both are held against the same model in float32: what 16 bits cost, each pays alike."""
    model = load(key)
    loss, found = packed(model)
    plain_loss, plain_found = plain(model)
    for module in model.modules():
        if "Norm" in type(module).__name__ or isinstance(module, torch.nn.Embedding):
            module.float()
    model.get_base_model().lm_head.float()
    exact_loss, exact = packed(model)
    noise, own = ((part - exact).norm() / exact.norm() for part in (plain_found, found))
    apart = (found - plain_found).norm() / exact.norm()
    print(
        f"{key}: loss {loss:.4f} packed, {plain_loss:.4f} plain, {exact_loss:.4f} float32; "
        f"gradients off float32's by {own:.2%} packed, {noise:.2%} plain, {apart:.2%} apart"
    )
    assert own <= 1.5 * noise + 1e-3
    assert loss == pytest.approx(exact_loss, rel=5e-3)
    assert plain_loss == pytest.approx(exact_loss, rel=5e-3)


@pytest.mark.parametrize(("heads", "size", "half"), [(32, 128, 64), (8, 80, 16), (3, 8, 4)])
def test_turn_kernel_is_the_formula(heads, size, half):
    from alpaca_lab.packed.elementwise import Turn, turn

    x = torch.randn(57, heads + 2, size)[:, :heads]
    by = Turn.of(torch.arange(57), torch.rand(half))
    expected = turn(x, by, out=torch.empty(57, heads, size))
    out = torch.full((57, heads, size), float("nan"), device="cuda")
    found = turn(x.cuda(), Turn(by.cos.cuda(), by.sin.cuda()), out=out)
    assert torch.allclose(found.cpu(), expected, atol=1e-5)


@pytest.mark.parametrize("width", [7, 1024, 11008])
def test_gate_kernels_are_the_formula(width):
    from alpaca_lab.packed.elementwise import gate, gate_backward

    gate_up, dout = torch.randn(9, 2 * width), torch.randn(9, width)
    assert torch.allclose(gate(gate_up.cuda()).cpu(), gate(gate_up), atol=1e-5)
    found = gate_backward(dout.cuda(), gate_up.cuda()).cpu()
    assert torch.allclose(found, gate_backward(dout, gate_up), atol=1e-5)


@pytest.mark.parametrize("key", TINY)
def test_planted_neighbours_change_nothing(key):
    model = load(key)
    other = {"input_ids": [99] * 40, "labels": [-100] * 40}
    alone, _ = packed(model, [ROWS[0]])
    beside, _ = packed(model, [other, ROWS[0], other])
    assert beside == pytest.approx(alone, rel=2e-3)


@pytest.mark.parametrize(("queries", "keys", "size"), [(32, 8, 128), (32, 32, 80), (12, 12, 64)])
def test_gradient_of_attention_is_the_same_each_time(queries, keys, size):
    """The kernel adds up a query's gradient over blocks of keys, by default as the blocks end."""
    from alpaca_lab.packed import attention
    from alpaca_lab.packed.elementwise import Turn

    lengths = (700, 40, 1300, 512)
    tokens, heads = sum(lengths), attention.Heads(queries=queries, keys=keys, size=size)
    starts = torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32).cuda()
    turn = Turn.of(torch.arange(tokens).cuda(), torch.rand(size // 4).cuda())
    rows = attention.Rows(starts, lengths, turn)
    qkv, dout = (
        torch.randn(tokens, width, device="cuda", dtype=torch.bfloat16)
        for width in (heads.width, queries * size)
    )
    out, log_sum = attention.forward(qkv, rows, heads)
    found = [attention.backward(dout, qkv, out, log_sum, rows, heads) for _ in range(20)]
    assert all(torch.equal(found[0], again) for again in found[1:])
