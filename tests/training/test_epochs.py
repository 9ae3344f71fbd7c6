import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.training import TrainConfig, sgd_epochs


@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_sgd_is_the_textbook_update(loss, generator):
    inputs = torch.randn(7, 4, generator=generator)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    config = TrainConfig(
        loss=loss,
        lr=0.3,
        momentum=0.8,
        weight_decay=0.05,
        batch_size=7,
        epochs=5,
        lr_schedule="step",
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


def test_divergence_stops_at_its_step(generator):
    data = TensorDataset(torch.randn(8, 3, generator=generator), torch.arange(8) % 2)
    config = TrainConfig(loss="mse", lr=1e30, batch_size=4, epochs=9, lr_schedule="constant")
    with pytest.raises(
        NonFiniteError,
        match=r"train_loss: expected a finite loss, got (inf|nan) at step 2 \(epoch 1\); lower the "
        r"learning rate, now 1e\+30",
    ):
        list(sgd_epochs(nn.Linear(3, 2), data, config))


def test_only_a_look_at_every_thousandth_step_waits(generator, monkeypatch):
    # The losses of a long epoch are looked at before it ends: the first bad one is still named.
    monkeypatch.setattr("neuralcollapse.training.epochs.CHECK_STEPS", 3)
    seen = []

    class Spy(nn.Linear):
        def forward(self, inputs):
            seen.append(len(inputs))
            return super().forward(inputs)

    data = TensorDataset(torch.randn(40, 3, generator=generator), torch.arange(40) % 2)
    config = TrainConfig(loss="mse", lr=1e30, batch_size=4, epochs=9, lr_schedule="constant")
    with pytest.raises(NonFiniteError, match=r"at step 2 \(epoch 1\)"):
        list(sgd_epochs(Spy(3, 2), data, config))
    assert len(seen) == 3


def test_an_epoch_depends_on_seed_and_number_alone():
    # Dropout draws from the global state: what happens between epochs does not matter to it.
    def losses(disturb):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2))
        for epoch in sgd_epochs(model, data, TrainConfig(batch_size=4, epochs=3)):
            if disturb:
                torch.rand(epoch.number)
            yield epoch.loss

    data = TensorDataset(torch.arange(30.0).reshape(10, 3) / 30, torch.arange(10) % 2)
    assert list(losses(disturb=True)) == list(losses(disturb=False))


def test_a_data_set_given_out_row_by_row_gives_the_same_losses(generator):
    class Rows(Dataset):
        def __len__(self):
            return len(data)

        def __getitem__(self, row):
            return data[row]

    def losses(source):
        torch.manual_seed(0)
        config = TrainConfig(batch_size=4, epochs=2)
        return [epoch.loss for epoch in sgd_epochs(nn.Linear(3, 2), source, config)]

    data = TensorDataset(torch.randn(10, 3, generator=generator), torch.arange(10) % 2)
    assert losses(data) == losses(Rows())


@pytest.mark.untyped
@pytest.mark.parametrize("precision", ["32", "auto"])
def test_names_of_classes_are_no_labels_to_train_on(precision):
    data = [(torch.zeros(4), name) for name in ("ant", "bee")]
    epochs = sgd_epochs(nn.Linear(4, 2), data, TrainConfig(epochs=1, precision=precision))
    with pytest.raises(
        NeuralCollapseError, match=r"train labels: expected whole numbers from 0 to"
    ):
        list(epochs)
