import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

import neuralcollapse
from cli_runner import run
from neuralcollapse.cli import app

COMMANDS = [
    "demo", "measure", "measure-head", "certify", "compare", "ood", "train", "sweep", "report",
    "data", "glossary", "study", "verify",
]  # fmt: skip


def test_every_command_is_looked_at_here():
    assert sorted(vars(get_command(app))["commands"]) == sorted(COMMANDS)


def test_the_package_runs_as_the_command():
    command = [sys.executable, "-m", "neuralcollapse", "--version"]
    assert subprocess.check_output(command, text=True).strip() == neuralcollapse.__version__


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_fits_80_columns_and_breaks_no_example(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = run(*command, "--help").stdout
    assert max(map(len, shown.splitlines())) <= 80
    words = " ".join(shown.split())
    for example in re.findall(r"neuralcollapse [a-z]\S*(?: [^\s,.()]+)*", about(command)):
        assert example in words, example


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_is_wrapped_in_the_source_as_a_terminal_shows_it(command):
    """Of later paragraphs every line stays a line, so that a longer one would break raggedly."""
    paragraphs = (about(command) or "").split("\n\n")[1:]
    assert [line for text in paragraphs for line in text.splitlines() if len(line) > 78] == []


def test_every_option_says_what_it_does():
    commands = vars(get_command(app))["commands"]
    unsaid = [
        (name, parameter.name)
        for name, command in commands.items()
        for parameter in command.params
        if not getattr(parameter, "help", None)
    ]
    assert unsaid == []


def test_what_options_mean_has_one_name():
    """The same help under two names would be one idea that is called twice."""
    names = {}
    for command in vars(get_command(app))["commands"].values():
        for parameter in command.params:
            names.setdefault(parameter.help, set()).add(parameter.name)
    assert {told: found for told, found in names.items() if len(found) > 1} == {}


def about(command):
    """Return what the source says of a command."""
    found = get_command(app)
    return found.help if not command else vars(found)["commands"][command[0]].help


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
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
