"""Shared set-up: few threads, one random state, hypothesis without deadlines."""

import os
import shutil

import jaxtyping
import pytest
import torch
from hypothesis import settings
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks

from made_up_run import HOSTILE_NAMES, write_run

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

settings.register_profile("default", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("default")
torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Begin with the tests of the site: one process has them all, and the other does not wait."""
    items.sort(key=lambda item: item.path.name != "test_site.py")


@pytest.fixture(autouse=True)
def _odd_types(request, monkeypatch):
    """Where types are checked, let the library itself read what a test passes of other types."""
    if request.node.get_closest_marker("untyped"):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(autouse=True)
def _nothing_hears_on():
    """After each test no hook on all modules, and no mode of torch, is left."""
    yield
    left = [*_global_forward_hooks, *_global_forward_pre_hooks]
    modes = torch.overrides._get_current_function_mode_stack()
    for _ in modes:  # the next test has none of them
        torch._C._pop_torch_function_stack()
    assert not left
    assert not modes


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def tetrahedron(tmp_path_factory):
    """A recorded run of four classes with names that try to break out, and all that is kept."""
    folder = tmp_path_factory.mktemp("runs") / "tetrahedron"
    return write_run(folder, class_names=HOSTILE_NAMES, before=True, epochs=12, snapshots=6)


@pytest.fixture(scope="session")
def browser():
    if BROWSER is None:
        if os.environ.get("NEURALCOLLAPSE_BROWSER") == "required":
            pytest.fail(f"none of {', '.join(NAMES)} is installed")
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS, timeout=0)
        yield started
        started.close()


@pytest.fixture(scope="session")
def tab(browser):
    """The one page of all tests: a new one takes as long as a test does."""
    page = browser.new_page()
    page.context.set_default_timeout(100_000)  # a busy machine may take long
    yield page
    page.context.close()
