import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.metrics import (
    boundary_distances,
    cosine_margins,
    pair_boundary_distances,
    pair_margins,
    sample_margins,
)


def test_each_as_defined(case):
    x, y, w, b = case.features, case.labels, case.weight, case.bias
    distances = boundary_distances(x, y, w, b)
    pairs, cosines = pair_boundary_distances(x, y, w, b), cosine_margins(x, y, w, b)
    for k in range(case.num_classes):
        own = x[y == k]
        for j in range(case.num_classes):
            if j == k:
                assert math.isnan(pairs[k, j])
                assert math.isnan(cosines[k, j])
                continue
            normal, shift = w[k] - w[j], float(b[k] - b[j])
            margins = [float(row @ normal) + shift for row in own]
            length = math.sqrt(float(normal @ normal) + shift**2)
            angles = [
                m / length / math.sqrt(float(row @ row) + 1)
                for m, row in zip(margins, own, strict=True)
            ]
            least = min(margins, default=math.inf) / float(normal.norm())
            assert float(pairs[k, j]) == pytest.approx(least, rel=1e-9, abs=1e-9)
            assert float(cosines[k, j]) == pytest.approx(min(angles, default=math.inf), abs=1e-9)
        if len(own):
            ours = pairs[k][~torch.isnan(pairs[k])].min()
            assert float(distances[y == k].min()) == pytest.approx(float(ours), abs=1e-12)


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


@given(
    seed=st.integers(0, 10_000),
    scale=st.floats(1e-3, 1e3),
    sizes=st.lists(st.floats(1e-3, 1e3), min_size=12, max_size=12),
)
def test_cosines_know_no_scale_and_lie_between_minus_one_and_one(seed, scale, sizes):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    labels = torch.arange(12) % 3
    cosines = cosine_margins(features, labels, weight)
    assert bool((cosines[~torch.isnan(cosines)].abs() <= 1 + 1e-12).all())
    other = cosine_margins(features * torch.tensor(sizes)[:, None].double(), labels, scale * weight)
    torch.testing.assert_close(other, cosines, equal_nan=True, rtol=1e-9, atol=1e-12)
    distances = pair_boundary_distances(features, labels, weight)
    torch.testing.assert_close(
        pair_boundary_distances(features, labels, scale * weight), distances, equal_nan=True
    )
    lengths = torch.cdist(weight, weight)
    gamma = pair_margins(features @ weight.T, labels)
    torch.testing.assert_close(distances * lengths, gamma, equal_nan=True, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 10])
def test_the_cosine_at_collapse(k):
    vertices, labels = simplex_etf(k, 12), torch.arange(2 * k) % k
    cosines = cosine_margins(3 * vertices[labels], labels, 7 * vertices)
    off = ~torch.eye(k, dtype=torch.bool)
    expected = torch.full((k, k), math.sqrt(k / (2 * (k - 1))), dtype=torch.float64)
    torch.testing.assert_close(cosines[off], expected[off])


def test_a_feature_of_norm_zero_has_no_cosine():
    features = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 1.0]])
    cosines = cosine_margins(features, [0, 0, 1], torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    assert math.isnan(cosines[0, 1])
    assert float(cosines[1, 0]) == pytest.approx(0.5**0.5)
    with_bias = cosine_margins(
        features, [0, 0, 1], torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([1.0, 0.0])
    )
    assert not math.isnan(with_bias[0, 1])


def test_equal_weights_have_no_boundary():
    weight = torch.ones(2, 2)
    assert math.isnan(boundary_distances(torch.ones(1, 2), [0], weight)[0])
    assert pair_boundary_distances(torch.ones(1, 2), [0], weight).isnan()[0].all()


@pytest.mark.parametrize("call", [boundary_distances, pair_boundary_distances, cosine_margins])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(2, 3), [0, 1], torch.ones(2, 2)), r"weight: expected shape \(K, 3\), K >= 2"),
        ((torch.ones(2, 3), [0, 0], torch.ones(1, 3)), r"K >= 2, got \(1, 3\)"),
        ((torch.ones(2, 3), [0, 2], torch.ones(2, 3)), "below num_classes = 2"),
        (
            (torch.ones(2, 3), [0, 1], torch.ones(2, 3), torch.ones(3)),
            r"bias: expected shape \(2,\)",
        ),
    ],
)
def test_bad_input_is_refused(call, arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call(*arguments)
    with pytest.raises(NonFiniteError, match="features: expected finite numbers, got 1 NaN"):
        call(torch.tensor([[math.nan], [1.0]]), [0, 1], torch.ones(2, 1))
