"""The decoder blocks of LLaMA, Mistral, Qwen2 and Phi, forward and backward, over rows end to end.

They compute what Transformers' modules and autograd compute. The backward passes are written out
because what a block keeps decides how many tokens fit, and what it launches decides whether the
GPU waits: a block keeps the outputs of its products, and redoes norms, turns and gates.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import attention
from .attention import Heads, Rows
from .elementwise import gate, gate_backward
from .linear import LoraGroup

Kept = tuple[Tensor, ...]
"""What a block's forward pass leaves for its backward pass."""
Gradients = list[Tensor]
"""Gradients of a block's adapters, in the order of `adapters`."""


class Norm(NamedTuple):
    """A normalisation over the last axis: RMSNorm has no bias, LayerNorm has one."""

    weight: Tensor
    bias: Tensor | None
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """Return x normalised, for autograd to differentiate."""
        shape = [x.shape[-1]]
        if self.bias is not None:
            return F.layer_norm(x, shape, self.weight, self.bias, self.eps)
        return F.rms_norm(x, shape, self.weight, self.eps)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return x normalised, and the float32 statistics that its gradient needs."""
        shape = [x.shape[-1]]
        if self.bias is not None:
            y, *statistics = torch.native_layer_norm(x, shape, self.weight, self.bias, self.eps)
        else:
            y, *statistics = torch.ops.aten._fused_rms_norm(x, shape, self.weight, self.eps)
        return y, tuple(statistics)

    def backward(self, dy: Tensor, x: Tensor, statistics: tuple[Tensor, ...]) -> Tensor:
        """Return the gradient of x; weight and bias are frozen."""
        shape, ops = [x.shape[-1]], torch.ops.aten
        if self.bias is not None:
            return ops.native_layer_norm_backward(
                dy, x, shape, *statistics, self.weight, self.bias, [True, False, False]
            )[0]
        (scale,) = statistics
        if x.is_cuda:
            return ops._fused_rms_norm_backward(dy, x, shape, scale, self.weight, [True, False])[0]
        normed, dnormed = x * scale, dy * self.weight
        return scale * (dnormed - normed * (dnormed * normed).mean(-1, keepdim=True))


@dataclass(frozen=True, kw_only=True)
class LlamaBlock:
    """LLaMA's, Mistral's and Qwen2's block: attention, then a gated MLP, each after its norm."""

    input_norm: Norm
    qkv: LoraGroup
    o: LoraGroup
    post_norm: Norm
    gate_up: LoraGroup
    down: LoraGroup
    heads: Heads

    def groups(self) -> tuple[LoraGroup, ...]:
        """Return the adapted layers in the order of their gradients."""
        return self.qkv, self.o, self.gate_up, self.down

    def forward(self, x: Tensor, rows: Rows) -> tuple[Tensor, Kept]:
        """Return the block's output, (tokens, hidden), and what to keep."""
        qkv, *thin = self.qkv.forward(self.input_norm.forward(x)[0])
        attended, log_sum = attention.forward(qkv, rows, self.heads)
        middle, thin_o = self.o.forward(attended, onto=x)
        gate_up, thin_gate_up = self.gate_up.forward(self.post_norm.forward(middle)[0])
        y, thin_down = self.down.forward(gate(gate_up), onto=middle)
        thin += [thin_o, thin_gate_up, thin_down]
        return y, (qkv, attended, log_sum, middle, gate_up, *thin)

    def backward(self, dy: Tensor, x: Tensor, kept: Kept, rows: Rows) -> tuple[Tensor, Gradients]:
        """Return the gradients of x and of the adapters."""
        qkv, attended, log_sum, middle, gate_up, thin_qkv, thin_o, thin_gate_up, thin_down = kept
        dgate, g_down = self.down.backward(dy, gate(gate_up), thin_down)
        dgate_up = gate_backward(dgate, gate_up)
        del dgate
        normed, statistics = self.post_norm.forward(middle)
        dnormed, g_gate_up = self.gate_up.backward(dgate_up, normed, thin_gate_up)
        del dgate_up
        dmiddle = self.post_norm.backward(dnormed, middle, statistics).add_(dy)
        dattended, g_o = self.o.backward(dmiddle, attended, thin_o)
        dqkv = attention.backward(dattended, qkv, attended, log_sum, rows, self.heads)
        normed, statistics = self.input_norm.forward(x)
        dnormed, g_qkv = self.qkv.backward(dqkv, normed, thin_qkv)
        dx = self.input_norm.backward(dnormed, x, statistics).add_(dmiddle)
        return dx, [*g_qkv, *g_o, *g_gate_up, *g_down]


@dataclass(frozen=True, kw_only=True)
class PhiBlock:
    """Phi's block: attention and MLP side by side after one norm. Its dropout is left out."""

    input_norm: Norm
    qkv: LoraGroup
    dense: LoraGroup
    fc1: LoraGroup
    fc2: LoraGroup
    heads: Heads

    def groups(self) -> tuple[LoraGroup, ...]:
        """Return the adapted layers in the order of their gradients."""
        return self.qkv, self.dense, self.fc1, self.fc2

    def forward(self, x: Tensor, rows: Rows) -> tuple[Tensor, Kept]:
        """Return the block's output, (tokens, hidden), and what to keep."""
        normed, _ = self.input_norm.forward(x)
        qkv, *thin = self.qkv.forward(normed)
        attended, log_sum = attention.forward(qkv, rows, self.heads)
        inner, thin_fc1 = self.fc1.forward(normed)
        y, thin_dense = self.dense.forward(attended)
        y, thin_fc2 = self.fc2.forward(F.gelu(inner, approximate="tanh"), onto=y)
        return y.add_(x), (qkv, attended, log_sum, inner, *thin, thin_dense, thin_fc1, thin_fc2)

    def backward(self, dy: Tensor, x: Tensor, kept: Kept, rows: Rows) -> tuple[Tensor, Gradients]:
        """Return the gradients of x and of the adapters."""
        qkv, attended, log_sum, inner, thin_qkv, thin_dense, thin_fc1, thin_fc2 = kept
        dinner, g_fc2 = self.fc2.backward(dy, F.gelu(inner, approximate="tanh"), thin_fc2)
        dinner = torch.ops.aten.gelu_backward(dinner, inner, approximate="tanh")
        normed, statistics = self.input_norm.forward(x)
        dnormed, g_fc1 = self.fc1.backward(dinner, normed, thin_fc1)
        del dinner
        dattended, g_dense = self.dense.backward(dy, attended, thin_dense)
        dqkv = attention.backward(dattended, qkv, attended, log_sum, rows, self.heads)
        dnormed, g_qkv = self.qkv.backward(dqkv, normed, thin_qkv, onto=dnormed)
        dx = self.input_norm.backward(dnormed, x, statistics).add_(dy)
        return dx, [*g_qkv, *g_dense, *g_fc1, *g_fc2]


Block = LlamaBlock | PhiBlock


class _Step(torch.autograd.Function):
    """A block as one step of autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, block: Block, rows: Rows, keep: bool, *_: Tensor) -> Tensor:
        y, kept = block.forward(x, rows)
        ctx.block, ctx.rows = block, rows
        ctx.save_for_backward(x, *(kept if keep else ()))
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple:
        x, *kept = ctx.saved_tensors
        kept = kept or ctx.block.forward(x, ctx.rows)[1]
        dx, gradients = ctx.block.backward(dy.contiguous(), x, tuple(kept), ctx.rows)
        return dx, None, None, None, *gradients


def step(block: Block, x: Tensor, rows: Rows, *, keep: bool) -> Tensor:
    """Return a block's output, with gradients for x and for the block's adapters.

    Args:
        block: The block.
        x: (tokens, hidden).
        rows: Where rows begin and end.
        keep: Keep the products' outputs for the backward pass; else it runs forward once more.
    """
    adapters = [weight for group in block.groups() for weight in group.adapters()]
    return _Step.apply(x, block, rows, keep, *adapters)
