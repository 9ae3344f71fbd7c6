import json
import warnings

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training import (
    FixedHead,
    TrainConfig,
    UnfittableHeadWarning,
    build_network,
    fix_head,
    run,
)
from neuralcollapse.training.etf_placement import placed_etf
from neuralcollapse.training.network_and_data import network_and_data
from training_runs import TINY, plain_network, quiet, without_seconds


def fixed(**values):
    return TrainConfig(**TINY.to_dict() | {"head": "etf", "head_bias": False} | values)


@pytest.mark.parametrize("orientation", [None, "haar", "axis", "block"])
def test_rows_are_an_etf_of_the_scale(orientation):
    rows = placed_etf(5, 11, fixed(head_orientation=orientation, head_scale=3.0))
    torch.testing.assert_close(rows @ rows.T, 9 * nc.etf_gram(5), atol=1e-12, rtol=0)


def test_seeds_rotate_and_permute_and_nothing_else_does():
    plain = placed_etf(5, 11, fixed())
    assert torch.equal(plain, placed_etf(5, 11, fixed(seed=7, head_seed=0)))
    turned = placed_etf(5, 11, fixed(head_seed=1))
    assert not torch.allclose(turned, plain)
    permuted = placed_etf(5, 11, fixed(head_permutation=1))
    places = (permuted @ plain.T).argmax(1)
    assert sorted(places.tolist()) == list(range(5)) != places.tolist()
    assert torch.equal(permuted, plain[places])
    both = placed_etf(5, 11, fixed(head_seed=1, head_permutation=1))
    assert torch.equal(both, turned[places])


class Batched(nn.Module):
    """A network with its head inside, behind batch norm and dropout."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        self.inner = nn.ModuleDict({"classifier": nn.Linear(8, 3)})

    def forward(self, inputs):
        return self.inner["classifier"](self.body(inputs))


def test_the_head_is_found_wherever_it_is_and_the_rest_left_as_it_was(generator):
    model = Batched()
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    fix_head(model, torch.randn(2, 5, generator=generator), fixed())
    head = model.inner["classifier"]
    assert isinstance(head, FixedHead)
    torch.testing.assert_close(head.weight, placed_etf(3, 8, fixed()).float())
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    after = model.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items() if not k.startswith("inner"))
    assert not head.nonnegative  # batch norm gives features of both signs


def test_features_behind_a_relu_are_seen_to_be_non_negative(generator):
    model = nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 4))
    inputs = torch.randn(2, 5, generator=generator)
    # Four equiangular rows in three dimensions: one of them has no positive coordinate.
    with pytest.warns(UnfittableHeadWarning, match="non-negative features cannot fit the classes"):
        fix_head(model, inputs, fixed())
    signed = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fix_head(signed, inputs, fixed())


def test_where_there_is_no_etf_or_nothing_but_a_head_it_is_refused(generator):
    narrow = nn.Sequential(nn.Linear(5, 2), nn.Linear(2, 4))
    with pytest.raises(NeuralCollapseError, match="dim: expected dim >= num_classes - 1 = 3, got"):
        fix_head(narrow, torch.zeros(2, 5), fixed())
    with pytest.raises(
        NeuralCollapseError, match="model: expected a network before the head to be fixed, got the"
    ):
        fix_head(nn.Linear(5, 3), torch.zeros(2, 5), fixed())


@pytest.mark.parametrize("loss", ["ce", "mse", "focal", "dot-regression"])
def test_a_run_trains_the_body_alone_and_goes_on_from_its_checkpoint(loss, tmp_path, monkeypatch):
    config = fixed(loss=loss, head_scale=2.0, head_seed=3, head_permutation=1)
    records = quiet(config, tmp_path / "a", measure_every=1)
    weights = load_file(tmp_path / "a/model.safetensors")
    rows = placed_etf(10, weights["head.weight"].shape[1], config)
    assert torch.equal(weights["head.weight"], rows.float())
    assert "head.bias" not in weights
    start = build_network("mlp", (1, 8, 8), 10, width=TINY.width).state_dict()
    assert not torch.equal(weights["features.1.weight"], start["features.1.weight"])
    assert records[-1]["train_loss"] < records[0]["train_loss"]
    assert all(record["nc2_etf_head"] < 1e-5 for record in records)

    train_epoch = run.train_epoch

    def stopped(number, *arguments):
        if number == 3:
            raise KeyboardInterrupt
        return train_epoch(number, *arguments)

    monkeypatch.setattr(run, "train_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        quiet(config, tmp_path / "b", measure_every=1, checkpoint_every=1)
    monkeypatch.setattr(run, "train_epoch", train_epoch)
    resumed = quiet(config, tmp_path / "b", measure_every=1, resume=True)
    assert without_seconds(resumed) == without_seconds(records)
    ended = load_file(tmp_path / "b/model.safetensors")
    assert all(torch.equal(ended[name], weight) for name, weight in weights.items())


def test_the_body_starts_as_with_a_trained_head():
    # The head is replaced when all weights have been drawn.
    linear, etf = (network_and_data(config)[0].state_dict() for config in (TINY, fixed()))
    assert etf.keys() == linear.keys() - {"head.bias"}
    assert all(torch.equal(etf[name], linear[name]) for name in etf if name != "head.weight")


def test_networks_by_import_path_and_given_ones(tmp_path):
    config = fixed(net=f"{plain_network.__module__}:plain_network", width=1.0)
    first = quiet(config, tmp_path / "a")
    model = plain_network((1, 8, 8), 10)
    quiet(config, tmp_path / "b", model=model)
    assert isinstance(model[3], FixedHead)
    assert first[-1]["nc2_etf_head"] < 1e-5


def test_dot_regression_is_not_compiled(tmp_path):
    with pytest.raises(NeuralCollapseError, match="compile: expected False if loss is 'dot-regr"):
        quiet(fixed(loss="dot-regression"), tmp_path, compile=True)


def test_a_run_of_a_version_without_fixed_heads_is_gone_on_with(tmp_path):
    records = quiet(TINY, tmp_path)
    path = tmp_path / "config.json"
    kept = json.loads(path.read_text())
    kept["config"] = {k: v for k, v in kept["config"].items() if not k.startswith("head")}
    path.write_text(json.dumps(kept))
    assert quiet(TINY, tmp_path, resume=True) == records
    with pytest.raises(NeuralCollapseError, match="head = 'linear' there and 'etf' now"):
        quiet(fixed(), tmp_path, resume=True)
