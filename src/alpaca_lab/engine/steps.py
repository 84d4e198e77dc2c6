"""What lies between a step's products, one Triton kernel each on a GPU, else the same in PyTorch.

Every step of decoding reads all weights once for some hundred tokens: it is bound by memory, and
what is not a product must read and write as little, and as seldom, as it can.
"""

from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..packed.attention import Heads
from ..packed.blocks import Norm
from ..packed.elementwise import power_of_two
from .rows import Rows

QUERIES = 16
"""Least rows of a product on the GPU's matrix units: a group's queries are padded to it."""
TOGETHER = 8
"""Most neighbouring rows with the same shared columns that attend to them together: sixteen take
longer, though a product has room for them."""
ATTEND = {1: (128, 4, 2), 2: (64, 4, 2)}
"""Columns, warps and stages of a program of attention, by its heads: the fastest of a dozen such on
one H200, for LLaMA-2-7B and Mistral-7B, and for Phi-2."""
MORE_SHARED = 1.25
"""Shared memory of a program of attention over that of its keys and values, at most."""
PLACE_HEADS, GELU_TILE = 8, 1024


class Angles(NamedTuple):
    """The turn of each position. Dimension i < half and its partner i + half turn together."""

    cos: Tensor
    """(positions, half), float32."""
    sin: Tensor
    """(positions, half), float32."""


class Pool(NamedTuple):
    """One layer's keys and values, and the table that says whose they are."""

    keys: Tensor
    """(columns, key heads, size)."""
    values: Tensor
    """(columns, key heads, size)."""
    table: Tensor
    """(sequences, positions), int32: columns; shared by all layers."""


def add_norm(x: Tensor, delta: Tensor | None, norm: Norm) -> Tensor:
    """Add `delta` to x, (rows, hidden), in place; return x normalised."""
    if x.is_cuda:
        out, width = torch.empty_like(x), x.shape[1]
        centred = norm.bias is not None
        _kernels().add_norm[(len(x),)](
            x, x if delta is None else delta, norm.weight, norm.bias if centred else norm.weight,
            out, width, norm.eps, delta is not None, centred, power_of_two(width), num_warps=8,
        )  # fmt: skip
        return out
    if delta is not None:
        x += delta
    return norm(x)


def place(
    qkv: Tensor, rows: Rows, angles: Angles, heads: Heads, pool: Pool, *, gelu: Tensor | None = None
) -> Tensor:
    """Turn queries and keys, write keys and values to the rows' columns, return the queries.

    Args:
        qkv: (rows, `heads.width`), or more where `gelu` is given.
        rows: Where each row stands.
        angles: The turns.
        heads: How qkv is divided.
        pool: Takes keys and values.
        gelu: Takes GELU, in its tanh form, of what follows in qkv; may be part of a wider tensor.

    Returns:
        (rows, query heads, size).
    """
    count, half = len(qkv), angles.cos.shape[1]
    if qkv.is_cuda:
        q = qkv.new_empty(count, heads.queries, heads.size)
        rest = heads.size - 2 * half
        tiles = -(-(heads.queries + 2 * heads.keys) // PLACE_HEADS)
        inner, more = (q, 0) if gelu is None else (gelu, gelu.shape[1])
        _kernels().place[(count, tiles + -(-more // GELU_TILE))](
            qkv, qkv.stride(0), angles.cos, angles.sin, rows.position, rows.column, q, pool.keys,
            pool.values, inner, inner.stride(0), more, heads.queries, heads.keys, heads.size, half,
            PLACE_HEADS, power_of_two(half), power_of_two(rest) if rest else 0, tiles, GELU_TILE,
        )  # fmt: skip
        return q
    if gelu is not None:
        torch.ops.aten.gelu.out(qkv[:, heads.width :], approximate="tanh", out=gelu)
    divided = qkv[:, : heads.width].view(count, -1, heads.size)
    q, k, v = divided.split([heads.queries, heads.keys, heads.keys], dim=1)
    cos, sin = (part[rows.position][:, None] for part in angles)
    column = rows.column.long()
    pool.keys[column] = _turned(k, cos, sin)
    pool.values[column] = v
    return _turned(q, cos, sin)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = cos.shape[-1]
    first, second = x[..., :half].float(), x[..., half : 2 * half].float()
    turned = first * cos - second * sin, second * cos + first * sin
    return torch.cat([*(part.to(x.dtype) for part in turned), x[..., 2 * half :]], dim=-1)


def columns_of(rows: Rows, table: Tensor, *, visible: int) -> tuple[Tensor, Tensor]:
    """Return where each row's tokens are, and which of these it must not see.

    Args:
        rows: The rows.
        table: (sequences, positions).
        visible: No row stands at a later position than the last of so many.

    Returns:
        (rows, visible) int64 columns and bool.
    """
    i = torch.arange(visible, device=table.device)
    prompts = table[rows.shared.long(), :visible]
    own = table[rows.sequence.long(), :visible]
    columns = torch.where(i < rows.shared_length[:, None], prompts, own).long()
    return columns, i > rows.position[:, None]


def attend(q: Tensor, rows: Rows, pool: Pool, *, visible: int, out: Tensor) -> Tensor:
    """Write each row's attention over its columns, (rows, query heads x size), to `out`.

    Args:
        q: (rows, query heads, size).
        rows: Whose columns each row sees, up to its own position.
        pool: Keys and values.
        visible: As for `columns_of`; a GPU's kernel goes by the rows' positions instead.
        out: May be part of a wider tensor.
    """
    heads, size = pool.keys.shape[1:]
    if q.is_cuda:
        group = q.shape[1] // heads
        padded, beside = power_of_two(group), heads_of_a_program(heads, size)
        wide = 1 << ((beside * size).bit_length() - 1)
        rest = max(16, power_of_two(beside * size - wide)) if beside * size > wide else 0
        columns, warps, stages = ATTEND[beside]
        columns = fitting_columns(
            columns, column_bytes=beside * size * q.element_size(), device=q.device
        )
        together = neighbours(Heads(q.shape[1], heads, size))
        _kernels().attend[(heads // beside, len(q))](
            q, pool.keys, pool.values, pool.table, pool.table.stride(0), rows.position,
            rows.sequence, rows.shared, rows.shared_length, rows.first, rows.count, out,
            out.stride(0), size**-0.5, heads, group, padded, size, beside, wide, rest, together,
            max(QUERIES, together * padded * beside), columns,
            num_warps=warps, num_stages=stages,
        )  # fmt: skip
        return out
    columns, hidden = columns_of(rows, pool.table, visible=visible)
    mask = torch.zeros(hidden.shape, dtype=q.dtype).masked_fill_(hidden, float("-inf"))
    attended = F.scaled_dot_product_attention(
        q[:, :, None],
        *(part[columns].transpose(1, 2) for part in (pool.keys, pool.values)),
        attn_mask=mask[:, None, None],
        enable_gqa=q.shape[1] != heads,
    )
    out.copy_(attended.flatten(1))
    return out


def heads_of_a_program(heads: int, size: int) -> int:
    """Return how many key heads a program of attention has.

    Heads of a size such as 80 are two: side by side, at 160, they are 128 and 32.
    """
    return 1 if size == power_of_two(size) or heads % 2 else 2


def neighbours(heads: Heads) -> int:
    """Return how many rows of a group attend together at most: as many as a product holds.

    Example:
        >>> neighbours(Heads(queries=32, keys=8, size=128)), neighbours(Heads(32, 32, 80))
        (4, 8)
    """
    queries = power_of_two(heads.queries // heads.keys) * heads_of_a_program(heads.keys, heads.size)
    return max(1, min(TOGETHER, QUERIES // queries))


@cache
def fitting_columns(columns: int, *, column_bytes: int, device: torch.device) -> int:
    """Return how many columns a program of attention reads at a time on this GPU.

    Args:
        columns: The most.
        column_bytes: Bytes of one head's keys, or those of all heads of a program.
        device: A GPU, whose programs keep keys and values, and a little more, in shared memory.
    """
    room = torch.cuda.get_device_properties(device).shared_memory_per_block_optin
    while columns > QUERIES and 2 * columns * column_bytes * MORE_SHARED > room:
        columns //= 2
    return columns


@cache
def _kernels() -> Any:
    from . import kernels  # imports Triton, which a machine without a GPU lacks

    return kernels
