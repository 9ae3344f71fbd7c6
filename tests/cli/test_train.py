import inspect
import json
import re
import subprocess
import sys
from dataclasses import fields

import pytest
from typer.testing import CliRunner

from neuralcollapse.cli import app
from neuralcollapse.cli.train import train
from neuralcollapse.training import TrainConfig


def run(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_every_setting_has_an_option_and_every_help_its_default():
    declared = inspect.signature(train).parameters
    for field in fields(TrainConfig):
        (option,) = declared[field.name].annotation.__metadata__
        assert option.help[0].isupper()
        assert option.help.endswith(".")
        if field.default is True:
            assert option.show_default == "yes"
        elif isinstance(field.default, float):
            assert option.show_default == f"{field.default:g}"
        elif field.default is not None:
            assert option.show_default == str(field.default)


TINY = ("--accelerator", "cpu", "--width", 0.125, "--per-class", 20)


def test_warnings_of_training_are_one_line_each(tmp_path):
    command = [sys.executable, "-m", "neuralcollapse", "train", *map(str, TINY), "--epochs", "3"]
    told = subprocess.run(
        [*command, "--lr", "1e-5", "--out", tmp_path / "run"], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    (line,) = (line for line in told.stderr.splitlines() if "still wrong" in line)
    assert line.startswith("warning: ")
    assert ".py" not in told.stderr


def test_it_passes_on_what_it_is_given(tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"epochs": 5, "lr": 0.01}))
    options = (
        "--config", settings, "--epochs", 3, "--lr-schedule", "step", "--milestones", 1,
        "--milestones", 2, "--no-head-bias", "--head", "etf", "--head-scale", 2,
        "--head-permutation", 0, "--layers", "features.3", "--measure-every", 2,
    )  # fmt: skip
    result = run(*TINY, *options, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "NC1 variability collapse" in result.stdout
    kept = json.loads((tmp_path / "run/config.json").read_text())
    assert kept["config"]["lr"] == 0.01
    assert kept["config"]["epochs"] == 3
    assert kept["config"]["milestones"] == [1, 2]
    assert kept["config"]["head_bias"] is False
    placed = [kept["config"][f"head{name}"] for name in ("", "_scale", "_permutation", "_seed")]
    assert placed == ["etf", 2.0, 0, None]
    records = [json.loads(line) for line in (tmp_path / "run/history.jsonl").open()]
    assert [record["epoch"] for record in records] == [2, 3]
    assert records[0]["layers"].keys() == {"features.3"}
    again = run(*TINY, *options, "--out", tmp_path / "run", "--resume")
    assert again.exit_code == 0
    assert again.stdout.strip() in result.stdout
    # The config.json of a run is a --config, too.
    other = run("--config", tmp_path / "run/config.json", "--out", tmp_path / "other")
    assert other.exit_code == 0, other.output
    config = json.loads((tmp_path / "other/config.json").read_text())["config"]
    assert config == kept["config"]


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            '{"learning_rate": 1}',
            "error: --config: expected the keys data, .*got learning_rate",
        ),
        (
            '{"head": "etf"}',
            "error: --head-bias: expected False if head is 'etf', which has no bias",
        ),
        ('{"config": 3}', "error: .*settings.json: expected settings by name"),
        ('{"data": 5}', "error: --data: expected text, got 5"),
        ('{"seed": 1180591620717411303424}', "error: --seed: expected a whole number in"),
        ("[1]", "error: .*settings.json: expected a file with a JSON object, got a JSON list"),
        ("{", "error: .*settings.json: expected a file with a JSON object, got Expecting property"),
    ],
)
def test_unknown_settings_are_refused(tmp_path, settings, message):
    file = tmp_path / "settings.json"
    file.write_text(settings)
    result = run("--config", file, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert re.match(message, result.stderr)
    assert not (tmp_path / "run").exists()


def test_code_that_a_file_names_runs_only_where_it_is_trusted(tmp_path, monkeypatch):
    (tmp_path / "hostile.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    file = tmp_path / "settings.json"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for key in ("net", "data"):
        file.write_text(json.dumps({key: "hostile:anything"}))
        result = run("--config", file, "--out", tmp_path / "run")
        assert result.exit_code == 2
        assert "expected settings without code, got hostile:anything; pass --trust" in result.stderr
        assert not (tmp_path / "ran").exists()
    result = run("--config", file, "--out", tmp_path / "run", "--trust-code")
    assert "expected hostile:anything to be importable" in result.stderr
    assert (tmp_path / "ran").exists()


def test_it_says_how_to_go_on_after_an_interrupt(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("neuralcollapse.training.run.train_epoch", interrupted)
    result = run(*TINY, "--out", tmp_path)
    assert result.exit_code == 130
    assert "The same command with --resume continues" in result.output
