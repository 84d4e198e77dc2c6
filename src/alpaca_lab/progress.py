"""One progress bar for three places: a terminal, a notebook, a stage in a process of its own.

A saved notebook must show the finished bar, so in a notebook it is one HTML line updated in place:
a widget would be saved as "0%" or as an error. A stage's process writes its bar as JSON lines,
which `study` reads and draws where the reader is.
"""

import json
import os
import sys
from dataclasses import dataclass
from html import escape
from typing import Any

import tqdm.std

PIPE_VARIABLE = "ALPACA_LAB_PROGRESS"
"""Set to "json" in the environment of a stage whose parent draws its bar."""
MARK = "\x01progress "
"""Starts a line of standard output that is a bar's state and not text."""
STATE = ("n", "total", "prefix", "unit", "postfix", "bar_format")
"""What a bar's state is, by the names of `tqdm`."""


def in_notebook() -> bool:
    """Return True inside a Jupyter kernel (also Colab's and papermill's)."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


def say(text: str) -> None:
    """Tell the reader something, above the bars: a warning, or who is waited for.

    What a stage prints goes to its log alone; what it says is seen where its bar is. Of processes
    that were launched together, all but the first say who they are.
    """
    text = f"[rank {_rank()}] {text}" if _rank() else text
    if os.environ.get(PIPE_VARIABLE) == "json":
        print(MARK + json.dumps({"say": text}), flush=True)
    elif in_notebook():
        print(text, flush=True)
    else:
        Bar.write(text, file=sys.stderr)  # standard output may be a table for a machine


def said(line: str) -> str | None:
    """Return what a stage says in a `MARK` line; None where the line is its bar's state."""
    return json.loads(line.removeprefix(MARK)).get("say")


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


class Bar(tqdm.std.tqdm):
    """A `tqdm` bar that knows where its reader is. Use it as `tqdm.tqdm`.

    Of processes that were launched together, the first draws its bar for all.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of `tqdm.tqdm`."""
        self._handle = None
        self._piped = os.environ.get(PIPE_VARIABLE) == "json"
        quiet = {"disable": True} if _rank() else {}
        super().__init__(*args, **{"mininterval": 0.5, "dynamic_ncols": True} | kwargs | quiet)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar's present state."""
        if self._piped:
            state = {name: self.format_dict[name] for name in STATE}
            print(MARK + json.dumps(state), flush=True)
        elif in_notebook():
            self._display_html()
        else:
            super().display(msg, pos)

    def _display_html(self) -> None:
        from IPython.display import display

        # No spinner, no script: the line survives in a saved notebook and on GitHub.
        text = escape(str(self).split("|")[-1].strip() if self.total else str(self))
        bar = f'<progress value="{self.n}" max="{self.total or 1}"></progress>'
        line = _Line(html=f"<code>{escape(self.desc or '')} {bar} {text}</code>", text=str(self))
        if self._handle is None:
            self._handle = display(line, display_id=True)
        else:
            self._handle.update(line)

    def close(self) -> None:
        """Draw the final state; in a notebook and in a pipe nothing is erased."""
        if (self._piped or in_notebook()) and not self.disable:
            self.disable = True
            self.display()
            with self._lock:
                self._instances.discard(self)
            return
        super().close()


@dataclass(frozen=True)
class _Line:
    """A bar's state as a notebook shows it, and as a log of the notebook's run does."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def redraw(bar: Bar | None, line: str) -> Bar:
    """Return the bar that shows the state in `line`, a `MARK` line of a stage's output.

    Args:
        bar: The bar drawn so far; a new one is begun when the stage began a new one.
        line: The line, starting with `MARK`.
    """
    state = json.loads(line.removeprefix(MARK))
    description = state["prefix"].removesuffix(": ")
    if (
        bar is None
        or (bar.desc or "").removesuffix(": ") != description
        or bar.total != state["total"]
    ):
        if bar is not None:
            bar.close()
        bar = Bar(
            total=state["total"],
            desc=description,
            unit=state["unit"] or "it",
            initial=state["n"],
            bar_format=state["bar_format"],
        )
    if state["postfix"]:
        bar.set_postfix_str(state["postfix"], refresh=False)
    bar.update(state["n"] - bar.n)
    if bar.n == bar.total:
        bar.refresh()
    return bar
