import pytest
import torch

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.theory import flow_asymptotics, gradient_flow


def draw(classes, per_class, dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = (classes, dim), (classes * per_class, dim)
    points = [torch.randn(*s, generator=generator, dtype=torch.float64) for s in shapes]
    return *points, torch.arange(classes).repeat(per_class)


@pytest.mark.parametrize(
    "size", [(4, 5, 6), (4, 5, 3), (2, 3, 2), (6, 3, 8)], ids="K={0[0]} n={0[1]} d={0[2]}".format
)
def test_constants_are_those_of_the_flow(size):
    W0, H0, labels = draw(*size)
    flow = gradient_flow(W0, H0, labels, [1e5, 1e6])
    limit = flow_asymptotics(flow.W[-1], flow.H[-1], labels).errors(flow.log_t)
    for name, error in vars(flow.errors).items():
        predicted = getattr(limit, name)
        if name.endswith("_rows"):
            continue  # known to another order: below
        # Two classes are always equinorm and opposite: nothing but rounding to compare.
        if size[0] == 2 and not name.startswith(("within", "self")):
            assert float(error.max()) < 1e-12
            assert float(predicted.max()) < 1e-12
        elif not predicted.any():
            # Without a complement to the means, the within-class variability falls faster than any
            # power of log t: what is left is the integrator's, whose steps are held to 1e-12.
            assert (name, size[2]) == ("within_class", size[0] - 1)
            assert float(error.max()) < 1e-9
        else:
            torch.testing.assert_close(error, predicted, rtol=1e-4, atol=1e-13)


@pytest.mark.slow
def test_constants_of_ten_classes_at_the_end_of_double_precision():
    W0, H0, labels = draw(10, 10, 16)
    flow = gradient_flow(W0, H0, labels, [1e6, 1e8])
    limit = flow_asymptotics(flow.W[-1], flow.H[-1], labels).errors(flow.log_t)
    for name, error in vars(flow.errors).items():
        rtol = 1e-2 if name.endswith("_rows") else 1e-4
        torch.testing.assert_close(error, getattr(limit, name), rtol=rtol, atol=0)


def test_the_heads_own_rows_approach_their_constants_like_a_square_root():
    W0, H0, labels = draw(4, 5, 6)
    flow = gradient_flow(W0, H0, labels, [1e4, 1e6])
    limit = flow_asymptotics(flow.W[-1], flow.H[-1], labels).errors(flow.log_t)
    for name in ("equinorm_rows", "cosines_rows"):
        off = (getattr(flow.errors, name) / getattr(limit, name) - 1).abs()
        assert off[1] < 1e-2
        assert off[1] < off[0] / 8  # 100 times the log time, at most a tenth or so of the error


def test_the_margin_solves_its_equation():
    # K = 2, n = 1: N (K-1) = 2 and D = 1, so that q = log t + log 4 q.
    limit = flow_asymptotics([[3.0], [-3.0]], [[3.0], [-3.0]], [0, 1])
    q = limit.margin([1e2, 1e12])
    torch.testing.assert_close(q, torch.tensor([1e2, 1e12]).double() + (4 * q).log())


def test_without_room_beyond_the_simplex_nothing_is_frozen():
    W, H, labels = [[3.0], [-3.0]], [[2.0], [-2.0], [3.0], [-1.0]], [0, 1, 0, 1]
    coefficients = flow_asymptotics(W, H, labels).coefficients
    assert float(coefficients.within_class) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: flow_asymptotics([[1.0], [-1.0]], [[1.0], [2.0], [-1.0]], [0, 0, 1]),
            r"labels: expected classes of one size, got sizes \[2, 1\]",
        ),
        (lambda: flow_asymptotics([[1.0], [-1.0]], [[-1.0], [1.0]], [0, 1]), "positive margins"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="W: expected finite numbers"):
        flow_asymptotics([[float("nan")], [1.0]], [[1.0], [1.0]], [0, 1])
