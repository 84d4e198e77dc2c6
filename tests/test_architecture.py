"""The layers of the house: a module imports only from lower ones, and heavy packages stay above."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "alpaca_lab"
LAYERS = [
    {"config", "install", "markdown"},
    {"prompts", "progress", "metrics", "stats", "memory", "environment", "sweep"},
    {"profiles", "store"},
    {"data", "checkpoints"},
    {"encoding", "models", "sampling", "semantic"},
    {"slots"},
    {"beams"},
    {"finetune", "generate", "score", "preflight"},
    {"estimates"},
    {"tables", "render", "figures"},
    {"report", "processes"},
    {"study"},
    {"__main__"},
]
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
MODULES = sorted(path.stem for path in SOURCE.glob("*.py") if path.stem != "__init__")


def tree(module):
    return ast.parse((SOURCE / f"{module}.py").read_text())


def imports(module):
    """Yield (name, is inside a function) of what a module imports at run time."""
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
        if isinstance(node, ast.ImportFrom):
            if node.level:
                names = [node.module] if node.module else [alias.name for alias in node.names]
                yield from ((f".{name}", node in inside) for name in names)
            else:
                yield node.module.split(".")[0], node in inside
        elif isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node in inside) for alias in node.names)


def layer_of(module):
    return next((height for height, names in enumerate(LAYERS) if module in names), None)


def test_every_module_has_its_layer():
    assert set(MODULES) == set().union(*LAYERS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_point_down(module):
    for name, _ in imports(module):
        if name.startswith("."):
            assert layer_of(name[1:]) < layer_of(module), f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_heavy_packages_are_imported_where_they_are_used(module):
    """So that reading results, the command line's help and most tests need none of them."""
    heavy = [name for name, inside in imports(module) if name in HEAVY and not inside]
    assert not heavy


@pytest.mark.parametrize("module", sorted({"report", "tables", "render", "figures", "estimates"}))
def test_tables_need_no_torch(module):
    """Not even at second hand: what a table imports imports no model code."""
    seen, waiting = set(), {module}
    while waiting:
        current = waiting.pop()
        seen.add(current)
        found = {name for name, _ in imports(current)}
        assert not found & HEAVY, f"{current} imports {found & HEAVY}"
        waiting |= {name[1:] for name in found if name.startswith(".")} - seen


def test_install_uses_the_standard_library_alone():
    import sys

    assert {name for name, _ in imports("install")} <= set(sys.stdlib_module_names)


def test_no_remote_code_is_ever_trusted():
    for module in MODULES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert node.value.value is False, module
