import json

import pytest

from cli_runner import run
from training_runs import TINY, quiet


@pytest.mark.parametrize("options", [[], ["--net", "cnn", "--loss", "mse"]])
def test_the_demo_trains_tells_and_draws(tmp_path, options):
    result = run("demo", "--epochs", 2, "--out", tmp_path / "demo", *options)
    assert result.exit_code == 0, result.output
    assert "NC1 variability collapse" in result.stdout
    names = {path.name for path in (tmp_path / "demo").iterdir()} - {".lock"}
    figures = {"collapse.png", "accuracy.png", "margins.png"}
    run_folder = {"config.json", "history.jsonl", "checkpoint.pt", "model.safetensors"}
    assert names == figures | run_folder | {"snapshots", "report.html"}
    assert "report.html" in result.stdout.splitlines()[-1]
    assert len(list((tmp_path / "demo/snapshots").iterdir())) == 2
    assert len((tmp_path / "demo/history.jsonl").read_text().splitlines()) == 2
    config = json.loads((tmp_path / "demo/config.json").read_text())["config"]
    assert (config["net"], config["loss"]) == (("cnn", "mse") if options else ("mlp", "ce"))


def test_the_demo_can_be_run_again(tmp_path):
    for _ in range(2):
        assert run("demo", "--epochs", 1, "--out", tmp_path).exit_code == 0


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "checkpoint.pt", "report.html", "collapse.png"]
)
def test_the_demo_replaces_nothing_of_others(tmp_path, name):
    (tmp_path / name).write_text("MINE")
    result = run("demo", "--epochs", 1, "--out", tmp_path)
    assert result.exit_code == 2
    assert name in result.stderr
    assert (tmp_path / name).read_text() == "MINE"
    assert {path.name for path in tmp_path.iterdir()} <= {name, ".lock"}


def test_the_demo_replaces_no_other_run(tmp_path):
    quiet(TINY, tmp_path)
    text = (tmp_path / "history.jsonl").read_text()
    assert run("demo", "--epochs", 1, "--out", tmp_path).exit_code == 2
    assert (tmp_path / "history.jsonl").read_text() == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--net", "vit"], "error: --net: expected one of mlp, "),
        (["--data", "/no/where"], "error: --data: expected train-images-idx3-ubyte or"),
    ],
)
def test_bad_input_ends_with_one_line_and_status_two(tmp_path, arguments, message):
    result = run("demo", *arguments, "--out", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
