import math

import numpy as np
import pytest
import torch

from neuralcollapse.training import TrainConfig, loss_function

CASES = {
    "ce": TrainConfig(),
    "smoothed": TrainConfig(label_smoothing=0.2),
    "mse": TrainConfig(loss="mse"),
    "focal": TrainConfig(loss="focal"),
    "focal half": TrainConfig(loss="focal", focal_gamma=0.5),
}


def by_hand(config, logits, labels):
    """Sample by sample, in plain Python."""
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        shares = [math.exp(value) for value in row]
        shares = [share / sum(shares) for share in shares]
        if config.loss == "mse":
            total += 0.5 * sum((z - (k == label)) ** 2 for k, z in enumerate(row))
        elif config.loss == "focal":
            gamma = 2.0 if config.focal_gamma is None else config.focal_gamma
            total -= (1 - shares[label]) ** gamma * math.log(shares[label])
        else:
            smoothing = config.label_smoothing
            for k, share in enumerate(shares):
                target = (1 - smoothing) * (k == label) + smoothing / len(row)
                total -= target * math.log(share)
    return total / len(labels)


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_formula(name, generator):
    logits = 3 * torch.randn(9, 4, generator=generator, dtype=torch.float64)
    labels = torch.arange(9) % 4
    value = loss_function(CASES[name])(logits, labels)
    assert float(value) == pytest.approx(by_hand(CASES[name], logits, labels), rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_its_gradient_is_right(name, generator):
    logits = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 0, 1])
    assert torch.autograd.gradcheck(lambda z: loss_function(CASES[name])(z, labels), logits)


def test_loss_of_uniform_logits():
    # Cross-entropy log K; squared distance of 0 from a one-hot row, halved.
    expected = {"ce": np.log(4), "mse": 0.5, "focal": (3 / 4) ** 2 * np.log(4)}
    for loss, value in expected.items():
        uniform = loss_function(TrainConfig(loss=loss))(torch.zeros(6, 4), torch.arange(6) % 4)
        assert float(uniform) == pytest.approx(value, rel=1e-6)


def test_focal_loss_without_focus_is_cross_entropy(generator):
    logits, labels = torch.randn(9, 4, generator=generator), torch.arange(9) % 4
    focal = loss_function(TrainConfig(loss="focal", focal_gamma=0.0))(logits, labels)
    torch.testing.assert_close(focal, loss_function(TrainConfig())(logits, labels))


def test_focal_loss_keeps_its_digits_where_a_sample_is_nearly_certain():
    # At margin z, 1 - p = s = exp(-z) and the loss s^2 * s, to relative order s.
    logits = torch.tensor([[12.0, 0.0]])
    value = loss_function(TrainConfig(loss="focal"))(logits, torch.tensor([0]))
    assert float(value) == pytest.approx(math.exp(-36), rel=1e-4)
