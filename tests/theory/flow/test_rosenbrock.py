import numpy as np
import pytest
from scipy.integrate import solve_ivp

from neuralcollapse.theory.flow import rosenbrock
from neuralcollapse.theory.flow.field import FlowField
from neuralcollapse.theory.flow.rosenbrock import rosenbrock_step


@pytest.fixture(scope="module")
def problem():
    field = FlowField(np.repeat(np.arange(3), 2), 3, 4)
    start = np.random.default_rng(0).normal(size=field.size)
    exact = solve_ivp(
        lambda _, y: -field.evaluate(y).gradient, (0, 1), start, "DOP853", rtol=1e-13, atol=1e-13
    ).y[:, -1]
    return field, start, exact


def integrate(field, state, steps):
    for _ in range(steps):
        state, _ = rosenbrock_step(field, state, field.evaluate(state), 1 / steps, 1e-13)
    return state


def test_order_is_two(problem):
    field, start, exact = problem
    counts = np.array([16, 32, 64, 128])
    errors = [np.linalg.norm(integrate(field, start, n) - exact) for n in counts]
    assert -np.polyfit(np.log(counts), np.log(errors), 1)[0] == pytest.approx(2, abs=0.05)


def test_error_estimate_is_of_the_first_order_method(problem):
    field, start, _ = problem
    sizes = np.array([1e-2, 1e-3, 1e-4])
    here = field.evaluate(start)
    estimates = [
        np.linalg.norm(rosenbrock_step(field, start, here, size, 1e-13)[1]) for size in sizes
    ]
    assert np.polyfit(np.log(sizes), np.log(estimates), 1)[0] == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize("size", [0.01, 0.03, 0.1])
def test_a_stiff_component_is_damped(size):
    # Collapse at margin 300, but for one margin off by 0.49, which would close in s = 1/300.
    field = FlowField(np.array([0, 1]), 2, 2)
    W = np.sqrt(150) * np.array([[1.0, 0], [-1, 0]])
    state = field.join(W, W + np.array([[0, 0], [0.02, 0]]))
    end, _ = rosenbrock_step(field, state, field.evaluate(state), size, 1e-10)
    W, H = field.split(end)
    margins = np.array([1, -1]) * (H @ (W[0] - W[1]))
    assert abs(margins[0] - margins[1]) < 0.1


def test_a_step_that_conjugate_gradients_cannot_solve_has_an_infinite_error(problem, monkeypatch):
    field, start, _ = problem
    monkeypatch.setattr(rosenbrock, "cg", lambda operator, right, **_: (right, 500))
    _, error = rosenbrock_step(field, start, field.evaluate(start), 0.1, 1e-6)
    assert np.isinf(error).all()
