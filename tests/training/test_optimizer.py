import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training import TrainConfig, sgd_epochs


def test_the_head_may_decay_at_a_rate_of_its_own():
    # Zero inputs give no gradient but that of the decay: each step multiplies by 1 - lr decay.
    data = TensorDataset(torch.zeros(6, 3), torch.arange(6) % 2)
    config = TrainConfig(
        loss="mse", lr=0.1, momentum=0.0, weight_decay=0.5, head_weight_decay=2.0, epochs=3,
        batch_size=6, lr_schedule="constant", head_bias=False,
    )  # fmt: skip
    model = nn.Sequential()
    model.add_module("features", nn.Linear(3, 4, bias=False))
    model.add_module("head", nn.Linear(4, 2, bias=False))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    list(sgd_epochs(model, data, config))
    for parameter, start, factor in zip(model.parameters(), before, (0.95, 0.8), strict=True):
        torch.testing.assert_close(parameter.detach(), factor**3 * start)


def test_the_decay_of_adamw_is_taken_off_the_weights():
    # As above; AdamW's step along a gradient of 0 is 0, its decay is no part of the gradient.
    data = TensorDataset(torch.zeros(6, 3), torch.arange(6) % 2)
    config = TrainConfig(
        loss="mse", optimizer="adamw", lr=0.1, weight_decay=0.5, head_weight_decay=2.0, epochs=3,
        batch_size=6, lr_schedule="constant", head_bias=False,
    )  # fmt: skip
    model = nn.Sequential()
    model.add_module("features", nn.Linear(3, 4, bias=False))
    model.add_module("head", nn.Linear(4, 2, bias=False))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    list(sgd_epochs(model, data, config))
    for parameter, start, factor in zip(model.parameters(), before, (0.95, 0.8), strict=True):
        torch.testing.assert_close(parameter.detach(), factor**3 * start)


def test_momentum_is_none_of_adamw():
    with pytest.raises(NeuralCollapseError, match="momentum: expected none unless optimizer"):
        TrainConfig(optimizer="adamw", momentum=0.5)


def test_a_decay_of_the_head_needs_a_head():
    data = TensorDataset(torch.zeros(2, 3), torch.arange(2))
    with pytest.raises(NeuralCollapseError, match="model: expected a layer called head, got none"):
        next(sgd_epochs(nn.Linear(3, 2), data, TrainConfig(head_weight_decay=0.0)))
