"""report.html as a browser reads it: it loads nothing, runs nothing and shows texts as they are."""

from html.parser import HTMLParser

from alpaca_lab.pages import webpage
from alpaca_lab.pages.page import Page

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(1)">$x$</style>"\' \x1b[31mred'
SHOWN = '<script>alert(1)</script><img src=x onerror="alert(1)">$x$</style>"\' ␛[31mred'
PNG = b"\x89PNG\r\n\x1a\n some bytes"
PAGE = Page(
    title=f"Title {HOSTILE}",
    header=("Model", HOSTILE, "n"),
    rows=((f"Alpha {HOSTILE}", "1.00\n[0.50, 1.50]", "3"),),
    words=2,
    warnings=(f"Beware {HOSTILE}",),
    reading=(HOSTILE, (HOSTILE, "two")),
    notes=(HOSTILE,),
    signatures=((HOSTILE, HOSTILE),),
    runs=(HOSTILE,),
)
QUESTIONS = [
    {"id": "q0", "instruction": HOSTILE, "input": "", "reference": "two\nlines"},
    {"id": "q1", "instruction": "a" * 601, "input": "b", "reference": HOSTILE},
]
ANSWERS = {
    f"Alpha {HOSTILE}": {"q0": {"status": "ok", "text": HOSTILE}},
    "Beta": {"q0": {"status": "empty", "text": ""}, "q1": {"status": "oom", "text": ""}},
}


class Seen(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self):
        super().__init__()
        self.tags, self.text, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(text):
    seen = Seen()
    seen.feed(text)
    seen.close()
    assert not seen.open
    return seen


def document():
    body = webpage.page(PAGE) + webpage.figure(PNG, alt=f"Figure {HOSTILE}")
    examples = webpage.examples(QUESTIONS, ANSWERS)
    return webpage.document(
        f"Report {HOSTILE}",
        [
            webpage.Section(name="performance/cost", title=PAGE.title, body=body),
            webpage.Section(name="examples", title="Examples", body=examples),
        ],
    )


def test_nothing_is_loaded_and_nothing_runs():
    seen = parsed(document())
    tags = {tag for tag, _ in seen.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form", "svg"}
    for tag, attributes in seen.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            if name in attributes:
                assert attributes[name].startswith(("data:image/png;base64,", "#")), attributes
    [(_, image)] = [entry for entry in seen.tags if entry[0] == "img"]
    assert image["src"].startswith("data:image/png;base64,")
    style = document().partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style and "@import" not in style


def test_policy_forbids_the_browser_to_fetch_or_run_anything():
    metas = [attributes for tag, attributes in parsed(document()).tags if tag == "meta"]
    [policy] = [meta["content"] for meta in metas if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy


def test_hostile_texts_are_shown_as_they_are_wherever_they_stand():
    seen = parsed(document())
    text = "".join(seen.text)
    assert "\x1b" not in document()
    # Title, heading, navigation, section, header, cell, warning, reading twice, note, signature
    # twice, run; of the examples the question, the name of a model twice, its answer, a reference.
    assert text.count(SHOWN) == 18
    [(_, image)] = [entry for entry in seen.tags if entry[0] == "img"]
    assert image["alt"] == f"Figure {SHOWN}"


def test_every_section_is_reached_from_the_navigation():
    seen = parsed(document())
    links = [attributes["href"] for tag, attributes in seen.tags if tag == "a"]
    sections = [attributes["id"] for tag, attributes in seen.tags if tag == "section"]
    assert links == [f"#{name}" for name in sections] == ["#performance-cost", "#examples"]


def test_cells_keep_their_lines_and_words_stand_at_the_left():
    body = webpage.page(PAGE)
    assert "<td>3</td>" in body
    plain = Page(title="", header=("a", "b"), rows=(("x", "1.00\n[0.50, 1.50]"),))
    assert '<tr><td class="word">x</td><td>1.00<br>[0.50, 1.50]</td></tr>' in webpage.page(plain)


def test_examples_say_what_is_missing_and_cut_what_is_long():
    text = webpage.examples(QUESTIONS, ANSWERS)
    assert "two<br>lines" in text
    assert "<i>empty answer</i>" in text
    assert "<i>oom</i>" in text
    assert "<i>not answered yet</i>" in text
    assert f"{'a' * 600} ... <i>(601 characters in all)</i>" in text


def test_dollars_of_examples_are_kept_from_a_notebook_that_sets_mathematics():
    assert "<span>$</span>x<span>$</span>" in webpage.examples(QUESTIONS, ANSWERS)
