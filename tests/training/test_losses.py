import math

import numpy as np
import pytest
import torch
from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training import TrainConfig, dot_regression, etf_head
from neuralcollapse.training.losses import loss_at_head, loss_function

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


DOT_REGRESSION = TrainConfig(loss="dot-regression", head="etf", head_bias=False)


def test_at_the_head_the_loss_of_logits_is_what_it_was(generator):
    logits, labels = torch.randn(9, 4, generator=generator), torch.arange(9) % 4
    with loss_at_head(nn.Linear(2, 4), CASES["mse"]) as loss:
        assert torch.equal(loss(logits, labels), loss_function(CASES["mse"])(logits, labels))


def test_dot_regression_takes_the_features_of_each_batch(generator):
    body, head = nn.Linear(5, 6), etf_head(4, 6, scale=3.0, generator=generator)
    model = nn.Sequential(body, head)
    with loss_at_head(model, DOT_REGRESSION) as loss:
        for size in (7, 3):
            inputs, labels = torch.randn(size, 5, generator=generator), torch.arange(size) % 4
            value = loss(model(inputs), labels)
            assert torch.equal(value, dot_regression(body(inputs), labels, head.weight))
        value.backward()
    assert body.weight.grad.abs().sum() > 0
    assert not head._forward_pre_hooks


def test_dot_regression_is_refused_where_it_cannot_be(generator):
    with pytest.raises(NeuralCollapseError, match="loss: expected a function of logits, got dot-"):
        loss_function(DOT_REGRESSION)
    with (
        pytest.raises(
            NeuralCollapseError, match=r"model: expected one FixedHead for dot-.*, got 0"
        ),
        loss_at_head(nn.Linear(5, 4), DOT_REGRESSION),
    ):
        pass
    head = etf_head(4, 6, generator=generator)
    with (
        pytest.raises(
            NeuralCollapseError, match=r"features: expected shape \(n, d\), got \(2, 3, 6\)"
        ),
        loss_at_head(head, DOT_REGRESSION) as loss,
    ):
        loss(head(torch.zeros(2, 3, 6)), torch.zeros(2, dtype=torch.long))
