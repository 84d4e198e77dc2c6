"""The pages of the site: what they say is what the code does, and what they point to is there."""

import re
import tomllib

import numpy as np
import pandas as pd
import pytest
import yaml

from alpaca_lab import preflight, stats
from alpaca_lab.config import ROOT
from alpaca_lab.decoding_walkthrough import draws
from alpaca_lab.metrics.rouge import rouge
from alpaca_lab.metrics.text_scores import text_scores
from alpaca_lab.pages import verdicts
from alpaca_lab.profiles import PROFILES
from alpaca_lab.prompts import render_prompt
from alpaca_lab.rows import clusters
from alpaca_lab.sweep import cells
from docs_scripts import DOCS, PAGES, load
from test_architecture import LAYERS, MODULES, layer_of

hooks = load("hooks.py")
figures = load("figures/__main__.py")
DRAWN = figures.FIGURES
OURS = [*sorted(PAGES.glob("*.md")), ROOT / "CONTRIBUTING.md"]
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in OURS}
LINK = re.compile(r"\]\(([^)\s]+)\)")
NUMBER = re.compile(r"\d*\.\d+|\d+")


def line_of(page, words):
    """Return the paragraph of a page that holds some words, as one line."""
    paragraphs = (" ".join(part.split()) for part in TEXTS[page].split("\n\n"))
    return next(paragraph for paragraph in paragraphs if words in paragraph)


def numbers(text):
    return [float(found) for found in NUMBER.findall(text)]


def anchors(text):
    """Return the anchors of a page's headings, as Python-Markdown makes them."""
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    bare = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[-\s]+", "-", heading) for heading in bare}


# What the pages point to


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_links_of_a_page_lead_somewhere(path):
    for link in LINK.findall(TEXTS[path.name]):
        target, _, anchor = link.partition("#")
        if "://" in target or target in hooks.elsewhere() or target == "modules.md":
            continue
        if target.startswith("figures/"):
            assert target.removeprefix("figures/").removesuffix(".png") in DRAWN, link
            continue
        place = path.parent / target if target else path
        assert place.exists(), f"{path.name}: {link}"
        assert not anchor or anchor in anchors(place.read_text(encoding="utf-8")), link


def test_links_get_the_place_that_the_site_has():
    text = (
        "[a](../../src/alpaca_lab/stats/families.py) [b](../../results/README.md#tables) "
        "[c](noise.md) [d](../../launch/README.md) ![e](figures/holm.png) [f](https://x.org/y)"
    )
    assert hooks.relinked(text, "docs/pages/row.md") == (
        "[a](reference/stats.families.md) [b](columns.md#tables) [c](noise.md) "
        f"[d]({hooks.GITHUB}/launch/README.md) ![e](figures/holm.png) [f](https://x.org/y)"
    )
    assert hooks.relinked("[a](../launch)", "results/README.md") == f"[a]({hooks.GITHUB}/launch)"


def test_pages_that_stand_elsewhere_are_there():
    for place in hooks.elsewhere().values():
        assert (ROOT / place).is_file(), place


def test_every_page_is_in_the_navigation():
    [nav] = re.findall(r"(?ms)^nav:\n(.*?)\n\n", (DOCS / "mkdocs.yml").read_text(encoding="utf-8"))
    assert set(re.findall(r"\w+\.md", nav)) == {path.name for path in PAGES.glob("*.md")}


def test_every_module_has_its_page_in_the_order_of_the_layers():
    shown = [name for names in hooks.floors().values() for name in names]
    assert sorted(shown) == MODULES
    assert hooks.layers() == LAYERS
    known = [(hooks.layer_of(name), layer_of(name)) for name in shown if layer_of(name) is not None]
    assert all(ours == theirs for ours, theirs in known)
    assert [ours for ours, _ in known] == sorted(ours for ours, _ in known)
    assert all(hooks.floors().values())


def test_map_says_of_every_module_what_it_is():
    rows = [line for line in hooks.map_page().splitlines() if "](reference/" in line]
    assert len(rows) == len(MODULES)
    assert [row for row in rows if row.endswith("|  |")] == []


@pytest.mark.parametrize("page", TEXTS)
def test_commands_of_a_page_exist(page):
    from typer.main import get_command

    from alpaca_lab.__main__ import app

    targets = re.findall(r"(?m)^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"))
    commands = get_command(app).commands
    blocks = re.split(r"(?m)^```", TEXTS[page])[1::2]
    spans = re.findall(r"`([^`\n]+)`", TEXTS[page])
    for line in [line for block in blocks for line in block.splitlines()] + spans:
        words = line.split("#")[0].split()
        if words[:1] == ["make"]:
            assert set(words[1:2]) <= set(targets), line
        if words[1:3] == ["-m", "alpaca_lab"] and words[3] != "--help":
            assert words[3] in commands, line
            known = {option for each in commands[words[3]].params for option in each.opts}
            assert {word for word in words if word.startswith("--")} <= known, line
        if words[1:3] == ["-m", "pytest"]:
            assert all((ROOT / word).exists() for word in words if word.startswith("tests/")), line


@pytest.mark.parametrize("page", TEXTS)
def test_page_is_short_and_says_a_thing_once(page):
    lines = TEXTS[page].splitlines()
    long = [line for line in lines if len(line) > 60 and not line.startswith("|")]
    assert len(lines) <= 130
    assert [line for line in long if long.count(line) > 1] == []


def test_plans_of_colabs_cards_are_what_preflight_says():
    rows = [
        line.strip("|").split("|") for line in TEXTS["colab.md"].splitlines() if "GiB |" in line
    ]
    assert [row[0].split(",")[0].strip() for row in rows] == ["T4", "L4", "A100", "A100-80GB"]
    for card, *models in rows:
        table = preflight.table(PROFILES["full"], card=card.split(",")[0].strip())
        plans = list(table[table["what"].str.startswith(("finetune", "decode"))]["needs"])
        for place, cell in enumerate(models):
            if cell.strip() == "no":
                assert not table["can run"].eq("yes").all()
                continue
            finetune, decode = plans[2 * place : 2 * place + 2]
            wanted = [*numbers_of(finetune)[::-1], *numbers_of(decode)[1::-1]]
            assert numbers_of(cell) == wanted, (card, cell)


def numbers_of(text):
    return [float(found.replace(",", "")) for found in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


def test_glossary_is_in_alphabetical_order():
    terms = re.findall(r"(?m)^(.+)\n: ", TEXTS["glossary.md"])
    assert len(terms) > 30
    assert terms == sorted(terms, key=str.lower)


# What the pages say


def test_prompt_of_the_page_is_that_of_the_models():
    assert render_prompt("Name the capital of France.") in TEXTS["row.md"]


def test_twins_of_the_page_are_near_duplicates_and_the_short_pair_is_not():
    one, two = (clusters.shingles(text) for text in re.findall(r"> (Write.+)", TEXTS["split.md"]))
    said = line_of("split.md", "have 12 each")
    assert (len(one), len(two), len(one & two), len(one | two)) == (12, 12, 11, 13)
    assert f"11 / 13 = {clusters.jaccard(one, two):.2f}" in said
    short = [clusters.shingles(text) for text in re.findall(r'"(Name the[^"]+)"', said)]
    assert f"share 1 shingle of 6, {clusters.jaccard(*short):.2f}" in said
    assert (clusters.PERMUTATIONS, clusters.BANDS, clusters.SIMILAR) == (128, 32, 0.7)


def test_shares_of_the_page_are_those_of_the_profiles():
    full, smoke = (PROFILES[name].data for name in ("full", "smoke"))
    said = line_of("split.md", "`full` holds out")
    assert f"holds out {full.test_share:.0%}" in said
    assert f"{full.validation_share:.0%} for choosing" in said
    assert f"{smoke.test_share:.0%} and {smoke.validation_share:.0%}" in said


def test_cells_of_the_page_are_those_of_the_full_study():
    table = re.findall(r"`([a-z_]+(?:=[\d.]+)?)` \| (\d)", TEXTS["settings.md"])
    assert sorted(table) == sorted(
        (cell.name, str(cell.repeats)) for cell in cells(PROFILES["full"])
    )
    assert "after 512 tokens (256 in `smoke`)" in line_of("settings.md", "All cells end")
    assert [PROFILES[name].max_new_tokens for name in ("full", "smoke")] == [512, 256]
    assert [PROFILES[name].repeats for name in ("full", "smoke")] == [3, 2]


@pytest.mark.model
def test_probabilities_and_the_race_of_the_pages_are_the_samplers():
    here = figures.decoding.place()
    settings = {cell.name: cell.setting for cell in cells(PROFILES["smoke"])}
    for name, words in (
        ("temperature=1", "Paris gets {}%"),
        ("temperature=0.25", "at T = 0.25 Paris has {}%"),
        ("top_k=2", "With k = 2 Paris has {}%"),
    ):
        paris = 100 * float(draws.probabilities(here.logits, settings[name])[0])
        assert line_of("settings.md", words.format(f"{paris:.1f}"))
    logits = line_of("settings.md", "the logits are").partition("): ")[2].partition(". The softmax")
    said = dict(part.rsplit(" ", 1) for part in logits[0].split(", "))
    assert {word: float(value) for word, value in said.items()} == figures.decoding.LOGITS
    race = draws.race(here)
    overtaken = race.temperatures[np.argmax(race.winners != race.winners[0])]
    assert set(race.winners[race.temperatures < overtaken]) == {0}
    assert set(race.winners[race.temperatures >= overtaken]) == {1}
    assert f"up to a temperature of {overtaken:.2f}" in line_of("noise.md", "overtakes it")


def test_worth_of_common_noise_is_the_measured_median():
    frame = pd.read_csv(ROOT / "results" / "performance" / "common_noise.csv")
    medians = frame.groupby("kind", sort=False)["worth"].median()
    table = re.findall(r"(?m)^\| (.+?)(?: \(.+\)|, .+)? \| (\d+\.\d+) \|$", TEXTS["noise.md"])
    said = {kind.removesuffix(" of a knob").removeprefix("a "): value for kind, value in table}
    assert said == {kind: f"{value:.2f}" for kind, value in medians.items()}


def test_scores_of_the_page_are_the_metrics():
    answers, reference = figures.texts.ANSWERS, figures.texts.REFERENCE
    found = {name: text_scores(text, reference=reference) for name, text in answers.items()}
    wrong, short = (found[name]["rougeL"] for name in ("wrong, in its words", "right, in one word"))
    assert f'Rome scores {wrong:.0f} ROUGE-L, and "Paris." {short:.0f}.' in TEXTS["scores.md"]
    for metric in ("bleu", "rougeL"):  # the figure's title
        right = [row[metric] for name, row in found.items() if name.startswith("right")]
        assert max(right) < found["wrong, in its words"][metric]
    by_hand = rouge("The cat on the mat.", reference="the cat sat on the mat")["rougeL"]
    assert f"{by_hand:.2f}" in line_of("scores.md", "Worked by hand") and round(by_hand, 2) == 90.91


def test_five_questions_of_the_page_have_the_interval_and_the_p_that_it_says():
    rows = re.findall(
        r"(?m)^\| (?:greedy|temperature 1|difference) \|(.+)\|$", TEXTS["uncertainty.md"]
    )
    greedy, warm, moves = (numbers(row)[:5] for row in rows)
    assert [b - a for a, b in zip(greedy, warm, strict=True)] == moves
    assert moves == list(figures.uncertainty.FIVE)
    said = line_of("uncertainty.md", "have wide intervals of their own")
    for found in (stats.t_interval(greedy), stats.t_interval(warm)):
        assert f"[{found.low:.1f}, {found.high:.1f}]" in said
    paired = stats.paired_difference(warm, greedy)
    assert f"[{paired.low:.2f}, {paired.high:.2f}]" in said
    assert f"2/32 = {stats.sign_flip_p(moves)}" in line_of("uncertainty.md", "Two of them go")
    assert f"Up to {stats.EXACT_UP_TO} questions" in line_of("uncertainty.md", "all ways are tried")


def test_four_p_values_of_the_page_become_what_holm_and_benjamini_hochberg_return():
    raw = numbers(line_of("families.md", "Four tests gave").partition("Holm")[0])
    assert raw == list(figures.uncertainty.LADDER) == [0.01, 0.04, 0.03, 0.005]
    steps = line_of("families.md", "Back in the old order")
    adjusted = numbers(steps.partition("Back in the old order:")[2])
    assert adjusted == stats.holm(raw).round(6).tolist() == [0.03, 0.06, 0.06, 0.02]
    hints = numbers(line_of("families.md", "false discovery rate").rpartition("become")[2])
    assert hints == stats.benjamini_hochberg(raw).round(6).tolist()
    assert re.findall(r"([\d.]+) x (\d) = (\d\.\d+)", steps) == [
        (f"{p:g}", str(4 - n), f"{p * (4 - n):g}") for n, p in enumerate(sorted(raw))
    ]


def test_rates_of_the_pages_were_counted():
    frame = pd.read_csv(ROOT / "results" / "calibration" / "calibration.csv").set_index("check")
    rates = (100 * frame["rate"]).round().astype(int)
    rows = rates[rates.index.str.startswith("false positives: t over rows")]
    assert f"in {rows.min()}% to {rows.max()}% of" in line_of(
        "uncertainty.md", "counting rows finds"
    )
    uncorrected = rates["family-wise errors: no correction, 36 nulls, n 50"]
    assert f"{uncorrected}% of such families" in line_of("families.md", "such families")


def test_smallest_differences_of_the_page_are_computed():
    said = line_of("families.md", "60 questions see")
    seen = [f"{stats.minimum_detectable_effect(20, n):.2f}" for n in (60, 500, 2000)]
    assert re.findall(r"\d+\.\d+", said)[:3] == seen


def test_verdicts_of_the_pages_are_the_reports_own_sentences():
    columns = ("verdict", "mean", "ci_low", "ci_high", "mde", "p_holm", "p_equivalence_holm")
    rows = [
        ("changes", -2.4, -3.3, -1.5, 1.29, 0.0009, 1.0),
        ("equivalent", 0.1, -0.5, 0.7, 0.86, 1.0, 0.018),
        ("inconclusive", -0.8, -2.4, 0.8, 2.29, 1.0, 1.0),
    ]
    shared = {"model": "phi-2", "axis": "temperature", "from": "greedy", "to": "1", "margin": 1.0}
    frame = pd.DataFrame(rows, columns=columns).assign(**shared)
    sentences = verdicts.changes(frame, {"phi-2": "Phi-2"}, axis="temperature")
    assert re.findall(r"> (Raising.+)", TEXTS["families.md"]) == list(sentences)
    assert f"> {sentences[-1]}" in TEXTS["index.md"]


# The figures


def test_every_figure_stands_on_a_page():
    shown = re.findall(r"!\[.+?\]\(figures/(\w+)\.png\)", "".join(TEXTS.values()))
    assert sorted(shown) == sorted(DRAWN)


@pytest.mark.model
@pytest.mark.parametrize("name", DRAWN)
def test_figure_says_what_it_shows_and_comes_out_the_same_again(name, monkeypatch):
    from alpaca_lab.datasheet import figures as data_figures
    from alpaca_lab.decoding_walkthrough import draw_figures
    from alpaca_lab.pages import drawing

    for module in (
        figures.decoding,
        figures.texts,
        figures.uncertainty,
        draw_figures,
        data_figures,
    ):
        monkeypatch.setattr(module, "png", lambda figure: figure)
    one, two = DRAWN[name](), DRAWN[name]()
    assert len(one.get_suptitle()) > 20
    assert all(plot.get_xlabel() for plot in one.axes)
    assert any(plot.get_ylabel() or plot.get_yticklabels() for plot in one.axes)
    drawn = drawing.png(one)
    assert drawn == drawing.png(two)
    assert drawn.startswith(b"\x89PNG") and len(drawn) < 200_000


# How to cite, how to contribute


def test_citation_is_of_this_version_and_names_what_is_asked_for():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert cited["cff-version"] == "1.2.0" and cited["message"] and cited["title"]
    assert cited["authors"] == [{"name": "The Alpaca Lab authors"}]
    assert cited["url"] == cited["repository-code"] == hooks.GITHUB.removesuffix("/blob/main")


def test_rooms_that_a_contributor_is_shown_are_there():
    text = TEXTS["CONTRIBUTING.md"]
    tests = re.findall(r"`(test_[\w*]+\.py)`", text)
    assert tests and all(list((ROOT / "tests").glob(name)) for name in tests)
    rows = [line.split("|")[2] for line in text.splitlines() if line.startswith(("| a ", "| an "))]
    assert len(rows) == 9
    source = ROOT / "src" / "alpaca_lab"
    for names in (re.findall(r"`([\w./*]+?)/?`", row) for row in rows):
        modules = [source / f"{name.partition('.')[0]}.py" for name in names]
        inside = " ".join(m.read_text(encoding="utf-8") for m in modules if m.is_file())
        for name in names:
            room, _, part = name.partition(".")
            named = (f"{room}.py", room, name)
            files = [*ROOT.glob(name), *(path for each in named for path in source.glob(each))]
            assert files or re.search(rf"\b{room}\b", inside), name
            assert part in ("", "py", "md") or re.search(rf"\b{part}\b", inside), name
