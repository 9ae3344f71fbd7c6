import json

import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.studies.sweep import expand, run_name
from neuralcollapse.studies.sweep.configs import read_sweep
from neuralcollapse.training import TrainConfig


def test_a_grid_is_the_product_of_its_axes():
    configs = expand(
        {"base": {"epochs": 7}, "grid": {"lr": [0.1, 0.2], "seed": [1, 2, 3], "net": ["cnn"]}}
    )
    assert [(c.lr, c.seed) for c in configs] == [(lr, s) for lr in (0.1, 0.2) for s in (1, 2, 3)]
    assert {(c.epochs, c.net) for c in configs} == {(7, "cnn")}


def test_every_listed_run_meets_every_point_and_the_point_wins():
    configs = expand({"runs": [{"lr": 0.1}, {"lr": 0.2, "seed": 9}], "grid": {"seed": [1, 2]}})
    assert [(c.lr, c.seed) for c in configs] == [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]


def test_nothing_given_is_the_default_run():
    assert expand({}) == [TrainConfig()]


def test_names_tell_runs_apart_and_stay_when_a_default_is_spelled_out():
    spec = {"grid": {"lr": [0.1, 0.2], "seed": [0, 1], "loss": ["ce", "mse"]}}
    assert len({run_name(config) for config in expand(spec)}) == 8
    assert run_name(TrainConfig(seed=0)) == run_name(TrainConfig())
    assert run_name(TrainConfig(net="cnn", seed=3)) == "digits-cnn-seed3-431cf9af"  # a name of old
    assert run_name(TrainConfig(lr_schedule="constant")) == "digits-mlp-seed0-5af22fa3"
    assert "/" not in run_name(TrainConfig(data="digits"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([], r"sweep: expected names and values .*, got \[\]"),
        ({"grids": {}}, "sweep: expected the keys base, grid, runs, got grids; check"),
        ({"base": [1]}, r"base: expected names and values .*, got \[1\]"),
        ({"grid": {"seed": 3}}, "grid, seed: expected a list of at least one value, got 3"),
        ({"grid": {"seed": []}}, "grid, seed: expected a list of at least one value"),
        ({"runs": []}, "runs: expected a list of at least one mapping"),
        ({"runs": [3]}, "runs: expected names and values"),
        ({"base": {"learning_rate": 1}}, "config: expected the keys .*, got learning_rate"),
        ({"grid": {"seed": [1, 1]}}, "sweep: expected configurations that differ, got digits-mlp"),
    ],
)
def test_what_is_no_sweep_is_refused(spec, message):
    with pytest.raises(NeuralCollapseError, match=message):
        expand(spec)


def test_a_file_is_read(tmp_path):
    file = tmp_path / "grid.json"
    file.write_text(json.dumps({"grid": {"seed": [4, 5]}}))
    assert [config.seed for config in read_sweep(file)] == [4, 5]
    file.write_text('{"grid": {"seed": [4, 5]}')
    with pytest.raises(NeuralCollapseError, match=r"grid.json: expected a file with a JSON obj"):
        read_sweep(file)
    file.write_text("[1]")
    with pytest.raises(NeuralCollapseError, match=r"grid.json: .* got a JSON list; restore"):
        read_sweep(file)
    with pytest.raises(NeuralCollapseError, match=r"none.json: .* got no such file; restore"):
        read_sweep(tmp_path / "none.json")


@pytest.mark.parametrize(
    "data", ["../../x", "/etc/x", "a/../../b", "..", "my.module:load", "x" * 300, "a\nb", "日本"]
)
def test_a_run_stays_in_the_folder_of_its_sweep(data, tmp_path):
    name = run_name(TrainConfig(data=data))
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()
    assert len(name) < 150
    assert name.isprintable()


def test_settings_that_differ_have_folders_of_their_own():
    configs = [TrainConfig(), *(TrainConfig(data_root=root) for root in ("/data/v1", "/data/v2"))]
    configs += [TrainConfig(data=data) for data in ("a/b", "a-b", "a:b")]
    assert len({run_name(config) for config in configs}) == len(configs)
