"""The site as it is built: without a warning, and with nothing that a browser would fetch."""

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from alpaca_lab.config import ROOT
from chromium import chromium
from docs_scripts import DOCS, PAGES
from test_architecture import MODULES

BLANK = b"\x89PNG"
TOOLS = ROOT / ".venv" / "tools" / "bin"
MKDOCS = shutil.which("mkdocs", path=f"{TOOLS}{os.pathsep}{os.environ['PATH']}")
pytestmark = pytest.mark.skipif(MKDOCS is None, reason="needs mkdocs: make docs installs it")


class Loaded(HTMLParser):
    """What a page has a browser load: scripts, styles, pictures, frames, fonts."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        loads = tag != "a" and values.get("rel") not in ("canonical", "prev", "next")
        self.found += [values[name] for name in ("src", "href") if loads and values.get(name)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built strictly: a warning is an error. Its figures, beside it, are blank."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "figures").mkdir()
    for page in PAGES.glob("*.md"):
        for name in re.findall(r"\(figures/(\w+\.png)\)", page.read_text(encoding="utf-8")):
            (folder / "figures" / name).write_bytes(BLANK)
    command = [MKDOCS, "build", "--strict", "-f", DOCS / "mkdocs.yml", "-d", folder / "site"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return folder / "site"


def test_site_has_a_page_for_each_page_and_each_module(site):
    pages = {path.with_suffix("").name for path in PAGES.glob("*.md")}
    assert pages <= {path.with_suffix("").name for path in site.glob("*.html")}
    assert {path.name.removesuffix(".html") for path in site.glob("reference/*.html")} == set(
        MODULES
    )


@pytest.fixture(scope="module")
def loaded(site):
    """What each page of the site loads."""
    found = {}
    for page in site.rglob("*.html"):
        reader = Loaded()
        reader.feed(page.read_text(encoding="utf-8"))
        found[page] = reader.found
    return found


def test_site_loads_nothing_from_elsewhere(site, loaded):
    assert len(loaded) > len(MODULES)
    for page, places in loaded.items():
        assert places and not [place for place in places if "//" in place], page.name
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.findall(r"""(?:@import|url\()\s*["']?(?:https?:)?//""", text), style.name


def test_every_file_that_a_page_loads_is_there(loaded):
    for page, places in loaded.items():
        files = [place.split("#")[0] for place in places if not place.startswith("data:")]
        if page.name != "404.html":  # which names them from the root of a server
            assert all((page.parent / file).exists() for file in files), page.name


def test_fields_are_shown_with_what_stands_under_them_and_examples_as_code(site):
    config = (site / "reference" / "config.html").read_text(encoding="utf-8")
    assert "Beam width; 1 means no beam search." in config
    holm = (site / "reference" / "stats.families.html").read_text(encoding="utf-8")
    assert re.search(r'class="gp">&gt;&gt;&gt; </span><span class="n">holm</span>', holm)
    assert "<blockquote>" not in holm and "Many tests read together" in holm


def test_search_finds_the_words_of_pages_and_docstrings_and_not_the_source(site):
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert "Sture Holm" in index and "Return standard Gumbel noise" in index
    assert "import torch" not in index


@pytest.mark.browser
def test_page_opened_from_the_disk_searches_and_asks_no_server(site):
    asked = []
    with chromium() as browser:
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{(site / 'index.html').as_uri()}?q=gumbel")
        page.locator(".md-search-result__item").first.wait_for(timeout=60_000)
        found = page.locator(".md-search-result__item h1").all_inner_texts()
    assert {"Noise", "engine.sampling"} <= set(found)
    assert asked and not [url for url in asked if not url.startswith(("file:", "data:"))]
