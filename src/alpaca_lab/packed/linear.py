"""Frozen NF4 layers with their LoRA adapters: y = x W' + (x A') L' + bias, forward and backward.

Layers that read the same input are one product: q, k and v are, and so are gate and up. The 16-bit
weight lives only as long as its product: it is dequantised going forward, and again for the
gradient. On an H200 the products with frozen weights are 130 of the 200 ms of a pass of 4,096
tokens through LLaMA-2-7B; each thin product with A or L reads or writes a whole activation, which
is why layers share them and why the wide product adds to the thin one as it writes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BLOCK = 64
"""Weights per scale."""


class LoraGroup:
    """Adapted layers that read the same input, their outputs side by side."""

    def __init__(self, layers: Sequence[nn.Module], *, dtype: torch.dtype) -> None:
        """Read PEFT layers over bitsandbytes' `Linear4bit`; the weights are not copied.

        Scales are: bitsandbytes keeps them in 8 bits, and they are unpacked here once, to the same
        float32 values that it would unpack for every product.

        Args:
            layers: The layers.
            dtype: Of the products.

        Raises:
            TypeError: If a layer is not double-quantised NF4.
        """
        frozen = [_read_nf4(layer.base_layer) for layer in layers]
        self.packed, self.scales = zip(*frozen, strict=True)
        self.lora_a = [layer.lora_A["default"].weight for layer in layers]
        self.lora_b = [layer.lora_B["default"].weight for layer in layers]
        (self.scaling,) = {layer.scaling["default"] for layer in layers}
        biases = [layer.base_layer.bias for layer in layers]
        self.bias = None if biases[0] is None else torch.cat(biases).detach().to(dtype)
        self.outputs = [len(b) for b in self.lora_b]
        rank, inputs = self.lora_a[0].shape
        ranks = rank * len(layers)
        like = self.lora_a[0].detach()
        # Working copies of the adapters. A's lie one below the other; layer i lifts its own rank
        # columns, and the others' are 0 in its rows.
        self.a = like.new_zeros(ranks, inputs, dtype=dtype)
        self.lift = like.new_zeros(sum(self.outputs), ranks, dtype=dtype)
        self.a_parts = list(self.a.split(rank))
        rows = self.lift.split(self.outputs)
        self.lift_parts = [r[:, i * rank : (i + 1) * rank] for i, r in enumerate(rows)]

    def adapters(self) -> list[nn.Parameter]:
        """Return the trainable weights: every A, then every B."""
        return [*self.lora_a, *self.lora_b]

    def forward(self, x: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """Return (tokens, all outputs) for x of (tokens, inputs), added to `onto` if given."""
        small, lift = x @ self.a.T, self.lift.T
        if onto is not None:
            y = torch.addmm(onto, small, lift)
            if self.bias is not None:
                y += self.bias
        else:
            y = small @ lift if self.bias is None else torch.addmm(self.bias, small, lift)
        return y.addmm_(x, self._weight(x).T)

    def backward(
        self, dy: Tensor, x: Tensor, *, onto: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the gradient of x, and those of `adapters` in float32.

        Args:
            dy: Gradient of the outputs, (tokens, all outputs).
            x: What went in.
            onto: A gradient of x to add to, in place.
        """
        dsmall = dy @ self.lift
        dx = dsmall @ self.a if onto is None else onto.addmm_(dsmall, self.a)
        dx.addmm_(dy, self._weight(x))
        da = _wide_mm(dsmall.T, x).split(len(self.a_parts[0]))
        dlift = _wide_mm(dy.T, x @ self.a.T) * self.scaling
        rank = len(self.a_parts[0])
        rows = dlift.split(self.outputs)
        return dx, [*da, *(r[:, i * rank : (i + 1) * rank] for i, r in enumerate(rows))]

    def _weight(self, x: Tensor) -> Tensor:
        """Return the weights one below the other, (all outputs, inputs), in the dtype of x."""
        inputs, ops = x.shape[1], torch.ops.bitsandbytes
        parts = zip(self.packed, self.scales, self.outputs, strict=True)
        if not x.is_cuda:  # bitsandbytes writes in place on a GPU alone
            return torch.cat(
                [ops.dequantize_4bit(w, s, BLOCK, "nf4", [n, inputs], x.dtype) for w, s, n in parts]
            )
        whole = x.new_empty(sum(self.outputs), inputs)
        for rows, (w, s, _) in zip(whole.split(self.outputs), parts, strict=True):
            ops.dequantize_4bit.out(w, s, BLOCK, "nf4", rows.shape, rows.dtype, out=rows)
        return whole


def refresh(groups: Sequence[LoraGroup]) -> None:
    """Copy the adapters as they stand into the groups' working copies."""
    parts = [part for group in groups for part in group.a_parts + group.lift_parts]
    weights = [weight.detach() for group in groups for weight in group.adapters()]
    torch._foreach_copy_(parts, weights)
    torch._foreach_mul_([group.lift for group in groups], [group.scaling for group in groups])


def _wide_mm(left: Tensor, right: Tensor) -> Tensor:
    """Return the product in float32, as it was summed."""
    if left.is_cuda and left.dtype != torch.float32:
        return torch.mm(left, right, out_dtype=torch.float32)
    return (left @ right).float()


def _read_nf4(base: nn.Module) -> tuple[Tensor, Tensor]:
    """Return a layer's packed weights and their float32 scales."""
    state = getattr(base.weight, "quant_state", None)
    if state is None or state.quant_type != "nf4" or not state.nested or state.blocksize != BLOCK:
        raise TypeError(f"{type(base).__name__} is not double-quantised NF4 in blocks of {BLOCK}")
    inner = state.state2
    scales = torch.ops.bitsandbytes.dequantize_blockwise(
        state.absmax, inner.absmax, inner.code, inner.blocksize, torch.float32
    )
    return base.weight.data, scales + state.offset
