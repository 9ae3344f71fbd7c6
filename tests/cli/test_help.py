import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import neuralcollapse
from cli_runner import run


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["demo"],
        ["measure"],
        ["certify"],
        ["compare"],
        ["ood"],
        ["measure-head"],
        ["train"],
        ["sweep"],
        ["report"],
        ["data"],
        ["study"],
        ["verify"],
    ],
)
def test_help_does_not_load_torch(command):
    arguments = [*command, "--help"]
    program = (
        "import sys\n"
        "from neuralcollapse.cli import app\n"
        "try:\n"
        f"    app({arguments})\n"
        "finally:\n"
        "    heavy = {'torch', 'numpy', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert arguments[0].removeprefix("--help") in done.stdout


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert run("--version").stdout.strip() == neuralcollapse.__version__ == project["version"]
