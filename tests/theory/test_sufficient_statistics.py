import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.theory import sufficient_statistics


@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    dim=st.integers(1, 4),
    seed=st.integers(0, 2**16),
)
def test_moments_are_those_of_a_loop(sizes, dim, seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    features = rng.normal(size=(len(labels), dim))
    scatter = np.zeros((dim, dim))
    moments = sufficient_statistics(features, labels)
    for k, size in enumerate(sizes):
        rows = [features[i] for i in range(len(labels)) if labels[i] == k]
        mean = sum(rows) / size
        np.testing.assert_allclose(moments.means[k], mean, atol=1e-14)
        for row in rows:
            scatter += np.outer(row - mean, row - mean) / len(labels)
    np.testing.assert_allclose(moments.within, scatter, atol=1e-14)
    assert moments.counts.tolist() == sizes
    assert moments.balanced == (len(set(sizes)) == 1)
    assert float(moments.weights.sum()) == pytest.approx(len(sizes))
    global_mean = torch.as_tensor(features).mean(0)
    torch.testing.assert_close(moments.centered_means, moments.means - global_mean)


def test_moments_given_pass_through():
    given_moments = SimpleNamespace(
        means=np.eye(2, 3, dtype=np.float32), within=np.eye(3), counts=[4, 6]
    )
    moments = sufficient_statistics(given_moments)
    assert moments.means.dtype == moments.within.dtype == torch.float64
    torch.testing.assert_close(moments.weights, torch.tensor([0.8, 1.2]).double())


def given_moments(**changes):
    moments = {"means": np.eye(2), "within": np.eye(2), "counts": (3, 3)}
    return SimpleNamespace(**(moments | changes))


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (torch.eye(2), [0, 1, 1], "labels: expected 2 labels, one per row, got shape \\(3,\\)"),
        (
            torch.eye(3),
            [0, 2, 2],
            "a sample of each of 3 classes, got none of \\[1\\]",
        ),
        (torch.eye(2), [0, 0], "labels: expected at least 2 classes, got 1"),
        (given_moments(), [0, 1], "labels: expected None beside moments"),
        (given_moments(within=np.eye(3)), None, "moments: expected within \\(2, 2\\)"),
        (given_moments(counts=(3, 0)), None, "counts: expected at least 2 classes, each with a"),
        (given_moments(within=-np.eye(2)), None, "within: expected a symmetric positive semi"),
        (given_moments(within=[[1, 1], [0, 1]]), None, "within: expected a symmetric positive"),
    ],
)
def test_bad_input_is_refused(features, labels, message):
    with pytest.raises(NeuralCollapseError, match=message):
        sufficient_statistics(features, labels)


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="H0: expected finite numbers, got 1 NaN"):
        sufficient_statistics([[math.nan], [1.0]], [0, 1])
    with pytest.raises(NonFiniteError, match="within: expected finite numbers, got 4 NaN"):
        sufficient_statistics(given_moments(within=np.full((2, 2), math.inf)))


def test_scatter_of_dependent_features_is_as_exact_as_float32_sums():
    """Its zero eigenvalues are rounded to either side of zero; nothing below zero is passed on."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(700, 5, generator=generator) @ torch.randn(5, 64, generator=generator)
    within = (rows.T @ rows / 700).double()
    within = (within + within.T) / 2
    low, high = torch.linalg.eigvalsh(within)[[0, -1]].tolist()
    assert low < -1e-10 * high
    moments = SimpleNamespace(means=rows[:2], within=within, counts=[350, 350])
    found = sufficient_statistics(moments).within
    assert float(torch.linalg.eigvalsh(found)[0]) > 1e-3 * low
    torch.testing.assert_close(found, within, rtol=0, atol=10 * abs(low))
