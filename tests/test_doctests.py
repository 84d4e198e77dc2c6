"""The examples in docstrings say what the functions do."""

import doctest
import importlib
import pkgutil

import pytest

import alpaca_lab

NEED_TRITON = {
    "alpaca_lab.engine.kernels",
    "alpaca_lab.packed.kernels",
    "alpaca_lab.engine.sampling_kernels",
}
NAMES = [
    module.name
    for module in pkgutil.walk_packages(alpaca_lab.__path__, "alpaca_lab.")
    if module.name not in NEED_TRITON and not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", NAMES)
def test_examples_hold(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    found = [doctest.testmod(importlib.import_module(name)).attempted for name in NAMES]
    assert sum(found) > 30
