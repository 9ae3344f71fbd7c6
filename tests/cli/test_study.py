import pytest
import torch

from cli_runner import run
from neuralcollapse import studies
from neuralcollapse.measurement import write_features
from neuralcollapse.training import TrainConfig


@pytest.mark.parametrize("command", [["study", "xu1999"], ["verify", "xu1999"]])
def test_an_unknown_paper_ends_in_one_line(command):
    result = run(*command)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: PAPER: expected one of ji2022")


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


def test_a_figure_takes_settings(tmp_path, monkeypatch):
    jobs = []
    monkeypatch.setattr(studies, "run_study", lambda paper, job, n: jobs.append(job) or [])
    settings = ["lr=0.5", "data=my_data:stripes", "milestones=[2, 3]", "head_bias=false"]
    flags = [word for setting in settings for word in ("--set", setting)]
    assert run("study", "tirer2023", "--figure", 3, "--out", tmp_path, *flags).exit_code == 0
    [planned] = jobs[0].planned([TrainConfig(lr_schedule="step", lr=0.1, seed=4)])
    assert (planned.lr, planned.seed, planned.milestones) == (0.5, 4, (2, 3))
    assert (planned.data, planned.head_bias) == ("my_data:stripes", False)


@pytest.mark.parametrize(
    ("setting", "message"), [("lr", "expected key=value, got lr"), ("speed=1", "got speed")]
)
def test_settings_that_are_none_are_refused(setting, message):
    result = run("study", "ji2022", "--set", setting)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(("paper", "figure"), [("ji2022", 2), ("tirer2023", 1), ("gao2023", 4)])
@pytest.mark.parametrize(("option", "value"), [("--seed", 3), ("--set", "epochs=3")])
def test_a_figure_with_seeds_and_settings_of_its_own_takes_no_others(
    paper, figure, option, value, tmp_path
):
    result = run("study", paper, "--figure", figure, option, value, "--out", tmp_path / "new")
    assert result.exit_code == 2
    assert f"error: {option}: expected none for figure {figure} of {paper}" in result.stderr
    assert not (tmp_path / "new").exists()
