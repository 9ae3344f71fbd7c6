"""The architecture holds: imports point down, and the front door lists what there is."""

import ast
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from graphlib import TopologicalSorter
from pathlib import Path

import jaxtyping
import pytest
from importlinter.cli import lint_imports

import neuralcollapse
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry import simplex_etf

ROOT = Path(__file__).parents[1]


def test_imports_point_down(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert lint_imports() == 0


def test_no_module_imports_itself_by_a_circle_even_to_name_a_type():
    files = {
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts): path
        for path in (ROOT / "src").rglob("*.py")
        if path.name != "__init__.py"
    }
    imports = {
        name: {
            module
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module
            for module in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
            if module in files
        }
        for name, path in files.items()
    }
    assert sum(map(len, imports.values())) > 1000
    TopologicalSorter(imports).prepare()  # raises CycleError


def test_every_public_name_is_there():
    assert len(neuralcollapse.__all__) > 10
    for name in neuralcollapse.__all__:
        assert getattr(neuralcollapse, name) is not None


def test_public_names_are_few():
    """What a function returns is found in the file of the function."""
    stubs = (ROOT / "src/neuralcollapse").rglob("__init__.pyi")
    lines = [line for stub in stubs for line in ast.parse(stub.read_text()).body]
    names = {
        alias.name
        for line in lines
        if isinstance(line, ast.ImportFrom) and line.module  # a package is no name of its own
        for alias in line.names
    }
    assert 150 < len(names) <= 220


def test_the_front_door_imports_nothing_heavy():
    code = "import sys, neuralcollapse; print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_measurement_imports_what_it_uses_alone():
    code = """
import sys, torch, neuralcollapse as nc
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
inputs, labels = torch.randn(300, 6), torch.arange(300) % 3
nc.measure(model, [(inputs, labels)], progress=False)
nc.measure_features(inputs, labels, torch.randn(3, 6))
heavy = {"matplotlib", "pandas", "rich", "scipy", "sklearn", "statsmodels"}
print(sorted(heavy & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_what_is_printed_draws_no_random_number():
    code = """
import random, torch, neuralcollapse as nc
state = random.getstate()
model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
data = [(torch.randn(30, 6), torch.arange(30) % 3)]
print(nc.measure(model, data), nc.measure_layers(model, data))
assert random.getstate() == state
"""
    subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


@pytest.mark.parametrize(
    "script",
    [
        # The dry run of all that a GPU trains takes minutes on two cores.
        pytest.param(path, marks=pytest.mark.slow if path.stem == "gpu" else [], id=path.stem)
        for path in sorted((ROOT / "benchmarks").glob("*.py"))
    ],
)
def test_benchmarks_run(script, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [str(script), "--smoke"])
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.setattr("sys.exit", lambda code=0: pytest.fail(f"exit {code}") if code else None)
    # A browser refuses to start where an event loop runs, and that of the pages' tests may run in
    # this thread.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(runpy.run_path, str(script), run_name="__main__").result()
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(jaxtyping.TypeCheckError, id="checked"),
        pytest.param(NeuralCollapseError, id="untyped", marks=pytest.mark.untyped),
    ],
)
def test_types_are_checked_in_a_typed_run_but_where_a_test_says_otherwise(request, refusal):
    """Nightly and by the examples of the docstrings, see the Makefile."""
    if request.config.getoption("jaxtyping_packages") is None:
        pytest.skip("no types are checked in this run")
    with pytest.raises(refusal):
        simplex_etf(3, 4, generator="odd")
