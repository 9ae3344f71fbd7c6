import pytest

from made_up_run import HOSTILE_NAMES, write_run
from neuralcollapse.report.html import write_page
from neuralcollapse.runs import read_runs


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
