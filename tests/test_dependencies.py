"""What the library imports is what pyproject.toml declares."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def imported(tree: ast.Module) -> set[str]:
    """Top-level names of the modules that a file imports from elsewhere."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module)
    return {name.split(".")[0] for name in found} - set(sys.stdlib_module_names)


def test_every_imported_package_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {canonicalize_name(Requirement(line).name) for group in groups for line in group}
    known, missing = packages_distributions(), {}
    for path in (ROOT / "src").rglob("*.py"):
        for name in imported(ast.parse(path.read_text())) - {"neuralcollapse"}:
            if name in known and not declared & set(map(canonicalize_name, known[name])):
                missing[name] = path.name
    assert not missing
