import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.theory import (
    regularized_mse_loss,
    regularized_mse_minimizer,
    regularized_mse_optimality,
)

# K, n, d, lambda_w, lambda_h: d above, at and below K; c below, at and above 1.
CASES = [
    (4, 3, 9, 0.5, 0.1),
    (4, 3, 4, 0.05, 0.02),
    (4, 1, 6, 0.005, 0.01),
    (5, 2, 3, 0.5, 0.1),
    (2, 2, 1, 0.3, 0.7),
    (3, 2, 5, 2.0, 0.5),
    (3, 2, 5, 2.0, 1.5),
    (5, 2, 3, 4.0, 4.0),
]

TIGHT = {"gtol": 1e-10, "ftol": 0, "maxiter": 1000}


def naive_loss(W, H, labels, lambda_w, lambda_h):
    K, N = len(W), len(H)
    fit = sum(
        (float(np.dot(H[i], W[k])) - (labels[i] == k)) ** 2 for i in range(N) for k in range(K)
    )
    return fit / (2 * N) + lambda_w * (W**2).sum() / (2 * K) + lambda_h * (H**2).sum() / (2 * N)


@pytest.mark.parametrize(("K", "n", "d", "lambda_w", "lambda_h"), CASES)
def test_minimizer_attains_its_value_and_is_stationary(K, n, d, lambda_w, lambda_h, generator):
    found = regularized_mse_minimizer(K, n, d, lambda_w, lambda_h, generator)
    naive = naive_loss(found.W.numpy(), found.H.numpy(), found.labels.numpy(), lambda_w, lambda_h)
    assert found.value == pytest.approx(naive, abs=1e-15)
    check = regularized_mse_optimality(found.W, found.H, found.labels, lambda_w, lambda_h)
    for residual in (check.gap, check.gradient_norm, check.within, check.frame, check.duality):
        assert abs(residual) < 1e-13


@pytest.mark.parametrize(("K", "n", "d", "lambda_w", "lambda_h"), CASES)
def test_no_descent_from_random_starts_goes_below(K, n, d, lambda_w, lambda_h):
    value = regularized_mse_minimizer(K, n, d, lambda_w, lambda_h).value
    labels = torch.arange(K).repeat(n)  # not class-major
    rng = np.random.default_rng(0)

    def loss_and_gradient(x):
        W, H = (torch.tensor(part, requires_grad=True) for part in np.split(x, [K * d]))
        logits = H.view(-1, d) @ W.view(K, d).T
        squared = (logits - torch.nn.functional.one_hot(labels, K)).square().sum()
        loss = (squared + lambda_h * H.square().sum()) / (2 * K * n)
        loss = loss + lambda_w * W.square().sum() / (2 * K)
        gradients = torch.autograd.grad(loss, (W, H))
        return loss.item(), np.concatenate([g.numpy() for g in gradients])

    for _ in range(2):
        start = rng.normal(size=K * d * (n + 1))
        end = minimize(
            loss_and_gradient,
            start,
            jac=True,
            options={"gtol": 1e-10, "ftol": 0},
            method="L-BFGS-B",
        )
        assert end.fun == pytest.approx(value, abs=1e-10)
        W, H = (part.reshape(-1, d) for part in np.split(end.x, [K * d]))
        check = regularized_mse_optimality(W, H, labels, lambda_w, lambda_h)
        assert check.gap == pytest.approx(end.fun - value, abs=1e-14)
        assert check.gap > -1e-15


def test_loss_of_unequal_classes_by_hand():
    # One feature fits its class exactly, two miss theirs entirely.
    W, H = torch.eye(2), torch.tensor([[1.0, 0], [0, 0], [0, 0]])
    expected = 2 / 6 + 0.6 * 2 / 4 + 0.3 / 6
    assert regularized_mse_loss(W, H, [0, 1, 1], 0.6, 0.3) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("strength", [1e-3, 1e-12, 1e-20])
def test_least_value_keeps_its_digits_at_any_decay(strength):
    value = regularized_mse_minimizer(3, 2, 5, strength, strength).value
    assert value == pytest.approx(strength - strength**2 / 2, rel=1e-12, abs=0)


def test_members_of_the_orbit_differ_and_the_generator_repeats_them():
    draws = [
        regularized_mse_minimizer(3, 1, 5, 0.5, 0.1, torch.Generator().manual_seed(s)).means
        for s in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.allclose(draws[0], draws[2])


def test_each_residual_sees_its_own_defect(generator):
    found = regularized_mse_minimizer(3, 4, 5, 0.5, 0.1, generator)
    spread = found.H.clone()
    spread[0] += 0.2
    spread[1] -= 0.2
    check = regularized_mse_optimality(found.W, spread, found.labels, 0.5, 0.1)
    assert check.within == pytest.approx(math.sqrt(2 * 5 * 0.04 / 12))
    assert check.frame < 1e-13
    assert check.gap > 0
    check = regularized_mse_optimality(1.1 * found.W, found.H, found.labels, 0.5, 0.1)
    assert check.duality == pytest.approx(0.1 * float(found.W.norm()))
    check = regularized_mse_optimality(found.W, 2 * found.H, found.labels, 0.5, 0.1)
    assert check.frame == pytest.approx(3 * float(found.means.norm() ** 2) / math.sqrt(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regularized_mse_minimizer(1, 2, 3, 1, 1), "K: expected at least 2, got 1"),
        (lambda: regularized_mse_minimizer(2, 0, 3, 1, 1), "n: expected at least 1, got 0"),
        (lambda: regularized_mse_minimizer(2, 2, 0, 1, 1), "d: expected at least 1, got 0"),
        (lambda: regularized_mse_minimizer(2, 2, 3, 0, 1), "lambda_w: .* above 0, got 0"),
        (lambda: regularized_mse_minimizer(2, 2, 3, 1, -1), "lambda_h: .* above 0, got -1"),
        (
            lambda: regularized_mse_loss(torch.eye(2), torch.ones(2, 3), [0, 1], 1, 1),
            "W: expected 3 columns, as H, got 2",
        ),
        (
            lambda: regularized_mse_loss(torch.eye(2), torch.eye(2), [0, 1], 1, math.nan),
            "lambda_h: expected a finite number above 0, got nan",
        ),
        (
            lambda: regularized_mse_optimality(torch.eye(2), torch.ones(3, 2), [0, 1, 1], 1, 1),
            "labels: expected classes of equal size, got sizes from 1 to 2",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="H: expected finite numbers, got 2 NaN"):
        regularized_mse_loss(torch.eye(2), torch.full((1, 2), math.nan), [0], 1, 1)
