"""`make run`: the main notebook executed into a record, whole with its sha256 or not at all."""

import nbformat
import pytest

from alpaca_lab import executed
from alpaca_lab.executed import NotebookError, execute
from alpaca_lab.store import Record
from alpaca_lab.verification import verify

pytestmark = pytest.mark.notebook


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that executes cells into a record, and the place of the result."""
    monkeypatch.setattr(executed, "ROOT", tmp_path)
    record = Record(tmp_path / "results" / "study")
    source, log = tmp_path / "source.ipynb", tmp_path / "kernel.log"

    def run(*cells, **parameters):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        notebook.metadata.language_info = {"name": "python"}
        notebook.cells[0].metadata.tags = ["parameters"]
        nbformat.write(notebook, source)
        execute(record, parameters, log=log, source=source)

    return run, record.notebook


def damaged(place):
    record = Record(place.parents[1])
    record.write_index({"spec": {}, "questions": 1, "runs": {}})
    record.write_questions([{"id": "q1"}])
    return [damage.path for damage in verify(record)[1]]


def test_executed_notebook_has_its_parameters_and_its_sum(run, capfd):
    execute_cells, place = run
    execute_cells(
        "NAME = ''", "import os\nprint(NAME)\nos.write(2, b'from the kernel')", NAME="1e5"
    )
    shown = nbformat.read(place, 4).cells[-1].outputs[0].text
    assert shown == "1e5\n", "text, whatever it looks like"
    said = capfd.readouterr().err
    assert "\n1e5\n" in said.replace("\r", "\n") and "Executing Cell" not in said
    assert "from the kernel" in (place.parents[3] / "kernel.log").read_text()
    assert damaged(place) == []
    place.write_text(place.read_text().replace("1e5", "2e5"))
    assert damaged(place) == [place]


def test_terminal_of_make_run_obeys_nothing_that_a_cell_prints(run, capfd):
    run[0]("x = 1", r"print('a\x1b[31m red', 'b\u202e', sep='\n\n')")
    said = capfd.readouterr().err
    assert "a␛[31m red\nb" in said and "\x1b[31m" not in said and "\u202e" not in said


def test_cell_that_fails_in_one_sentence_ends_in_it_and_leaves_no_sum(run):
    execute_cells, place = run
    execute_cells("x = 1")
    refuses = "from alpaca_lab.config import SettingError\nraise SettingError('no such file: x')"
    with pytest.raises(NotebookError, match=r"^no such file: x \(cell 2 of .*ipynb\)$"):
        execute_cells("x = 1", refuses)
    assert "no such file: x" in place.read_text()
    assert damaged(place) == [], "what failed is not compared"


def test_mistake_of_ours_keeps_its_traceback(run):
    from papermill import PapermillExecutionError

    with pytest.raises(PapermillExecutionError, match="ZeroDivisionError"):
        run[0]("x = 1", "1 / 0")


def test_kernel_that_dies_is_said_with_its_log(run):
    with pytest.raises(NotebookError, match=r"the kernel of .* died.*kernel\.log"):
        run[0]("x = 1", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
