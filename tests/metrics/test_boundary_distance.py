import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.metrics import boundary_distances, sample_margins


def test_the_nearest_boundary_by_its_definition(case):
    x, y, w, b = case.features, case.labels, case.weight, case.bias
    distances = boundary_distances(x, y, w, b)
    for row, label, distance in zip(x, y.tolist(), distances.tolist(), strict=True):
        each = []
        for j in range(case.num_classes):
            if j != label:
                normal, shift = w[label] - w[j], float(b[label] - b[j])
                each.append((float(row @ normal) + shift) / float(normal.norm()))
        assert distance == pytest.approx(min(each), rel=1e-9, abs=1e-9)


def test_no_shorter_step_changes_the_decision(generator):
    weight = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    bias = torch.randn(4, generator=generator, dtype=torch.float64)
    features = 3 * torch.randn(200, 3, generator=generator, dtype=torch.float64)
    labels = (features @ weight.T + bias).argmax(1)
    radius = boundary_distances(features, labels, weight, bias)
    steps = torch.nn.functional.normalize(torch.randn(200, 3, generator=generator).double())
    for share in (0.3, 0.999):
        moved = features + share * radius[:, None] * steps
        assert bool((sample_margins(moved @ weight.T + bias, labels) > 0).all())
    # Straight across the nearest boundary, a little more than the distance is enough.
    margins = (features @ weight.T + bias).gather(1, labels[:, None]) - features @ weight.T - bias
    normals = weight[labels][:, None] - weight
    lengths = normals.norm(dim=2)
    rival = (margins / lengths).scatter(1, labels[:, None], math.inf).argmin(1)
    rows = torch.arange(200)
    across = -normals[rows, rival] / lengths[rows, rival, None]
    moved = features + 1.001 * radius[:, None] * across
    assert bool((sample_margins(moved @ weight.T + bias, labels) < 0).all())


@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3))
def test_a_larger_head_does_not_change_the_distance(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    labels = torch.arange(12) % 3
    distances = boundary_distances(features, labels, weight)
    other = boundary_distances(features, labels, scale * weight)
    torch.testing.assert_close(other, distances, rtol=1e-9, atol=1e-12)


def test_equal_weights_have_no_boundary():
    weight = torch.ones(2, 2)
    assert math.isnan(boundary_distances(torch.ones(1, 2), [0], weight)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(2, 3), [0, 1], torch.ones(2, 2)), r"weight: expected shape \(K, 3\), K >= 2"),
        ((torch.ones(2, 3), [0, 0], torch.ones(1, 3)), r"K >= 2, got \(1, 3\)"),
        ((torch.ones(2, 3), [0, 2], torch.ones(2, 3)), "below 2, the number of classes"),
        (
            (torch.ones(2, 3), [0, 1], torch.ones(2, 3), torch.ones(3)),
            r"bias: expected shape \(2,\)",
        ),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        boundary_distances(*arguments)
    with pytest.raises(NonFiniteError, match="features: expected finite numbers, got 1 NaN"):
        boundary_distances(torch.tensor([[math.nan], [1.0]]), [0, 1], torch.ones(2, 1))


@pytest.mark.parametrize("offset", [1e7, -1e9])
def test_what_all_rows_share_moves_no_boundary(generator, offset):
    weight = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    bias = torch.randn(40, generator=generator, dtype=torch.float64)
    features = torch.randn(200, 6, generator=generator, dtype=torch.float64)
    labels = torch.arange(200) % 40
    apart = boundary_distances(features, labels, weight, bias)
    # The rows are rounded when the offset is added; nothing more may be lost.
    rounded = weight + offset - offset, bias + offset - offset
    expected = boundary_distances(features, labels, *rounded)
    moved = boundary_distances(features, labels, weight + offset, bias + offset)
    torch.testing.assert_close(moved, expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(moved, apart, rtol=1e-5, atol=1e-5)


def test_near_rows_are_as_far_apart_as_their_difference():
    weight = torch.zeros(30, 4, dtype=torch.float64)
    weight[:, 0] = 1e6 + 1e-3 * torch.arange(30).double()
    features = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).double().repeat(30, 1)
    # s_i - s_j = w_i0 - w_j0, and so is the norm of the difference, but for its sign: every
    # rival of a higher row wins by just that norm, and only the highest row has no such rival.
    expected = torch.full((30,), -1.0).double()
    expected[-1] = 1.0
    distances = boundary_distances(features, torch.arange(30), weight)
    torch.testing.assert_close(distances, expected, rtol=1e-6, atol=1e-6)
