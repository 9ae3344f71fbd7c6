import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from neuralcollapse.cli import app


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]])
def test_help_does_not_load_torch(arguments):
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
    assert "demo" in done.stdout


@pytest.mark.parametrize("options", [[], ["--net", "cnn", "--loss", "mse"]])
def test_the_demo_trains_tells_and_draws(tmp_path, options):
    result = run("demo", "--epochs", 2, "--out", tmp_path / "demo", *options)
    assert result.exit_code == 0, result.output
    assert "NC1 class spread" in result.stdout
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    assert names == {"collapse.png", "accuracy.png", "margins.png", "history.jsonl", "config.json"}
    assert len((tmp_path / "demo/history.jsonl").read_text().splitlines()) == 2
    config = json.loads((tmp_path / "demo/config.json").read_text())["config"]
    assert (config["net"], config["loss"]) == (("cnn", "mse") if options else ("mlp", "ce"))


def test_the_demo_can_be_run_again(tmp_path):
    for _ in range(2):
        assert run("demo", "--epochs", 1, "--out", tmp_path).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--net", "vit"], "error: net: expected one of mlp, cnn, got 'vit'; correct the conf"),
        (["--data", "/no/where"], "error: data: expected train-images-idx3-ubyte or"),
    ],
)
def test_bad_input_ends_with_one_line_and_status_two(tmp_path, arguments, message):
    result = run("demo", *arguments, "--out", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
