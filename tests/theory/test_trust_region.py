from types import SimpleNamespace

import numpy as np

from neuralcollapse.theory.trust_region import trust_region_newton


def rosenbrock(x):
    a, b = x
    hessian = np.array([[2 - 400 * (b - 3 * a * a), -400 * a], [-400 * a, 200]])
    gradient = np.array([-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)])
    scale = np.array([1.0, 10.0])
    return SimpleNamespace(
        argument=x,
        value=(1 - a) ** 2 + 100 * (b - a * a) ** 2,
        gradient=gradient,
        scaled_gradient=gradient / scale,
        scaled_hessian=lambda v: hessian @ (v / scale) / scale,
        unscale=lambda v: v / scale,
    )


def test_the_valley_of_rosenbrock():
    point, iterations = trust_region_newton(rosenbrock, np.array([-1.2, 1.0]), 1e-13)
    np.testing.assert_allclose(point.argument, [1, 1], atol=1e-12)
    assert iterations < 40


def test_negative_curvature_is_followed_to_the_boundary():
    def expand(x):  # cos x, from beside its maximum
        return SimpleNamespace(
            argument=x,
            value=np.cos(x).sum(),
            gradient=-np.sin(x),
            scaled_gradient=-np.sin(x),
            scaled_hessian=lambda v: -np.cos(x) * v,
            unscale=lambda v: v,
        )

    point, _ = trust_region_newton(expand, np.array([0.1, -0.2]), 1e-14)
    np.testing.assert_allclose(point.value, -2, atol=1e-15)
