"""Texts of strangers through a whole record: shown everywhere, obeyed nowhere. See SECURITY.md."""

import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings, strategies

import human_records
import test_judge
import test_report
from alpaca_lab import data, report
from alpaca_lab.characters import visible
from alpaca_lab.config import ROOT, TINY, DataSpec, ModelSpec, SettingError, StudySpec
from alpaca_lab.datasheet import report as datasheet
from alpaca_lab.files import RecordError, read_json, write_json
from alpaca_lab.human import draw, ratings, sheet
from alpaca_lab.human.session import Session
from alpaca_lab.judge import stage
from alpaca_lab.model_card import study_cards
from alpaca_lab.model_card.known import FORMS
from alpaca_lab.scoring import score_file
from alpaca_lab.spreadsheet import guard, unguard
from alpaca_lab.store import Record

OUTSIDE = "evil.example"
TEXTS = (
    '=HYPERLINK("http://evil.example";"x")',
    "+cmd|' /C calc'!A0;=1+1\t@SUM(1+1)",
    '<script src="http://evil.example/x.js">alert(1)</script>',
    '</textarea></td></table><svg onload="alert(1)"><style>@import "http://evil.example"</style>',
    "<img src=http://evil.example/x.png onerror=alert(1)><base href=//evil.example>",
    "![x](http://evil.example/x.png) [y](javascript:alert(1)) <http://evil.example>",
    r"$\input{/etc/passwd}$ \write18{id} $$\href{javascript:alert(1)}{x}$$ \end{table}",
    "\x1b[2J\x1b]8;;http://evil.example\x07click\x1b]8;;\x07\x1b]52;c;aGk=\x07\x9b31m",
    "invoice\u202efdp.exe\u2066 \u200f",
    "a nul \0, a return \r and a bell \x07",
    "../../../etc/passwd",
)
HOSTILE = "\n".join(TEXTS)
SIGNS = "=+-@\t\r\uff1d\uff0b\uff0d\uff20"
NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?|-|- .*")
LOADED = {"src", "href", "srcset", "data", "action", "formaction", "poster", "background"}
STILL = {"a", "b", "br", "code", "div", "em", "i", "li", "p", "pre", "span", "strong", "table",
         "tbody", "td", "th", "thead", "tr", "u", "ul", "ol"}  # fmt: skip
"""Tags that load nothing and run nothing."""


class Seen(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, text):
        self.text += text


def outside(page, *, also=()):
    """Return the tags of HTML that would load or run something; a plain link is none."""
    return [
        (tag, attributes)
        for tag, attributes in Seen(page).tags
        if tag not in STILL | set(also)
        or any(name.startswith("on") for name in attributes)
        or re.search(r"url\(|@import", attributes.get("style") or "")
        or any(
            not re.match(r"#|data:image/png;base64," if tag != "a" else r"#|https?:", value or "")
            for name, value in attributes.items()
            if name in LOADED
        )
    ]


def computed(text):
    """Return what a spreadsheet would compute of a CSV, read with commas, semicolons or tabs."""
    cells = [cell for row in csv.reader(StringIO(text, newline="")) for cell in row]
    # Of another country: a quote inside a line protects nothing.
    cells += re.split(r"[;\t\n]", text)
    bare = [cell.strip('"') for cell in cells]
    return [cell for cell in bare if cell[:1] in SIGNS and cell and not NUMBER.fullmatch(cell)]


def obeyed(text):
    """Return the characters that a terminal would obey, or that turn what follows."""
    return sorted(set(text) - set(visible(text)))


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A scored, judged and rated record, hostile wherever a stranger's text can stand."""
    models = tuple(replace(model, title=f"Alpha {HOSTILE}") for model in test_report.STUDY.models)
    study = replace(test_report.STUDY, models=models)
    made = test_report.fabricate(
        tmp_path_factory.mktemp("results") / "made-up", study=study, text=HOSTILE
    )
    asked = {"instruction": HOSTILE, "input": HOSTILE, "reference": HOSTILE}
    made.write_questions([row | asked for row in made.questions()])
    with pytest.MonkeyPatch.context() as patch:
        hostile = test_judge.IDENTITY | {"source": HOSTILE}
        patch.setattr(stage, "identity", lambda spec: hostile)
        for module in (report.figures, report.human_figures):
            for name in ("axis", "main", "contrasts", "cost", "loss", "scores", "metrics"):
                patch.setattr(module, name, lambda *_, **__: b"\x89PNG", raising=False)
        judge = test_judge.Stub(test_judge.first_by_3_to_1)
        stage.judge_study(made, str(TINY / "llama"), open_judge=lambda spec: judge)
        report.build(made)
    return made


# Pages


def test_report_page_loads_nothing_runs_nothing_and_shows_every_text(record):
    page = (record.folder / "report.html").read_text(encoding="utf-8")
    frame = ("html", "head", "meta", "title", "style", "body", "h1", "h2", "nav", "section", "img")
    assert outside(page, also=frame) == []
    assert obeyed(page) == []
    seen = Seen(page)
    [policy] = [a["content"] for t, a in seen.tags if t == "meta" and "http-equiv" in a]
    assert policy.startswith("default-src 'none'") and "script" not in policy
    assert not [a for t, a in seen.tags if t == "meta" and a.get("http-equiv") == "refresh"]
    for text in TEXTS:
        assert visible(text).partition("\t")[0] in seen.text, text


def test_model_card_loads_its_own_figure_alone_and_its_metadata_obey_no_text(record):
    """The rows' name and the recipe are a stranger's too, as they would be in a foreign record."""
    from huggingface_hub import ModelCard
    from markdown_it import MarkdownIt
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    index = record.index()
    foreign = Record(record.folder.with_name("foreign"))
    shutil.copytree(record.folder, foreign.folder)
    foreign.write_index(index | {"data": {"source": HOSTILE, "train": {"rows": 3}}})
    manifest, losses = foreign.training("alpha")
    request = {"lora": {HOSTILE: HOSTILE}, "train": {"seed": HOSTILE}}
    environment = {"cpu": HOSTILE, "commit": HOSTILE, "packages": {"torch": HOSTILE}}
    facts = {"request": request, "environment": environment, "base": {"source": HOSTILE}}
    foreign.write_training("alpha", manifest | facts, losses)
    for form in FORMS:
        text = study_cards.build(foreign, "alpha", form=form)["README.md"].decode()
        loaded = ModelCard(text)
        assert str(loaded) == text and obeyed(text) == []
        # A viewer that knows no metadata reads them as Markdown too.
        whole = markdown2html_mistune(text)
        assert {tag for tag, _ in outside(whole, also=("h1", "h2", "hr"))} <= {"img"}
        page = MarkdownIt("commonmark", {"html": True}).enable("table").render(loaded.text)
        assert [tag for tag, _ in outside(page, also=("h1", "h2"))] == ["img"]
        assert Seen(page).text.count("<script src=") > 3
        links = {a["href"] for tag, a in Seen(page).tags if tag == "a"}
        assert not [link for link in links if OUTSIDE in link]
        assert [a["src"] for tag, a in Seen(page).tags if tag == "img"] == ["loss.png"]


def test_notebook_shows_examples_that_load_nothing_and_set_no_mathematics(record):
    shown = report.examples(record).data
    assert outside(shown) == []
    assert obeyed(shown) == []
    assert "$" not in shown.replace("<span>$</span>", "")


def test_markdown_pages_become_html_that_loads_nothing(record):
    """By the renderer that nbconvert has, raw HTML let through as Jupyter does."""
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    paths = [path for path in record.folder.rglob("*.md") if "cards" not in path.parts]  # above
    pages = [path.read_text(encoding="utf-8") for path in paths]
    assert len(pages) > 10 and any(OUTSIDE in page for page in pages)
    for page in pages:
        html = markdown2html_mistune(page)
        assert outside(html) == [], html[:2000]
        assert obeyed(page) == []
        # A link says where it leads: "[y](...)" stays as it was written.
        assert OUTSIDE not in page or "[y](javascript:alert(1))" in Seen(html).text


def test_latex_pages_hold_no_command_of_a_text(record):
    pages = [path.read_text(encoding="utf-8") for path in record.folder.rglob("*.tex")]
    assert len(pages) > 10 and any(OUTSIDE in page for page in pages)
    ours = {"usepackage", "begin", "end", "centering", "caption", "label", "resizebox", "ifdim",
            "width", "linewidth", "else", "fi", "toprule", "midrule", "bottomrule", "par",
            "medskip", "scriptsize", "raggedright", "item", "setlength", "itemsep", "textbf",
            "texttt", "allowbreak", "textbackslash", "textasciitilde", "textasciicircum",
            "textless", "textgreater", "textbar", "addlinespace"}  # fmt: skip
    for page in pages:
        commands = set(re.findall(r"\\([A-Za-z]+)", page.replace("\\\\", "")))
        assert commands <= ours, commands - ours
        # Outside our own minus signs nothing opens mathematics.
        assert "$" not in re.sub(r"\\\$|\$-\$", "", page)


def test_tables_compute_nothing_in_a_spreadsheet_and_read_back_as_they_were(record):
    files = list(record.folder.rglob("*.csv"))
    assert len(files) > 10
    for path in files:
        assert computed(path.read_text(encoding="utf-8")) == [], path.name
    assert report.check(record) == []


# People


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """A record whose every question and answer is hostile."""
    folder = tmp_path_factory.mktemp("results") / "made-up"
    made = human_records.fabricate(folder, text_of=lambda *_: HOSTILE)
    asked = {"instruction": HOSTILE, "input": HOSTILE, "reference": HOSTILE}
    made.write_questions([row | asked for row in made.questions()])
    return made


@pytest.fixture
def session(answered, tmp_path):
    record = human_records.borrow(answered, tmp_path / "made-up")
    draw.write(record, questions=4, settings="greedy", raters="anna")
    return Session(record, "anna")


def test_rating_page_gets_text_that_no_terminal_and_no_reader_obeys(session):
    screen = session.screen()
    texts = [one["text"] for one in screen["texts"] + screen["answers"]]
    assert texts == [visible(HOSTILE)] * 3
    assert obeyed(json.dumps(screen, ensure_ascii=False)) == []


def test_rating_page_fetches_nothing_and_writes_text_alone():
    code = (ROOT / "src/alpaca_lab/human/rater.js").read_text(encoding="utf-8")
    style = (ROOT / "src/alpaca_lab/human/rater.css").read_text(encoding="utf-8")
    ways = (
        "fetch(", "XMLHttpRequest", "WebSocket", "EventSource", "sendBeacon", "import(", "import ",
        "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(",
        "://", ".src", ".href", "localStorage", "cookie",
    )  # fmt: skip
    assert not [way for way in ways if way in code]
    assert "url(" not in style and "@import" not in style


def test_sheet_computes_nothing_in_any_country(session, tmp_path):
    file = tmp_path / "anna.csv"
    sheet.export(session.record, "acceptability", "anna", file)
    text = file.read_text(encoding="utf-8-sig")
    assert OUTSIDE in text and "'=HYPERLINK" in text
    assert computed(text) == []
    assert obeyed(text) == []


@pytest.mark.parametrize("text", [*TEXTS, "half \ud800 a character", "'=1", "it's; -fine"])
def test_reason_computes_nothing_and_is_read_back_as_it_was(session, text):
    """A reason is one line, its control characters made visible; the rest is as it was given."""
    session.skip(session.current, text)
    file = ratings.path(session.record, "acceptability")
    written = file.read_text(encoding="utf-8")
    assert computed(written) == []
    assert obeyed(written) == []
    [row] = ratings.read(session.record, "acceptability")
    assert row.reason == visible(" ".join(text.split()))


def test_reason_of_a_sheet_is_read_as_its_rater_wrote_it(session, tmp_path):
    """A spreadsheet cannot hold "=..." as a text without the apostrophe."""
    file = tmp_path / "anna.csv"
    item = session.current
    file.write_text(f'rater,item,level,reason\nanna,{item},,"\'=1+1"\n', encoding="utf-8")
    assert sheet.import_(session.record, "acceptability", file) == (1, 0)
    [row] = ratings.read(session.record, "acceptability")
    assert row.reason == "=1+1"


# Data


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Rows that are hostile as questions, as answers and as rejected rows."""
    rows = [
        {"instruction": f"{text} {number}", "input": "", "output": f"{text} answer {number}"}
        for text in TEXTS
        for number in range(4)
    ]
    rows += [{"instruction": text, "input": "", "output": ""} for text in TEXTS]
    rows += [{"instruction": "half \ud800", "input": "", "output": text} for text in TEXTS]
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"source": str(file), "revision": None}
    return data.load(DataSpec(**source, test_share=0.3, validation_share=0.1))


def test_pages_and_files_of_the_data_obey_nothing(dataset, tmp_path):
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    datasheet.write(dataset, tmp_path / "data")
    rejected = (tmp_path / "data" / "rejected.csv").read_text(encoding="utf-8")
    assert "'=HYPERLINK" in rejected and "<U+D800>" in rejected
    for name in ("rejected.csv", "duplicates.csv", "contamination.csv"):
        text = (tmp_path / "data" / name).read_text(encoding="utf-8")
        assert computed(text) == [], name
        assert obeyed(text) == [], name
    page = (tmp_path / "data" / "report.md").read_text(encoding="utf-8")
    assert obeyed(page) == []
    assert outside(markdown2html_mistune(page), also=("h1", "h2")) == []


# The terminal


def test_sentence_of_an_error_shows_what_it_quotes():
    for kind in (SettingError, RecordError):
        assert obeyed(str(kind(HOSTILE))) == []
        assert obeyed("".join(kind(HOSTILE)._render_traceback_())) == []


def test_title_of_a_model_is_plain_wherever_it_is_printed():
    model = ModelSpec(key="x", title=HOSTILE, source="/x")
    assert obeyed(model.title) == [] and "\n" not in model.title


@pytest.mark.parametrize("form", ["text", "csv", "json"])
@pytest.mark.parametrize("group", ["=HYPERLINK(1)", "<b>", "../../x", "@x;=1"])
def test_scores_of_a_file_name_a_group_and_obey_none(tmp_path, form, group):
    lines = [
        {"id": f"../../{number}\x1b[2J", "reference": HOSTILE, "answer": HOSTILE, "group": group}
        for number in range(3)
    ]
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    printed = score_file.score(file, "canonical", baseline="", encoder="none", form=form)
    assert group in printed.replace("'", "") and obeyed(printed) == []
    if form == "csv":
        assert computed(printed) == []
    assert {path.name for path in tmp_path.iterdir()} == {"answers.jsonl"}


@pytest.mark.parametrize("protocol", ["canonical", "original"])
def test_group_that_a_terminal_would_obey_is_refused(tmp_path, protocol):
    texts = {"reference": "a", "answer": "b", "reference_text": "a", "candidate_text": "b"}
    file = tmp_path / "answers.jsonl"
    file.write_text(json.dumps({"id": "1", "group": "\x1b]52;c;aGk=\x07", **texts}) + "\n")
    with pytest.raises(SettingError, match="`group` holds a control or direction character"):
        score_file.score(file, protocol, baseline="", encoder="none", form="csv")


def test_error_on_the_command_line_obeys_nothing_of_a_file(tmp_path):
    twice = {"id": "\x1b[2J\u202e", "reference": "a", "answer": "b"}
    file = tmp_path / "answers.jsonl"
    file.write_text((json.dumps(twice) + "\n") * 2)
    command = [sys.executable, "-m", "alpaca_lab", "score", str(file), "--encoder", "none"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 2 and done.stderr.startswith("error: ")
    assert "a second time" in done.stderr and obeyed(done.stderr + done.stdout) == []


# Names are no paths

PATHS = ("../x", "..", ".", "/etc", "a/b", "a\\b", "x\0", "\x1b[2J", "-x", "", "x\n", "ｘ")


@pytest.mark.parametrize("name", PATHS)
def test_path_is_no_name_of_a_study_or_a_model(name):
    with pytest.raises(SettingError, match="study name"):
        StudySpec(name=name, models=(ModelSpec(key="x", title="x", source="/x"),))
    with pytest.raises(SettingError, match="model key"):
        ModelSpec(key=name, title="x", source="/x")


@pytest.mark.parametrize("name", [name for name in PATHS if name != "x\n"])
def test_path_is_no_name_of_a_rater(answered, name):
    with pytest.raises(SettingError, match="raters: "):
        draw.write(answered, questions=4, settings="greedy", raters=name)


@pytest.mark.parametrize("run_id", ["../../../etc", "/etc", "..", "", "0123456789AB", None])
def test_path_in_study_json_is_no_run(record, run_id):
    with pytest.raises(RecordError, match="is no run's id"):
        record.run(run_id)
    with pytest.raises(RecordError, match="is no run's id"):
        record.judging(run_id)


@pytest.mark.parametrize("name", ["../x", "tables/main", "/etc/passwd", "main.csv"])
def test_path_is_no_name_of_a_table(record, name):
    with pytest.raises(RecordError, match="no table"):
        report.read_table(record, name)


@pytest.mark.parametrize("folder", ["../../etc", "/etc", "outputs/../../etc/adapter", "", None])
def test_path_in_a_finetunes_manifest_is_no_adapter(tmp_path, folder):
    record = Record(tmp_path)
    record.write_training("x", {"adapter": {"folder": folder}}, pd.DataFrame({"step": [1]}))
    with pytest.raises(RecordError, match="is no adapter's folder"):
        record.adapter("x")


@pytest.mark.parametrize("name", ["../x", "/etc", "..", ""])
def test_path_is_no_name_of_a_record(name):
    with pytest.raises(SettingError, match="study name"):
        Record.of(name)


def test_key_of_ratings_is_read_beside_its_plan_wherever_the_plan_points(session, tmp_path):
    folder = session.record.human("acceptability")
    plan = read_json(folder / "plan.json")
    write_json(tmp_path / plan["key"], {})
    moved = plan | {"key": str(tmp_path / plan["key"])}
    write_json(folder / "plan.json", moved)
    assert set(Session(session.record, "anna").plan.items)


# A spreadsheet


@settings(max_examples=300, deadline=None)
@given(strategies.text(alphabet="=+-@' a1;\t\r\n\uff1d"))
def test_guard_is_taken_off_again_and_leaves_no_formula(text):
    guarded = guard(text)
    assert unguard(guarded) == text
    assert guarded[:1] not in set(SIGNS)
    assert not re.search(r"[;\t\r\n]([=+@\uff1d]|-\S)", guarded)


# SECURITY.md


def test_every_threat_has_a_test_and_every_test_exists():
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    defined = {
        name
        for path in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    rows = [line for line in page.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 15
    for row in rows:
        *_, named, _ = re.split(r"(?<!\\)\|", row)
        tests = re.findall(r"`(test_\w+)`", named)
        assert tests, row
        assert not set(tests) - defined, row
