"""TRL's trainer, given whole optimiser steps: it splits a step into passes that fit this card.

One item of its dataset is one optimiser step, a list of row numbers. So a step's loss is the mean
over its response tokens however many passes it takes, and when the memory runs out the step begins
again with passes of half the size: the effective batch never changes.

Nor does it where several processes were launched together: each sees every step, takes its part of
the rows, and what they find is added up once a step, through Accelerate. Accelerate wraps the model
for PyTorch's DDP, which begins them all with the same weights. Beyond that DDP has nothing to do:
it adds up in the last backward pass, of which all processes would have to run equally many.
"""

import gc
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl import SFTTrainer

from .. import batches, ranks
from ..config import SettingError
from ..encoding import IGNORED
from ..endings import is_out_of_memory
from ..files import damaged
from ..progress import say
from .layouts import EncodedRow, Layout

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader


class StepTrainer(SFTTrainer):
    """An `SFTTrainer` whose batch is a whole optimiser step."""

    def __init__(
        self,
        *,
        layout: Layout,
        rows: Sequence[EncodedRow | None],
        validation: Sequence[EncodedRow],
        room: int,
        longest: int,
        **arguments: Any,
    ) -> None:
        """Set up training.

        Args:
            layout: How rows become passes, and a pass a loss.
            rows: The training rows that the steps name; None where a prompt left no room.
            validation: The validation rows.
            room: Most tokens in a pass at first.
            longest: Below this many tokens a pass cannot be halved.
            arguments: As for `SFTTrainer`.
        """
        super().__init__(**arguments)
        self.layout, self.rows, self.validation = layout, rows, validation
        self.room, self.longest = room, longest
        self.halvings: list[int] = []
        self.facts: dict[str, float] = {}
        # SFTTrainer rounds the adapter to bfloat16, where a step of 2e-4 is lost on a weight of
        # .1; the products run in 16 bits all the same.
        for weight in self.model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()

    def training_step(
        self, model: "nn.Module", inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> "torch.Tensor":
        """Run the passes of one optimiser step; return its loss per response token."""
        started = time.perf_counter()
        model.train()
        rows = [self.rows[i] for i in inputs["rows"]]
        rows = [row for row in rows if row is not None]
        loss = None
        while loss is None:
            loss = self._step(_share(rows), responses=_responses(rows))
            if loss is None:
                self._halve(model)
        self.facts |= {"tokens": sum(len(row["input_ids"]) for row in rows), "started": started}
        return self._sum_up(loss)

    def _step(self, rows: list[EncodedRow], *, responses: int) -> "torch.Tensor | None":
        """Run the passes of some rows forward and backward; None when the memory ran out.

        Args:
            rows: Those of this process.
            responses: Response tokens of the whole step, which share its loss.
        """
        import torch

        passes = self.layout.passes(rows, room=self.room)
        total = torch.zeros((), device=self.args.device)
        try:
            for part in passes:
                with self.compute_loss_context_manager():
                    loss = self.layout.loss(part) / responses
                self.accelerator.backward(loss)
                total += loss.detach()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None
        self.facts["passes"] = len(passes)
        return total

    def _sum_up(self, loss: "torch.Tensor") -> "torch.Tensor":
        """Add up what the processes found of a step: gradients in place, passes, and the loss."""
        import torch

        if ranks.count() == 1:
            return loss
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        for weight in weights:  # a step of fewer rows than processes leaves one without a gradient
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        passes = loss.new_tensor(self.facts["passes"])
        parts = [*(weight.grad for weight in weights), loss, passes]
        # In one piece: over a network, each message costs.
        total = ranks.add_up(torch.cat([part.flatten() for part in parts]))
        for part, found in zip(parts, total.split([part.numel() for part in parts]), strict=True):
            part.copy_(found.view_as(part))
        self.facts["passes"] = int(passes)
        return loss

    def _halve(self, model: "nn.Module") -> None:
        """Make room in memory for the step to begin again, with passes of half the size."""
        import torch

        if self.room <= self.longest:
            raise SettingError(
                f"the memory does not hold a pass of {self.room} tokens: set resources.recompute=1,"
                " or lower train.max_length"
            )
        model.zero_grad()
        gc.collect()
        torch.cuda.empty_cache()
        self.room = max(self.room // 2, self.longest)
        self.halvings.append(self.state.global_step + 1)
        say(
            f"out of memory at step {self.halvings[-1]}: passes of {self.room} tokens from here "
            "on, the same rows per step"
        )

    def get_train_dataloader(self) -> "DataLoader":
        """Return the steps, all of them in every process: Accelerate's would deal them out."""
        from torch.utils.data import DataLoader

        return DataLoader(self.train_dataset, batch_size=1, collate_fn=self.data_collator)

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Return the validation loss, the mean over all response tokens of all rows."""
        self.model.eval()
        nats = None
        while nats is None:
            nats = self._validation_nats()
            if nats is None:
                self._halve(self.model)
        nats = sum(ranks.gather(nats))
        tokens = _responses(self.validation)
        if not math.isfinite(nats):
            raise SettingError(
                f"the validation loss is {nats} at step {self.state.global_step}: lower "
                f"train.learning_rate; the checkpoints so far are kept in {self.args.output_dir}"
            )
        metrics = {f"{metric_key_prefix}_loss": nats / tokens}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _validation_nats(self) -> float | None:
        """Return the summed loss of the validation rows; None when the memory ran out."""
        import torch

        nats = torch.zeros((), device=self.args.device)
        try:
            with torch.no_grad(), self.compute_loss_context_manager():
                for part in self.layout.passes(_share(self.validation), room=self.room):
                    nats += self.layout.loss(part)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None
        return nats.item()

    def _load_best_model(self) -> None:
        """Load the best checkpoint; Transformers would warn of a lost one, and keep the last."""
        best = Path(self.state.best_model_checkpoint or "")
        wrong = damaged(best)
        if wrong:
            raise SettingError(
                f"{wrong[0]} of the best checkpoint is damaged or gone: run again, the finetune "
                "goes on from the last whole checkpoint before it"
            )
        super()._load_best_model()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, and beside a step's loss what the step took."""
        import torch

        if "loss" in logs and "started" in self.facts:
            logs |= {
                "tokens": self.facts["tokens"],
                "seconds": round(time.perf_counter() - self.facts["started"], 4),
                "passes": self.facts["passes"],
            }
            if torch.cuda.is_available():
                logs["gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 3)
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: the count that Transformers makes needs a padded batch."""
        return 0


def _share(rows: Sequence[EncodedRow]) -> list[EncodedRow]:
    """Return the rows that this process takes, in their order: all, where it is alone."""
    lengths = [len(row["input_ids"]) for row in rows]
    return [rows[i] for i in sorted(batches.share(lengths, count=ranks.count())[ranks.rank()])]


def _responses(rows: Sequence[EncodedRow]) -> int:
    """Return how many tokens carry loss."""
    return sum(label != IGNORED for row in rows for label in row["labels"])
