import os
import shutil

import pytest

from made_up_run import HOSTILE_NAMES, write_run
from neuralcollapse.report.html import write_page
from neuralcollapse.runs import read_runs

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


@pytest.fixture
def visit(browser):
    """Open a page; afterwards there must have been no error, no warning and no request."""
    contexts, faults = [], []

    def visit(path, width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        context.set_default_timeout(0)  # a busy machine may take long
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None
        )
        page.on(
            "request",
            lambda r: None if r.url.startswith(("file:", "data:")) else faults.append(r.url),
        )
        page.goto(path.as_uri())
        page.wait_for_selector("#curves path.curve")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture(scope="session")
def sibling(tmp_path_factory):
    """Another run on the same classes."""
    folder = tmp_path_factory.mktemp("runs") / "sibling"
    return write_run(folder, class_names=HOSTILE_NAMES, epochs=8, snapshots=4, seed=1)


@pytest.fixture(scope="session")
def page_file(tetrahedron, tmp_path_factory):
    return write_page(read_runs([tetrahedron]), tmp_path_factory.mktemp("page") / "one.html")


@pytest.fixture(scope="session")
def two_runs_file(tetrahedron, sibling, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "two.html"
    return write_page(read_runs([tetrahedron, sibling]), path)
