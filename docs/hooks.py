"""What mkdocs adds to pages/: the figures, pages that stand elsewhere, and one per module.

Nothing is listed here by hand that could go stale: modules come from src/, their order from the
layers that tests/test_architecture.py holds.
"""

import ast
import posixpath
import re
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "pages"
SOURCE = ROOT / "src" / "alpaca_lab"
GITHUB = "https://github.com/alpaca-lab/alpaca-lab/blob/main"
ELSEWHERE = {
    "Reading it": {
        "columns.md": "results/README.md",
        "calibration.md": "results/calibration/README.md",
        "common_noise.md": "results/performance/common_noise.md",
        "first_study.md": "results/original/README.md",
    },
    "The project": {"contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md"},
}
"""Pages that the repository holds already, by section and by the name that they get here."""
FLOORS = {
    "Values, rules and the decode loop": "characters",
    "Rows, bases and training": "hub",
    "Answers and scores": "decoding.likelihood",
    "Tables, pages and the study": "tables.human_metrics",
}
"""Groups of layers, lowest first: each begins at the layer of the module that it names."""
FIGURE = re.compile(r'(<img [^>]*src="(figures/[^"]+)"[^>]*>)')
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")


@cache
def layers() -> list[set[str]]:
    """Return the rooms of each layer, lowest first."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    return next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "LAYERS"
    )


@cache
def modules() -> dict[str, Path]:
    """Return the file of every module of the package, by its name below alpaca_lab."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {name: path for name, path in found.items() if name}


@cache
def layer_of(module: str) -> int:
    """Return the number of a module's layer, from 0: its own, its package's, or its lowest part's.

    Raises:
        ValueError: If none names it.
    """
    numbers = {room: number for number, rooms in enumerate(layers()) for room in rooms}
    parts = [n for room, n in numbers.items() if room.startswith(f"{module}.")]
    for number in (
        numbers.get(module),
        numbers.get(module.split(".")[0]),
        min(parts, default=None),
    ):
        if number is not None:
            return number
    raise ValueError(f"{module} has no layer in tests/test_architecture.py")


def floors() -> dict[str, list[str]]:
    """Return the modules of each of `FLOORS`, by layer and then by name."""
    ordered = sorted(modules(), key=lambda name: (layer_of(name), name))
    starts = [layer_of(first) for first in FLOORS.values()]
    ends = [*starts[1:], len(layers())]
    return {
        title: [name for name in ordered if start <= layer_of(name) < end]
        for title, start, end in zip(FLOORS, starts, ends, strict=True)
    }


def first_line(path: Path) -> str:
    """Return the sentence that a module's docstring begins with."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]


def map_page() -> str:
    """Return the page that lists every module with its layer and what it is."""
    lines = [
        "# The modules",
        "A module imports only from lower layers (a test holds it), so this list can be read "
        "downwards: nothing depends on what stands below it. Layer 0 needs nothing of ours.",
    ]
    for title, names in floors().items():
        rows = (f"| {layer_of(name)} | [{name}](reference/{name}.md) | "
                f"{first_line(modules()[name])} |" for name in names)  # fmt: skip
        lines += [
            f"## {title}",
            "\n".join(("| layer | module | what |", "| ---: | --- | --- |", *rows)),
        ]
    return "\n\n".join(lines) + "\n"


def module_page(name: str) -> str:
    """Return the page of one module, which mkdocstrings fills."""
    place = modules()[name].relative_to(ROOT).as_posix()
    about = f"Layer {layer_of(name)} · [{place}]({GITHUB}/{place})"
    return f"# {name}\n\n{about}\n\n::: alpaca_lab.{name}\n"


def on_config(config: Any) -> Any:
    """Enter the pages that are not in pages/ into the navigation."""
    sections = {title: pages for item in config.nav for title, pages in item.items()}
    for title, pages in ELSEWHERE.items():
        sections[title] = [*sections.get(title, []), *pages]
    reference: list[Any] = [{"All modules": "modules.md"}]
    for title, names in floors().items():
        reference.append({title: [{name: f"reference/{name}.md"} for name in names]})
    sections["Reference"] = reference
    config.nav = [{title: pages} for title, pages in sections.items()]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add what is made rather than written: pages of modules, and figures."""
    from mkdocs.structure.files import File  # the tests need only what stands below and above

    for name, place in elsewhere().items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / place)))
    for figure in sorted((Path(config.site_dir).parent / "figures").glob("*.png")):
        files.append(File.generated(config, f"figures/{figure.name}", abs_src_path=str(figure)))
    files.append(File.generated(config, "modules.md", content=map_page()))
    for name in modules():
        files.append(File.generated(config, f"reference/{name}.md", content=module_page(name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links of the repository to where they lead on the site, or else to GitHub."""
    name = page.file.src_uri
    origin = elsewhere().get(name)
    return relinked(markdown, origin or f"docs/pages/{name}")


def on_page_content(html: str, **_: Any) -> str:
    """Leave source code out of the search, which it would crowd; let a figure open by itself."""
    begins = '<details class="mkdocstrings-source"'
    html = html.replace(begins, f"{begins} data-search-exclude")
    return FIGURE.sub(r'<a href="\2">\1</a>', html)


def elsewhere() -> dict[str, str]:
    """Return `ELSEWHERE` without its sections."""
    return {name: place for pages in ELSEWHERE.values() for name, place in pages.items()}


def relinked(markdown: str, origin: str) -> str:
    """Return a page of the repository with its links as the site has them.

    Args:
        markdown: The page.
        origin: Its place in the repository.
    """
    known = {place: name for name, place in elsewhere().items()} | {
        path.relative_to(ROOT).as_posix(): f"reference/{name}.md"
        for name, path in modules().items()
    }

    def moved(link: re.Match[str]) -> str:
        target, anchor = link[1], link[2] or ""
        place = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
        if place.startswith("docs/pages/") or not (ROOT / place).exists():
            return link[0]
        return f"]({known.get(place) or f'{GITHUB}/{place}'}{anchor})"

    return LINK.sub(moved, markdown)
