"""The small study's text: each cleaner, what is left out, and the same bytes every time."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from alpaca_lab.config import SettingError
from alpaca_lab.rows.contamination import overlaps
from benchmark_scripts import BENCHMARKS, load

corpus, plain, overlap = load("small_corpus"), load("plain_text"), load("row_overlap")
git_files = corpus.git_files
FISH = "The old fish swam to the far side of the pond, and the boy who sat there saw it."
BOAT = "A boat with a red sail came in from the sea, and it was late when the men were home."
TEN = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
COUNTED = [*TEN, "eleven", "twelve", "thirteen"]


def module(inside, title="Ponds"):
    space = 'xmlns="http://cnx.rice.edu/cnxml" xmlns:m="http://www.w3.org/1998/Math/MathML"'
    return f"<document {space}><title>{title}</title><content>{inside}</content></document>"


def test_textbook_keeps_paragraphs_and_drops_tables_pictures_and_references():
    inside = (
        f"<para>{FISH}</para><table><para>{BOAT}</para></table>"
        f"<figure><caption>{BOAT}</caption></figure>"
        f'<section class="references"><para>{BOAT}</para></section>'
    )
    assert plain.cnxml(module(inside), "m1") == [["Ponds", FISH]]


def test_sentence_around_a_nested_formula_or_an_empty_link_goes_alone():
    formula = "<m:math><m:mfrac><m:mn>1</m:mn><m:mn>2</m:mn></m:mfrac></m:math>"
    inside = f'<para>{FISH} Its speed is {formula} of ours. See <link target-id="f"/>.</para>'
    assert plain.cnxml(module(inside), "m1") == [["Ponds", FISH]]


def test_flat_formula_is_read_as_words():
    letter = "<m:math><m:mi>x</m:mi><m:mo>=</m:mo><m:mn>2</m:mn></m:math>"
    [[_, text]] = plain.cnxml(module(f"<para>{FISH} Here {letter} is meant.</para>"), "m1")
    assert text == f"{FISH} Here x=2 is meant."


def exercise(answer, choices="<list><item>a pike</item><item>a carp</item></list>"):
    return (
        f"<exercise><problem><para>Which fish is the larger?{choices}</para></problem>"
        f"<solution><para>{answer}</para></solution></exercise>"
    )


def test_exercise_is_a_question_with_the_words_of_the_right_choice():
    [_, question] = plain.cnxml(module(exercise("B")), "m1")
    assert question == ["Question: Which fish is the larger?\nAnswer: a carp"]


def test_exercise_whose_answer_needs_a_formula_is_left_out():
    formula = "<m:math><m:msup><m:mi>x</m:mi><m:mn>2</m:mn></m:msup></m:math>"
    assert plain.cnxml(module(exercise(f"It is a carp. It has {formula}.")), "m1") == [[]]


def test_glossary_says_the_term_and_what_it_means():
    entry = "<definition><term>pond</term><meaning>a small lake</meaning></definition>"
    assert plain.cnxml(module(entry), "m1") == [["Ponds", "pond: a small lake"]]


def test_article_ends_before_its_references_and_has_no_list_table_or_note_number():
    source = "\n\n".join(
        [f"The RED POND is a pond.[1] {FISH}", "-   item one of a list that is a long one.",
         "+----+\n| a |\n+----+", f"_{BOAT}_[note 2]", "", "References", FISH]
    )  # fmt: skip
    assert plain.article(source, "Page/Red_Pond.md") == [
        ["Red Pond", f"The Red Pond is a pond. {FISH}", BOAT]
    ]


def test_article_sentence_that_lost_a_measure_goes_alone():
    [[_, text]] = plain.article(f"{FISH} The pond is over long and some wide. {BOAT}", "Pond.md")
    assert text == f"{FISH} {BOAT}"


@pytest.mark.parametrize(
    ("bold", "title", "spelled"),
    [
        ("MARY OF THE POND was", "Mary of the Pond", "Mary of the Pond was"),
        ("ERIC John MOORE was", "E. J. Moore", "ERIC John Moore was"),
        ("ERIC MOORE of NASA was", "E. Moore", "Eric Moore of NASA was"),
    ],
)
def test_capitals_that_were_bold_get_the_letters_of_the_title(bold, title, spelled):
    [[_, text]] = plain.article(f"{bold} here. {FISH}", f"Page/{title.replace(' ', '_')}.md")
    assert text == f"{spelled} here. {FISH}"


def test_dash_that_was_a_template_stands_between_two_days_again():
    [[_, text]] = plain.article(f"Ann (7 May 18674 July 1934) wrote. {FISH}", "Ann.md")
    assert text == f"Ann (7 May 1867 - 4 July 1934) wrote. {FISH}"


def test_book_keeps_prose_without_headings_emphasis_and_licence():
    source = f"# Title: A\n\n## Year: 1901\n\n---\n\n{FISH[:40]}\n{FISH[41:]}\n\nSo _he_ said.\n\n"
    source += "This eBook is from Project Gutenberg."
    assert plain.CLEANERS["book"](source, "a.md") == [[FISH, "So he said."]]


def test_cooking_recipe_keeps_its_title_and_steps():
    source = (
        '---\ntitle: "Soup"\n---\n\n![pot](a.png)\n\n## Steps\n\n1. Boil [water](b).\n2. Stir.\n'
    )
    assert plain.CLEANERS["recipe"](source, "a.md") == [["Soup", "1. Boil water.\n2. Stir."]]


def test_pair_is_one_paragraph_without_marks_of_its_data_set():
    row = {"question": "How many fish are two and two?", "answer": "2+2=<<2+2=4>>4\n#### 4"}
    said = "Question: How many fish are two and two?\nAnswer: 2+2=4\nThe answer is 4."
    assert plain.CLEANERS["questions"](json.dumps(row), "a.jsonl") == [[said]]
    row = {"prompt": "Question: where is the old fish?\nA:", "completion": "Home<|endoftext|>"}
    said = "Question: where is the old fish?\nAnswer: Home"
    assert plain.CLEANERS["prompts"](json.dumps(row), "a.jsonl") == [[said]]


def test_unknown_kind_is_refused_by_name():
    with pytest.raises(SettingError, match="no cleaner for kind 'pdf'"):
        plain.cleaner_of("pdf")


def test_other_languages_are_not_english():
    assert corpus.prose.is_english([FISH])
    german = "Was der alte Fisch in dem tiefen Teich sah, das sah auch ein kleines Kind am Ufer."
    assert not corpus.prose.is_english([german])  # "was" and "in" are English words too


def test_thirteen_words_in_a_row_are_shared_and_twelve_are_not():
    runs = overlap.Runs([" ".join(COUNTED)])
    thirteen = "So: One, two " + " ".join(COUNTED[2:]) + "!"
    split = [" ".join(COUNTED[:7]), " ".join(COUNTED[7:])]
    others = [" ".join(COUNTED[:12]), " ".join(reversed(COUNTED)), *split]
    assert runs.sharing([thirteen, *others]) == [True, *4 * [False]]


def test_runs_are_those_of_the_contamination_report():
    rows = [f"{FISH} {BOAT}", BOAT, "too short"]
    texts = [BOAT, FISH[5:], BOAT[:30], f"He said: {BOAT.upper()}", " ".join(COUNTED)]
    expected = [found.shared > 0 for found in overlaps(texts, rows)]
    assert overlap.Runs(rows).sharing(texts) == expected == [True, True, False, True, False]


def test_no_rows_share_nothing():
    assert overlap.Runs([]).sharing([FISH]) == [False]


LONG = f"{FISH} {BOAT} {FISH}"
OTHER = f"{BOAT} {FISH} {BOAT}"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A repository, rows, and a recipe of it that is recorded: what a run needs."""
    origin = tmp_path / "host" / "us" / "ponds"
    origin.mkdir(parents=True)
    (origin / "a.md").write_text(f"# A\n\n{LONG}\n\n{' '.join(COUNTED)} and that was all.\n")
    (origin / "b.md").write_text(f"## Year: 1901\n\n{OTHER}\n\n{LONG}\n")
    (origin / "c.txt").write_text("not asked for")
    git(origin, "init", "--quiet")
    for name in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        git(origin, "config", name, "true")
    git(origin, "add", ".")
    git(origin, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "ponds")
    commit = git(origin, "rev-parse", "HEAD").strip()
    source = {"name": "ponds", "repository": "us/ponds", "commit": commit, "kind": "book"}
    (tmp_path / "recipe.json").write_text(json.dumps([source | {"files": ["*.md"]}]))
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"instruction": "Count.", "input": "", "output": " ".join(COUNTED)}) + "\n"
    )
    monkeypatch.setattr(git_files, "HOST", (tmp_path / "host").as_uri())
    run(tmp_path, "recorded", "--record")
    return tmp_path


def git(folder, *words):
    return subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True
    ).stdout


def run(place: Path, out: str, *options: str) -> Path:
    rows, recipe = place / "rows.jsonl", place / "recipe.json"
    named = ["--rows", rows, "--recipe", recipe, "--clones", place / "clones"]
    corpus.main([str(place / out), *map(str, named), *options])
    return place / out


def edit(place, **values):
    [source] = json.loads((place / "recipe.json").read_text())
    (place / "recipe.json").write_text(json.dumps([source | values]))


def texts(folder):
    lines = (folder / "corpus.jsonl").read_text().splitlines()
    return sorted(json.loads(line)["text"] for line in lines)


def test_corpus_has_each_paragraph_once_and_none_that_a_row_shares(place):
    assert "\n\n".join(texts(place / "recorded")).split("\n\n") in ([LONG, OTHER], [OTHER, LONG])
    ponds = json.loads((place / "recorded" / "corpus.manifest.json").read_text())["sources"][
        "ponds"
    ]
    assert ponds["left_out"] == {"not_prose": 0, "repeated": 1, "shared": 1}


def test_same_recipe_makes_the_same_bytes(place):
    again = run(place, "again")
    for name in ("corpus.jsonl", "corpus.manifest.json"):
        assert (again / name).read_bytes() == (place / "recorded" / name).read_bytes()


def test_clone_that_is_there_is_read_without_a_network(place):
    shutil.rmtree(place / "host")
    assert texts(run(place, "again")) == texts(place / "recorded")


def test_other_rows_leave_the_recipe_in_force(place):
    (place / "rows.jsonl").write_text(json.dumps({"instruction": FISH, "output": ""}) + "\n")
    assert FISH not in " ".join(texts(run(place, "other")))


def test_text_of_another_digest_is_refused_in_a_sentence(place, capsys):
    edit(place, sha256="0" * 64)
    with pytest.raises(SystemExit) as ended:
        run(place, "refused")
    assert ended.value.code == 2
    assert "error: ponds yields a text of sha256" in capsys.readouterr().err
    assert not (place / "refused").exists()


def test_only_files_that_a_recipe_asks_for_are_read(place):
    edit(place, only=r"(?m)^## Year: 19")
    assert texts(run(place, "some", "--record")) == [f"{OTHER}\n\n{LONG}"]


def test_source_ends_after_its_megabytes(place):
    edit(place, megabytes=0.0001)
    assert len(texts(run(place, "few", "--record"))) == 1


def test_source_without_files_is_named(place, capsys):
    edit(place, files=["*.tex"])
    with pytest.raises(SystemExit):
        run(place, "none")
    assert "has no file like *.tex" in capsys.readouterr().err


def test_commit_that_cannot_be_had_is_named(place, capsys):
    edit(place, commit="0" * 40)
    with pytest.raises(SystemExit):
        run(place, "none")
    assert "error: git fetch failed" in capsys.readouterr().err


def test_every_source_of_the_recipe_says_where_it_is_from_and_what_it_yields():
    sources = json.loads((BENCHMARKS / "small_corpus.json").read_text())
    facts = ("repository", "commit", "files", "licence", "why", "documents", "characters", "sha256")
    for source in sources:
        assert all(source[name] for name in facts), source["name"]
        assert source["kind"] in plain.CLEANERS
        assert len(source["commit"]) == 40
