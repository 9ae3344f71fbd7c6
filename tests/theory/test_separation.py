import math

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry import nearest_etf, simplex_encoded_labels
from neuralcollapse.theory import LayerPeeledModel, separation_optimum, separation_value

SIZES = [
    [1, 1],
    [5, 1],
    [2, 2, 2],
    [3, 3, 3, 3],
    [1, 1, 1, 1, 1],
    [1, 2, 3],
    [10, 10, 1, 1],
    [4, 4, 2, 1],
    [7, 1, 1],
    [2, 3, 5, 1, 1],
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_conic_solver_finds_the_same_logits_and_value(sizes):
    optimum = separation_optimum(sizes, len(sizes) + 1)
    n, k = len(optimum.H), len(sizes)
    Z = cp.Variable((n, k))
    constraints = [
        Z[i, optimum.labels[i].item()] - Z[i, j] >= 1
        for i in range(n)
        for j in range(k)
        if j != optimum.labels[i]
    ]
    problem = cp.Problem(cp.Minimize(cp.normNuc(Z)), constraints)
    problem.solve(solver=cp.CLARABEL)
    assert optimum.value == pytest.approx(problem.value, rel=1e-6)
    centered = Z.value - Z.value.mean(1, keepdims=True)
    np.testing.assert_allclose(optimum.H @ optimum.W.T, centered, atol=1e-5)


@given(
    sizes=st.lists(st.integers(1, 12), min_size=2, max_size=6),
    spare=st.integers(0, 3),
)
def test_the_optimum_is_primal_and_dual_feasible_with_equal_values(sizes, spare):
    k = len(sizes)
    optimum = separation_optimum(sizes, k - 1 + spare)
    W, H, labels = optimum.W, optimum.H, optimum.labels
    assert torch.bincount(labels).tolist() == sizes
    torch.testing.assert_close(H @ W.T, simplex_encoded_labels(labels), atol=1e-12, rtol=0)
    value = float(W.square().sum() + H.square().sum()) / 2
    assert value == pytest.approx(optimum.value, rel=1e-12)
    assert separation_value(sizes) == optimum.value

    singular = torch.linalg.svdvals(optimum.dual)
    torch.testing.assert_close(singular[: k - 1], torch.ones(k - 1).double())
    assert singular[k - 1 :].max().item() < 1e-12
    torch.testing.assert_close(optimum.dual.sum(1), torch.zeros(len(H)).double())
    multipliers = optimum.multipliers
    own = multipliers.gather(1, labels[:, None])
    assert (own == 0).all()
    assert ((multipliers > 0).sum(1) == k - 1).all()
    assert float(multipliers.sum()) == pytest.approx(optimum.value, rel=1e-12)

    torch.testing.assert_close(W.T @ W, H.T @ H)
    torch.testing.assert_close(W.sum(0), torch.zeros(W.shape[1]).double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("k", "n", "dim"), [(2, 1, 1), (3, 4, 2), (10, 3, 16)])
def test_balanced_classes_have_the_simplex_etf(k, n, dim):
    optimum = separation_optimum([n] * k, dim)
    assert optimum.value == pytest.approx((k - 1) * math.sqrt(n), rel=1e-14)
    assert nearest_etf(optimum.W).distance < 1e-13
    torch.testing.assert_close(optimum.W[optimum.labels], math.sqrt(n) * optimum.H)
    expected = torch.full((k * n, k), 1 / (k * math.sqrt(n))).double()
    expected.scatter_(1, optimum.labels[:, None], 0.0)
    torch.testing.assert_close(optimum.multipliers, expected)


def test_two_classes_and_two_levels_in_closed_form():
    assert separation_optimum([7, 4], 1).value == pytest.approx(math.sqrt(5.5), rel=1e-15)
    expected = 2 * 3 + 1 + math.sqrt((3 * 1 + 2 * 9) / 5)
    assert separation_optimum([1, 9, 9, 1, 9], 4).value == pytest.approx(expected, rel=1e-14)


def test_a_hundred_classes_of_different_sizes():
    sizes = torch.arange(1, 101)
    optimum = separation_optimum(sizes, 128)
    residual = optimum.H @ optimum.W.T - simplex_encoded_labels(optimum.labels)
    assert residual.abs().max().item() < 1e-12
    assert float(optimum.W.square().sum()) == pytest.approx(optimum.value, rel=1e-12)


@given(seed=st.integers(0, 99))
def test_no_separating_perturbation_is_cheaper(seed):
    optimum = separation_optimum([4, 1, 2], 3)
    generator = torch.Generator().manual_seed(seed)
    W = optimum.W + 0.1 * torch.randn(3, 3, generator=generator)
    H = optimum.H + 0.1 * torch.randn(7, 3, generator=generator)
    least = float(LayerPeeledModel(optimum.labels, 3).margins(W, H).min())
    assert least > 0
    assert float(W.square().sum() + H.square().sum()) / 2 > optimum.value * least


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: separation_optimum([2, 2, 2], 1),
            "dim >= num_classes - 1 = 2, got dim = 1; .*code",
        ),
        (lambda: separation_optimum([2, 0], 3), r"class_sizes: .*got \[2, 0\]"),
        (lambda: separation_value([2]), "for at least 2 classes"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()
