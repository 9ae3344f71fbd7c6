"""The predicted geometry: margins, least norms, symmetry, and the paths of real minimisers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics import gram_distance
from neuralcollapse.theory import separation_optimum, separation_value

SIZES = st.lists(st.integers(1, 500), min_size=2, max_size=7)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.booleans())
def test_every_margin_is_one(sizes, bias):
    shape = nc.predicted_geometry(sizes, dim=len(sizes) + 1, bias=bias)
    logits = shape.means @ shape.W.T + (0 if shape.b is None else shape.b)
    margins = logits.diagonal()[:, None] - logits
    margins.fill_diagonal_(1.0)
    torch.testing.assert_close(margins, torch.ones_like(margins), rtol=0, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.booleans())
def test_head_and_features_share_the_norm_and_the_centre(sizes, bias):
    shape = nc.predicted_geometry(sizes, dim=len(sizes) - 1, bias=bias)
    counts = torch.tensor(sizes, dtype=torch.float64)
    features = float((counts[:, None] * shape.means.square()).sum())
    assert float(shape.W.square().sum()) == pytest.approx(features)
    assert float(shape.W.sum(0).abs().max()) < 1e-9 * max(sizes)
    weights = counts if bias else torch.ones_like(counts)
    assert float((weights @ shape.means).abs().max()) < 1e-8 * max(sizes)


def test_without_a_bias_it_is_the_minimum_norm_separation():
    sizes = [8, 4, 2, 2]
    shape, optimum = nc.predicted_geometry(sizes, 5, bias=False), separation_optimum(sizes, 5)
    first = torch.tensor([0, 8, 12, 14])
    assert gram_distance(optimum.W, shape.head_gram) == pytest.approx(0, abs=1e-12)
    assert gram_distance(optimum.H[first], shape.gram) == pytest.approx(0, abs=1e-12)
    assert float(shape.W.square().sum()) == pytest.approx(separation_value(sizes))


@pytest.mark.parametrize(("sizes", "value"), [([8, 4, 2], 3.925119), ([1000, 10, 10, 1], 9.787197)])
def test_with_a_free_bias_the_norm_is_less(sizes, value):
    free = float(nc.predicted_geometry(sizes, len(sizes)).W.square().sum())
    assert free == pytest.approx(value, abs=1e-6)
    assert free < separation_value(sizes)


@pytest.mark.parametrize("bias", [True, False])
def test_equal_classes_are_a_simplex_and_equal_sizes_alike(bias):
    shape = nc.predicted_geometry([7] * 5, 9, bias=bias)
    for gram in (shape.gram, shape.head_gram):
        assert gram_distance(nc.simplex_etf(5, 9), gram) == pytest.approx(0, abs=1e-12)
    shape = nc.predicted_geometry([50, 3, 3, 3], 4, bias=bias)
    for norms, cosines in (
        (shape.norms, shape.cosines),
        (shape.head_norms, shape.head_cosines),
    ):
        assert float(norms[1:].std()) < 1e-12
        assert float(cosines[0, 1:].std()) < 1e-12
    assert shape.head_norms[0] > shape.head_norms[1]  # more samples, a longer row
    assert shape.norms[0] < shape.norms[1]


def test_cross_entropy_with_little_decay_tends_to_it():
    """Minimise head, means and bias directly: nearer to the limit with less decay."""
    sizes = torch.tensor([8.0, 4.0, 2.0], dtype=torch.float64)
    shape = nc.predicted_geometry([8, 4, 2], 3)
    distances = []
    for decay in (1e-2, 1e-5):
        generator = torch.Generator().manual_seed(0)
        W, H = (
            torch.randn(3, 3, generator=generator, dtype=torch.float64).requires_grad_()
            for _ in range(2)
        )
        b = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        solver = torch.optim.LBFGS(
            [W, H, b], max_iter=600, tolerance_grad=1e-11, line_search_fn="strong_wolfe"
        )

        def loss(W=W, H=H, b=b, solver=solver, decay=decay):
            solver.zero_grad()
            log_shares = torch.log_softmax(H @ W.T + b, 1).diagonal()
            value = -(sizes * log_shares).sum() / sizes.sum()
            value = value + decay / 2 * (
                W.square().sum() + (sizes[:, None] * H.square()).sum() / sizes.sum()
            )
            value.backward()
            return value

        solver.step(loss)
        distances.append(gram_distance(H.detach(), shape.gram))
    assert distances[1] < 0.6 * distances[0]
    assert distances[1] < 0.1
    without = nc.predicted_geometry([8, 4, 2], 3, bias=False)
    assert distances[1] < gram_distance(H.detach(), without.gram)


def test_fewer_dimensions_are_refused():
    with pytest.raises(NeuralCollapseError, match="dim >= num_classes - 1 = 3, got dim = 2"):
        nc.predicted_geometry([1, 2, 3, 4], 2)
    with pytest.raises(NeuralCollapseError, match="class_sizes"):
        nc.predicted_geometry([1, 0], 2)
    assert math.isclose(float(nc.predicted_geometry([1, 1], 1).b.abs().sum()), 0, abs_tol=1e-15)


def test_the_origin_has_no_cosines_and_says_so():
    shape = nc.predicted_geometry([8, 4, 2], 3, weight_decay=(1.0, 1.0))
    assert shape.is_origin
    assert shape.cosines.isnan().all()
    assert shape.head_cosines.isnan().all()
    assert not nc.predicted_geometry([8, 4, 2], 3, weight_decay=(0.01, 0.01)).is_origin
    assert not nc.predicted_geometry([8, 4, 2], 3).is_origin
