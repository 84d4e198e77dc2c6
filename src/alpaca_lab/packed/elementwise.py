"""The steps between products: the turn of queries and keys, and LLaMA's gate.

Each is bound by memory, so on a GPU each is one Triton kernel that reads and writes once; elsewhere
the same formula in PyTorch.
"""

from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Turn(NamedTuple):
    """How far each token's queries and keys turn, by its place in its own row.

    Dimension i < half and its partner i + half turn together; dimensions from 2 half on stay.
    """

    cos: Tensor
    """(tokens, half), float32."""
    sin: Tensor
    """(tokens, half), float32."""

    @classmethod
    def of(cls, positions: Tensor, frequencies: Tensor) -> "Turn":
        """Return the turns of `positions`, (tokens,), at `frequencies`, (half,)."""
        angles = positions[:, None].float() * frequencies
        return cls(angles.cos(), angles.sin())

    def back(self) -> "Turn":
        """Return the opposite turn, which is also its gradient."""
        return Turn(self.cos, -self.sin)


def turn(x: Tensor, by: Turn, *, out: Tensor) -> Tensor:
    """Write x, (tokens, heads, head_dim), turned, into `out` of the same shape, and return it."""
    half = by.cos.shape[1]
    if x.is_cuda:
        tokens, heads, head_dim = x.shape
        _kernels().turn[(tokens, -(-heads // HEADS))](
            x, out, by.cos, by.sin, x.stride(0), x.stride(1), out.stride(0), out.stride(1), heads,
            head_dim, half, HEADS, power_of_two(half), power_of_two(max(1, head_dim - 2 * half)),
        )  # fmt: skip
        return out
    cos, sin = by.cos[:, None], by.sin[:, None]
    first, second = x[..., :half].float(), x[..., half : 2 * half].float()
    turned = first * cos - second * sin, second * cos + first * sin
    out[..., :half], out[..., half : 2 * half] = turned
    out[..., 2 * half :] = x[..., 2 * half :]
    return out


def gate(gate_up: Tensor) -> Tensor:
    """Return silu(gate) x up, (tokens, n), for gate and up side by side, (tokens, 2 n)."""
    tokens, width = gate_up.shape[0], gate_up.shape[1] // 2
    if gate_up.is_cuda:
        out = gate_up.new_empty(tokens, width)
        grid = (tokens, -(-width // TILE))
        _kernels().gate[grid](gate_up, out, width, TILE)
        return out
    first, second = gate_up.split(width, dim=1)
    return F.silu(first) * second


def gate_backward(dout: Tensor, gate_up: Tensor) -> Tensor:
    """Return the gradient of `gate_up`, (tokens, 2 n), for that of `gate`'s output."""
    tokens, width = dout.shape
    if dout.is_cuda:
        grid, dinput = (tokens, -(-width // TILE)), torch.empty_like(gate_up)
        _kernels().gate_backward[grid](dout, gate_up, dinput, width, TILE)
        return dinput
    first, second = (part.float() for part in gate_up.split(width, dim=1))
    wide, s = dout.float(), first.sigmoid()
    dfirst = wide * second * s * (1 + first * (1 - s))
    return torch.cat([dfirst, wide * first * s], dim=1).to(dout.dtype)


HEADS, TILE = 16, 1024
"""Heads, and gate values, that one program of a kernel takes."""


def power_of_two(n: int) -> int:
    """Return the least power of 2 that is n or more."""
    return 1 << (n - 1).bit_length()


@cache
def _kernels() -> Any:
    from . import kernels  # imports Triton, which a machine without a GPU lacks

    return kernels
