"""LLaMA, Mistral, Qwen2 and Phi over rows: the model's own weights, in as few products as can be.

A step reads every weight once, so what counts is to read them in few, large products: queries,
keys and values are one, gate and up are one; Phi's block, whose attention and MLP stand side by
side, is two. The joined weights are the modules' own, laid side by side, so the Transformers model
remains what it was, and nothing is held twice.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import require
from ..packed.attention import Heads
from ..packed.blocks import Norm
from ..packed.elementwise import gate
from ..weights.architectures import layer_types, why_plain
from .rows import Rows
from .steps import Angles, Pool, add_norm, attend, columns_of, place


class Forward(Protocol):
    """From rows to logits."""

    is_static: bool
    """Shapes depend on the number of rows alone, and the host is not asked: fit for a graph."""

    def __call__(self, rows: Rows, pool: "KeyValues", *, visible: int) -> Tensor:
        """Return the logits of each row, (rows, vocabulary); write its keys and values."""


class KeyValues(NamedTuple):
    """The pool of all layers."""

    keys: list[Tensor]
    values: list[Tensor]
    table: Tensor

    @classmethod
    def empty(cls, model: Any, *, columns: int, table: Tensor) -> "KeyValues":
        """Return a pool of `columns` columns for a model of Transformers.

        Raises:
            SettingError: If a layer's keys are too many numbers for the kernels, which count in
                32 bits.
        """
        heads = Heads.of(model.config)
        require(
            columns * heads.keys * heads.size < 2**31,
            f"a pool of {columns:,} tokens is too large; lower slots or max_new_tokens",
        )

        def layer() -> Tensor:
            # Zeros, not what the memory held: a hidden column weighs 0, but 0 times NaN is NaN.
            size = (columns, heads.keys, heads.size)
            return torch.zeros(size, dtype=model.dtype, device=model.device)

        layers = range(model.config.num_hidden_layers)
        return cls([layer() for _ in layers], [layer() for _ in layers], table)

    def layer(self, index: int) -> Pool:
        """Return one layer's part."""
        return Pool(self.keys[index], self.values[index], self.table)


def forward_of(model: Any) -> Forward:
    """Return the fastest way through a model: joined products where its blocks are known.

    Args:
        model: A causal language model of Transformers, in eval mode.
    """
    return JoinedForward(model) if has_known_blocks(model) else PlainForward(model)


def has_known_blocks(model: Any) -> bool:
    """Return True for a LLaMA, Mistral, Qwen2 or Phi of plain linear layers."""
    if why_plain(model.config) is not None:
        return False
    # An adapter that was not merged, or NF4, is a layer of another class.
    layers = (m for name, m in model.named_modules() if name.endswith(("_proj", "dense", "fc2")))
    return all(type(layer) is nn.Linear for layer in layers)


class JoinedForward:
    """The blocks of LLaMA, Mistral, Qwen2 and Phi, over joined weights."""

    is_static = True

    def __init__(self, model: Any) -> None:
        """Join a model's weights in place."""
        base, config = model.model, model.config
        self.heads = Heads.of(config)
        self.embedding, self.head = base.embed_tokens.weight, model.lm_head
        self.angles = _angles(base, config)
        if config.model_type == "phi":
            self.norm = _norm(base.final_layernorm, config.layer_norm_eps)
            self.blocks = [_PhiBlock(layer, config, self.heads) for layer in base.layers]
        else:
            self.norm = _norm(base.norm, config.rms_norm_eps)
            self.blocks = [_LlamaBlock(layer, config, self.heads) for layer in base.layers]

    def __call__(self, rows: Rows, pool: KeyValues, *, visible: int) -> Tensor:
        """Return the logits of each row, (rows, vocabulary)."""
        x, delta = F.embedding(rows.token, self.embedding), None
        for index, block in enumerate(self.blocks):
            at = _Place(rows, self.angles, self.heads, pool.layer(index), visible)
            delta = block(x, delta, at)
        return F.linear(add_norm(x, delta, self.norm), self.head.weight, self.head.bias)


class _Place(NamedTuple):
    """Where a block's rows stand."""

    rows: Rows
    angles: Angles
    heads: Heads
    pool: Pool
    visible: int

    def attend(self, qkv: Tensor, *, out: Tensor, gelu: Tensor | None = None) -> Tensor:
        q = place(qkv, self.rows, self.angles, self.heads, self.pool, gelu=gelu)
        return attend(q, self.rows, self.pool, visible=self.visible, out=out)


class _LlamaBlock:
    """Attention, then a gated MLP, each after its own norm."""

    def __init__(self, layer: nn.Module, config: Any, heads: Heads) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.input_norm = _norm(layer.input_layernorm, config.rms_norm_eps)
        self.post_norm = _norm(layer.post_attention_layernorm, config.rms_norm_eps)
        self.qkv = _joined([attention.q_proj, attention.k_proj, attention.v_proj])
        self.gate_up = _joined([mlp.gate_proj, mlp.up_proj])
        self.o, self.down = _joined([attention.o_proj]), _joined([mlp.down_proj])

    def __call__(self, x: Tensor, delta: Tensor | None, at: _Place) -> Tensor:
        qkv = self.qkv(add_norm(x, delta, self.input_norm))
        attended = x.new_empty(len(x), at.heads.queries * at.heads.size)
        delta = self.o(at.attend(qkv, out=attended))
        return self.down(gate(self.gate_up(add_norm(x, delta, self.post_norm))))


class _PhiBlock:
    """Attention and MLP side by side after one norm: one product in, one out."""

    def __init__(self, layer: nn.Module, config: Any, heads: Heads) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.input_norm = _norm(layer.input_layernorm, config.layer_norm_eps)
        self.into = _joined([attention.q_proj, attention.k_proj, attention.v_proj, mlp.fc1])
        self.out = _joined([attention.dense, mlp.fc2], side_by_side=True)
        self.split = heads.queries * heads.size

    def __call__(self, x: Tensor, delta: Tensor | None, at: _Place) -> Tensor:
        wide = self.into(add_norm(x, delta, self.input_norm))
        both = x.new_empty(len(x), self.out.weight.shape[1])
        at.attend(wide, out=both[:, : self.split], gelu=both[:, self.split :])
        return self.out(both)


class _Joined(NamedTuple):
    weight: Tensor
    """(outputs, inputs)."""
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


def _joined(layers: Sequence[nn.Linear], *, side_by_side: bool = False) -> _Joined:
    """Lay the weights of linear layers beside each other; the layers keep views of them.

    Args:
        layers: Layers of one input, whose outputs are joined; or,
        side_by_side: layers whose inputs are joined, and whose outputs are summed.
    """
    axis = 1 if side_by_side else 0
    weights = [layer.weight.data for layer in layers]
    whole = _once(weights, axis)
    sizes = [weight.shape[axis] for weight in weights]
    for layer, part in zip(layers, whole.split(sizes, dim=axis), strict=True):
        layer.weight.data = part
    biases = [layer.bias.data for layer in layers if layer.bias is not None]
    if not biases:
        return _Joined(whole, None)
    bias = torch.stack(biases).float().sum(0).to(whole.dtype) if side_by_side else torch.cat(biases)
    return _Joined(whole, bias)


def _once(weights: Sequence[Tensor], axis: int) -> Tensor:
    """Return the weights joined along an axis: anew, or as they were joined before."""
    first, storage = weights[0], weights[0].untyped_storage()
    shape = list(first.shape)
    shape[axis] = sum(weight.shape[axis] for weight in weights)
    one = all(weight.untyped_storage().data_ptr() == storage.data_ptr() for weight in weights)
    if one and storage.nbytes() == first.element_size() * shape[0] * shape[1]:
        return first.as_strided(shape, (shape[1], 1), 0)
    return torch.cat(list(weights), dim=axis)


def _norm(module: nn.Module, eps: float) -> Norm:
    return Norm(module.weight, getattr(module, "bias", None), eps)


def _angles(base: nn.Module, config: Any) -> Angles:
    """Return the turns of every position that the model knows, as its own module computes them."""
    device = base.embed_tokens.weight.device
    positions = torch.arange(config.max_position_embeddings, device=device)[None]
    cos, sin = base.rotary_emb(torch.zeros(1, device=device), positions)
    half = cos.shape[-1] // 2
    return Angles(*(part[0, :, :half].float().contiguous() for part in (cos, sin)))


class PlainForward:
    """Any other model, through its own forward pass: a batch of one-token rows over the pool."""

    is_static = False

    def __init__(self, model: Any) -> None:
        """Take the model as it is."""
        self.model = model
        self.windowed = "sliding_attention" in layer_types(model.config)

    def __call__(self, rows: Rows, pool: KeyValues, *, visible: int) -> Tensor:
        """Return the logits of each row, (rows, vocabulary)."""
        columns, hidden = columns_of(rows, pool.table, visible=visible)
        mask: Any = self._additive(hidden)
        if self.windowed:
            i = torch.arange(visible, device=hidden.device)
            before = i <= rows.position[:, None] - self.model.config.sliding_window
            mask = {"full_attention": mask, "sliding_attention": self._additive(hidden | before)}
        output = self.model(
            input_ids=rows.token.long()[:, None],
            position_ids=rows.position.long()[:, None],
            attention_mask=mask,
            past_key_values=_Gathered(pool, rows.column.long(), columns),
            use_cache=True,
        )
        return output.logits[:, -1]

    def _additive(self, hidden: Tensor) -> Tensor:
        """Return a mask to add, made once for all layers; each would convert a boolean one."""
        mask = torch.zeros(hidden.shape, dtype=self.model.dtype, device=hidden.device)
        return mask.masked_fill_(hidden, float("-inf"))[:, None, None]


class _Gathered(NamedTuple):
    """The part of `transformers.Cache` that a model calls, over the pool."""

    pool: KeyValues
    column: Tensor
    """(rows,) where each row writes."""
    columns: Tensor
    """(rows, visible) what it reads."""

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one token per row, (rows, heads, 1, size) each; return what may be attended to."""
        both = []
        for stored, new in (
            (self.pool.keys[layer], keys),
            (self.pool.values[layer], values),
        ):
            stored[self.column] = new[:, :, 0]
            both.append(stored[self.columns].transpose(1, 2))
        return both[0], both[1]
