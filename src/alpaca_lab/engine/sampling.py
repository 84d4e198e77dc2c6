"""The next token of each row: its own temperature and top-k, and noise that is a pure function.

A draw from softmax(logits / T) is argmax(logits / T + g), where g is Gumbel noise, one value per
token (Gumbel 1954; Maddison et al. 2014, https://arxiv.org/abs/1411.0030). It is computed here as
argmax(logits + T * g), which is the same draw, cannot overflow however small T is, and turns
into greedy decoding at T = 0 without a second code path.

The noise is not drawn from a generator with a state. It is a hash of (row key, position, token),
and the row key a hash of (seed, question, repeat). So

- a row's token does not depend on which rows share its batch, nor on what was drawn before;
- an answer that is taken up again after an interrupt is the answer that it would have been;
- every setting meets a question with the same noise (common random numbers): what differs between
  two settings is the settings. The nearer they lie, the narrower that makes the interval of their
  difference; what it is worth is measured in results/performance/common_noise.md.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

GOLDEN_RATIO = 0x9E3779B9
"""2^32 over the golden ratio: sets the second hash of a position far from the first."""
UNDEFINED = -1
"""Stands for the token of a row whose logits hold NaN or infinity: there is none."""


def row_key(seed: int, question: str, repeat: int) -> int:
    """Return the key of one answer's noise. The setting has no part in it.

    Args:
        seed: Seed of the study.
        question: Id of the question.
        repeat: Which answer to that question, from 0.

    Returns:
        The first 64 bits of a sha256, as a signed integer that fits an int64 tensor.
    """
    digest = hashlib.sha256(f"{seed}\x1f{question}\x1f{repeat}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def next_tokens(
    logits: torch.Tensor,
    *,
    temperature: torch.Tensor,
    top_k: torch.Tensor,
    greedy: torch.Tensor,
    keys: torch.Tensor,
    positions: torch.Tensor,
    max_top_k: int,
) -> torch.Tensor:
    """Return the next token of S rows at once, each under its own setting.

    Shapes depend on no value and the host is never waited for, so a CUDA graph can hold the call.

    Args:
        logits: Shape (S, V), any float dtype; the arithmetic is float32.
        temperature: Shape (S,), > 0; has no effect where `greedy`.
        top_k: Shape (S,), int64; 0 keeps all tokens, and so does k >= V. Tokens as likely as the
            k-th are kept with it, as Transformers does. Has no effect where `greedy`.
        greedy: Shape (S,), bool; the likeliest token, the first of equals.
        keys: Shape (S,), int64, from `row_key`.
        positions: Shape (S,), int64; index of the new token in its answer, from 0.
        max_top_k: No entry of `top_k` is larger; 0 where none restricts.

    Returns:
        Shape (S,), int64. `UNDEFINED` where the logits have no finite maximum, for the caller to
        refuse: a NaN must not become a token.

    Source:
        Parity with `TopKLogitsWarper`, `TemperatureLogitsWarper` and `torch.multinomial` of
        Transformers' sampler is tested.
    """
    import torch

    scale = torch.where(greedy, 0.0, temperature.float())
    restricts = (top_k > 0) & (top_k < logits.shape[1]) & ~greedy
    top_k = torch.where(restricts, top_k, 0)
    if logits.is_cuda:
        from . import sampling_kernels as kernels

        few = 0 < max_top_k <= kernels.MOST
        kth = (kernels.kth_largest if few else _kth_largest)(logits, top_k, most=max_top_k)
        noise = {"scale": scale, "keys": keys, "positions": positions}
        return kernels.perturbed_argmax(logits, kth=kth, **noise)
    kth = _kth_largest(logits, top_k, most=max_top_k)
    scores = logits.float()
    scores = scores.masked_fill(scores < kth[:, None], float("-inf"))
    noise = gumbel_noise(keys, positions, tokens=scores.shape[1])
    best = torch.addcmul(scores, scale[:, None], noise).max(dim=1)
    return torch.where(best.values.isfinite(), best.indices, UNDEFINED)


def _kth_largest(logits: torch.Tensor, top_k: torch.Tensor, *, most: int) -> torch.Tensor:
    """Return the logit that a row's tokens must reach, (S,) float32; -infinity where top_k is 0."""
    import torch

    none = torch.full(top_k.shape, float("-inf"), device=logits.device)
    if not most:
        return none
    largest = logits.topk(min(most, logits.shape[1])).values
    kth = largest.gather(1, (top_k - 1).clamp(0, largest.shape[1] - 1)[:, None])[:, 0]
    return torch.where(top_k > 0, kth.float(), none)


def gumbel_noise(keys: torch.Tensor, positions: torch.Tensor, *, tokens: int) -> torch.Tensor:
    """Return standard Gumbel noise as a function of key, position and token.

    Args:
        keys: Shape (S,), int64.
        positions: Shape (S,), int64, in [0, 2^31).
        tokens: V, the size of the vocabulary.

    Returns:
        Shape (S, V), float32, finite, in (-2.9, 22.2).
    """
    import torch

    # Two words of state per row, each of key and position: with one, some of the half a million
    # (answer, position) pairs of a study would meet in it and share their noise. Neither is made
    # from the other: a token at which they cancelled would win at every position.
    first = _mix(_word(keys) ^ _mix(_word(positions + 1)))
    second = _mix(_word(keys >> 32) ^ _mix(_word(positions + GOLDEN_RATIO)))
    token = torch.arange(tokens, dtype=torch.int32, device=keys.device)
    bits = _mix(_mix(token ^ first[:, None]) ^ second[:, None])
    # 31 bits make a uniform number in (0, 1). The largest noise is where it is near 0, so that is
    # where float32 is fine-grained; near 1 it would round to 1, and its logarithm be infinite.
    uniform = (bits & 0x7FFFFFFF).float().add_(0.5).mul_(2.0**-31).clamp_(max=1 - 2.0**-24)
    exponential = torch.log1p(-uniform).neg_()
    return exponential.log_().neg_()


def _word(values: torch.Tensor) -> torch.Tensor:
    """Return the low 32 bits of int64 values as int32."""
    import torch

    return ((values & 0xFFFFFFFF) ^ 0x80000000).sub(0x80000000).to(torch.int32)


def _mix(bits: torch.Tensor) -> torch.Tensor:
    """Scramble 32-bit words, one to one; every input bit flips every output bit half the time.

    Shift, xor and multiply, twice, with the constants that TheIronBorn found for Chris Wellons'
    lowbias32. In place on a fresh tensor, because this is most of the sampler's time; int32
    multiplication wraps, and the masks make the arithmetic shifts logical.

    Source:
        https://github.com/skeeto/hash-prospector (public domain).
    """
    bits = bits ^ ((bits >> 16) & 0xFFFF)
    bits.mul_(0x21F0AAAD)
    bits.bitwise_xor_((bits >> 15) & 0x1FFFF)
    bits.mul_(0x735A2D97)
    return bits.bitwise_xor_((bits >> 15) & 0x1FFFF)
