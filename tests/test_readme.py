"""What stands between two markers of a README is a table, and the rest is left alone."""

import json

import pytest

from alpaca_lab.config import ROOT
from alpaca_lab.files import RecordError
from alpaca_lab.pages.readme import fill, names

TEXT = """# A project

<!-- table: smoke/main -->
old, and | more
<!-- /table -->

between

<!-- table: smoke/performance/cost -->
<!-- /table -->
"""
PAGES = {"smoke/main": "| new |\n", "smoke/performance/cost": "\n| cost |\n"}


def test_what_stands_between_markers_is_replaced_and_nothing_else():
    assert fill(TEXT, PAGES) == (
        "# A project\n\n<!-- table: smoke/main -->\n\n| new |\n\n<!-- /table -->\n\nbetween\n\n"
        "<!-- table: smoke/performance/cost -->\n\n| cost |\n\n<!-- /table -->\n"
    )


def test_filling_twice_changes_nothing():
    once = fill(TEXT, PAGES)
    assert fill(once, PAGES) == once


def test_tables_are_named_in_their_order():
    assert names(TEXT) == ("smoke/main", "smoke/performance/cost")
    assert fill("no markers", {}) == "no markers"


def test_unknown_table_is_refused_by_name():
    with pytest.raises(RecordError, match="table: smoke/main -->: no such table; choose from a, b"):
        fill(TEXT, {"a": "", "b": ""})


@pytest.mark.parametrize(
    "text",
    [
        "<!-- table: a -->\nold\n",
        "<!-- table: a -->\n<!-- table: b -->\n<!-- /table -->\n",
    ],
)
def test_marker_that_is_not_closed_is_refused(text):
    with pytest.raises(RecordError, match="table: a --> is not closed: write <!-- /table -->"):
        fill(text, {"a": "", "b": ""})


def test_marker_that_closes_nothing_is_refused():
    with pytest.raises(RecordError, match="closes no table"):
        names("text\n<!-- /table -->\n")


@pytest.mark.parametrize(
    "notebook", ["master_file", "notebooks/04_human_eval", "notebooks/05_results"]
)
def test_main_table_of_the_readme_is_that_of_the_notebooks_with_the_same_runs(notebook):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.partition("<!-- table: smoke/main -->")[2].partition("<!-- /table -->")[0]
    cells = json.loads((ROOT / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    shown = ["".join(output.get("data", {}).get("text/markdown", "")).strip() for output in outputs]
    assert "Runs: `" in table and table.strip() in shown


@pytest.mark.parametrize(
    "page",
    ["README.md", "SECURITY.md", "launch/README.md", "benchmarks/README.md", "results/README.md"],
)
def test_no_page_says_a_thing_twice(page):
    """A section that was moved and not taken away; a table has rows that are alike."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    long = [line for line in lines if len(line) > 60 and not line.startswith("|")]
    headings = [line for line in lines if line.startswith("#")]
    assert [line for line in long if long.count(line) > 1] == []
    assert [line for line in headings if headings.count(line) > 1] == []
