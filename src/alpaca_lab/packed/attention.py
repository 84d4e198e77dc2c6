"""Causal attention inside each row of a pass; rows that lie beside each other never meet."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import deterministic

from .elementwise import Turn, turn


class Rows(NamedTuple):
    """Where the rows of a pass begin and end, and how far each token turns."""

    starts: Tensor
    """(rows + 1,) int32: the first token of each row, and the end of the last."""
    lengths: tuple[int, ...]
    """Tokens of each row."""
    turn: Turn


class Heads(NamedTuple):
    """How a token's queries, keys and values lie side by side."""

    queries: int
    keys: int
    """Keys, and as many values; each serves queries / keys queries."""
    size: int
    """Dimensions of a head."""

    @classmethod
    def of(cls, config: Any) -> "Heads":
        """Return how the heads of a model of that Transformers configuration are divided."""
        queries = config.num_attention_heads
        return cls(
            queries=queries,
            keys=getattr(config, "num_key_value_heads", None) or queries,
            size=getattr(config, "head_dim", None) or config.hidden_size // queries,
        )

    @property
    def width(self) -> int:
        """Values of queries, keys and values together."""
        return (self.queries + 2 * self.keys) * self.size

    def split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return views of (tokens, heads, size): queries, keys, values."""
        heads = qkv.view(len(qkv), -1, self.size)
        return heads.split([self.queries, self.keys, self.keys], dim=1)


def has_fused_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Return True where PyTorch's own flash attention takes rows of any length (Ampere on)."""
    half = dtype in (torch.bfloat16, torch.float16)
    return half and device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8


def forward(qkv: Tensor, rows: Rows, heads: Heads) -> tuple[Tensor, Tensor]:
    """Return attention, (tokens, queries x size), and what its gradient needs of it beside.

    Args:
        qkv: (tokens, (queries + 2 keys) x size), not turned yet.
        rows: Where rows begin and end.
        heads: How qkv is divided.
    """
    q, k, v = _turned(qkv, rows, heads)
    if has_fused_kernel(qkv.device, qkv.dtype):
        longest = max(rows.lengths)
        out, log_sum, *_ = torch.ops.aten._flash_attention_forward(
            q, k, v, rows.starts, rows.starts, longest, longest, 0.0, True, return_debug_mask=False
        )
        return out.flatten(1), log_sum
    return _row_by_row(q, k, v, rows).flatten(1), qkv.new_empty(0)


def backward(
    dout: Tensor, qkv: Tensor, out: Tensor, log_sum: Tensor, rows: Rows, heads: Heads
) -> Tensor:
    """Return the gradient of qkv, for that of attention."""
    q, k, v = _turned(qkv, rows, heads)
    dout = dout.view(len(qkv), heads.queries, heads.size)
    if has_fused_kernel(qkv.device, qkv.dtype):
        longest = max(rows.lengths)
        # The kernel's random state and offset: without dropout it reads neither.
        state, offset = q.new_zeros(2, dtype=torch.uint64), q.new_empty(0)
        with _in_one_order():
            dq, dk, dv = torch.ops.aten._flash_attention_backward(
                dout, q, k, v, out.view_as(dout), log_sum, rows.starts, rows.starts, longest,
                longest, 0.0, True, state, offset,
            )  # fmt: skip
    else:
        parts = [part.detach().requires_grad_() for part in (q, k, v)]
        with torch.enable_grad():
            dq, dk, dv = torch.autograd.grad(_row_by_row(*parts, rows), parts, dout)
    dqkv = torch.empty_like(qkv)
    into_q, into_k, into_v = heads.split(dqkv)
    turn(dq, rows.turn.back(), out=into_q)
    turn(dk, rows.turn.back(), out=into_k)
    into_v.copy_(dv)
    return dqkv


@contextmanager
def _in_one_order() -> Iterator[None]:
    """Let the kernel add up in one order, not as its blocks happen to end.

    Without it two finetunes of the same rows part in their last bits at the third step.
    """
    asked = torch.are_deterministic_algorithms_enabled()
    only_warn = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    deterministic.fill_uninitialized_memory = False  # which only costs time: all of it is written
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(asked, warn_only=only_warn)
        deterministic.fill_uninitialized_memory = fill


def _turned(qkv: Tensor, rows: Rows, heads: Heads) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries and keys turned to their places, and the values as they are."""
    both = qkv.view(len(qkv), -1, heads.size)[:, : heads.queries + heads.keys]
    turned = turn(
        both, rows.turn, out=torch.empty_like(both, memory_format=torch.contiguous_format)
    )
    return *turned.split([heads.queries, heads.keys], dim=1), heads.split(qkv)[2]


def _row_by_row(q: Tensor, k: Tensor, v: Tensor, rows: Rows) -> Tensor:
    """Return attention by one call per row, where there is no kernel for all of them."""
    outs = [
        F.scaled_dot_product_attention(
            *(part.transpose(0, 1)[None] for part in row),
            is_causal=True,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        for row in zip(*(part.split(rows.lengths) for part in (q, k, v)), strict=True)
    ]
    return torch.cat([out[0].transpose(0, 1) for out in outs])
