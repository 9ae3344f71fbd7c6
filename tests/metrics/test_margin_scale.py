import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.metrics import (
    margin_ceiling,
    margin_collapse_ratio,
    margin_min,
    margin_scale,
    normalized_margin,
    sample_margins,
)
from neuralcollapse.moments import ClassMoments


def collapse_ratio(features, labels, weight):
    moments = ClassMoments(len(weight), features.shape[1]).update(features, labels)
    margin = margin_min(features @ weight.T, labels)
    return margin_collapse_ratio(margin, margin_scale(moments, weight), len(weight))


def draw(seed, k=4, per_class=5, dim=6, noise=0.3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(per_class * k) % k
    weight = torch.randn(k, dim, generator=generator, dtype=torch.float64)
    spread = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    return weight[labels] + noise * spread, labels, weight


@pytest.mark.parametrize("with_bias", [True, False])
def test_margin_scale_as_defined(case, with_bias):
    head, rows = case.weight.numpy(), case.features.numpy()
    if with_bias:
        head = np.hstack([head, case.bias[:, None]])
        rows = np.hstack([rows, np.ones((len(rows), 1))])
    centered = head - head.mean(0)
    spread = sum((centered[y] ** 2).sum() for y in case.labels) / len(rows)
    expected = math.sqrt(spread * sum((x**2).sum() for x in rows) / len(rows))
    actual = margin_scale(case.moments, case.weight, case.bias if with_bias else None)
    assert actual == pytest.approx(expected, rel=1e-9)


@given(seed=st.integers(0, 1000), k=st.integers(2, 5))
def test_no_normalised_margin_exceeds_the_ceiling(seed, k):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(4 * k) % k
    weight = torch.randn(k, 6, generator=generator, dtype=torch.float64)
    features = weight[labels] + 0.3 * torch.randn(4 * k, 6, generator=generator)
    moments = ClassMoments(k, 6).update(features, labels)
    margin = float(sample_margins(features @ weight.T, labels).min())
    assert margin / margin_scale(moments, weight) < margin_ceiling(k)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("k", [2, 3, 10])
def test_collapse_attains_the_ceiling_at_every_scale(k, scale):
    vertices = simplex_etf(k, 12)
    labels = torch.arange(3 * k) % k
    features, weight = scale * vertices[labels], 2 * vertices + 5  # softmax does not see the 5
    moments = ClassMoments(k, 12).update(features, labels)
    margins = sample_margins(features @ weight.T, labels)
    assert float(margins.min()) == pytest.approx(2 * scale * k / (k - 1))
    assert float(margins.min()) / margin_scale(moments, weight) == pytest.approx(margin_ceiling(k))


@given(seed=st.integers(0, 10_000), a=st.floats(1e-3, 1e3), b=st.floats(1e-3, 1e3))
def test_the_ratio_knows_no_scale_no_order_and_no_orientation(seed, a, b):
    features, labels, weight = draw(seed)
    expected = collapse_ratio(features, labels, weight)
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    order = torch.randperm(4, generator=generator)
    others = {
        "scaled": (a * features, labels, b * weight),
        "head shifted": (features, labels, weight + torch.arange(6.0)),
        "rotated": (features @ rotation, labels, weight @ rotation),
        "renamed": (features, order.argsort()[labels], weight[order]),
    }
    for name, other in others.items():
        assert collapse_ratio(*other) == pytest.approx(expected, rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize("broken", ["within-class spread", "an unequal head", "no self-duality"])
def test_it_is_one_only_if_all_of_collapse_is_there(broken):
    vertices, labels = simplex_etf(4, 6, "axis"), torch.arange(12) % 4
    assert collapse_ratio(3 * vertices[labels], labels, vertices) == pytest.approx(1, abs=1e-14)
    features, weight = 3 * vertices[labels], vertices.clone()
    for step in (0.1, 0.01, 0.001):
        features, weight = 3 * vertices[labels], vertices.clone()
        if broken == "within-class spread":
            features[0, 5] += step
        elif broken == "an unequal head":
            weight[0] *= 1 + step
        else:
            turn = torch.linalg.matrix_exp(step * torch.eye(6).double().roll(1, 0).tril(-1))
            weight = weight @ turn
        gap = 1 - collapse_ratio(features, labels, weight)
        assert 1e-4 * step**2 < gap < 10 * step


def test_without_a_scale_there_is_no_ratio():
    assert math.isnan(normalized_margin(0.0, 0.0))
    assert math.isnan(margin_collapse_ratio(0.0, 0.0, 3))
    assert math.isnan(normalized_margin(1.0, math.nan))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: margin_ceiling(1), "num_classes: expected at least 2, got 1"),
        (lambda m: margin_collapse_ratio(1.0, 1.0, 1), "num_classes: expected at least 2, got 1"),
        (lambda m: margin_scale(m, torch.ones(2, 3)), r"weight: expected shape \(2, 2\)"),
        (
            lambda m: margin_scale(m, torch.ones(2, 2), torch.ones(3)),
            r"bias: expected shape \(2,\)",
        ),
        (lambda m: margin_scale(ClassMoments(2, 2), torch.ones(2, 2)), "at least one sample"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call(ClassMoments(2, 2).update(torch.randn(2, 2), [0, 1]))
