"""master_file.ipynb, executed into a study's record: what `make run` does.

It stands in notebook/, beside the tables that it shows, and has its sha256 once it is whole.
"""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from . import locks
from .characters import visible
from .config import ROOT
from .endings import OneSentence
from .files import SUMS, write_sums
from .progress import Bar
from .store import Record

SOURCE = ROOT / "master_file.ipynb"
SILENT = ("Input Notebook", "Output Notebook", "Working directory", "Executing notebook",
          "Executing Cell", "Ending Cell", "<IPython", "<pandas")  # fmt: skip
"""How lines of papermill begin that tell a terminal nothing: its bar counts cells, and what a cell
shows is in the file."""


class NotebookError(OneSentence, RuntimeError):
    """A cell ended in an error that has said all, or the kernel died."""


def execute(
    record: Record, parameters: Mapping[str, str], *, log: Path, source: Path = SOURCE
) -> None:
    """Execute the notebook, its output and a bar on standard error.

    The file is written after each cell, and what the stages have finished is kept.

    Args:
        record: The study's record.
        parameters: Values for names of the cell that is tagged "parameters".
        log: Takes what the kernel's process prints beside its cells.
        source: The notebook.

    Raises:
        NotebookError: If a cell fails in one sentence, or the kernel dies.
        papermill.PapermillExecutionError: If a cell fails with a traceback: a mistake of ours.
    """
    from nbclient.exceptions import DeadKernelError
    from papermill import PapermillExecutionError, execute_notebook

    path = record.notebook
    with locks.held(path.parent / ".lock", f"executing {path}"):
        (path.parent / SUMS).unlink(missing_ok=True)
        try:
            with _kernel_prints_to(log):
                execute_notebook(
                    source, path, dict(parameters), kernel_name="python3", cwd=ROOT, log_output=True
                )
        except PapermillExecutionError as error:
            if len(error.traceback) > 1:
                raise
            raise NotebookError(f"{error.evalue} (cell {error.exec_count} of {path})") from None
        except DeadKernelError:
            raise NotebookError(
                f"the kernel of {path} died, perhaps for lack of memory (log: {log}); what was "
                "finished is kept, run the same command again"
            ) from None
        write_sums(path.parent, [path.name])


class _AboveTheBar(logging.Handler):
    """Prints what the cells print, above the bar; it may be a model's text."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one output of a cell."""
        text = record.getMessage()
        lines = [visible(line) for line in text.splitlines() if line.strip()]
        if lines and not text.startswith(SILENT):
            Bar.write("\n".join(lines), file=sys.stderr)


@contextmanager
def _kernel_prints_to(log: Path) -> Iterator[None]:
    """Let the processes that start now print their errors to a log; papermill speaks on here.

    A kernel that is stopped says so in tracebacks of its own.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    usual, papermill = sys.stderr, logging.getLogger("papermill")
    terminal = os.dup(2)
    with log.open("wb") as file, os.fdopen(terminal, "w", 1, errors="backslashreplace") as here:
        os.dup2(file.fileno(), 2)
        speaker = _AboveTheBar()
        papermill.addHandler(speaker)
        papermill.setLevel(logging.INFO)
        sys.stderr = here  # the bar's
        try:
            yield
        finally:
            sys.stderr = usual
            papermill.removeHandler(speaker)
            os.dup2(terminal, 2)
