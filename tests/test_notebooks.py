"""Notebooks drive and display: short cells, no logic, outputs of one clean run."""

import ast
import json
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted([ROOT / "master_file.ipynb", *(ROOT / "notebooks").glob("*.ipynb")])
LOGIC = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Try, ast.While, ast.For)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path):
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def python_of(cell):
    """A cell's Python, with the shell and magic lines of the Colab cell left out."""
    lines = "".join(cell["source"]).splitlines()
    return "\n".join("    pass" if line.strip()[:1] in ("!", "%") else line for line in lines)


pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_cells_call_and_show_and_hold_no_logic(path):
    for cell in code_cells(path):
        for node in ast.walk(ast.parse(python_of(cell))):
            assert not isinstance(node, LOGIC), python_of(cell)


def test_cells_are_short(path):
    lengths = [len("".join(cell["source"]).splitlines()) for cell in code_cells(path)]
    assert max(lengths) <= 15
    assert statistics.median(lengths) <= 4


def test_one_cell_holds_the_parameters(path):
    tagged = [cell for cell in code_cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    for node in ast.parse(python_of(tagged[0])).body:
        assert isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)


def test_outputs_are_of_one_clean_run(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    errors = [out for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]
    assert not errors
    warned = [
        out["text"] for cell in cells for out in cell["outputs"] if out.get("name") == "stderr"
    ]
    assert not warned


def test_file_is_small_and_holds_no_widget_state(path):
    assert path.stat().st_size < 1_000_000
    assert "widgets" not in read(path)["metadata"]
    kinds = {
        kind for cell in code_cells(path) for out in cell["outputs"] for kind in out.get("data", {})
    }
    assert not any("widget" in kind for kind in kinds)


def test_no_path_of_a_machine_and_no_token_is_shown(path):
    text = path.read_text(encoding="utf-8")
    for trace in (str(ROOT), str(Path.home()) + "/", "hf_"):
        found = text.replace("hf_transfer", "").count(trace)
        assert not found, f"{trace} stands in {path.name}"


def test_nothing_touches_the_import_path(path):
    assert "sys.path" not in path.read_text(encoding="utf-8")


def test_first_cell_says_what_for_on_which_machine_and_how_long(path):
    first = "".join(read(path)["cells"][0]["source"])
    assert len(first.splitlines()[0]) > len("# 01 · ") + 20
    assert re.search(r"\b(CPU|GPU|laptop)\b", first)
    assert re.search(r"\b(seconds|minutes?|evening)\b", first, re.IGNORECASE)


def test_there_is_one_way_to_install_on_colab_and_it_comes_first(path):
    first = "".join(code_cells(path)[0]["source"])
    assert "colab-badge.svg" in "".join(read(path)["cells"][0]["source"])
    assert first == "".join(code_cells(ROOT / "master_file.ipynb")[0]["source"])
    assert 'run_path("src/alpaca_lab/install.py", run_name="__main__")' in first
