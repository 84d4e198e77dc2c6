"""The packed pass computes what Transformers and autograd compute, and rows never meet in it."""

from dataclasses import replace

import pytest

from alpaca_lab.config import LLAMA_LINEARS, LoraSpec, ModelSpec, TrainSpec
from alpaca_lab.profiles import MODELS
from random_models import OTHERS, checkpoint, fill_adapters

pytestmark = pytest.mark.model
torch = pytest.importorskip("torch")

TINY_MODELS = ("tiny-llama", "tiny-mistral", "tiny-phi")
LLAMA3 = {
    "rope_theta": 10_000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
}  # fmt: skip
RANDOM_MODELS = {
    "qwen2": {"tie_word_embeddings": True},
    "llama": {"rope_parameters": LLAMA3, "attention_bias": True, "head_dim": 32},
}
"""Known blocks that no tiny model has: biases on queries, keys and values, and on all of attention;
one matrix for both ends; frequencies of LLaMA 3."""
RTOL = 1e-4
"""Float32 sums in another order: the losses of a batch agree to six digits, gradients to five."""


@pytest.fixture(scope="module", params=[*TINY_MODELS, *RANDOM_MODELS])
def model(request, tmp_path_factory):
    """A small model in NF4 whose adapters are not zero, so that every path carries a gradient."""
    if request.param in TINY_MODELS:
        return trainable(MODELS[request.param])
    folder = tmp_path_factory.mktemp("model") / request.param
    return trainable(of_random(folder, request.param, **RANDOM_MODELS[request.param]))


def of_random(folder, architecture, **changes):
    checkpoint(folder, architecture, **changes)
    return ModelSpec(key=architecture, title=architecture, source=str(folder))


def trainable(spec):
    from alpaca_lab import models

    train = TrainSpec(loader="plain")
    return fill_adapters(models.load_trainable(spec, lora=LoraSpec(alpha=32), train=train)[0])


def row(*ids, prompt=2):
    return {"input_ids": list(ids), "labels": [-100] * prompt + list(ids[prompt:])}


ROWS = [row(5, 6, 7, 8, 9, 10), row(11, 12, 13), row(14, 15, 16, 17, 18, 19, 20, 21, prompt=4)]


def gradients(model):
    found = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
    model.zero_grad()
    return found


def packed_loss(model, rows, **options):
    from alpaca_lab.packed.model import PackedModel, lay_out

    return PackedModel(model, **options).loss(lay_out(rows, device=torch.device("cpu")))


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient.norm() > 0, name
        assert (found[name] - gradient).norm() <= RTOL * gradient.norm(), name


def test_packed_rows_give_the_losses_and_gradients_of_single_ones_in_plain_peft(model):
    loss = packed_loss(model, ROWS)
    loss.backward()
    packed = gradients(model)
    assert loss.item() == pytest.approx(loss_of_single_rows(model), rel=1e-5)
    assert_same(packed, gradients(model))


def loss_of_single_rows(model):
    """Return the loss of rows on their own, from the model's logits; their gradients are left."""
    alone = 0.0
    for one in ROWS:
        ids, labels = torch.tensor([one["input_ids"]]), torch.tensor(one["labels"])
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        part = torch.nn.functional.cross_entropy(logits, labels[1:], reduction="sum")
        part.backward()
        alone += part.item()
    return alone


def why_padded(model):
    from alpaca_lab.finetuning.layouts import why_not_packed

    return why_not_packed(model.config, targets=LLAMA_LINEARS, lora=LoraSpec(), max_length=64)


@pytest.mark.parametrize(
    ("architecture", "changes", "reason"),
    [
        *((name, {}, f"its architecture is {name}") for name in OTHERS),
        ("qwen2", {"hidden_size": 40, "intermediate_size": 52}, "do not fill NF4's blocks of 64"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
         "some of its layers attend to a window"),
    ],
)  # fmt: skip
def test_any_other_model_is_padded_and_gives_the_losses_and_gradients_of_single_rows(
    tmp_path, architecture, changes, reason
):
    from alpaca_lab.finetuning.layouts import Padded

    model = trainable(of_random(tmp_path / architecture, architecture, **changes))
    assert reason in why_padded(model)
    loss = Padded(model, pad_token_id=0).loss(ROWS)
    loss.backward()
    padded = gradients(model)
    assert loss.item() == pytest.approx(loss_of_single_rows(model), rel=1e-5)
    assert_same(padded, gradients(model))


def test_known_blocks_are_packed(model):
    from alpaca_lab.finetuning.layouts import why_not_packed
    from alpaca_lab.weights.architectures import LINEARS

    targets = LINEARS[model.config.model_type]
    assert why_not_packed(model.config, targets=targets, lora=LoraSpec(), max_length=64) is None


def test_padded_layout_gives_the_same_loss_and_gradients(model):
    from alpaca_lab.finetuning.layouts import Packed, Padded

    results = []
    for layout in (Packed(model, recompute=0.0), Padded(model, pad_token_id=0)):
        losses = [layout.loss(part) for part in layout.passes(ROWS, room=9)]
        assert len(losses) > 1
        sum(losses).backward()
        results.append((sum(losses).item(), gradients(model)))
    (packed, packed_gradients), (padded, padded_gradients) = results
    assert packed == pytest.approx(padded, rel=1e-5)
    assert_same(packed_gradients, padded_gradients)


@pytest.mark.parametrize("recomputed", [1, 2, 99])
def test_recomputed_blocks_give_the_same_gradients(model, recomputed):
    loss = packed_loss(model, ROWS)
    loss.backward()
    kept = gradients(model)
    again = packed_loss(model, ROWS, recomputed=recomputed)
    again.backward()
    assert again.item() == loss.item()
    found = gradients(model)
    assert all(torch.equal(found[name], kept[name]) for name in kept)


def test_a_planted_row_changes_nothing_for_its_neighbours(model):
    """If anything leaked, what stands before or after a row would move its loss."""
    with torch.no_grad():
        alone = packed_loss(model, [ROWS[0]]).item()
        for planted in ([99] * 6, [98, 97, 96, 95, 94, 93, 92, 91, 90]):
            other = {"input_ids": planted, "labels": [-100] * len(planted)}
            for rows in ([other, ROWS[0]], [ROWS[0], other], [other, ROWS[0], other]):
                assert packed_loss(model, rows).item() == pytest.approx(alone, rel=1e-6)


def test_gradient_of_a_row_does_not_see_a_planted_neighbour(model):
    packed_loss(model, [ROWS[0]]).backward()
    alone = gradients(model)
    other = {"input_ids": [99] * 7, "labels": [-100] * 7}
    packed_loss(model, [other, ROWS[0], other]).backward()
    assert_same(gradients(model), alone)


def test_a_leak_would_be_seen(model, monkeypatch):
    """The check on the checks above: one long row in place of two does move the loss."""
    from alpaca_lab.packed import model as packed_model

    with torch.no_grad():
        apart = packed_loss(model, ROWS[:2]).item()
        lay_out = packed_model.lay_out

        def joined(rows, **options):
            batch = lay_out(rows, **options)
            ends = batch.starts[[0, -1]]
            return batch._replace(starts=ends, lengths=(int(ends[-1]),))

        monkeypatch.setattr(packed_model, "lay_out", joined)
        assert packed_loss(model, ROWS[:2]).item() != pytest.approx(apart, rel=1e-3)


def test_prompt_tokens_carry_no_loss(model):
    from alpaca_lab.packed.model import lay_out

    batch = lay_out(ROWS, device=torch.device("cpu"))
    assert batch.targets.tolist() == [7, 8, 9, 10, 13, 18, 19, 20, 21]
    assert batch.ids[batch.predicting].tolist() == [6, 7, 8, 9, 12, 17, 18, 19, 20]
    assert batch.positions.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, *range(8)]


def test_loss_in_pieces_is_the_loss_in_one(monkeypatch):
    from alpaca_lab.packed import loss as module

    torch.manual_seed(0)
    hidden = torch.randn(23, 8, requires_grad=True)
    weight, bias, targets = torch.randn(50, 8), torch.randn(50), torch.randint(0, 50, (23,))
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T + bias, targets, reduction="sum")
    (gradient,) = torch.autograd.grad(expected, hidden)
    monkeypatch.setattr(module, "PIECE", 7)
    found = module.response_loss(hidden, weight, bias, targets)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(torch.autograd.grad(found, hidden)[0], gradient, atol=1e-5)


def test_rank_stabilised_adapters_are_scaled_alike():
    from alpaca_lab import models

    lora = replace(LoraSpec(rank=4, alpha=8), rslora=True)
    model, _ = models.load_trainable(
        MODELS["tiny-llama"], lora=lora, train=TrainSpec(loader="plain")
    )
    for name, weight in model.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    ids, labels = torch.tensor([ROWS[0]["input_ids"]]), torch.tensor([ROWS[0]["labels"]])
    plain = model(input_ids=ids, labels=labels, num_items_in_batch=1).loss.item()
    assert packed_loss(model, [ROWS[0]]).item() == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("architecture", TINY_MODELS)
def test_gate_and_turn_have_the_gradients_of_autograd(architecture):
    from alpaca_lab.packed.elementwise import Turn, gate, gate_backward, turn

    torch.manual_seed(0)
    gate_up = torch.randn(5, 14, dtype=torch.float64, requires_grad=True)
    dout = torch.randn(5, 7, dtype=torch.float64)
    (expected,) = torch.autograd.grad(gate(gate_up), gate_up, dout)
    assert torch.allclose(gate_backward(dout, gate_up.detach()), expected, atol=1e-6)
    by = Turn.of(torch.arange(5), torch.rand(3))
    x = torch.randn(5, 2, 8)
    there = turn(x, by, out=torch.empty_like(x))
    assert torch.allclose(turn(there, by.back(), out=torch.empty_like(x)), x, atol=1e-6)
    assert torch.equal(there[0], x[0]), "the first token of a row does not turn"
    assert torch.equal(there[..., 6:], x[..., 6:]), "dimensions beyond the turning ones stay"


@pytest.mark.parametrize(("asked", "only_warn"), [(False, False), (True, True), (True, False)])
def test_order_of_sums_is_set_for_the_kernel_alone(asked, only_warn):
    from torch.utils import deterministic

    from alpaca_lab.packed import attention

    def settings():
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            deterministic.fill_uninitialized_memory,
        )

    torch.use_deterministic_algorithms(asked, warn_only=only_warn)
    before = settings()
    try:
        with pytest.raises(KeyError), attention._in_one_order():
            assert settings() == (True, False, False)
            raise KeyError
        assert settings() == before == (asked, only_warn, True)
    finally:
        torch.use_deterministic_algorithms(False)
