"""The harness of `make faults`: what it writes down, and that it says what did not hold."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FAULTS = Path(__file__).parent / "faults"
sys.path.insert(0, str(FAULTS))

import findings  # noqa: E402
from findings import Finding, Section  # noqa: E402


def section(*, held=True, title="Kills", fault="SIGKILL"):
    found = Finding(fault=fault, times=1200, wanted="all | nothing", found="*so*", held=held)
    return Section(title=title, what="What is broken.", findings=[found])


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Return a function that runs the harness with made-up sections."""
    spec = importlib.util.spec_from_file_location("faults_main", FAULTS / "__main__.py")
    main = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(main)
    entered = []
    monkeypatch.setattr(main, "enter", lambda name, section, seconds: entered.append(name))

    def run(sections, *words):
        modules = {
            name: SimpleNamespace(run=lambda seed, share, found=found: found)
            for name, found in sections.items()
        }
        monkeypatch.setattr(main.importlib, "import_module", modules.__getitem__)
        monkeypatch.setattr(sys, "argv", ["faults", *words])
        return main.main(), entered

    return run


def test_every_section_of_the_page_is_a_module_of_the_folder():
    assert all((FAULTS / f"{name}.py").is_file() for name in findings.ORDER)


def test_section_takes_the_place_of_its_last_one_and_the_page_keeps_its_order(tmp_path):
    record = tmp_path / "reliability.json"
    findings.enter("disk", section(title="Disk"), seconds=3.2, record=record)
    findings.enter("kills", section(fault="before"), seconds=1, record=record)
    findings.enter("kills", section(held=False), seconds=1, record=record)
    known, page = json.loads(record.read_text()), (tmp_path / "reliability.md").read_text()
    assert page == findings.page(known)
    assert page.index("## Kills") < page.index("## Disk") and "| before |" not in page
    assert "| SIGKILL | 1,200 | all \\| nothing | \\*so\\* | **no** |" in page
    assert "3 s on " in page and "; commit " in page
    assert "1 of the 2 lines below did." in page


def test_committed_page_is_that_of_its_record():
    known = json.loads(findings.RECORD.read_text(encoding="utf-8"))
    page = findings.RECORD.with_suffix(".md").read_text(encoding="utf-8")
    assert page == findings.page(known)


def test_what_did_not_hold_is_printed_and_ends_with_status_1(command, capsys):
    status, entered = command({"kills": section(held=False), "disk": section()}, "kills", "disk")
    assert (status, entered) == (1, ["kills", "disk"])
    assert [line[:6] for line in capsys.readouterr().out.splitlines()] == ["FAILED", "held  "]


def test_a_part_of_the_work_is_not_written_down(command):
    assert command({"kills": section()}, "kills", "--share", "0.5") == (0, [])


def test_section_that_needs_another_machine_is_left_out_and_its_page_stays(command, capsys):
    assert command({"gpu": None}, "gpu") == (0, [])
    assert "left out gpu" in capsys.readouterr().out
