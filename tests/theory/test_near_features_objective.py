import numpy as np
import pytest

from neuralcollapse.theory import sufficient_statistics
from neuralcollapse.theory.near_features_objective import NearFeaturesObjective


@pytest.mark.parametrize("sizes", [[3, 3, 3], [1, 4, 2]])
def test_value_and_derivatives(sizes):
    rng = np.random.default_rng(3)
    num_classes, d, lambda_w, lambda_h, beta = len(sizes), 4, 0.3, 0.2, 0.7
    labels = np.repeat(np.arange(num_classes), sizes)
    H0 = rng.normal(size=(len(labels), d))
    objective = NearFeaturesObjective(sufficient_statistics(H0, labels), lambda_w, lambda_h, beta)
    W, V = rng.normal(size=(2, num_classes, d))
    point = objective.expand(W)

    # By the definition: the best features one sample at a time.
    total = lambda_w * (W**2).sum() / (2 * num_classes)
    for h0, k in zip(H0, labels, strict=True):
        target = np.eye(num_classes)[k]
        h = np.linalg.solve(W.T @ W + (lambda_h + beta) * np.eye(d), W.T @ target + beta * h0)
        total += (((W @ h - target) ** 2).sum() + lambda_h * h @ h + beta * (h - h0) @ (h - h0)) / (
            2 * len(labels)
        )
    assert point.value / num_classes == pytest.approx(total, rel=1e-13)

    step = 1e-5
    ahead, behind = objective.expand(W + step * V), objective.expand(W - step * V)
    slope = (ahead.value - behind.value) / (2 * step)
    assert float((point.gradient * V).sum()) == pytest.approx(slope, rel=1e-8)
    turn = (ahead.gradient - behind.gradient) / (2 * step)
    np.testing.assert_allclose(point.hessian(V), turn, atol=1e-8)
    stack = rng.normal(size=(5, num_classes, d))
    np.testing.assert_allclose(point.hessian(stack), [point.hessian(v) for v in stack], atol=1e-13)
    # Scaled coordinates: the same second-order expansion, with a Hessian near the identity.
    y = rng.normal(size=V.shape)
    change = point.unscale(y)
    assert np.vdot(point.scaled_gradient, y) == pytest.approx(np.vdot(point.gradient, change))
    curvature = np.vdot(change, point.hessian(change))
    assert np.vdot(y, point.scaled_hessian(y)) == pytest.approx(curvature)
