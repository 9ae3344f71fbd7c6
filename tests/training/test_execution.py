import copy
import json

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from neuralcollapse.training import TrainConfig, build_network, train
from neuralcollapse.training import execution as executions
from neuralcollapse.training.execution import (
    Execution,
    execution_by_trial,
    execution_of,
    has_bfloat16,
    quickest,
)

TINY = TrainConfig(net="cnn", width=0.125, per_class=5, epochs=3, batch_size=25, precision="auto")


def test_another_way_must_gain_five_per_cent():
    plain, layout, coarse = Execution(), Execution(channels_last=True), Execution("bf16")
    for seconds, best in (
        ({plain: 1.0, layout: 0.96, coarse: 2.0}, plain),
        ({plain: 1.0, layout: 0.94, coarse: 0.93}, coarse),
        ({plain: 1.0, layout: 1.1, coarse: 0.5}, coarse),
        ({plain: 1.0}, plain),
    ):
        assert quickest(plain, list(seconds), seconds.__getitem__) == best


def test_a_trial_leaves_network_random_state_and_threads_alone():
    model = build_network("cnn", (1, 8, 8), 10, width=0.125)
    model.add_module("dropout", nn.Dropout())
    images, threads = torch.randn(20, 1, 8, 8), torch.get_num_threads()
    before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    way = execution_by_trial(model, images, torch.arange(20) % 10)
    assert torch.get_num_threads() == threads
    assert way.threads in (1, threads)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("units", [False, True])
def test_bfloat16_is_tried_where_there_are_units_for_it(units, monkeypatch):
    tried = []
    monkeypatch.setattr(executions, "has_bfloat16", lambda device: units)
    monkeypatch.setattr(executions, "_seconds", lambda m, x, y, way: tried.append(way) or 1.0)
    model = build_network("mlp", (1, 8, 8), 10, width=0.125)
    assert execution_by_trial(model, torch.randn(8, 64), torch.arange(8)).precision == "32"
    assert {way.precision for way in tried} == ({"32", "bf16"} if units else {"32"})
    assert not any(way.channels_last for way in tried)  # no images
    tried.clear()
    execution_by_trial(model, torch.randn(8, 1, 8, 8), torch.arange(8))
    assert {way.channels_last for way in tried} == {False, True}


def test_there_are_units_or_there_are_not():
    assert has_bfloat16(torch.device("cpu")) in (False, True)
    assert has_bfloat16(torch.device("meta")) is False


def test_what_is_configured_needs_no_trial(monkeypatch):
    monkeypatch.setattr(executions, "execution_by_trial", None)
    data = TensorDataset(torch.zeros(4, 2), torch.zeros(4, dtype=torch.long))
    config = TrainConfig(precision="bf16")
    threads = torch.get_num_threads()
    assert execution_of(config, nn.Linear(2, 2), data, True) == Execution("bf16", True, threads)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_every_way_computes_the_same_up_to_rounding(precision, channels_last):
    model = build_network("cnn", (1, 8, 8), 10, width=0.25).eval()
    images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = model(images)
    logits = Execution(precision, channels_last).forward(model, images)
    assert logits.dtype == torch.float32
    error = float((logits - expected).norm() / expected.norm())
    assert error <= (2e-2 if precision == "bf16" else 1e-5)


def test_a_double_network_stays_double():
    model = nn.Linear(3, 2).double()
    assert Execution().forward(model, torch.zeros(1, 3, dtype=torch.float64)).dtype == torch.float64


def test_a_run_goes_on_as_it_was_begun(tmp_path, monkeypatch):
    chosen = iter([Execution("32", True, 1)])
    monkeypatch.setattr(executions, "execution_by_trial", lambda *arguments: next(chosen))
    records = train(TINY, tmp_path, progress=False)
    kept = json.loads((tmp_path / "config.json").read_text())
    assert kept["config"]["precision"] == "auto"
    assert kept["execution"] == {
        "compile": False, "precision": "32", "channels_last": True, "threads": 1,
    }  # fmt: skip
    # Unfinished again: it goes on without a second trial, for which there is no answer.
    (tmp_path / "model.safetensors").unlink()
    assert len(train(TINY, tmp_path, progress=False, resume=True)) == len(records)
    assert (tmp_path / "model.safetensors").exists()
