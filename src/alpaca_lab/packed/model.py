"""A PEFT model read as a packed one: its own tensors, another way through them."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Heads, Rows
from .blocks import Block, LlamaBlock, Norm, PhiBlock, step
from .elementwise import Turn
from .linear import LoraGroup, refresh
from .loss import response_loss


class Pass(NamedTuple):
    """Whole rows laid end to end, for one forward and backward pass."""

    ids: Tensor
    """(tokens,) token ids."""
    positions: Tensor
    """(tokens,) each token's place in its own row."""
    starts: Tensor
    """(rows + 1,) int32: the first token of each row, and the end of the last."""
    lengths: tuple[int, ...]
    """Tokens of each row."""
    predicting: Tensor
    """(n,) which tokens predict a response token."""
    targets: Tensor
    """(n,) the tokens that they are to predict."""


def lay_out(rows: Sequence[dict[str, list[int]]], *, device: torch.device) -> Pass:
    """Lay encoded rows end to end.

    Args:
        rows: Each with `input_ids` and `labels`, -100 where a token carries no loss.
        device: Where the tensors go.
    """
    lengths = tuple(len(row["input_ids"]) for row in rows)
    labels = torch.tensor([label for row in rows for label in [*row["labels"][1:], -100]])
    predicting = (labels != -100).nonzero()[:, 0]
    tensors = [
        torch.tensor([i for row in rows for i in row["input_ids"]]),
        torch.cat([torch.arange(n) for n in lengths]),
        torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32),
        predicting,
        labels[predicting],
    ]
    if device.type == "cuda":
        tensors = [t.pin_memory().to(device, non_blocking=True) for t in tensors]
    ids, positions, starts, predicting, targets = tensors
    return Pass(ids, positions, starts, lengths, predicting, targets)


class PackedModel:
    """The passes of a LLaMA, Mistral, Qwen2 or Phi with NF4 weights and LoRA, over packed rows."""

    def __init__(self, model: nn.Module, *, recomputed: int = 0) -> None:
        """Read a PEFT model's tensors; the weights are not copied.

        Args:
            model: A PEFT model over a causal language model in NF4.
            recomputed: How many blocks keep their input alone and run forward again in the
                backward pass; the others keep the outputs of their products.
        """
        causal = model.get_base_model()
        base = causal.model
        self.embedding, self.head = base.embed_tokens.weight, causal.lm_head
        self.device = self.embedding.device
        self.final_norm, self.blocks = _read(causal)
        self.groups = [group for block in self.blocks for group in block.groups()]
        self.frequencies = _frequencies(causal.config).to(self.device)
        self.recomputed = recomputed

    def loss(self, batch: Pass) -> Tensor:
        """Return the summed negative log-likelihood of the response tokens, in nats."""
        with torch.autocast(batch.ids.device.type, enabled=False):
            refresh(self.groups)
            turn = Turn.of(batch.positions, self.frequencies)
            rows = Rows(batch.starts, batch.lengths, turn)
            x = F.embedding(batch.ids, self.embedding)
            for index, block in enumerate(self.blocks):
                x = step(block, x, rows, keep=index >= self.recomputed)
            hidden = self.final_norm(x[batch.predicting])
            return response_loss(hidden, self.head.weight, self.head.bias, batch.targets)


def _frequencies(config: Any) -> Tensor:
    """Return the rotary frequencies, (rotated dimensions / 2,), float32."""
    rope = config.rope_parameters
    if rope.get("rope_type", "default") != "default":
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        return ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, torch.device("cpu"))[0]
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rotated = int(head_dim * rope.get("partial_rotary_factor", 1.0))
    return rope["rope_theta"] ** -(torch.arange(0, rotated, 2).float() / rotated)


def _read(causal: nn.Module) -> tuple[Norm, list[Block]]:
    """Return the last norm and the blocks."""
    config, base = causal.config, causal.model
    dtype = base.embed_tokens.weight.dtype
    heads = Heads.of(config)

    def group(layer: nn.Module, *names: str) -> LoraGroup:
        return LoraGroup([layer.get_submodule(name) for name in names], dtype=dtype)

    if config.model_type == "phi":
        norm = partial(_norm, eps=config.layer_norm_eps)
        return norm(base.final_layernorm), [
            PhiBlock(
                input_norm=norm(layer.input_layernorm),
                qkv=group(layer, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                dense=group(layer, "self_attn.dense"),
                fc1=group(layer, "mlp.fc1"),
                fc2=group(layer, "mlp.fc2"),
                heads=heads,
            )
            for layer in base.layers
        ]
    norm = partial(_norm, eps=config.rms_norm_eps)
    return norm(base.norm), [
        LlamaBlock(
            input_norm=norm(layer.input_layernorm),
            qkv=group(layer, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            o=group(layer, "self_attn.o_proj"),
            post_norm=norm(layer.post_attention_layernorm),
            gate_up=group(layer, "mlp.gate_proj", "mlp.up_proj"),
            down=group(layer, "mlp.down_proj"),
            heads=heads,
        )
        for layer in base.layers
    ]


def _norm(module: nn.Module, *, eps: float) -> Norm:
    return Norm(module.weight, getattr(module, "bias", None), eps)
