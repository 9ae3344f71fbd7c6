import pytest

from made_up_run import write_run
from neuralcollapse.report.html import read_runs, write_page

NAMES = ["<script>window.hacked = 1</script>", 'a "b" & c', "</script>", "日本"]


@pytest.fixture(scope="session")
def tetrahedron(tmp_path_factory):
    """Four classes with names that try to break out, a layer before, test data: all sections."""
    folder = tmp_path_factory.mktemp("runs") / "tetrahedron"
    return write_run(folder, class_names=NAMES, before=True, epochs=12, snapshots=6)


@pytest.fixture(scope="session")
def sibling(tmp_path_factory):
    """Another run on the same classes."""
    folder = tmp_path_factory.mktemp("runs") / "sibling"
    return write_run(folder, class_names=NAMES, epochs=8, snapshots=4, seed=1)


@pytest.fixture(scope="session")
def page_file(tetrahedron, tmp_path_factory):
    return write_page(read_runs([tetrahedron]), tmp_path_factory.mktemp("page") / "one.html")


@pytest.fixture(scope="session")
def two_runs_file(tetrahedron, sibling, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "two.html"
    return write_page(read_runs([tetrahedron, sibling]), path)
