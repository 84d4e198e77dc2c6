"""The decoder blocks of LLaMA, Mistral and Phi as functions of tensors.

They compute what Transformers' modules compute, over tokens laid end to end, (tokens, hidden).
Small steps between two products (norm, rotation, gate) are left to the compiler to fuse.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import Rows, attend
from .linear import LoraGroup


class Norm(NamedTuple):
    """A normalisation's tensors: RMSNorm has no bias, LayerNorm has one."""

    weight: Tensor
    bias: Tensor | None
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """Return x normalised over its last axis; the mean and square are taken in float32."""
        if self.bias is not None:
            return F.layer_norm(x, (x.shape[-1],), self.weight, self.bias, self.eps)
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class Rotary(NamedTuple):
    """The turn of each token's queries and keys by its place in its own row.

    A head's dimension i < half and its partner i + half turn together; the rest stay. As a sum,
    x cos + partner(x) sin, with the sign of the turn in the sine.
    """

    cos: Tensor
    """(tokens, 1, head_dim), float32; 1 where nothing turns."""
    sin: Tensor
    """(tokens, 1, head_dim), float32; negative in the first half, 0 where nothing turns."""
    partner: Tensor
    """(head_dim,) index of each dimension's partner, or of itself."""

    @classmethod
    def of(cls, positions: Tensor, frequencies: Tensor, head_dim: int) -> "Rotary":
        """Return the turns of `positions`, (tokens,), at `frequencies`, (half,)."""
        half = len(frequencies)
        angles = positions[:, None].float() * frequencies
        still = (0, head_dim - 2 * half)
        cos = F.pad(angles.cos().repeat(1, 2), still, value=1.0)
        sin = F.pad(torch.cat([-angles.sin(), angles.sin()], dim=1), still)
        dims = torch.arange(head_dim, device=positions.device)
        turned = torch.where(dims < half, dims + half, dims - half)
        return cls(cos[:, None], sin[:, None], torch.where(dims < 2 * half, turned, dims))

    def __call__(self, qkv: Tensor, turning: int) -> Tensor:
        """Return qkv, (tokens, all heads, head_dim), with its first `turning` heads turned."""
        turns = torch.arange(qkv.shape[1], device=qkv.device)[:, None] < turning
        cos, sin = torch.where(turns, self.cos, 1.0), torch.where(turns, self.sin, 0.0)
        return _Turn.apply(qkv, cos, sin, self.partner)


class _Turn(torch.autograd.Function):
    """The gradient of a turn is the turn back; autograd would scatter instead."""

    @staticmethod
    def forward(ctx, x, cos, sin, partner):
        ctx.save_for_backward(cos, sin, partner)
        return _turn(x, cos, sin, partner)

    @staticmethod
    def backward(ctx, dy):
        cos, sin, partner = ctx.saved_tensors
        return _turn(dy, cos, -sin, partner), None, None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, partner: Tensor) -> Tensor:
    return (x.float() * cos + x[..., partner].float() * sin).to(x.dtype)


class LlamaBlock(NamedTuple):
    """LLaMA's and Mistral's block: attention, then a gated MLP, each after its own norm."""

    input_norm: Norm
    qkv: LoraGroup
    o: LoraGroup
    post_norm: Norm
    gate_up: LoraGroup
    down: LoraGroup
    head_dim: int

    def __call__(self, x: Tensor, rotary: Rotary, rows: Rows) -> Tensor:
        """Return the block's output, (tokens, hidden)."""
        qkv = self.qkv(self.input_norm(x))
        x = x + self.o(_attention(qkv, self.qkv.outputs(), self.head_dim, rotary, rows))
        gate, up = self.gate_up(self.post_norm(x)).chunk(2, dim=1)
        return x + self.down(F.silu(gate) * up)


class PhiBlock(NamedTuple):
    """Phi's block: attention and MLP side by side after one norm."""

    input_norm: Norm
    qkv: LoraGroup
    dense: LoraGroup
    fc1: LoraGroup
    fc2: LoraGroup
    head_dim: int

    def __call__(self, x: Tensor, rotary: Rotary, rows: Rows) -> Tensor:
        """Return the block's output, (tokens, hidden). Phi-2's residual dropout is left out."""
        normed = self.input_norm(x)
        qkv = self.qkv(normed)
        attended = self.dense(_attention(qkv, self.qkv.outputs(), self.head_dim, rotary, rows))
        return x + attended + self.fc2(F.gelu(self.fc1(normed), approximate="tanh"))


Block = LlamaBlock | PhiBlock


def _attention(qkv: Tensor, sizes: list[int], head_dim: int, rotary: Rotary, rows: Rows) -> Tensor:
    """Return attention, (tokens, heads x head_dim), from queries, keys and values side by side."""
    heads, kv_heads, _ = (size // head_dim for size in sizes)
    qkv = rotary(qkv.reshape(len(qkv), -1, head_dim), heads + kv_heads)
    return attend(qkv, rows, heads=heads, kv_heads=kv_heads).flatten(1)
