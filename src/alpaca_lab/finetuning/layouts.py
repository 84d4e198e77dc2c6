"""Two ways to lay rows out for a forward pass: end to end, or padded to the longest.

Both return the same summed loss for the same rows. Rows end to end are the fast way, for the
architectures that `packed` knows; any other model runs padded, through its own forward pass.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from .. import batches
from ..config import LoraSpec
from ..encoding import IGNORED
from ..memory import Shape
from ..weights import architectures

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

EncodedRow = dict[str, list[int]]

NF4_BLOCK = 64
"""Weights that share a scale: packed layers lie side by side, and no block may reach across two."""


class Layout(Protocol):
    """How rows become passes, and a pass a loss."""

    name: str

    def passes(self, rows: Sequence[EncodedRow], *, room: int) -> list[list[EncodedRow]]:
        """Split the rows of a step into passes of at most `room` tokens."""

    def loss(self, rows: Sequence[EncodedRow]) -> "Tensor":
        """Return the summed negative log-likelihood of the response tokens, in nats."""


def why_not_packed(
    config: "PretrainedConfig", *, targets: Sequence[str], lora: LoraSpec, max_length: int
) -> str | None:
    """Return why a model cannot be trained on packed rows, or None when it can."""
    reason = architectures.why_plain(config)
    if reason is not None:
        return reason
    window = getattr(config, "sliding_window", None)
    if window is not None and window < max_length:
        return f"its attention window of {window} is shorter than max_length"
    if lora.dropout > 0:
        return "LoRA dropout is above 0"
    linears = architectures.LINEARS[config.model_type]
    if set(targets) != set(linears):
        return f"LoRA is not on all {len(linears)} layers of a block"
    sizes = Shape.from_config(vars(config)).linears().values()
    if any(inputs * outputs % NF4_BLOCK for inputs, outputs in sizes):
        return f"its matrices do not fill NF4's blocks of {NF4_BLOCK} weights"
    return None


class Packed:
    """Rows end to end; nothing is padded, and attention never crosses from row to row."""

    name = "packed"

    def __init__(self, model: "PreTrainedModel", *, recompute: float) -> None:
        """Read the model's tensors.

        Args:
            model: A PEFT model over NF4, of an architecture that `why_not_packed` admits.
            recompute: Share of the blocks that run forward again in the backward pass.
        """
        from ..packed.model import PackedModel

        blocks = model.config.num_hidden_layers
        self.model = PackedModel(model, recomputed=round(recompute * blocks))

    def passes(self, rows: Sequence[EncodedRow], *, room: int) -> list[list[EncodedRow]]:
        """Split rows into evenly filled passes of at most `room` tokens."""
        parts = batches.pack([len(row["input_ids"]) for row in rows], room=room)
        return [[rows[i] for i in part] for part in parts]

    def loss(self, rows: Sequence[EncodedRow]) -> "Tensor":
        """Return the summed loss of one pass."""
        from ..packed.model import lay_out

        return self.model.loss(lay_out(rows, device=self.model.device))


class Padded:
    """Rows of about one length side by side, through the model's own forward pass."""

    name = "padded"

    def __init__(self, model: "PreTrainedModel", *, pad_token_id: int) -> None:
        """Take a model and the token that fills the ends of rows."""
        self.model, self.pad = model, pad_token_id

    def passes(self, rows: Sequence[EncodedRow], *, room: int) -> list[list[EncodedRow]]:
        """Split rows into passes of at most `room` tokens, padding counted."""
        parts = batches.pad([len(row["input_ids"]) for row in rows], room=room)
        return [[rows[i] for i in part] for part in parts]

    def loss(self, rows: Sequence[EncodedRow]) -> "Tensor":
        """Return the summed loss of one pass."""
        import torch

        longest = max(len(row["input_ids"]) for row in rows)
        device = self.model.device

        def filled(name: str, filler: int) -> torch.Tensor:
            lines = [row[name] + [filler] * (longest - len(row[name])) for row in rows]
            return torch.tensor(lines, device=device)

        mask = [[1] * len(row["input_ids"]) for row in rows]
        outputs = self.model(
            input_ids=filled("input_ids", self.pad),
            attention_mask=torch.tensor(
                [line + [0] * (longest - len(line)) for line in mask], device=device
            ),
            labels=filled("labels", IGNORED),
            use_cache=False,
            num_items_in_batch=1,
        )
        return outputs.loss
