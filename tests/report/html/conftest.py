import pytest

from made_up_run import HOSTILE_NAMES, write_run
from neuralcollapse.report.html import write_page
from neuralcollapse.runs import read_runs

OWN = ("file:", "data:", "blob:")  # addresses that need no network


@pytest.fixture
def visit(tab):
    """Open a file afresh; afterwards there must have been no error, no warning and no request."""
    faults = []
    listeners = {
        "pageerror": lambda error: faults.append(str(error)),
        "console": lambda m: faults.append(m.text) if m.type in ("error", "warning") else None,
        "request": lambda r: (
            None if r.url.startswith(("file:", "data:", "blob:")) else faults.append(r.url)
        ),
    }
    tab.goto("about:blank")  # what was shown before may still be loading, and says that it cannot
    for event, listener in listeners.items():
        tab.on(event, listener)

    def visit(path, width=1280, color_scheme="light", reduced_motion="no-preference"):
        tab.set_viewport_size({"width": width, "height": 800})
        tab.emulate_media(
            media="screen",
            color_scheme=color_scheme,
            reduced_motion=reduced_motion,
            forced_colors="none",
        )
        tab.goto(path.as_uri())
        tab.wait_for_selector("#curves path.curve")
        return tab

    yield visit
    tab.evaluate("localStorage.clear()")
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    assert faults == []


@pytest.fixture(scope="session")
def sibling(tmp_path_factory):
    """Another run on the same classes."""
    folder = tmp_path_factory.mktemp("runs") / "sibling"
    return write_run(folder, class_names=HOSTILE_NAMES, epochs=8, snapshots=4, seed=1, layers=2)


@pytest.fixture(scope="session")
def page_file(tetrahedron, tmp_path_factory):
    return write_page(read_runs([tetrahedron]), tmp_path_factory.mktemp("page") / "one.html")


@pytest.fixture(scope="session")
def two_runs_file(tetrahedron, sibling, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "two.html"
    return write_page(read_runs([tetrahedron, sibling]), path)
