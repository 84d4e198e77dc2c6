"""What watches a finetune: its bar, its loss, and the reader's wish to stop."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from .. import ranks
from ..config import SettingError
from ..files import SUMS, write_sums
from ..progress import Bar

SAME_SECONDS = 1.0
"""One Ctrl-C may arrive twice: from the terminal, and passed on by the process that waits."""


class Progress(TrainerCallback):
    """Shows steps, loss and tokens per second; stops a run whose loss is not a number."""

    def __init__(self, title: str) -> None:
        """Name the bar after the model."""
        self.title = title

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin the bar, at the step that a resumed run has reached."""
        self.bar = Bar(total=state.max_steps, desc=f"Finetune {self.title}", unit="step")
        self.bar.update(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Move the bar to the step just logged."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        # The gradient too: it spoils the weights a step before the loss tells, and the checkpoint.
        for name, value in (("loss", loss), ("gradient", logs.get("grad_norm", 0.0))):
            if not math.isfinite(value):
                raise SettingError(
                    f"the {name} of {self.title} is {value} at step {state.global_step}: lower "
                    f"train.learning_rate; the checkpoints up to here are kept in {args.output_dir}"
                )
        speed = f", {logs['tokens'] / logs['seconds']:,.0f} tokens/s" if "seconds" in logs else ""
        self.bar.set_postfix_str(f"loss {loss:.3f}{speed}", refresh=False)
        self.bar.update(state.global_step - self.bar.n)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the bar where it stands."""
        self.bar.close()


class SaveOften(TrainerCallback):
    """Saves between evaluations too; the trainer alone would save where it evaluates."""

    def __init__(self, every: int) -> None:
        """Save every so many steps."""
        self.every = every

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save when it is time."""
        if state.global_step % self.every == 0:
            control.should_save = True


class Sums(TrainerCallback):
    """Writes the checksums of a checkpoint when it is whole: one without them was cut short."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Sum up the checkpoint just saved, by all processes that were launched together."""
        ranks.wait()
        if not ranks.is_main():
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        files = (path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
        write_sums(folder, (str(path.relative_to(folder)) for path in files))


class Interrupt(TrainerCallback):
    """Turns the first Ctrl-C into a checkpoint at the end of the step; a second one is obeyed.

    Processes that were launched together stop after the same step, whichever of them hears it.
    """

    wanted = False
    heard_at = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save and stop, if that is wished."""
        self.wanted = any(ranks.gather(self.wanted))
        if self.wanted:
            control.should_save = control.should_training_stop = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen for Ctrl-C; in a thread, where signals do not arrive, do nothing."""

        def hear(*_: Any) -> None:
            before, self.heard_at = self.heard_at, time.monotonic()
            if self.wanted and self.heard_at - before < SAME_SECONDS:
                return
            if self.wanted:
                raise KeyboardInterrupt
            self.wanted = True
            if ranks.is_main():
                print("stopping after this step; once more to stop at once", flush=True)

        try:
            before = signal.signal(signal.SIGINT, hear)
        except ValueError:  # not the main thread
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
