"""What checks.json says, as a row and as a sentence."""

import pandas as pd
import pytest

from alpaca_lab.config import ModelSpec, StudySpec
from alpaca_lab.pages import markdown
from alpaca_lab.pages.render_checks import checks
from alpaca_lab.store import Record
from alpaca_lab.table_files import from_csv, to_csv
from alpaca_lab.tables.checks import checks_table

STUDY = StudySpec(name="x", models=(ModelSpec(key="tiny", title="Tiny", source="/nowhere"),))
DENSE = {"tokens": 600, "agreement": 0.995, "max_difference": 0.25, "mean_difference": 0.02}
PARTING = {"question": "q1", "slots": 1, "position": 4, "tokens": [5, 7], "noise": 0.25}
SAME = {
    "slots": 32,
    "pairs": [{"slots": slots, "n": 200, "identical": 200} for slots in (1, 8, 32)],
    "partings": [],
}


def parted(*gaps):
    pairs = [{"slots": 1, "n": 200, "identical": 200 - len(gaps)}, *SAME["pairs"][1:]]
    return SAME | {"pairs": pairs, "partings": [PARTING | {"gap": gap} for gap in gaps]}


@pytest.fixture
def shown(tmp_path):
    """Records checks of the finetuned and the untuned model; returns the table and its page."""

    def show(*, greedy=None, base=None, weights="dense"):
        record = Record(tmp_path)
        runs = {}
        for cell, found in (("greedy", greedy), ("base", base)):
            request = {"cell": cell} | ({"weights": weights} if weights != "dense" else {})
            run = record.open_run(request)
            for name, values in (found or {}).items():
                run.add_check(name, values)
            runs[cell] = run.id
        record.write_index({"runs": {"tiny": runs}})
        frame = from_csv(to_csv(checks_table(record, STUDY)))
        page = markdown.page(checks(frame, {"tiny": "Tiny"})).replace("\u00a0", " ")
        return frame, page.replace("\\", "")

    return show


def test_a_clean_bill(shown):
    found = {"dense": DENSE, "identity": SAME}
    frame, page = shown(greedy=found, base=found)
    assert frame["check"].tolist() == ["dense", "slots=1", "slots=8", "again"] * 2
    assert frame["verdict"].tolist() == ["dense", "same", "same", "same"] * 2
    assert "| Tiny | finetuned | 8 against 32 slots | same | 200 | 100.00 | - |" in page
    assert "| Tiny | untuned | 32 slots twice | same |" in page
    assert "Slots change no answer: all 1,200 pairs are the same." in page
    assert "for at least 99.50% of the response tokens; the bound is 98.00%." in page


def test_partings_within_the_noise_are_counted_and_explained(shown):
    frame, page = shown(greedy={"dense": DENSE, "identity": parted(0.125, 0.25)})
    row = frame[frame["check"] == "slots=1"].iloc[0]
    assert (row["share"], row["max_gap"], row["max_noise"]) == (0.99, 0.25, 0.25)
    assert (row["within_noise"], row["verdict"]) == (1.0, "within noise")
    assert "Slots change 2 of 600 answers; at every parting the two tokens lie within" in page


def test_a_parting_beyond_the_noise_is_a_warning(shown):
    frame, page = shown(greedy={"dense": DENSE, "identity": parted(0.125, 3.0)})
    row = frame[frame["check"] == "slots=1"].iloc[0]
    assert (row["within_noise"], row["verdict"]) == (0.5, "beyond noise")
    assert "**Answers part where rounding does not explain it: Tiny finetuned.**" in page
    assert "not at every parting" in page


def test_whole_numbers_are_written_whole_beside_blanks():
    """pandas 3.0 wrote 32.0, and 3.1 found that the table did not follow from its rows."""
    frame = pd.DataFrame({"check": ["dense", "again"], "against": pd.array([None, 32], "Int64")})
    assert to_csv(frame) == "check,against\ndense,\nagain,32\n"


def test_unmerged_decoding_is_said(shown):
    low = DENSE | {"agreement": 0.9, "max_difference": None, "mean_difference": None}
    frame, page = shown(greedy={"dense": low}, weights="unmerged")
    assert frame["verdict"].tolist()[0] == "unmerged"
    assert "Decoded unmerged, their agreement being below 98.00%: Tiny finetuned." in page


def test_what_was_not_measured_is_blank_and_said(shown):
    frame, page = shown()
    assert frame["n"].tolist() == [0] * 4 and frame["share"].isna().all()
    assert set(frame["verdict"]) == {"not measured"}
    assert "recorded before there was the check" in page and "bound is" not in page
