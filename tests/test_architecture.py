"""The layers of the house: a module imports only from lower ones, and heavy packages stay above."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "alpaca_lab"
LAYERS = [
    {"characters", "spreadsheet", "engine.sampling_kernels", "quiet", "metrics.overlap", "driver"},
    {"typed", "endings", "metrics.rouge", "metrics.bleu_chrf", "metrics.rescaling"},
    {
        "config",
        "files",
        "install",
        "progress",
        "memory",
        "stats",
        "engine.sampling",
        "hardware",
    },
    {"weights.architectures", "weights.headers", "withheld"},
    {"ranks", "batches", "fitting", "packed", "engine.columns", "locks", "runs", "requirements"},
    {
        "engine",
        "weights.blocks",
        "decoding.texts",
        "decoding.jobs",
        "decoding.hypotheses",
        "pages.page",
        "rows.ngrams",
    },
    {
        "prompts",
        "metrics.text_scores",
        "environment",
        "sweep",
        "jsonl",
        "processes",
        "store",
        "decoding.slots",
        "weights.trust",
    },
    {"pages.markdown", "pages.latex", "pages.webpage", "pages.drawing", "pages.wording"},
    {"hub"},
    {"rows.sources", "rows.validation", "rows.clusters", "rows.contamination", "rows.cache"},
    {"metrics.encoders"},
    {
        "profiles",
        "weights.checkpoints",
        "scoring.controls",
        "table_files",
        "calibration",
        "decoding.pace",
        "pages.readme",
        "metrics.bertscore",
    },
    {"pages.render_common_noise"},
    {"data", "decoding.beams", "models", "metrics.closeness", "speed"},
    {"encoding", "preflight", "evaluate_metrics", "scoring.score", "adapters"},
    {"finetuning.callbacks", "finetuning.layouts", "finetuning.history", "drive", "speed.cards"},
    {"finetuning.trainer"},
    {"finetuning.recipe"},
    {"decoding.likelihood", "estimates", "datasheet", "human"},
    {"pages.verdicts", "pages.figures", "pages.provenance"},
    {"model_card"},
    {"finetuning.finetune"},
    {"judge", "chat"},
    {"decoding.checks"},
    {"decoding.decoders"},
    {"decoding.dealing"},
    {"decoding.generate", "tables.likelihoods", "scoring.answers_file", "tables.human"},
    {"tables.human_metrics", "tables.evidence"},
    {"tables", "tables.scores", "tables.training"},
    {
        "tables.trends",
        "tables.checks",
        "scoring.answers_text",
        "pages.render_trends",
        "pages.render_glance",
        "pages.render_cost",
        "pages.render_training",
        "pages.render_checks",
        "pages.render_human",
        "pages.render_judge",
    },
    {"pages.human_figures"},
    {
        "pages.render",
        "pilot",
        "tables.common_noise",
        "tables.table_texts",
        "original",
        "walkthrough",
    },
    {"pages.study_pages", "scoring.score_file", "decoding_walkthrough"},
    {"model_card.study_cards"},
    {"report", "judge.command", "verification"},
    {"study", "executed", "exports", "publication"},
    {"options"},
    {"__main__"},
]
"""Lowest first. A package named whole, such as stats, is one room: its modules share its layer."""
HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "bitsandbytes",
    "unsloth",
    "accelerate",
    "datasets",
}


OF_TORCH = {
    "packed",
    "engine",
    "engine.sampling_kernels",
    "finetuning.trainer",
    "finetuning.callbacks",
}
"""Rooms whose classes derive from torch's, so that they import it outright; each is itself imported
only where it is used."""


def name_of(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {name_of(path): path for path in sorted(SOURCE.rglob("*.py")) if name_of(path)}
MODULES = sorted(PATHS)


def tree(module):
    return ast.parse(PATHS[module].read_text())


def imports(module):
    """Yield (name, is inside a function) of what a module imports at run time.

    Our own modules come as ".pages.markdown": a dot, and the name below alpaca_lab.
    """
    parsed = tree(module)
    functions = [
        n for n in ast.walk(parsed) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    inside = {node for function in functions for node in ast.walk(function)}
    typing_only = {
        node
        for branch in ast.walk(parsed)
        if isinstance(branch, ast.If) and getattr(branch.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(parsed):
        if node in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            yield from ((f".{name}", node in inside) for name in ours(module, node))
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0], node in inside
        elif isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node in inside) for alias in node.names)


def ours(module, node):
    """Return the modules that a relative import names: `from ..pages import markdown` names one."""
    package = PATHS[module].parent.relative_to(SOURCE).parts
    base = [*package[: len(package) - node.level + 1], *filter(None, [node.module])]
    for alias in node.names:
        longest = ".".join([*base, alias.name])
        yield longest if longest in PATHS else ".".join(base)


def room_of(module):
    """Return what `LAYERS` calls a module: its own name, or that of its package."""
    named = set().union(*LAYERS)
    return module if module in named else module.split(".")[0]


def layer_of(module):
    room = room_of(module)
    return next((height for height, names in enumerate(LAYERS) if room in names), None)


def test_every_module_has_its_layer_and_every_layer_its_modules():
    documented = [  # packages that are only a docstring
        name
        for name, path in PATHS.items()
        if path.stem == "__init__" and len(tree(name).body) == 1
    ]
    rooms = {room_of(module) for module in MODULES if module not in documented}
    assert rooms == set().union(*LAYERS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_point_down(module):
    for name, _ in imports(module):
        if name.startswith(".") and room_of(name[1:]) != room_of(module):
            assert layer_of(name[1:]) < layer_of(module), f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_heavy_packages_are_imported_where_they_are_used(module):
    """So that reading results, the command line's help and most tests need none of them."""
    outright = [name for name, inside in imports(module) if not inside]
    if room_of(module) not in OF_TORCH:
        assert not [name for name in outright if name in HEAVY or room_of(name[1:]) in OF_TORCH]


READERS = ["report", "pilot", "tables.common_noise", "model_card.study_cards"]


def reached(module, *, inside):
    """Yield a module and all of ours that it brings, each with what it imports.

    What functions import counts only if `inside`.
    """
    seen, waiting = set(), {module}
    while waiting:
        current = waiting.pop()
        seen.add(current)
        found = {name for name, in_function in imports(current) if inside or not in_function}
        yield current, found
        waiting |= {name[1:] for name in found if name.startswith(".")} - seen


@pytest.mark.parametrize("module", READERS)
def test_reading_results_needs_no_torch(module):
    """Not even at second hand: what a table imports imports no model code."""
    for current, found in reached(module, inside=True):
        assert not found & HEAVY, f"{current} imports {found & HEAVY}"


def test_a_command_loads_what_draws_only_if_it_draws():
    """Each stage is a process of its own, and a study starts many."""
    for current, found in reached("__main__", inside=False):
        drawing = found & {"matplotlib", "seaborn", "scipy"}
        assert not drawing, f"{current} imports {drawing}"


def test_install_uses_the_standard_library_alone():
    import sys

    assert {name for name, _ in imports("install")} <= set(sys.stdlib_module_names)


def test_no_remote_code_is_ever_trusted():
    for module in MODULES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert node.value.value is False, module
