import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.measurement import measure
from neuralcollapse.report import read_history
from neuralcollapse.training import TrainConfig, build_network, load_dataset, sgd_epochs, train
from neuralcollapse.training.trainer import batch_loss

TINY = TrainConfig(width=0.125, epochs=3, per_class=20, batch_size=50, lr=0.05)


def without_seconds(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_sgd_is_the_textbook_update(loss, generator):
    inputs = torch.randn(7, 4, generator=generator)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    config = TrainConfig(
        loss=loss, lr=0.3, momentum=0.8, weight_decay=0.05, batch_size=7, epochs=5, schedule="step"
    )
    model = nn.Linear(4, 3, bias=False)
    weight = model.weight.detach().double().numpy().copy()
    losses = [epoch.loss for epoch in sgd_epochs(model, TensorDataset(inputs, labels), config)]
    x, targets = inputs.double().numpy(), np.eye(3)[labels.numpy()]
    velocity = np.zeros_like(weight)
    for epoch, lr in enumerate((0.3, 0.3, 0.03, 0.03, 0.003)):
        scores = x @ weight.T
        if loss == "ce":
            shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
            expected = -np.log((shares * targets).sum(1)).mean()
            gradient = (shares - targets).T @ x / 7
        else:
            expected = 0.5 * ((scores - targets) ** 2).sum() / 7
            gradient = (scores - targets).T @ x / 7
        assert losses[epoch] == pytest.approx(expected, rel=1e-5)
        velocity = 0.8 * velocity + gradient + 0.05 * weight
        weight = weight - lr * velocity
    np.testing.assert_allclose(model.weight.detach().numpy(), weight, atol=1e-6)


def test_the_head_may_decay_at_a_rate_of_its_own():
    # Zero inputs give no gradient but that of the decay: each step multiplies by 1 - lr decay.
    data = TensorDataset(torch.zeros(6, 3), torch.arange(6) % 2)
    config = TrainConfig(
        loss="mse", lr=0.1, momentum=0.0, weight_decay=0.5, head_weight_decay=2.0, epochs=3,
        batch_size=6, schedule="constant", head_bias=False,
    )  # fmt: skip
    model = nn.Sequential()
    model.add_module("features", nn.Linear(3, 4, bias=False))
    model.add_module("head", nn.Linear(4, 2, bias=False))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    list(sgd_epochs(model, data, config))
    for parameter, start, factor in zip(model.parameters(), before, (0.95, 0.8), strict=True):
        torch.testing.assert_close(parameter.detach(), factor**3 * start)


def test_a_decay_of_the_head_needs_a_head():
    data = TensorDataset(torch.zeros(2, 3), torch.arange(2))
    with pytest.raises(NeuralCollapseError, match="model: expected a layer called head, got none"):
        next(sgd_epochs(nn.Linear(3, 2), data, TrainConfig(head_weight_decay=0.0)))


def test_every_sample_is_seen_once_an_epoch():
    class Spy(nn.Linear):
        def forward(self, inputs):
            seen.append(inputs[:, 0].tolist())
            return super().forward(inputs)

    seen: list[list[float]] = []
    data = TensorDataset(torch.arange(10.0)[:, None], torch.arange(10) % 2)
    config = TrainConfig(batch_size=4, epochs=2, lr=1e-6)
    epochs = list(sgd_epochs(Spy(1, 2), data, config))
    assert [len(batch) for batch in seen] == [4, 4, 2] * 2
    for epoch in (seen[:3], seen[3:]):
        assert sorted(row for batch in epoch for row in batch) == list(range(10))
    assert seen[:3] != seen[3:]
    assert [(epoch.number, epoch.step) for epoch in epochs] == [(1, 3), (2, 6)]


def test_the_run_folder_holds_what_was_returned(tmp_path):
    records = train(TINY, tmp_path / "run", measure_every=2, progress=False)
    assert [(r["epoch"], r["step"]) for r in records] == [(2, 8), (3, 12)]
    assert read_history(tmp_path / "run") == records
    kept = json.loads((tmp_path / "run/config.json").read_text())
    assert TrainConfig.from_dict(kept["config"]) == TINY
    assert torch.__version__.startswith(kept["versions"]["torch"].split("+")[0])


def test_records_are_those_of_a_measurement_by_hand(tmp_path):
    records = train(TINY, tmp_path, progress=False)
    data = load_dataset("digits").subset(20)
    model = build_network("mlp", data.input_shape, data.num_classes, width=TINY.width)
    for record, epoch in zip(records, sgd_epochs(model, data.train, TINY), strict=True):
        report = measure(model, [data.train.tensors], test_loader=[data.test.tensors])
        assert record["train_loss"] == epoch.loss
        for name, value in report.to_dict().items():
            assert record[name] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), name


def test_a_seed_determines_the_run(tmp_path):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = train(TINY, tmp_path / "a", progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again = train(TINY, tmp_path / "b", progress=False)
    other = train(TrainConfig(**TINY.to_dict() | {"seed": 1}), tmp_path / "c", progress=False)
    assert without_seconds(first) == without_seconds(again)
    assert first[-1]["nc1_pinv"] != other[-1]["nc1_pinv"]


def test_a_history_is_replaced_only_when_asked(tmp_path):
    (tmp_path / "history.jsonl").write_text("precious\n")
    with pytest.raises(NeuralCollapseError, match="out: expected a folder without a history"):
        train(TINY, tmp_path, progress=False)
    assert (tmp_path / "history.jsonl").read_text() == "precious\n"
    records = train(TINY, tmp_path, progress=False, overwrite=True)
    assert read_history(tmp_path) == records


def test_divergence_stops_at_its_step(generator):
    data = TensorDataset(torch.randn(8, 3, generator=generator), torch.arange(8) % 2)
    config = TrainConfig(loss="mse", lr=1e30, batch_size=4, epochs=9, schedule="constant")
    with pytest.raises(
        NonFiniteError,
        match=r"train_loss: expected a finite loss, got (inf|nan) at step 2 \(epoch 1\); lower the "
        r"learning rate, now 1e\+30",
    ):
        list(sgd_epochs(nn.Linear(3, 2), data, config))


def test_measuring_less_than_every_epoch_is_refused(tmp_path):
    with pytest.raises(
        NeuralCollapseError, match="measure_every: expected at least 1 epoch, got 0"
    ):
        train(TINY, tmp_path, measure_every=0)


def test_the_progress_bar_shows_accuracy_and_collapse(tmp_path, capsys):
    train(TINY, tmp_path)
    shown = capsys.readouterr().out
    assert "3/3" in shown
    assert "NC1" in shown


@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_loss_of_uniform_logits(loss):
    # Cross-entropy log K; squared distance of 0 from a one-hot row, halved.
    expected = {"ce": np.log(4), "mse": 0.5}[loss]
    value = batch_loss(torch.zeros(6, 4), torch.arange(6) % 4, loss)
    assert float(value) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_training_past_zero_error_collapses(tmp_path, loss):
    records = train(TrainConfig(loss=loss), tmp_path, progress=False, measure_every=10)
    first, last = records[0], records[-1]
    assert last["accuracy"] == last["nc4_agreement"] == 1
    assert last["nc1_pinv"] < first["nc1_pinv"] / 100
    assert last["nc2_etf"] < 0.1
    assert last["nc3_self_duality"] < 0.1
