"""What stands between two markers of a README is a table, and the rest is left alone."""

import json
import re

import pandas as pd
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


def shown(notebook):
    """Return the Markdown that the outputs of a committed notebook show."""
    cells = json.loads((ROOT / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return ["".join(output.get("data", {}).get("text/markdown", "")).strip() for output in outputs]


def table(name):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return readme.partition(f"<!-- table: {name} -->")[2].partition("<!-- /table -->")[0].strip()


def test_tables_of_the_readme_are_those_of_the_committed_record():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(names(readme)) == {"small/glance", "performance/cards"}
    written = (ROOT / "results" / "small" / "tables" / "glance.md").read_text(encoding="utf-8")
    assert table("small/glance") == written.strip()
    written = (ROOT / "results" / "performance" / "cards.md").read_text(encoding="utf-8")
    assert table("performance/cards") == written.strip()
    assert table("small/glance") in shown("notebooks/08_small_study")


def test_notebooks_were_run_on_one_study():
    """Their main tables are the same, with the same runs."""
    tables = [
        {text for text in shown(notebook) if text.startswith("**Finetuned and untuned")}
        for notebook in ("master_file", "notebooks/04_human_eval", "notebooks/05_results")
    ]
    assert all(len(found) == 1 for found in tables)
    assert tables[0] == tables[1] == tables[2]


def test_speeds_of_the_readme_are_those_of_the_committed_tables():
    """How many times as fast, from the slowest to the fastest model, to the digits it gives."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    line = next(line for line in readme.splitlines() if line.startswith("Beside what you would"))
    said = re.findall(r"([\d.]+) to ([\d.]+) times", line)
    trained = pd.read_csv(ROOT / "results" / "performance" / "finetune.csv")
    decoded = pd.read_csv(ROOT / "results" / "performance" / "generate.csv")
    usual = trained[trained["arm"] == "transformers, 2 x 4"]["ratio"]
    best = trained[trained["arm"].str.startswith("unsloth")].groupby("model")["ratio"].min()
    peers = decoded[decoded["arm"].str.startswith("transformers")]
    cells = peers[peers["pass"] == "nine cells"]["ratio"]
    beams = peers[peers["pass"].str.contains("beams")]["ratio"]
    for (low, high), found in zip(said, (usual, best, cells, beams), strict=True):
        digits = len(low.partition(".")[2])
        assert (float(low), float(high)) == (
            round(found.min(), digits),
            round(found.max(), digits),
        )


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "launch/README.md",
        "benchmarks/README.md",
        "results/README.md",
    ],
)
def test_no_page_says_a_thing_twice(page):
    """A section that was moved and not taken away; a table has rows that are alike."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    long = [line for line in lines if len(line) > 60 and not line.startswith("|")]
    headings = [line for line in lines if line.startswith("#")]
    assert [line for line in long if long.count(line) > 1] == []
    assert [line for line in headings if headings.count(line) > 1] == []
