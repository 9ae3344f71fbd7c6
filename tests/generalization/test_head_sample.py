import math

import pytest
import torch

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization.certificates.held_out import failure_probability
from neuralcollapse.generalization.head_sample import (
    HeadSample,
    grid_weight,
    rademacher_deviation,
    ramp_loss,
)
from neuralcollapse.metrics import sample_margins


def test_centring_and_the_bias_change_no_margin(generator):
    features = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, 4, generator=generator, dtype=torch.float64) + 7
    bias = torch.randn(3, generator=generator, dtype=torch.float64)
    labels = torch.arange(30) % 3
    sample = HeadSample.of(features, labels, weight, bias)
    expected = sample_margins(features @ weight.T + bias, labels)
    torch.testing.assert_close(sample.margins, expected)
    assert sample.head.shape == (3, 5)
    assert float(sample.head.sum(0).abs().max()) < 1e-13
    squares = float(features.square().sum()) + 30
    assert sample.feature_norm == pytest.approx(math.sqrt(squares))


def test_the_ramp_lies_between_errors_and_the_share_below_the_margin(generator):
    margins = torch.randn(1000, generator=generator)
    errors = float((margins <= 0).double().mean())
    for margin in (0.01, 0.5, 3.0):
        share = float((margins < margin).double().mean())
        assert errors <= ramp_loss(margins, margin) <= share
    assert ramp_loss(margins, 1e-12) == pytest.approx(errors)
    assert ramp_loss(margins, 1e12) == pytest.approx(1)


def test_the_grid_shares_one_failure_probability():
    shares = [grid_weight(k) for k in range(-30, 31)]
    assert sum(shares) < 1
    assert shares == shares[::-1]
    tail = 2 * sum(1 / (1 + k) ** 2 for k in range(31, 10**6)) / (math.pi**2 / 3 - 1)
    assert sum(shares) + tail == pytest.approx(1, abs=1e-5)


def test_the_deviation_inverts_its_tail():
    for n, delta in ((10, 0.5), (1000, 0.01)):
        deviation = rademacher_deviation(n, delta) / 3
        assert 2 * math.exp(-2 * n * deviation**2) == pytest.approx(delta)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: HeadSample.of(torch.ones(0, 2), [], torch.eye(2)),
            "at least one sample, got none",
        ),
        (lambda: HeadSample.of([[1.0]], [0], [[1.0]]), r"weight: expected shape \(K, 1\), K >= 2"),
        (lambda: HeadSample.of([[1.0]], [0], torch.eye(2)), r"K >= 2, got \(2, 2\)"),
        (lambda: HeadSample.of([[1.0]], [2], [[1.0], [0.0]]), "below 2, the number of classes"),
        (lambda: HeadSample.of([[1.0]], [0], [[0.3], [0.3]]), "weight: expected at least two diff"),
        (lambda: failure_probability(1.0), r"confidence: expected a number in \(0, 1\), got 1"),
        (lambda: failure_probability(math.nan), r"confidence: expected a number in \(0, 1\)"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


@pytest.mark.parametrize("place", ["features", "weight"])
def test_nan_is_refused(place):
    values = {"features": torch.ones(2, 2), "weight": torch.eye(2)}
    values[place][0, 0] = math.nan
    with pytest.raises(NonFiniteError, match=f"{place}: expected finite numbers, got 1 NaN"):
        HeadSample.of(values["features"], [0, 1], values["weight"])
