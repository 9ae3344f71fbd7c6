"""A run that is killed, and gone on with, ends as one that was not."""

import json
import os
import signal

import pytest
from safetensors.torch import load_file
from torch import equal

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.runs import read_history
from neuralcollapse.training import TrainConfig
from training_runs import (
    TINY,
    apart,
    killed_at_touch,
    quiet,
    running,
    stopping_in_write,
    wait_for,
    without_seconds,
)

KILLS = 24
LONG = TrainConfig(**TINY.to_dict() | {"epochs": 20})
SHORT = TrainConfig(**TINY.to_dict() | {"epochs": 8})
OPTIONS = {"measure_every": 1, "checkpoint_every": 1, "layers": ["features.3"]}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    ends = {}
    for name, config in {"long": LONG, "short": SHORT}.items():
        folder = tmp_path_factory.mktemp(name)
        ends[config] = apart(config, folder, **OPTIONS), load_file(folder / "model.safetensors")
    return ends


def assert_same_end(folder, records, end):
    expected, weights = end
    assert without_seconds(records) == without_seconds(expected)
    assert read_history(folder) == records
    ended = load_file(folder / "model.safetensors")
    assert ended.keys() == weights.keys()
    assert all(equal(ended[name], weights[name]) for name in weights)
    assert {path.name for path in folder.iterdir() if path.name != ".lock"} == {
        "config.json", "history.jsonl", "checkpoint.pt", "model.safetensors", "snapshots",
    }  # fmt: skip


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_before_each_of_its_first_touches_of_a_file(tmp_path, uninterrupted, every):
    # From the first probe of the folder to the third epoch after the last kill.
    for nth in range(1, KILLS + 1, every):
        with running(killed_at_touch, LONG, tmp_path, nth, resume=True, **OPTIONS) as process:
            process.join()
            assert process.exitcode == -signal.SIGKILL
    assert 0 < len(read_history(tmp_path)) < LONG.epochs
    records = apart(LONG, tmp_path, resume=True, **OPTIONS)
    assert_same_end(tmp_path, records, uninterrupted[LONG])


@pytest.mark.parametrize(("nth", "part"), [(1, 0.0), (2, 0.5), (5, 0.5), (5, 1.0)])
def test_killed_while_a_checkpoint_is_written(tmp_path, uninterrupted, nth, part):
    folder, marker = tmp_path / "run", tmp_path / "marker"
    with running(stopping_in_write, SHORT, folder, marker, nth, part, **OPTIONS) as process:
        wait_for(marker.exists, process)
        assert process.is_alive()
    assert (folder / "checkpoint.pt").exists() == (nth > 1)
    # The first is written before the first record, each later one after the record of its epoch.
    assert (len(read_history(folder)) if nth > 1 else 0) == nth - 1
    records = apart(SHORT, folder, resume=True, **OPTIONS)
    assert_same_end(folder, records, uninterrupted[SHORT])


def interrupt_after(monkeypatch, epochs, error):
    from neuralcollapse.training import run

    original = run.train_epoch

    def train_epoch(number, *arguments):
        if number > epochs:
            raise error
        return original(number, *arguments)

    monkeypatch.setattr(run, "train_epoch", train_epoch)


def test_an_interrupt_from_the_keyboard_leaves_a_folder_to_go_on_with(
    tmp_path, uninterrupted, monkeypatch
):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 7, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            quiet(SHORT, tmp_path, **OPTIONS | {"checkpoint_every": 5})
    assert len(read_history(tmp_path)) == 7
    records = apart(SHORT, tmp_path, resume=True, **OPTIONS)
    assert_same_end(tmp_path, records, uninterrupted[SHORT])
    assert [record["seconds"] for record in records] == sorted(r["seconds"] for r in records)


def test_a_finished_run_returns_its_records_without_the_data(tmp_path, monkeypatch):
    records = quiet(TINY, tmp_path)
    monkeypatch.setattr("neuralcollapse.training.network_and_data.load_dataset", None)
    assert quiet(TINY, tmp_path, resume=True) == records
    of_old = json.loads((tmp_path / "config.json").read_text())
    of_old["config"]["schedule"] = of_old["config"].pop("lr_schedule")  # as 0.1.0 called it
    (tmp_path / "config.json").write_text(json.dumps(of_old))
    assert quiet(TINY, tmp_path, resume=True) == records


def test_killed_between_the_last_checkpoint_and_the_weights(tmp_path):
    records = quiet(TINY, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    assert quiet(TINY, tmp_path, resume=True) == records
    assert all(
        equal(weights[name], value)
        for name, value in load_file(tmp_path / "model.safetensors").items()
    )


def test_to_resume_where_nothing_is_begins(tmp_path):
    assert len(quiet(TINY, tmp_path / "new", resume=True)) == 3


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (
            {"lr": 0.1, "seed": 3},
            {},
            "resume: expected the configuration of the run in .*, got "
            "lr = 0.05 there and 0.1 now; seed = 0 there and 3 now; correct it",
        ),
        ({}, {"layers": ["features.3"]}, r"layers = \[\] there and \['features.3'\] now"),
        ({}, {"measure_every": 2}, "measure_every = None there and 2 now"),
    ],
)
def test_another_configuration_is_not_gone_on_with(tmp_path, config, options, message):
    quiet(TINY, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    before = (tmp_path / "history.jsonl").read_bytes()
    with pytest.raises(NeuralCollapseError, match=message):
        quiet(TrainConfig(**TINY.to_dict() | config), tmp_path, resume=True, **options)
    assert (tmp_path / "history.jsonl").read_bytes() == before


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    from torch import nn

    quiet(TINY, tmp_path, model=nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    (tmp_path / "model.safetensors").unlink()
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, 10))
    with pytest.raises(NeuralCollapseError, match="resume: expected a checkpoint of the same netw"):
        quiet(TINY, tmp_path, model=other, resume=True)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    quiet(TINY, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    os.truncate(tmp_path / "checkpoint.pt", 5000)
    with pytest.raises(NeuralCollapseError, match="checkpoint: expected the whole checkpoint"):
        quiet(TINY, tmp_path, resume=True)


def test_a_history_shorter_than_its_checkpoint_is_refused(tmp_path):
    quiet(TINY, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "history.jsonl").write_text("")
    with pytest.raises(NeuralCollapseError, match=r"history: expected at least the .* bytes"):
        quiet(TINY, tmp_path, resume=True)


def test_a_damaged_configuration_is_refused(tmp_path):
    quiet(TINY, tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(NeuralCollapseError, match=r"config\.json: expected a file with a JSON"):
        quiet(TINY, tmp_path, resume=True)


def test_to_go_on_and_to_replace_exclude_each_other(tmp_path):
    with pytest.raises(NeuralCollapseError, match="resume, overwrite: expected at most one"):
        quiet(TINY, tmp_path, resume=True, overwrite=True)


def test_an_infinite_loss_keeps_the_checkpoint_before_it(tmp_path, monkeypatch):
    # Weights turn infinite at the last step of epoch 2, whose losses are all finite.
    from neuralcollapse.training import run

    original = run.train_epoch

    def train_epoch(number, model, *arguments):
        epoch = original(number, model, *arguments)
        if number == 2:
            model.head.bias.data[0] = float("inf")
        return epoch

    monkeypatch.setattr(run, "train_epoch", train_epoch)
    with pytest.raises(
        NeuralCollapseError,
        match=r"weights: expected finite weights, got NaN or infinity after step 8 \(epoch 2\); "
        r"lower the learning rate, now .*; the checkpoint of epoch 1 stays in ",
    ):
        quiet(TINY, tmp_path, checkpoint_every=1)
    monkeypatch.undo()
    assert quiet(TINY, tmp_path, resume=True)[-1]["epoch"] == 3


def test_divergence_says_where_and_what_is_left(tmp_path):
    config = TrainConfig(**TINY.to_dict() | {"loss": "mse", "lr": 1e30, "lr_schedule": "constant"})
    with pytest.raises(
        NeuralCollapseError,
        match=r"train_loss: .* at step 2 \(epoch 1\); .*; there is no checkpoint yet",
    ):
        quiet(config, tmp_path)
