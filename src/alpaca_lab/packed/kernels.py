"""The Triton kernels of `elementwise`. Sums are taken in float32, whatever the tensors hold."""

import triton
import triton.language as tl


@triton.jit
def turn(
    x, out, cos, sin, x_token, x_head, out_token, out_head, heads, head_dim, half,
    HEADS: tl.constexpr, HALF: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    """Turn some heads of one token. Grid: (tokens, tiles of heads)."""
    token = tl.program_id(0).to(tl.int64)
    head = (tl.program_id(1) * HEADS + tl.arange(0, HEADS))[:, None]
    x += token * x_token + head * x_head
    out += token * out_token + head * out_head
    i = tl.arange(0, HALF)[None, :]
    inside = (i < half) & (head < heads)
    first = tl.load(x + i, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(x + half + i, mask=inside, other=0.0).to(tl.float32)
    c = tl.load(cos + token * half + i, mask=i < half, other=0.0)
    s = tl.load(sin + token * half + i, mask=i < half, other=0.0)
    tl.store(out + i, first * c - second * s, mask=inside)
    tl.store(out + half + i, second * c + first * s, mask=inside)
    rest = 2 * half + tl.arange(0, REST)[None, :]
    still = (rest < head_dim) & (head < heads)
    tl.store(out + rest, tl.load(x + rest, mask=still, other=0.0), mask=still)


@triton.jit
def gate(gate_up, out, width, TILE: tl.constexpr):
    """Write silu(gate) x up. Grid: (tokens, tiles of a token)."""
    token = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = i < width
    gate_up += token * 2 * width
    first = tl.load(gate_up + i, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(gate_up + width + i, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + token * width + i, first * tl.sigmoid(first) * second, mask=inside)


@triton.jit
def gate_backward(dout, gate_up, dinput, width, TILE: tl.constexpr):
    """Write the gradient of gate and up. Grid: (tokens, tiles of a token)."""
    token = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = i < width
    gate_up += token * 2 * width
    dinput += token * 2 * width
    d = tl.load(dout + token * width + i, mask=inside, other=0.0).to(tl.float32)
    first = tl.load(gate_up + i, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(gate_up + width + i, mask=inside, other=0.0).to(tl.float32)
    s = tl.sigmoid(first)
    tl.store(dinput + i, d * second * s * (1 + first * (1 - s)), mask=inside)
    tl.store(dinput + width + i, d * first * s, mask=inside)
