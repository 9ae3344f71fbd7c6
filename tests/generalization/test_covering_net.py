import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization import farthest_point_net


def least_cover(points, radius):
    """The least number of balls about points of the sample that cover it, by trying all."""
    inside = torch.cdist(points, points) <= radius
    for size in range(1, len(points) + 1):
        for centers in itertools.combinations(range(len(points)), size):
            if bool(inside[list(centers)].any(0).all()):
                return size
    raise AssertionError


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 9),
    dim=st.integers(1, 3),
    radius=st.floats(0.05, 4),
)
def test_it_covers_is_separated_and_lies_between_the_covering_numbers(seed, n, dim, radius):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    net = farthest_point_net(points, radius)
    chosen = points[net.indices]
    assert float(torch.cdist(points, chosen).amin(1).max()) <= radius
    torch.testing.assert_close(net.distances, torch.cdist(points, chosen).amin(1))
    gaps = [float((a - b).norm()) for a, b in itertools.combinations(chosen, 2)]
    assert all(gap > radius for gap in gaps)
    assert net.separation == pytest.approx(min(gaps, default=math.inf))
    # Balls of radius eps about points of the sample are the covers of it with its own points;
    # balls of radius eps/2 about any points that cover it hold at most one point of the net each.
    assert least_cover(points, radius) <= net.size
    half = min(least_cover(points, radius / 2), n)
    assert net.size <= half


@pytest.mark.parametrize(
    ("radius", "size"), [(3.9, 17), (4.0, 9), (7.9, 9), (8.0, 5), (64.0, 1), (63.9, 2)]
)
def test_a_line_of_points_is_halved(radius, size):
    # 0, 64, 32, 16, 48, ...: all multiples of 8 leave no point farther than 4.
    assert farthest_point_net(torch.arange(65.0)[:, None], radius).size == size


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: farthest_point_net(torch.ones(0, 2), 1.0), "points: expected at least one point"),
        (lambda: farthest_point_net(torch.ones(2, 2), 0.0), "radius: expected a finite number abo"),
        (lambda: farthest_point_net(torch.ones(2), 1.0), r"points: expected a matrix"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="points: expected finite numbers, got 1 NaN"):
        farthest_point_net(torch.tensor([[math.nan]]), 1.0)
