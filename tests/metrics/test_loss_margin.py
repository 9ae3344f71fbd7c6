import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.metrics import (
    cross_entropy_losses,
    margin_ceiling,
    margin_lower_bound,
    margin_lower_bound_of_mean,
    margin_min,
    margin_scale,
    mean_loss_floor,
    normalized_margin_lower_bound,
    sample_margins,
)
from neuralcollapse.moments import ClassMoments

COUNTEREXAMPLE = torch.tensor([[5.0, 0.0]] * 3 + [[0.2, 0.0]], dtype=torch.float64)


def test_losses_are_those_of_torch_and_of_high_precision(generator):
    logits = 5 * torch.randn(50, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(6, (50,), generator=generator)
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(cross_entropy_losses(logits, labels), expected)
    far = cross_entropy_losses([[700.0, 0.0, 0.0], [0.0, 700.0, 0.0]], [0, 0])
    assert float(far[0]) == pytest.approx(2 * math.exp(-700), rel=1e-12)
    assert float(far[1]) == 700.0


def test_the_mean_loss_alone_does_not_bound_the_margin():
    labels = [0] * 4
    losses = cross_entropy_losses(COUNTEREXAMPLE, labels)
    mean = float(losses.mean())
    assert mean == pytest.approx(0.1546, abs=1e-4)
    least = margin_min(COUNTEREXAMPLE, labels)
    assert -math.log(math.expm1(mean)) == pytest.approx(1.789, abs=1e-3)
    assert -math.log(math.expm1(mean)) > 8 * least  # what the theorem would say, with the mean
    for bound in (
        margin_lower_bound(losses),
        margin_lower_bound(losses, "sum"),
        margin_lower_bound_of_mean(mean, 4),
    ):
        assert bound <= least + 1e-15


def test_a_random_search_refutes_the_mean_and_finds_nothing_against_the_true_form():
    rng = np.random.default_rng(0)
    draws = violations_of_mean = 0
    for _ in range(3000):
        n, k = int(rng.integers(1, 9)), int(rng.integers(2, 6))
        scores = rng.normal(size=(n, k)) * 10 ** rng.uniform(-1, 1.5)
        labels = rng.integers(k, size=n)
        scores[np.arange(n), labels] += 10 ** rng.uniform(-1, 1.6)
        least = margin_min(torch.from_numpy(scores), labels)
        losses = cross_entropy_losses(scores, labels)
        slack = 1e-13 * max(1.0, abs(least))  # round-off of log and exp
        largest, total = margin_lower_bound(losses), margin_lower_bound(losses, "sum")
        assert total <= largest <= least + slack
        mean = float(losses.mean())
        if mean > 0:
            assert margin_lower_bound_of_mean(mean, n) == pytest.approx(total, rel=1e-12, abs=1e-12)
            draws += 1
            # Without the factor N, in the units of which the theorem is read.
            violations_of_mean += margin_lower_bound_of_mean(mean, 1) > least + 1e-6
    assert violations_of_mean > draws / 4


def test_the_bound_is_attained_with_two_classes_and_one_sample():
    for margin in (-30.0, -1.0, 0.0, 0.25, 30.0, 600.0):
        losses = cross_entropy_losses(torch.tensor([[margin, 0.0]]).double(), [0])
        assert margin_lower_bound(losses) == pytest.approx(margin, rel=1e-12, abs=1e-12)
    assert margin_lower_bound([0.0]) == math.inf
    assert margin_lower_bound([math.log(2)]) == pytest.approx(0, abs=1e-15)


@given(seed=st.integers(0, 10_000), k=st.integers(2, 5), size=st.floats(0.1, 5))
def test_no_balanced_classifier_has_a_mean_loss_below_the_floor(seed, k, size):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(4 * k) % k
    weight = torch.randn(k, 6, generator=generator, dtype=torch.float64)
    noise = torch.randn(4 * k, 6, generator=generator, dtype=torch.float64)
    features = size * (weight[labels] + 0.3 * noise)
    logits = features @ weight.T
    scale = margin_scale(ClassMoments(k, 6).update(features, labels), weight)
    mean = float(cross_entropy_losses(logits, labels).mean())
    assert mean > mean_loss_floor(scale, k)
    least = margin_min(logits, labels)
    assert normalized_margin_lower_bound(mean, 4 * k, scale) <= least / scale <= margin_ceiling(k)


@pytest.mark.parametrize("k", [2, 3, 10])
def test_collapse_attains_the_floor(k):
    labels = torch.arange(3 * k) % k
    vertices = simplex_etf(k, 12)
    features, weight = 2 * vertices[labels], 3 * vertices
    scale = margin_scale(ClassMoments(k, 12).update(features, labels), weight)
    mean = float(cross_entropy_losses(features @ weight.T, labels).mean())
    assert mean == pytest.approx(mean_loss_floor(scale, k), rel=1e-12)
    assert float(sample_margins(features @ weight.T, labels).min()) == pytest.approx(
        scale * k / (k - 1)
    )


@pytest.mark.parametrize(("k", "n", "excess"), [(2, 10, 0.0), (10, 1000, 0.5)])
def test_near_the_floor_the_ceiling_is_approached_like_one_over_tau(k, n, excess):
    predicted = math.log(n * (k - 1) * (1 + excess))
    errors = []
    for scale in (20.0, 40.0, 80.0):
        mean = (1 + excess) * mean_loss_floor(scale, k)
        gap = margin_ceiling(k) - normalized_margin_lower_bound(mean, n, scale)
        errors.append(abs(gap * scale - predicted))
    assert errors[0] < 1e-4
    assert errors[2] < 1e-9  # what is left falls exponentially


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: margin_lower_bound([]), r"losses: expected shape \(n,\), n >= 1"),
        (lambda: margin_lower_bound(torch.tensor(0.1)), "goes to margin_lower_bound_of_mean"),
        (lambda: margin_lower_bound([0.1, -0.1]), "losses: expected finite numbers of at least 0"),
        (lambda: margin_lower_bound([math.nan]), "losses: expected finite numbers of at least 0"),
        (lambda: margin_lower_bound_of_mean(0.0, 3), "mean_loss: expected a finite number above 0"),
        (lambda: margin_lower_bound_of_mean(0.1, 0), "num_samples: expected at least 1, got 0"),
        (lambda: mean_loss_floor(1.0, 1), "num_classes: expected at least 2, got 1"),
        (lambda: normalized_margin_lower_bound(0.1, 3, 0.0), "scale: expected a finite number"),
        (lambda: cross_entropy_losses([[1.0]], [0]), r"logits: expected shape \(n, K\), K >= 2"),
        (lambda: cross_entropy_losses([[math.nan, 0.0]], [0]), "logits: expected finite numbers"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


@pytest.mark.untyped
def test_an_unknown_statistic_is_refused():
    with pytest.raises(
        NeuralCollapseError, match="statistic: expected one of max, sum, got 'mean'"
    ):
        margin_lower_bound([0.1], "mean")
