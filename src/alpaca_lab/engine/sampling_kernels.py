"""The Triton kernels of `sampling`: the k-th largest logit, and noise and argmax of them all."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

TILE = 1024
"""Tokens that one program looks at."""
MOST = 32
"""Largest of a row that are found one after another; more are found faster by sorting."""


def kth_largest(logits: Tensor, top_k: Tensor, *, most: int) -> Tensor:
    """Return the k-th largest logit of each row, equals counted; -infinity where k is 0.

    Args:
        logits: (S, V), any float dtype.
        top_k: (S,) int64, at most `most` and less than V.
        most: Between 1 and `MOST`.

    Returns:
        (S,) float32; arbitrary where a logit is NaN.
    """
    rows, vocabulary = logits.shape
    tiles = triton.cdiv(vocabulary, TILE)
    largest = torch.empty(rows, tiles * most, dtype=torch.float32, device=logits.device)
    kth = torch.empty(rows, dtype=torch.float32, device=logits.device)
    _largest_of_tile[(rows, tiles)](
        logits, logits.stride(0), top_k, largest, vocabulary, most, TILE, num_warps=1
    )
    _kth_of_row[(rows,)](
        largest, top_k, kth, tiles * most, triton.next_power_of_2(tiles * most), num_warps=1
    )
    return kth


def perturbed_argmax(
    logits: Tensor, *, kth: Tensor, scale: Tensor, keys: Tensor, positions: Tensor
) -> Tensor:
    """Return argmax(logits + scale x noise) over the tokens with logits of at least `kth`.

    Args:
        logits: (S, V), any float dtype.
        kth: (S,) float32.
        scale: (S,) float32.
        keys: (S,) int64.
        positions: (S,) int64.

    Returns:
        (S,) int64; -1 where a logit is NaN or +infinity, or none is finite.
    """
    rows, vocabulary = logits.shape
    tiles = triton.cdiv(vocabulary, TILE)
    best = torch.empty(rows, tiles, dtype=torch.float32, device=logits.device)
    token = torch.empty(rows, tiles, dtype=torch.int32, device=logits.device)
    drawn = torch.empty(rows, dtype=torch.int64, device=logits.device)
    _best_of_tile[(rows, tiles)](
        logits, logits.stride(0), kth, scale, keys, positions, best, token, vocabulary, TILE
    )
    _best_of_row[(rows,)](best, token, drawn, tiles, triton.next_power_of_2(tiles))
    return drawn


@triton.jit
def _largest_of_tile(
    logits, stride, top_k, largest, vocabulary, MOST: tl.constexpr, TILE: tl.constexpr
):
    row, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    if tl.load(top_k + row) == 0:
        return
    i = tl.arange(0, TILE)
    at = tile * TILE + i
    left = tl.load(logits + row * stride + at, mask=at < vocabulary, other=-float("inf"))
    left = left.to(tl.float32)
    for n in range(MOST):
        best, place = tl.max(left, 0, return_indices=True)
        tl.store(largest + (row * tl.num_programs(1) + tile) * MOST + n, best)
        left = tl.where(i == place, -float("inf"), left)


@triton.jit
def _kth_of_row(largest, top_k, kth, count, COUNT: tl.constexpr):
    row, i = tl.program_id(0).to(tl.int64), tl.arange(0, COUNT)
    k = tl.load(top_k + row).to(tl.int32)
    if k == 0:
        tl.store(kth + row, -float("inf"))
        return
    left = tl.load(largest + row * count + i, mask=i < count, other=-float("inf"))
    for _ in range(k - 1):
        _, place = tl.max(left, 0, return_indices=True)
        left = tl.where(i == place, -float("inf"), left)
    tl.store(kth + row, tl.max(left, 0))


@triton.jit
def _mix(bits):
    bits ^= bits >> 16
    bits *= 0x21F0AAAD
    bits ^= bits >> 15
    bits *= 0x735A2D97
    return bits ^ (bits >> 15)


@triton.jit
def _best_of_tile(
    logits, stride, kth, scale, keys, positions, best, token, vocabulary, TILE: tl.constexpr
):
    row, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i = tile * TILE + tl.arange(0, TILE)
    inside = i < vocabulary
    logit = tl.load(logits + row * stride + i, mask=inside, other=-float("inf")).to(tl.float32)
    factor = tl.load(scale + row)
    score = logit
    if factor > 0:  # a greedy row needs no noise
        key = tl.load(keys + row)
        position = tl.load(positions + row).to(tl.uint32)
        first = _mix(key.to(tl.uint32) ^ _mix(position + 1))
        second = _mix((key >> 32).to(tl.uint32) ^ _mix(position + 0x9E3779B9))
        bits = _mix(_mix(i.to(tl.uint32) ^ first) ^ second)
        uniform = ((bits & 0x7FFFFFFF).to(tl.float32) + 0.5) * 4.656612873077393e-10
        uniform = tl.minimum(uniform, 1 - 5.960464477539063e-08)
        score = logit - factor * libdevice.log(-libdevice.log1p(-uniform))
        score = tl.where(logit >= tl.load(kth + row), score, -float("inf"))
    undefined = (logit != logit) | (logit == float("inf"))
    # +infinity stands for "undefined": no finite score reaches it.
    score = tl.where(undefined, float("inf"), score)
    place = row * tl.num_programs(1) + tile
    tl.store(best + place, tl.max(score, 0))
    tl.store(token + place, tile * TILE + tl.argmax(score, 0))


@triton.jit
def _best_of_row(best, token, drawn, tiles, TILES: tl.constexpr):
    row, i = tl.program_id(0), tl.arange(0, TILES)
    inside = i < tiles
    score = tl.load(best + row * tiles + i, mask=inside, other=-float("inf"))
    found = tl.load(token + row * tiles + tl.argmax(score, 0)).to(tl.int64)
    highest = tl.max(score, 0)
    finite = (highest > -float("inf")) & (highest < float("inf"))
    tl.store(drawn + row, tl.where(finite, found, -1))
