import math

import numpy as np
import pytest
import torch

from neuralcollapse.theory import LayerPeeledModel
from neuralcollapse.theory.flow.field import FlowField

CASES = {
    "balanced": ([0, 1, 2, 3] * 3, 4, 6),
    "imbalanced, shuffled": ([2, 0, 2, 1, 2, 0], 3, 2),
    "two classes on a line": ([1, 0], 2, 1),
}
SCALES = [0.1, 1.0, 6.0]
TABLE = [
    pytest.param(*case, scale, id=f"{name} x {scale}")
    for name, case in CASES.items()
    for scale in SCALES
]


def draw(labels, num_classes, dim, scale):
    rng = np.random.default_rng(0)
    field = FlowField(np.array(labels), num_classes, dim)
    return field, scale * rng.normal(size=field.size)


@pytest.mark.parametrize(("labels", "num_classes", "dim", "scale"), TABLE)
def test_velocity_is_minus_t_times_the_gradient(labels, num_classes, dim, scale):
    field, state = draw(labels, num_classes, dim, scale)
    W, H = field.split(state)
    gradient = LayerPeeledModel(labels, dim).gradient(W, H)
    expected = -math.exp(-1.5) * field.join(*(g.numpy() for g in gradient))
    velocity = field.log_time_velocity(-1.5, state)
    np.testing.assert_allclose(velocity, expected, rtol=1e-12, atol=1e-13 * abs(expected).max())


@pytest.mark.parametrize(("labels", "num_classes", "dim", "scale"), TABLE)
def test_jacobian_columns_are_hessian_vector_products(labels, num_classes, dim, scale):
    field, state = draw(labels, num_classes, dim, scale)
    model = LayerPeeledModel(labels, dim)
    W, H = field.split(state)
    jacobian = field.log_time_jacobian(0.7, state)
    for column, direction in enumerate(np.eye(field.size)):
        product = model.hvp(W, H, *field.split(direction))
        expected = -math.exp(0.7) * field.join(*(p.numpy() for p in product))
        np.testing.assert_allclose(
            jacobian[:, column], expected, rtol=0, atol=1e-13 * abs(jacobian).max()
        )


@pytest.mark.parametrize(("labels", "num_classes", "dim", "scale"), TABLE)
def test_log_hessian_is_that_of_the_model(labels, num_classes, dim, scale):
    field, state = draw(labels, num_classes, dim, scale)
    direction = np.random.default_rng(1).normal(size=field.size)
    product = field.log_hessian(state, field.evaluate(state))(direction)
    expected = LayerPeeledModel(labels, dim).log_hvp(*field.split(state), *field.split(direction))
    for ours, theirs in zip(field.split(product), expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(ours), theirs, rtol=1e-12, atol=1e-12)


def test_a_trial_state_off_the_map_has_no_velocity():
    field, state = draw([0, 1], 2, 1, 1.0)
    state[0] = np.inf
    assert np.isnan(field.log_time_velocity(0.0, state)).all()
