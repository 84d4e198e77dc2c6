"""A peer's script, unmodified, with some steps taken apart: kernels, copies, waiting.

Some steps are only timed; torch's profiler then sees the GPU alone for as many, and the host's
operators in one more. Prints one RESULT line of JSON after the script's own.
"""

import argparse
import json
import re
import runpy
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PARTS = {
    "copies": re.compile(r"^Mem(cpy|set)"),
    # A fused kernel is named after all that it touches, so its name must be read first.
    "other": re.compile(r"^triton_"),
    "attention": re.compile(r"flash|fmha|sdpa|cudnn::fusion"),
    "products": re.compile(r"gemm|nvjet|cutlass|cublas"),
    "unpacking": re.compile(r"dequant", re.IGNORECASE),
}
"""By part of a step, how the names of its kernels are told; the first that fits counts."""
DISCARDED = 2
"""Steps of a first trace, in which the profiler meets each kernel for the first time."""
LISTED, NAME = 12, 160
"""How many kernels and operators a result names, and by how many characters."""


class Span(NamedTuple):
    """Something that ran on the GPU, in microseconds of one clock."""

    name: str
    start: float
    end: float


class Call(NamedTuple):
    """An operator or a driver call on the host, in microseconds without what it called."""

    name: str
    own: float


def part_of(name: str) -> str:
    """Return the part that a kernel or copy belongs to, by its name; "other" where none fits.

    Example:
        >>> part_of("void pytorch_flash::flash_fwd_kernel<cutlass::bfloat16_t>")
        'attention'
    """
    return next((part for part, names in PARTS.items() if names.search(name)), "other")


def split(spans: Iterable[Span], *, wall: float) -> dict[str, float]:
    """Return microseconds by part, of which the sum is `wall`.

    Of two kernels that overlap the first to begin counts; a copy counts where no kernel runs, and
    "waiting" is where nothing does.
    """
    taken, end = Counter(dict.fromkeys((*PARTS, "waiting"), 0.0)), float("-inf")
    copies, kernels = [], []
    for span in sorted(spans, key=lambda span: span.start):
        (copies if part_of(span.name) == "copies" else kernels).append(span)
    for kernel in kernels:
        taken[part_of(kernel.name)] += max(0.0, kernel.end - max(kernel.start, end))
        end = max(end, kernel.end)
    taken["copies"] = _union([*kernels, *copies]) - _union(kernels)
    taken["waiting"] = wall - _union([*kernels, *copies])
    return dict(taken)


def _union(spans: Iterable[Span]) -> float:
    """Return for how long at least one of the spans runs."""
    total, end = 0.0, float("-inf")
    for span in sorted(spans, key=lambda span: span.start):
        total += max(0.0, span.end - max(span.start, end))
        end = max(end, span.end)
    return total


def longest(calls: Iterable[tuple[str, float]], *, steps: int) -> list[dict[str, Any]]:
    """Return the names that took longest: name, calls and seconds per step, seconds of one call."""
    by_name = defaultdict(list)
    for name, microseconds in calls:
        by_name[name].append(microseconds)
    first = sorted(by_name.items(), key=lambda entry: -sum(entry[1]))[:LISTED]
    return [
        {
            "name": name,
            "calls": len(times) / steps,
            "s": sum(times) / 1e6 / steps,
            "longest_s": max(times) / 1e6,
        }
        for name, times in first
    ]


def described(
    spans: Sequence[Span],
    calls: Sequence[Call],
    *,
    untraced: float,
    wall: float,
    host_wall: float,
    steps: int,
) -> dict[str, Any]:
    """Return what the two traces say: of the GPU over `steps` steps, of the host over one.

    Args:
        spans: What ran on the GPU.
        calls: What the host did.
        untraced: Seconds of as many steps that no profiler saw.
        wall: Seconds of the steps of `spans` together.
        host_wall: Seconds of the step of `calls`.
        steps: How many steps `spans` are of.

    Returns:
        untraced_step_s; step_s; parts, seconds by part of a step; launches per step; kernels and
        host, what took longest; host_step_s.
    """
    parts = split(spans, wall=1e6 * wall)
    return {
        "steps": steps,
        "untraced_step_s": untraced / steps,
        "step_s": wall / steps,
        "parts": {part: value / 1e6 / steps for part, value in parts.items()},
        "launches": len(spans) / steps,
        "kernels": [
            {**entry, "name": entry["name"][:NAME], "part": part_of(entry["name"])}
            for entry in longest(((s.name, s.end - s.start) for s in spans), steps=steps)
        ],
        "host_step_s": host_wall,
        "host": [{**entry, "name": entry["name"][:NAME]} for entry in longest(calls, steps=1)],
    }


class Trace:
    """One stretch of steps under torch's profiler, the step before it warming the profiler up."""

    def __init__(self, *, host: bool) -> None:
        from torch.profiler import ProfilerActivity, profile, schedule

        activities = [ProfilerActivity.CUDA, *([ProfilerActivity.CPU] if host else [])]
        self.profiler = profile(
            activities=activities, schedule=schedule(wait=0, warmup=1, active=1, repeat=1)
        )
        self.profiler.start()

    def begin(self) -> None:
        """End the profiler's warm-up; the steps count from here."""
        self.profiler.step()
        self.started = _now()

    def end(self) -> float:
        """Stop and return the seconds since `begin`."""
        wall = _now() - self.started
        self.profiler.step()
        self.profiler.stop()
        return wall

    def events(self, *, gpu: bool) -> list[Any]:
        """Return torch's events on one side, without the marks that programs set themselves."""
        from torch.autograd import DeviceType

        side = DeviceType.CUDA if gpu else DeviceType.CPU
        return [
            event
            for event in self.profiler.events()
            if event.device_type == side
            and not event.is_user_annotation
            and not event.name.startswith("ProfilerStep")
        ]


def _now() -> float:
    """Return the time at which the GPU has done all that it was given."""
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("a step is taken apart on an NVIDIA GPU, and there is none")
    torch.cuda.synchronize()
    return time.perf_counter()


def beside(steps: int) -> int:
    """Return how many steps a watch takes besides the `steps` that it takes apart.

    As many that are only timed, one before each of three traces, and what two of those see.
    """
    return steps + 3 + DISCARDED + 1


class Watch:
    """Takes some steps of a training apart: `steps` on the GPU alone, then one on both sides.

    Args:
        after: Optimiser steps to let pass first.
        steps: Steps to time, and as many to take apart; `beside` more are needed.
        trace: Starts a trace, as `Trace` does.
    """

    def __init__(self, *, after: int, steps: int, trace: Callable[..., Any] = Trace) -> None:
        self.steps, self.done = steps, 0
        self.result: dict[str, Any] | None = None
        self._course = self._watch(after, trace)
        next(self._course)

    def step_ended(self, *_: Any) -> None:
        """Be told after each optimiser step."""
        self.done += 1
        next(self._course, None)

    def _watch(self, after: int, trace: Callable[..., Any]) -> Iterator[None]:
        """Do what is due after each step; every `yield` is a step."""
        for _ in range(after):
            yield
        started = _now()
        for _ in range(self.steps):
            yield
        untraced = _now() - started
        walls, seen = [], []
        for host, steps in ((False, DISCARDED), (False, self.steps), (True, 1)):
            tracing = trace(host=host)
            yield
            tracing.begin()
            for _ in range(steps):
                yield
            walls.append(tracing.end())
            seen.append(tracing)
        spans = [
            Span(event.name, event.time_range.start, event.time_range.end)
            for event in seen[1].events(gpu=True)
        ]
        calls = [Call(event.name, event.self_cpu_time_total) for event in seen[2].events(gpu=False)]
        times = {"untraced": untraced, "wall": walls[1], "host_wall": walls[2]}
        self.result = described(spans, calls, **times, steps=self.steps)
        yield


def watch(*, after: int, steps: int) -> Watch:
    """Watch the next training of this process, by the steps of its optimiser.

    torch alone is imported: Unsloth wants to be imported before Transformers.
    """
    from torch.optim.optimizer import register_optimizer_step_post_hook

    watching = Watch(after=after, steps=steps)
    register_optimizer_step_post_hook(watching.step_ended)
    return watching


def main() -> None:
    """Run a script with its arguments under watch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--after", type=int, required=True, help="optimiser steps to let pass")
    parser.add_argument("--steps", type=int, required=True, help="steps to take apart")
    parser.add_argument("script", type=Path)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    watching = watch(after=options.after, steps=options.steps)
    sys.argv = [str(options.script), *options.arguments]
    runpy.run_path(str(options.script), run_name="__main__")
    # Without a result the script's own RESULT line stays the last: it says why, where it knows.
    if watching.result:
        print("RESULT", json.dumps({"breakdown": watching.result}), flush=True)


if __name__ == "__main__":
    main()
