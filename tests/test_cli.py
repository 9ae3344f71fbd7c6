import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import neuralcollapse as nc
from made_up_run import write_run
from neuralcollapse import studies
from neuralcollapse.cli import app
from neuralcollapse.measurement import write_features


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", [[], ["data"], ["demo"], ["train"], ["measure"], ["report"]])
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


@pytest.mark.parametrize("options", [[], ["--net", "cnn", "--loss", "mse"]])
def test_the_demo_trains_tells_and_draws(tmp_path, options):
    result = run("demo", "--epochs", 2, "--out", tmp_path / "demo", *options)
    assert result.exit_code == 0, result.output
    assert "NC1 class spread" in result.stdout
    names = {path.name for path in (tmp_path / "demo").iterdir()}
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
    ("arguments", "message"),
    [
        (["--net", "vit"], "error: net: expected one of mlp, "),
        (["--data", "/no/where"], "error: data: expected train-images-idx3-ubyte or"),
    ],
)
def test_bad_input_ends_with_one_line_and_status_two(tmp_path, arguments, message):
    result = run("demo", *arguments, "--out", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output


def test_report_writes_one_page_about_all_runs(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    runs = [write_run(tmp_path / name, epochs=3, snapshots=2) for name in ("first", "second")]
    page = tmp_path / "page.html"
    result = run("report", *runs, "--out", page)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(page)
    text = page.read_text()
    assert "first" in text
    assert "second" in text
    assert opened == []
    assert run("report", runs[0], "--out", page, "--open").exit_code == 0
    assert opened == [page.as_uri()]
    assert "<title>first – neural collapse" in page.read_text()


def test_report_refuses_a_folder_without_history_in_one_line(tmp_path):
    result = run("report", tmp_path, "--out", tmp_path / "page.html")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: path: expected a history.jsonl, got no file")
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "page.html").exists()


TRAIN = ("train", "--accelerator", "cpu", "--width", 0.125, "--per-class", 20)


def test_train_passes_on_what_it_is_given(tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"epochs": 5, "lr": 0.01}))
    options = (
        "--config", settings, "--epochs", 3, "--schedule", "step", "--milestones", 1,
        "--milestones", 2, "--no-head-bias", "--layers", "features.3", "--measure-every", 2,
    )  # fmt: skip
    result = run(*TRAIN, *options, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "NC1 class spread" in result.stdout
    kept = json.loads((tmp_path / "run/config.json").read_text())
    assert kept["config"]["lr"] == 0.01
    assert kept["config"]["epochs"] == 3
    assert kept["config"]["milestones"] == [1, 2]
    assert kept["config"]["head_bias"] is False
    records = [json.loads(line) for line in (tmp_path / "run/history.jsonl").open()]
    assert [record["epoch"] for record in records] == [2, 3]
    assert records[0]["layers"].keys() == {"features.3"}
    again = run(*TRAIN, *options, "--out", tmp_path / "run", "--resume")
    assert again.exit_code == 0
    assert again.stdout.strip() in result.stdout
    # The config.json of a run is a --config, too.
    other = run("train", "--config", tmp_path / "run/config.json", "--out", tmp_path / "other")
    assert other.exit_code == 0, other.output
    config = json.loads((tmp_path / "other/config.json").read_text())["config"]
    assert config == kept["config"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('{"learning_rate": 1}', "error: config: expected the keys data, .*got learning_rate; ch"),
        ("[1]", "error: --config: expected a file with a JSON object"),
        ("{", "error: --config: expected a file with a JSON object, got Expecting property name"),
    ],
)
def test_train_refuses_settings_it_does_not_know(tmp_path, settings, message):
    file = tmp_path / "settings.json"
    file.write_text(settings)
    result = run("train", "--config", file, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert re.match(message, result.stderr)
    assert not (tmp_path / "run").exists()


def test_train_says_how_to_go_on_after_an_interrupt(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("neuralcollapse.training.run.train_epoch", interrupted)
    result = run(*TRAIN, "--out", tmp_path)
    assert result.exit_code == 130
    assert "The same command with --resume goes on" in result.output


def test_measure_prints_writes_and_draws(tmp_path):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    weight = nc.simplex_etf(3, 4, "axis")
    features = weight[labels] + 0.1 * torch.randn(60, 4, generator=generator)
    write_features(tmp_path / "f.npz", features=features, labels=labels, weight=weight)
    json_file, plot = tmp_path / "r.json", tmp_path / "r.png"
    result = run("measure", tmp_path / "f.npz", "--per-class", "--json", json_file, "--plot", plot)
    assert result.exit_code == 0, result.output
    report = nc.measure_features(features, labels, weight)
    assert f"{report['nc1_pinv']:.4g}" in result.output
    assert "trace_variance" in result.output
    assert json.loads(json_file.read_text())["values"] == report.to_dict()
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_measure_refuses_objects_in_one_line(tmp_path):
    np.savez(tmp_path / "f.npz", features=np.array([{}], dtype=object), labels=np.zeros(1))
    result = run("measure", tmp_path / "f.npz")
    assert result.exit_code == 2
    assert "error: path: expected an npz file of plain arrays" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("command", [["study", "xu1999"], ["verify", "xu1999"]])
def test_an_unknown_paper_ends_in_one_line(command):
    result = run(*command)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: paper: expected one of ji2022")


@pytest.mark.parametrize("holds", [True, False])
def test_verify_tells_by_its_exit_status(monkeypatch, holds):
    study = studies.Study("toy2020", "A toy")

    @study.claim("thm1", "one is one")
    def check():
        yield studies.Evidence("one", measured=1.0, expected=1.0 if holds else 2.0)

    monkeypatch.setattr("neuralcollapse.studies.papers.load_study", lambda paper: study)
    monkeypatch.setattr("neuralcollapse.studies.papers.PAPERS", ("toy2020",))
    result = run("verify", "toy2020")
    assert result.exit_code == (0 if holds else 1)
    assert "toy2020.thm1" in result.output


def test_study_lists_what_it_wrote(tmp_path, monkeypatch):
    study = studies.Study("toy2020", "A toy")

    @study.figure(1)
    def draw(job):
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / "figure1.png").touch()
        return [job.folder / "figure1.png"]

    monkeypatch.setattr("neuralcollapse.studies.papers.load_study", lambda paper: study)
    result = run("study", "toy2020", "--figure", 1, "--out", tmp_path)
    assert result.output.split() == [str(tmp_path / "figure1.png")]


def test_study_predicts_the_layer_after_given_features(tmp_path):
    labels = torch.arange(60) % 3
    noise = 0.3 * torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    write_features(tmp_path / "f.npz", features=labels[:, None] + noise, labels=labels)
    result = run("study", "tirer2023", "--features", tmp_path / "f.npz", "--beta", 1)
    assert result.exit_code == 0, result.output
    assert "NC1~" in result.output
    result = run("study", "ji2022", "--features", tmp_path / "f.npz")
    assert result.exit_code == 2
    assert "error: --features: expected the paper tirer2023, got ji2022" in result.stderr
