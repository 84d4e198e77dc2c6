"""The browser of tests: the machine's own Chromium, without a window."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
RENDER = """async ([code, state]) => {
  const { default: widget } = await import("data:text/javascript," + encodeURIComponent(code));
  const heard = new Map();
  window.sent = [];
  window.model = {
    get: (name) => state[name],
    on: (change, act) => heard.set(change, act),
    off: (change) => heard.delete(change),
    send: (message) => window.sent.push(message),
  };
  window.answer = (changed) => {
    Object.assign(state, changed);
    for (const name of Object.keys(changed)) heard.get(`change:${name}`)?.();
  };
  window.listeners = () => heard.size;
  window.remove = widget.render({ model: window.model, el: document.getElementById("el") });
}"""
"""Draws a widget from its code and its state. It stands in for Jupyter: a model that keeps what is
sent, and answers when told to."""


@contextmanager
def chromium() -> Iterator[Any]:
    """Open the browser; skip the test where there is none, or nothing to drive it."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if not program:
        pytest.skip(f"no browser on this machine: none of {', '.join(NAMES)}")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
