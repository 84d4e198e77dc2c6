"""A model, its pool of columns, and its step.

A step reads B tokens, one in each row, and says what follows each. A row is nothing but a token,
its place in its text, and where that text's earlier tokens lie in the pool; so a prompt's tokens,
the newest token of an answer and a beam of a search are all rows alike, and share a step.

On a GPU a step's kernels are captured once for each of a few sizes as a CUDA graph and replayed:
the host writes one small array and asks for a replay. What was drawn stays on the GPU too, where
the next step finds it, so the host may ask for that step before it has read the last one's tokens,
and the GPU never waits for it. On a CPU all steps have all rows, used or not, so that a row's
arithmetic is the same in each of them.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..packed.attention import Heads
from ..weights.architectures import layer_types
from .columns import Columns
from .forward import KeyValues, forward_of
from .rows import RowBuffer, Rows
from .sampling import next_tokens
from .steps import neighbours

SMALLEST = 16
"""Rows of the smallest step on a GPU: fewer take no less time."""
Read = Callable[[], list[NDArray[Any]]]
"""Waits for a step, and returns what it computed; valid until the step after the next."""
VISIBLE = 64
"""Off the GPU, the columns that a step looks at are a multiple of this."""


class Engine:
    """A model that steps over rows. One caller at a time."""

    def __init__(self, model: Any, *, rows: int, columns: int) -> None:
        """Take a model, whose joined weights it may lay side by side, and make the pool.

        Args:
            model: A causal language model of Transformers in eval mode, on any device.
            rows: Most rows of a step, B >= 1.
            columns: Columns of the pool, one per token that is remembered, and one for nobody.
        """
        self.rows, self.limit = rows, context_of(model.config)
        self.vocabulary = model.get_output_embeddings().weight.shape[0]
        # Weights are joined first: for a moment, a layer's are there twice.
        self.forward = forward_of(model)
        # Every row may be an answer, each of another prompt; one more prompt may be on its way.
        self.sequences = 2 * rows + 1
        table = torch.zeros(self.sequences + 1, self.limit, dtype=torch.int32, device=model.device)
        self.columns = Columns(columns, sequences=self.sequences, length=self.limit)
        self.pool = KeyValues.empty(model, columns=columns, table=table)
        self.last = torch.zeros(self.sequences + 1, dtype=torch.int32, device=model.device)
        """The token that each sequence drew last."""
        together = neighbours(Heads.of(model.config))
        self.batch = RowBuffer(rows, together=together, trash=self.sequences, device=model.device)
        self.graphs = model.device.type == "cuda" and self.forward.is_static
        self.sizes = self._sizes()
        self.warm_up_s = 0.0
        self.size = 0
        """Rows of the last step, used or not."""
        # One for all captures: the libraries keep a workspace for each stream they have seen.
        self._side = torch.cuda.Stream() if self.graphs else None
        self._captured: dict[tuple, tuple] = {}
        self._memory: Any = None

    def reset(self) -> None:
        """Make all columns free, whoever had them."""
        self.columns.reset()

    def _sizes(self) -> list[int]:
        """Return the sizes of a step, ascending: powers of 2, the halves between, and all rows."""
        if not self.graphs:
            return [self.rows]
        powers = [SMALLEST << n for n in range(16)]
        sizes = sorted([*powers, *(size * 3 // 2 for size in powers)])
        return [*(size for size in sizes if size < self.rows), self.rows]

    @property
    def ahead(self) -> int:
        """How many steps may be asked for before the tokens of the first are read."""
        return 1 if self.graphs else 0

    def draw(self, *, max_top_k: int) -> Read:
        """Step, and return what waits for the tokens: one after each row, -1 where undefined.

        Args:
            max_top_k: No row's top_k is larger.
        """

        def drawn(rows: Rows, visible: int) -> tuple[Tensor, ...]:
            logits = self._advance(rows, visible)
            tokens = next_tokens(
                logits,
                temperature=rows.temperature,
                top_k=rows.top_k.long(),
                greedy=rows.temperature == 0,
                keys=(rows.key_high.long() << 32) | (rows.key_low.long() & 0xFFFFFFFF),
                positions=rows.index.long(),
                max_top_k=max_top_k,
            )
            self.last[rows.sequence.long()] = tokens.int()
            return (tokens,)

        return self._step(drawn, ("draw", max_top_k))

    def expand(self, *, num_beams: int) -> Read:
        """Step, and return what waits for the best continuations of each group of beams.

        Args:
            num_beams: Beams of a group; the batch begins with whole groups.

        Returns:
            For each group that a batch of this size could hold, (groups, 2 num_beams), descending:
            scores, log probabilities summed, and places among num_beams x vocabulary. NaN where
            logits are undefined.
        """

        def expanded(rows: Rows, visible: int) -> tuple[Tensor, ...]:
            # A beam goes on from the columns of the beam that it was chosen from.
            table = self.pool.table
            table[rows.sequence.long()] = table[rows.parent.long()]
            groups = len(rows.token) // num_beams
            beams = groups * num_beams
            logits = self._advance(rows, visible)[:beams]
            scores = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
            scores += rows.score[:beams, None]
            return tuple(scores.view(groups, -1).topk(2 * num_beams))

        return self._step(expanded, ("expand", num_beams))

    def _advance(self, rows: Rows, visible: int) -> Tensor:
        """Record where the rows' tokens go, and return their logits."""
        table = self.pool.table
        table[rows.sequence.long(), rows.position.long()] = rows.column
        token = torch.where(rows.token < 0, self.last[rows.sequence.long()], rows.token)
        return self.forward(rows._replace(token=token), self.pool, visible=visible)

    def _step(self, compute: Callable[[Rows, int], tuple[Tensor, ...]], key: tuple) -> Read:
        """Send the batch, compute, and return what waits for what was computed."""
        self.size = next(size for size in self.sizes if size >= self.batch.filled)
        with torch.inference_mode():
            if not self.graphs:
                self.batch.send(self.size)
                visible = min(-(-self.batch.longest() // VISIBLE) * VISIBLE, self.limit)
                found = compute(self.batch.rows(self.size), visible)
                return lambda: [part.cpu().numpy() for part in found]
            if (key, self.size) not in self._captured:
                # Those of another kind of step go first, and with them the memory that they hold.
                self._captured.clear()
                self._memory = None
                torch.cuda.empty_cache()
                for size in self.sizes:  # all at once: no later step waits for a compiler
                    self._captured[key, size] = self._capture(compute, size)
            graph, found, hosts = self._captured[key, self.size]
            self.batch.send(self.size)
            graph.replay()
            hosts.reverse()  # the tokens of the step before may not have been read
            for there, here in zip(found, hosts[0], strict=True):
                here.copy_(there, non_blocking=True)
            done, host = torch.cuda.Event(), hosts[0]
            done.record()

        def read() -> list[NDArray[Any]]:
            done.synchronize()
            return [part.numpy() for part in host]

        return read

    def _capture(
        self, compute: Callable[[Rows, int], tuple[Tensor, ...]], size: int
    ) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], list[list[Tensor]]]:
        """Record the kernels of a step of `size` rows; return them, what they leave, and where."""
        began = perf_counter()
        self.batch.send_nobody()
        rows, side = self.batch.rows(size), self._side
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):  # the first compiles, the second finds everything in place
                compute(rows, self.limit)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory, stream=side):
            found = compute(rows, self.limit)
        self._memory = self._memory or graph.pool()
        hosts = [
            [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in found] for _ in range(2)
        ]
        self.warm_up_s += perf_counter() - began
        return graph, found, hosts


def context_of(config: Any) -> int:
    """Return the tokens that a model attends to: its context, or its window where that is less.

    A model that says layer by layer which attend to a window has masks for them (`PlainForward`).
    """
    context = config.max_position_embeddings
    if layer_types(config):
        return context
    return min(context, getattr(config, "sliding_window", None) or context)
