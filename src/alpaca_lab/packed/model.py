"""A PEFT model read as a packed one: its own tensors, another way through them."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import torch
import torch._functorch.config
from torch import Tensor, nn

from .attention import Rows, has_fused_kernel
from .blocks import Block, LlamaBlock, Norm, PhiBlock, Rotary
from .linear import LoraGroup, read_group
from .loss import response_loss


class Pass(NamedTuple):
    """Whole rows laid end to end, for one forward and backward pass."""

    ids: Tensor
    """(tokens,) token ids."""
    positions: Tensor
    """(tokens,) each token's place in its own row."""
    rows: Rows
    predicting: Tensor
    """(n,) which tokens predict a response token."""
    targets: Tensor
    """(n,) the tokens that they are to predict."""


def lay_out(rows: Sequence[dict[str, list[int]]], *, longest: int, device: torch.device) -> Pass:
    """Lay encoded rows end to end.

    Args:
        rows: Each with `input_ids` and `labels`, -100 where a token carries no loss.
        longest: A bound on the tokens of any row of the run.
        device: Where the tensors go.
    """
    lengths = tuple(len(row["input_ids"]) for row in rows)
    labels = torch.tensor([label for row in rows for label in [*row["labels"][1:], -100]])
    predicting = (labels != -100).nonzero()[:, 0]
    starts = torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32)
    tensors = (
        torch.tensor([i for row in rows for i in row["input_ids"]]),
        torch.cat([torch.arange(n) for n in lengths]),
        starts,
        predicting,
        labels[predicting],
    )
    if device.type == "cuda":
        tensors = (t.pin_memory().to(device, non_blocking=True) for t in tensors)
    ids, positions, starts, predicting, targets = tensors
    return Pass(ids, positions, Rows(starts, lengths, longest), predicting, targets)


class PackedModel:
    """The forward pass of a LLaMA, Mistral or Phi with NF4 weights and LoRA, over packed rows."""

    def __init__(self, model: nn.Module, *, recomputed: int = 0, compiled: bool = True) -> None:
        """Read a PEFT model's tensors; nothing is copied.

        Args:
            model: A PEFT model over a causal language model in NF4.
            recomputed: How many blocks keep their input alone and run forward again in the
                backward pass; the others keep the outputs of their products.
            compiled: Fuse the steps between products; on a GPU.
        """
        causal = model.get_base_model()
        config, self.base = causal.config, causal.model
        self.dtype = self.base.embed_tokens.weight.dtype
        self.head = causal.lm_head
        self.final_norm, self.blocks = _read(causal)
        self.device = self.base.embed_tokens.weight.device
        self.frequencies = _frequencies(config).to(self.device)
        self.recomputed = recomputed
        self.run = _run
        if compiled and has_fused_kernel(self.device, self.dtype):
            self.run = _compiled()

    def loss(self, batch: Pass) -> Tensor:
        """Return the summed negative log-likelihood of the response tokens, in nats."""
        with torch.autocast(batch.ids.device.type, enabled=False):
            x = self.base.embed_tokens(batch.ids)
            if torch.is_grad_enabled():
                # So that the first block is like the others, and compiled once with them.
                x = x.detach().requires_grad_()
            rotary = Rotary.of(batch.positions, self.frequencies, self.blocks[0].head_dim)
            for index, block in enumerate(self.blocks):
                step = partial(self.run, block)
                if index < self.recomputed and torch.is_grad_enabled():
                    x = _Recomputed.apply(step, x, rotary, batch.rows)
                else:
                    x = step(x, rotary, batch.rows)
            hidden = self.final_norm(x[batch.predicting])
            return response_loss(hidden, self.head.weight, self.head.bias, batch.targets)


class _Recomputed(torch.autograd.Function):
    """A step that keeps its input alone, and runs forward again in the backward pass."""

    @staticmethod
    def forward(ctx, step, x, rotary, rows):
        ctx.step, ctx.rotary, ctx.rows = step, rotary, rows
        ctx.save_for_backward(x)
        return step(x, rotary, rows)

    @staticmethod
    def backward(ctx, dout):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            out = ctx.step(x, ctx.rotary, ctx.rows)
        torch.autograd.backward(out, dout)
        return None, x.grad, None, None


def _run(block: Block, x: Tensor, rotary: Rotary, rows: Rows) -> Tensor:
    return block(x, rotary, rows)


@cache
def _compiled() -> Callable[[Block, Tensor, Rotary, Rows], Tensor]:
    """Return `_run` with the steps between products fused.

    The compiler is told to redo norms and gates in the backward pass. Its default keeps whatever
    that pass would write out again: 40% more memory per token, for a few per cent of the time.
    """
    fused = torch.compile(_run, dynamic=True, fullgraph=True)
    lean = torch._functorch.config.patch(ban_recompute_materialized_backward=False)

    def run(block: Block, x: Tensor, rotary: Rotary, rows: Rows) -> Tensor:
        with lean:
            return fused(block, x, rotary, rows)

    return run


def _frequencies(config: Any) -> Tensor:
    """Return the rotary frequencies, (rotated dimensions / 2,), float32."""
    rope = config.rope_parameters
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rotated = int(head_dim * rope.get("partial_rotary_factor", 1.0))
    return rope["rope_theta"] ** -(torch.arange(0, rotated, 2).float() / rotated)


def _read(causal: nn.Module) -> tuple[Norm, list[Block]]:
    config, base = causal.config, causal.model
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if config.model_type == "phi":
        norm = partial(_norm, eps=config.layer_norm_eps)
        blocks = [
            PhiBlock(
                norm(layer.input_layernorm),
                _group(layer, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                _group(layer, "self_attn.dense"),
                _group(layer, "mlp.fc1"),
                _group(layer, "mlp.fc2"),
                head_dim,
            )
            for layer in base.layers
        ]
        return norm(base.final_layernorm), blocks
    norm = partial(_norm, eps=config.rms_norm_eps)
    blocks = [
        LlamaBlock(
            norm(layer.input_layernorm),
            _group(layer, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            _group(layer, "self_attn.o_proj"),
            norm(layer.post_attention_layernorm),
            _group(layer, "mlp.gate_proj", "mlp.up_proj"),
            _group(layer, "mlp.down_proj"),
            head_dim,
        )
        for layer in base.layers
    ]
    return norm(base.norm), blocks


def _group(layer: nn.Module, *names: str) -> LoraGroup:
    return read_group([layer.get_submodule(name) for name in names])


def _norm(module: nn.Module, *, eps: float) -> Norm:
    return Norm(module.weight, getattr(module, "bias", None), eps)
