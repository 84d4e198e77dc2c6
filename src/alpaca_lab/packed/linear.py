"""Frozen NF4 layers with their LoRA adapters, as one operator: y = x W' + (x A') L' + bias.

Layers that read the same input are one product: q, k and v are, and so are gate and up. The 16-bit
weight exists only inside the operator: it is dequantised for the product, and again for the
gradient, so that no pass keeps it.

Numbers that decided the shape of this file, on an H200 with LLaMA-2-7B: the products with frozen
weights take 130 of 220 ms at 4,096 tokens; each of the thin products with A and L reads or writes a
whole activation, and they took 28 ms before layers shared them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 64
"""Weights per scale."""


class LoraGroup(NamedTuple):
    """Adapted layers that read the same input, their outputs side by side."""

    packed: list[Tensor]
    """Each layer's NF4 weight, two values per byte."""
    scales: list[Tensor]
    """Each layer's scale per 64 weights, float32."""
    lora_a: list[Tensor]
    """Each (rank, inputs), trainable."""
    lora_b: list[Tensor]
    """Each (outputs, rank), trainable."""
    scaling: float
    """What an adapter's output is multiplied by."""
    bias: Tensor | None
    """(all outputs,)."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return (tokens, all outputs) for x of (tokens, inputs)."""
        rank, ranks = len(self.lora_a[0]), sum(len(a) for a in self.lora_a)
        a = torch.cat([a.to(x.dtype) for a in self.lora_a])
        # Layer i reads its own rank columns: the others' are 0 in its rows.
        lift = torch.cat(
            [
                F.pad((self.scaling * b).to(x.dtype), (i * rank, ranks - (i + 1) * rank))
                for i, b in enumerate(self.lora_b)
            ]
        )
        return torch.ops.alpaca_lab.lora_linear(x, self.packed, self.scales, a, lift, self.bias)

    def outputs(self) -> list[int]:
        """Return how many outputs each layer has."""
        return [len(b) for b in self.lora_b]


def read_group(layers: Sequence[nn.Module], adapter: str = "default") -> LoraGroup:
    """Return PEFT layers over bitsandbytes' `Linear4bit` as one group.

    Weights are not copied. Scales are: bitsandbytes keeps them in 8 bits, and they are unpacked
    here once, to the same float32 values that it would unpack for every product.

    Raises:
        TypeError: If a layer is not double-quantised NF4, or has dropout.
    """
    packed, scales, biases = [], [], []
    for layer in layers:
        base = layer.base_layer
        state = getattr(base.weight, "quant_state", None)
        if state is None or state.quant_type != "nf4" or not state.nested:
            raise TypeError(f"{type(base).__name__} is not double-quantised NF4")
        if layer.lora_dropout[adapter].__class__ is not nn.Identity:
            raise TypeError("the packed pass has no LoRA dropout")
        if state.blocksize != BLOCK:
            raise TypeError(f"expected a scale per {BLOCK} weights, not per {state.blocksize}")
        packed.append(base.weight.data)
        scales.append(
            torch.ops.bitsandbytes.dequantize_blockwise(
                state.absmax, state.state2.absmax, state.state2.code, state.state2.blocksize,
                torch.float32,
            )
            + state.offset
        )  # fmt: skip
        biases.append(base.bias)
    (scaling,) = {layer.scaling[adapter] for layer in layers}
    return LoraGroup(
        packed,
        scales,
        [layer.lora_A[adapter].weight for layer in layers],
        [layer.lora_B[adapter].weight for layer in layers],
        scaling,
        None if biases[0] is None else torch.cat([bias.data for bias in biases]),
    )


def _dequantize(packed: list[Tensor], scales: list[Tensor], inputs: int, like: Tensor) -> Tensor:
    """Return the weights one below the other, (all outputs, inputs), in the dtype of `like`."""
    rows = [2 * weight.numel() // inputs for weight in packed]
    ops, pairs = torch.ops.bitsandbytes, zip(packed, scales, rows, strict=True)
    if not like.is_cuda:  # bitsandbytes writes in place on a GPU alone
        return torch.cat(
            [ops.dequantize_4bit(w, s, BLOCK, "nf4", [n, inputs], like.dtype) for w, s, n in pairs]
        )
    whole = like.new_empty(sum(rows), inputs)
    for part, (weight, scale, _) in zip(whole.split(rows), pairs, strict=True):
        ops.dequantize_4bit.out(weight, scale, BLOCK, "nf4", part.shape, part.dtype, out=part)
    return whole


# The plain library interface: `torch.library.custom_op` checks every call for aliases in Python,
# and with 256 calls a pass the GPU waited for it.
_LIBRARY = torch.library.Library("alpaca_lab", "FRAGMENT")
_LIBRARY.define(
    "lora_linear(Tensor x, Tensor[] packed, Tensor[] scales, Tensor a, Tensor lift, Tensor? bias)"
    " -> Tensor"
)
_LIBRARY.define(
    "lora_linear_backward(Tensor dy, Tensor x, Tensor[] packed, Tensor[] scales, Tensor a,"
    " Tensor lift) -> (Tensor, Tensor, Tensor)"
)


def _forward(x, packed, scales, a, lift, bias):
    weight = _dequantize(packed, scales, x.shape[1], x)
    small = x @ a.T
    # The small product first: the large one then adds to it as it writes, which saves a pass.
    y = small @ lift.T if bias is None else torch.addmm(bias, small, lift.T)
    return y.addmm_(x, weight.T)


def _backward(dy, x, packed, scales, a, lift):
    weight = _dequantize(packed, scales, x.shape[1], x)
    dsmall = dy @ lift
    dx = (dsmall @ a).addmm_(dy, weight)
    return dx, dsmall.T @ x, dy.T @ (x @ a.T)


for _device in ("CPU", "CUDA"):
    _LIBRARY.impl("lora_linear", _forward, _device)
    _LIBRARY.impl("lora_linear_backward", _backward, _device)


@torch.library.register_fake("alpaca_lab::lora_linear", lib=_LIBRARY)
def _(x, packed, scales, a, lift, bias):
    return x.new_empty(x.shape[0], lift.shape[0])


@torch.library.register_fake("alpaca_lab::lora_linear_backward", lib=_LIBRARY)
def _(dy, x, packed, scales, a, lift):
    return torch.empty_like(x), torch.empty_like(a), torch.empty_like(lift)


def _setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, packed, scales, a, lift, _ = inputs
    ctx.save_for_backward(x, a, lift, *packed, *scales)


def _gradients(ctx: Any, dy: Tensor) -> tuple:
    x, a, lift, *frozen = ctx.saved_tensors
    half = len(frozen) // 2
    dx, da, dlift = torch.ops.alpaca_lab.lora_linear_backward(
        dy.contiguous(), x, frozen[:half], frozen[half:], a, lift
    )
    return dx, [None] * half, [None] * half, da, dlift, None


torch.library.register_autograd(
    "alpaca_lab::lora_linear", _gradients, setup_context=_setup_context, lib=_LIBRARY
)
