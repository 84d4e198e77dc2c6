"""Causal attention inside each row of a pass; rows that lie beside each other never meet."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Rows(NamedTuple):
    """Where the rows of a pass begin and end."""

    starts: Tensor
    """(rows + 1,) int32: the first token of each row, and the end of the last."""
    lengths: tuple[int, ...]
    """Tokens of each row; used where the fused kernel is not."""
    longest: int
    """A bound on the tokens of a row. One for all passes: a new value would compile anew."""


def has_fused_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Return True where PyTorch's own flash attention takes rows of any length (Ampere on)."""
    half = dtype in (torch.bfloat16, torch.float16)
    return half and device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8


def attend(qkv: Tensor, rows: Rows, *, heads: int, kv_heads: int) -> Tensor:
    """Return causal attention within rows.

    Args:
        qkv: (tokens, heads + 2 kv_heads, head_dim): queries, keys and values side by side, in one
            tensor so that the backward pass keeps one. A key serves heads / kv_heads queries.
        rows: Where rows begin and end.
        heads: How many queries a token has.
        kv_heads: How many keys and values.

    Returns:
        (tokens, heads, head_dim).
    """
    if has_fused_kernel(qkv.device, qkv.dtype):
        return torch.ops.alpaca_lab.attend_rows(qkv, rows.starts, rows.longest, heads, kv_heads)[0]
    outs = [
        F.scaled_dot_product_attention(
            *(part.transpose(0, 1)[None] for part in row.split([heads, kv_heads, kv_heads], dim=1)),
            is_causal=True,
            enable_gqa=heads != kv_heads,
        )
        for row in qkv.split(rows.lengths)
    ]
    return torch.cat([out[0].transpose(0, 1) for out in outs])


_LIBRARY = torch.library.Library("alpaca_lab", "FRAGMENT")
_LIBRARY.define(
    "attend_rows(Tensor qkv, Tensor starts, int longest, int heads, int kv_heads)"
    " -> (Tensor, Tensor)"
)
_LIBRARY.define(
    "attend_rows_backward(Tensor dout, Tensor qkv, Tensor starts, int longest, int heads,"
    " int kv_heads, Tensor out, Tensor lse) -> Tensor"
)


def _forward(qkv, starts, longest, heads, kv_heads):
    """Return the attention and its log-sum-exp, (heads, tokens)."""
    q, k, v = qkv.split([heads, kv_heads, kv_heads], dim=1)
    out, lse, *_ = torch.ops.aten._flash_attention_forward(
        q, k, v, starts, starts, longest, longest, 0.0, True, return_debug_mask=False
    )
    return out, lse


def _backward(dout, qkv, starts, longest, heads, kv_heads, out, lse):
    """Return the gradient of queries, keys and values side by side."""
    q, k, v = qkv.split([heads, kv_heads, kv_heads], dim=1)
    # The kernel's random state and offset: without dropout it reads neither.
    state, offset = q.new_zeros(2, dtype=torch.uint64), q.new_empty(0)
    gradients = torch.ops.aten._flash_attention_backward(
        dout, q, k, v, out, lse, starts, starts, longest, longest, 0.0, True, state, offset
    )
    return torch.cat(gradients, dim=1)


_LIBRARY.impl("attend_rows", _forward, "CUDA")
_LIBRARY.impl("attend_rows_backward", _backward, "CUDA")


@torch.library.register_fake("alpaca_lab::attend_rows", lib=_LIBRARY)
def _(qkv, starts, longest, heads, kv_heads):
    tokens, _, head_dim = qkv.shape
    lse = qkv.new_empty(heads, tokens, dtype=torch.float32)
    return qkv.new_empty(tokens, heads, head_dim), lse


@torch.library.register_fake("alpaca_lab::attend_rows_backward", lib=_LIBRARY)
def _(dout, qkv, starts, longest, heads, kv_heads, out, lse):
    return torch.empty_like(qkv)


def _setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
    qkv, starts, *ctx.sizes = inputs
    ctx.save_for_backward(qkv, starts, *output)


def _gradients(ctx: Any, dout: Tensor, _dlse: Tensor) -> tuple:
    qkv, starts, out, lse = ctx.saved_tensors
    dqkv = torch.ops.alpaca_lab.attend_rows_backward(
        dout.contiguous(), qkv, starts, *ctx.sizes, out, lse
    )
    return dqkv, None, None, None, None


torch.library.register_autograd(
    "alpaca_lab::attend_rows", _gradients, setup_context=_setup_context, lib=_LIBRARY
)
