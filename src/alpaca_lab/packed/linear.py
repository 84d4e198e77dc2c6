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
        """Read PEFT layers over bitsandbytes' `Linear4bit`.

        Their packed weights are moved into one tensor, of which the layers keep views. Their scales
        are unpacked once, from 8 bits to the same float32 values that bitsandbytes would unpack for
        every product.

        Args:
            layers: The layers.
            dtype: Of the products.

        Raises:
            TypeError: If a layer is not double-quantised NF4.
        """
        self.packed, self.scales = _side_by_side([layer.base_layer for layer in layers])
        self.lora_a = [layer.lora_A["default"].weight for layer in layers]
        self.lora_b = [layer.lora_B["default"].weight for layer in layers]
        (self.scaling,) = {layer.scaling["default"] for layer in layers}
        biases = [layer.base_layer.bias for layer in layers]
        self.bias = None if biases[0] is None else torch.cat(biases).detach().to(dtype)
        self.outputs = [len(b) for b in self.lora_b]
        self.rank, inputs = self.lora_a[0].shape
        ranks = self.rank * len(layers)
        like = self.lora_a[0].detach()
        # Working copies of the adapters. A's lie one below the other; layer i lifts its own rank
        # columns, and the others' are 0 in its rows.
        self.a = like.new_zeros(ranks, inputs, dtype=dtype)
        self.lift = like.new_zeros(sum(self.outputs), ranks, dtype=dtype)
        rows = self.lift.split(self.outputs)
        lifts = [self._own(part, i) for i, part in enumerate(rows)]
        self.working_copies = [*self.a.split(self.rank), *lifts]

    def adapters(self) -> list[nn.Parameter]:
        """Return the trainable weights: every A, then every B."""
        return [*self.lora_a, *self.lora_b]

    def forward(self, x: Tensor, *, onto: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (tokens, all outputs) for x of (tokens, inputs), and the thin x A'.

        Args:
            x: What goes in.
            onto: What the outputs are added to, if given; it stays as it is.
        """
        thin, lift = x @ self.a.T, self.lift.T
        if self.bias is None:
            y = thin @ lift if onto is None else torch.addmm(onto, thin, lift)
            return y.addmm_(x, self._weight(x).T), thin
        # A sum is rounded to 16 bits each time it is written: what is added to, which is often
        # larger than what is added, comes last.
        y = torch.addmm(self.bias, thin, lift).addmm_(x, self._weight(x).T)
        return y if onto is None else y.add_(onto), thin

    def backward(
        self, dy: Tensor, x: Tensor, thin: Tensor, *, onto: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the gradient of x, and those of `adapters` in float32.

        Args:
            dy: Gradient of the outputs, (tokens, all outputs).
            x: What went in.
            thin: x A', as `forward` returned it.
            onto: A gradient of x to add to, in place.
        """
        dthin = dy @ self.lift
        dx = dthin @ self.a if onto is None else onto.addmm_(dthin, self.a)
        dx.addmm_(dy, self._weight(x))
        da = _wide_mm(dthin.T, x).split(self.rank)
        dlift = _wide_mm(dy.T, thin) * self.scaling
        rows = dlift.split(self.outputs)
        return dx, [*da, *(self._own(part, i) for i, part in enumerate(rows))]

    def _own(self, lift: Tensor, layer: int) -> Tensor:
        """Return the rank columns that are a layer's own."""
        return lift[:, layer * self.rank : (layer + 1) * self.rank]

    def _weight(self, x: Tensor) -> Tensor:
        """Return the weights one below the other, (all outputs, inputs), in the dtype of x."""
        shape = [sum(self.outputs), x.shape[1]]
        return torch.ops.bitsandbytes.dequantize_4bit(
            self.packed, self.scales, BLOCK, "nf4", shape, x.dtype
        )


def refresh(groups: Sequence[LoraGroup]) -> None:
    """Copy the adapters as they stand into the groups' working copies."""
    copies = [copy for group in groups for copy in group.working_copies]
    weights = [weight.detach() for group in groups for weight in group.adapters()]
    torch._foreach_copy_(copies, weights)
    torch._foreach_mul_([group.lift for group in groups], [group.scaling for group in groups])


def _wide_mm(left: Tensor, right: Tensor) -> Tensor:
    """Return the product in float32, as it was summed."""
    if left.is_cuda and left.dtype != torch.float32:
        return torch.mm(left, right, out_dtype=torch.float32)
    return (left @ right).float()


def _side_by_side(bases: Sequence[nn.Module]) -> tuple[Tensor, Tensor]:
    """Return layers' packed weights in one tensor, and their float32 scales in another."""
    packed = torch.cat([base.weight.data for base in bases])
    scales = []
    for base, view in zip(bases, packed.split([len(b.weight) for b in bases]), strict=True):
        state = getattr(base.weight, "quant_state", None)
        nf4 = state is not None and state.quant_type == "nf4" and state.nested
        if not nf4 or state.blocksize != BLOCK:
            raise TypeError(f"{type(base).__name__} is not double-quantised NF4 in blocks of 64")
        base.weight.data = view
        inner = state.state2
        scale = torch.ops.bitsandbytes.dequantize_blockwise(
            state.absmax, inner.absmax, inner.code, inner.blocksize, torch.float32
        )
        scales.append(scale + state.offset)
    return packed, torch.cat(scales)
