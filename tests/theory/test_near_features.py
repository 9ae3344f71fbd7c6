import inspect
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.theory import (
    near_features_minimizer,
    regularized_mse_minimizer,
    sufficient_statistics,
)
from neuralcollapse.theory.near_features import _least_curvature
from neuralcollapse.theory.near_features_objective import NearFeaturesObjective

# class sizes, d, lambda_w, lambda_h, beta
CASES = [
    ([3, 3, 3], 5, 0.5, 0.1, 3.0),
    ([3, 3, 3], 5, 0.5, 0.1, 0.1),
    ([2, 2, 2, 2], 2, 0.3, 0.4, 1.0),
    ([1, 1, 1], 3, 0.02, 0.05, 2.0),
    ([4, 1, 2], 4, 0.5, 0.1, 6.0),
    ([2, 2], 4, 2.0, 1.5, 0.5),
]


def problem(sizes, d, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    H0 = rng.normal(size=(len(sizes), d))[labels] + 0.5 * rng.normal(size=(len(labels), d))
    return H0 / math.sqrt(d), labels


def naive_loss(W, H, H0, labels, lambda_w, lambda_h, beta):
    """The definition, with torch so that it can be differentiated."""
    target = torch.nn.functional.one_hot(torch.as_tensor(labels), len(W))
    squares = (H @ W.T - target).square().sum() + lambda_h * H.square().sum()
    squares = squares + beta * (H - torch.as_tensor(H0)).square().sum()
    return squares / (2 * len(H)) + lambda_w * W.square().sum() / (2 * len(W))


@pytest.mark.parametrize(("sizes", "d", "lambda_w", "lambda_h", "beta"), CASES)
@pytest.mark.parametrize("method", ["newton", "alternating"])
def test_minimizer_is_stationary_and_as_low_as_joint_descent(
    sizes, d, lambda_w, lambda_h, beta, method
):
    H0, labels = problem(sizes, d)
    strengths = (lambda_w, lambda_h, beta)
    found = near_features_minimizer(H0, labels, *strengths, method=method)
    W, H = found.W.clone().requires_grad_(), found.H.clone().requires_grad_()
    loss = naive_loss(W, H, H0, labels, *strengths)
    gradients = torch.autograd.grad(loss, (W, H))
    norm = math.hypot(*(float(g.norm()) for g in gradients))
    assert norm <= 1e-12 * (1 + beta * np.linalg.norm(H0) / len(H0))
    assert found.gradient_norm == pytest.approx(norm, abs=1e-14)
    assert found.value == pytest.approx(loss.item(), rel=1e-13)

    size = W.numel()

    def flat(x):
        x = torch.tensor(x, requires_grad=True)
        value = naive_loss(x[:size].view_as(W), x[size:].view_as(H), H0, labels, *strengths)
        return value.item(), torch.autograd.grad(value, x)[0].numpy()

    for seed in range(3):
        start = np.random.default_rng(seed).normal(size=size + H.numel())
        end = minimize(flat, start, jac=True, method="L-BFGS-B")
        assert found.value <= end.fun + 1e-12


@pytest.mark.parametrize(("sizes", "d", "lambda_w", "lambda_h", "beta"), CASES)
def test_moments_give_the_same_minimizer_for_any_number_of_samples(
    sizes, d, lambda_w, lambda_h, beta
):
    H0, labels = problem(sizes, d)
    full = near_features_minimizer(H0, labels, lambda_w, lambda_h, beta)
    moments = sufficient_statistics(H0, labels)
    million = SimpleNamespace(
        means=moments.means, within=moments.within, counts=10**6 * moments.counts
    )
    reduced = near_features_minimizer(million, None, lambda_w, lambda_h, beta)
    assert reduced.H is None
    torch.testing.assert_close(reduced.W, full.W, rtol=0, atol=1e-9)
    of_features = sufficient_statistics(full.H, labels)
    torch.testing.assert_close(full.means, of_features.means, rtol=0, atol=1e-13)
    torch.testing.assert_close(full.within, of_features.within, rtol=0, atol=1e-13)
    assert reduced.value == pytest.approx(full.value, rel=1e-12)


def test_a_collapsed_optimum_is_kept(generator):
    optimum = regularized_mse_minimizer(4, 3, 7, 0.5, 0.1, generator)
    found = near_features_minimizer(optimum.H, optimum.labels, 0.5, 0.1, 2.0)
    torch.testing.assert_close(found.H, optimum.H, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.W, optimum.W, rtol=0, atol=1e-12)
    assert found.value == pytest.approx(optimum.value, rel=1e-13)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_saddles_at_equal_class_means_are_left(level):
    labels = np.arange(4).repeat(2)
    found = near_features_minimizer(np.full((8, 5), level), labels, 0.5, 0.1, 0.01)
    assert found.status == "not unique"
    assert not found.unique
    assert found.gradient_norm < 1e-12
    at_saddle = 0.5 + 0.01 * 0.1 / 0.11 * 5 * level**2 / 2  # the best features for W = 0
    assert found.value < at_saddle
    if level == 0:  # the model without H0, with lambda_h + beta in place of lambda_h
        expected = regularized_mse_minimizer(4, 2, 5, 0.5, 0.11).value
        assert found.value == pytest.approx(expected, rel=1e-12)


def test_lanczos_knows_a_saddle_by_its_least_curvature():
    # At W = 0 and equal class means 0 the Hessian is C + lambda_w - D / mu, diagonal in the
    # eigenbasis of the scatter, and what it is scaled by is C + lambda_w.
    variances, counts = np.array([0.3, 0.1, 1.2, 0.7, 0.5]), np.array([3, 1, 4])
    moments = SimpleNamespace(means=np.zeros((3, 5)), within=np.diag(variances), counts=counts)
    objective = NearFeaturesObjective(sufficient_statistics(moments), 0.5, 0.1, 0.2)
    saddle = objective.expand(np.zeros((3, 5)))
    scatter = 3 * (0.2 / 0.3) ** 2 * variances + 0.5
    weights = 3 * counts / 8
    for k, i in np.ndindex(3, 5):
        unit = np.zeros((3, 5))
        unit[k, i] = 1
        curvature = scatter[i] - weights[k] / 0.3
        np.testing.assert_allclose(saddle.hessian(unit), curvature * unit, atol=1e-14)
    least, direction = _least_curvature(saddle)
    assert least == pytest.approx(1 - weights.max() / 0.3 / scatter.min(), rel=0.01)
    assert abs(direction[2, 1]) == pytest.approx(1, abs=0.01)


def test_lanczos_tells_the_sign_of_the_dense_hessian():
    H0, labels = problem([3, 3, 3], 5)
    objective = NearFeaturesObjective(sufficient_statistics(H0, labels), 0.5, 0.1, 0.2)
    signs = set()
    sizes = np.geomspace(0.3, 5, 60)[:, None, None]
    for W in sizes * np.random.default_rng(0).normal(size=(60, 3, 5)):
        point = objective.expand(W)
        dense = point.hessian(np.eye(15).reshape(15, 3, 5)).reshape(15, 15)
        least = np.linalg.eigvalsh(dense)[0]
        found, direction = _least_curvature(point)
        assert np.sign(found) == np.sign(least)
        assert np.sign(np.vdot(direction, point.hessian(direction))) == np.sign(found)
        signs.add(np.sign(least))
    assert signs == {-1, 1}


@pytest.mark.parametrize("beta", [0.01, 0.03, 0.1, 0.3])
def test_a_reflected_start_does_not_trap_the_descent(beta):
    for seed in range(4):
        H0, labels = problem([1, 1, 1], 3, seed)
        if np.linalg.det(H0[np.argsort(labels)]) > 0:
            H0[0] *= -1
        found = near_features_minimizer(H0, labels, 0.5, 0.1, beta)
        assert found.status == "strict local minimum"

        def flat(x, H0=H0, labels=labels):
            x = torch.tensor(x, requires_grad=True)
            value = naive_loss(*x.view(2, 3, 3), H0, labels, 0.5, 0.1, beta)
            return value.item(), torch.autograd.grad(value, x)[0].numpy()

        for start in np.random.default_rng(1).normal(size=(6, 18)):
            end = minimize(flat, start, jac=True, method="L-BFGS-B")
            assert found.value <= end.fun + 1e-10


@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    lambda_w=st.floats(0.05, 3),
    lambda_h=st.floats(1e-3, 3),
    seed=st.integers(0, 2**16),
)
def test_certified_minimizers_do_not_depend_on_the_route(sizes, lambda_w, lambda_h, seed):
    H0, labels = problem(sizes, 3, seed)
    beta = 1.01 * max(sizes) * len(sizes) / sum(sizes) / lambda_w
    newton = near_features_minimizer(H0, labels, lambda_w, lambda_h, beta)
    alternating = near_features_minimizer(H0, labels, lambda_w, lambda_h, beta, "alternating")
    assert newton.unique
    assert newton.status == alternating.status == "unique"
    torch.testing.assert_close(newton.W, alternating.W, rtol=0, atol=1e-9)


def iterations_of_random_problems(seed, count, wide, balanced):
    """Strengths over five decades; asserts the gradient norm, returns the Newton steps."""
    rng = np.random.default_rng(seed)
    iterations = []
    for _ in range(count):
        num_classes, d = int(rng.integers(2, 8)), int(rng.integers(1, 16))
        sizes = np.full(num_classes, rng.integers(1, 8))
        if not balanced:
            sizes = rng.integers(1, 8, num_classes)
        labels = np.repeat(np.arange(num_classes), sizes)
        scale, noise = np.exp(rng.uniform(-3, 3, 2)) if wide else (1 / math.sqrt(d), 0.5)
        deviations = noise * rng.normal(size=(len(labels), d))
        H0 = scale * (rng.normal(size=(num_classes, d))[labels] + deviations)
        lambda_w, lambda_h = np.exp(rng.uniform(np.log(1e-4), np.log(5), 2))
        beta = np.exp(rng.uniform(np.log(1e-3), np.log(1e3)))
        found = near_features_minimizer(H0, labels, lambda_w, lambda_h, beta)
        assert found.status in ("unique", "strict local minimum", "not unique")
        assert found.gradient_norm < 1e-12 * (1 + beta * np.linalg.norm(H0) / len(H0))
        iterations.append(found.iterations)
    return iterations


@pytest.mark.parametrize("wide", [False, True])
def test_random_problems_reach_rounding_level_in_25_steps(wide):
    assert max(iterations_of_random_problems(0, 250, wide, balanced=True)) <= 25


@pytest.mark.parametrize("beta", [1e-4, 1e-5, 1e-6, 1e-7])
def test_a_vanishing_pull_still_picks_one_minimizer(beta):
    # Without it a whole orbit of rotations is least: the valley is curved and almost flat.
    for seed in range(10):
        H0, labels = problem([5, 5, 5, 5], 7, seed)
        found = near_features_minimizer(H0, labels, 0.5, 0.1, beta)
        assert found.status == "strict local minimum"
        assert found.gradient_norm < 1e-12
        assert found.iterations <= 5


@pytest.mark.slow
@pytest.mark.parametrize("wide", [False, True])
def test_thousands_of_random_problems_do_too(wide):
    assert max(iterations_of_random_problems(1, 3000, wide, balanced=True)) <= 25
    # Unequal classes in few dimensions have longer valleys, along which classes are given up.
    unequal = iterations_of_random_problems(2, 3000, wide, balanced=False)
    assert np.mean(np.array(unequal) > 25) < 0.005


def test_alternation_that_stalls_says_so():
    # The linear factor g / (g + beta) is close to 1 for small beta.
    H0, labels = problem([3, 3, 3], 5)
    found = near_features_minimizer(H0, labels, 0.5, 0.1, 1e-4, "alternating")
    assert found.iterations == 5000
    assert found.status == "not converged"


def call(**changes):
    arguments = {"H0": np.eye(2), "labels": [0, 1], "lambda_w": 1, "lambda_h": 1, "beta": 1}
    return inspect.unwrap(near_features_minimizer)(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [0, 1, 1]}, "labels: expected 2 labels, one per row"),
        ({"labels": [1, 1]}, "a sample of each of 2 classes, got none of \\[0\\]"),
        ({"lambda_w": 0}, "lambda_w: expected a finite number above 0, got 0"),
        ({"lambda_h": -1}, "lambda_h: expected a finite number above 0, got -1"),
        ({"beta": math.inf}, "beta: expected a finite number above 0, got inf"),
        ({"method": "magic"}, "method: expected one of newton, alternating, got 'magic'"),
    ],
)
def test_bad_input_is_refused(changes, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call(**changes)


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="H0: expected finite numbers, got 1 NaN"):
        call(H0=[[math.nan, 0], [0, 1]])


def test_the_condition_for_uniqueness_is_not_a_half_of_itself():
    # At H0 = 0 the minimisers are a whole orbit as long as (beta + lambda_h) lambda_w < 1.
    labels = torch.arange(3).repeat_interleave(2)
    found = near_features_minimizer(torch.zeros(6, 4), labels, 0.5, 0.1, beta=1.0)
    assert not found.unique  # 1.1 < 1 / 0.5, though above half of it
    assert found.status == "not unique"
    assert float(found.means.norm()) > 0.1
    alone = near_features_minimizer(torch.zeros(6, 4), labels, 0.5, 0.1, beta=1.91)
    assert alone.unique
    assert float(alone.means.norm()) < 1e-6
