import math

import numpy as np
import pytest
import torch

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import pair_margin_bound, uniform_margin_bound
from neuralcollapse.geometry import simplex_etf


def draw(seed=0, sizes=(20, 30, 50), noise=0.4):
    generator = torch.Generator().manual_seed(seed)
    vertices = simplex_etf(3, 5, "axis")
    labels = torch.arange(3).repeat_interleave(torch.tensor(sizes))
    spread = torch.randn(len(labels), 5, generator=generator, dtype=torch.float64)
    return vertices[labels] + noise * spread, labels, vertices


def test_it_is_the_formula_pair_by_pair():
    features, labels, weight = draw()
    distances = np.full((3, 3), 0.4) + 0.1 * np.arange(9).reshape(3, 3)
    bound = pair_margin_bound(
        features, labels, weight, fitted="head", distances=distances, confidence=0.9
    )
    total = 0.0
    for i in range(3):
        own = features[labels == i].numpy()
        n = len(own)
        for j in range(3):
            if i == j:
                continue
            v = (weight[i] - weight[j]).numpy()
            B = math.sqrt(v @ v)
            g = distances[i, j] * B
            below = sum(float(z @ v) < g for z in own) / n
            complexity = 2 * B / (g * n) * math.sqrt(sum(float(z @ z) for z in own))
            deviation = 3 * math.sqrt(math.log(2 / (0.1 / 6)) / (2 * n))
            assert float(bound.empirical[i, j]) == pytest.approx(below)
            assert float(bound.complexity[i, j]) == pytest.approx(complexity)
            assert float(bound.deviation[i, j]) == pytest.approx(deviation)
            assert float(bound.margins[i, j]) == pytest.approx(g)
            total += n / len(labels) * (below + complexity + deviation)
    assert bound.bound == pytest.approx(total)
    assert bound.pairs.diagonal().tolist() == [0, 0, 0]


def test_the_best_of_the_grid_is_taken_for_each_pair():
    features, labels, weight = draw(1)
    bound = pair_margin_bound(features, labels, weight, fitted="head")
    parts = bound.empirical + bound.complexity + bound.deviation
    for k in range(-5, 6):
        share = 0.05 / ((math.pi**2 / 3 - 1) * (1 + abs(k)) ** 2)
        at_k = pair_margin_bound(
            features,
            labels,
            weight,
            fitted="head",
            distances=torch.full((3, 3), 2.0**k),
            confidence=1 - share,
        )
        assert bool((parts <= at_k.empirical + at_k.complexity + at_k.deviation + 1e-12).all())
    assert bound.priors.tolist() == [0.2, 0.3, 0.5]


def test_at_collapse_it_is_far_worse_than_the_multi_class_bound():
    vertices, labels = simplex_etf(10, 10, "axis"), torch.arange(10).repeat(5000)
    arguments = (vertices[labels], labels, vertices)
    own = math.sqrt(10 / 18)  # (K/(K-1)) / sqrt(2 K/(K-1))
    pairs = pair_margin_bound(*arguments, fitted="head", distances=torch.full((10, 10), own - 1e-9))
    priced = [
        float((pairs.priors[:, None] * part).sum()) for part in (pairs.complexity, pairs.deviation)
    ]
    assert priced == pytest.approx([0.3415, 0.7727], abs=1e-4)
    assert float(pairs.empirical.sum()) == 0
    assert pairs.vacuous
    assert not uniform_margin_bound(*arguments, fitted="head").vacuous


def test_it_says_whether_it_is_valid():
    assert pair_margin_bound(*draw(), fitted="head").valid
    bound = pair_margin_bound(*draw(), fitted="network")
    assert not bound.valid
    assert bound.validity.startswith("not valid: the features were fitted on this sample")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distances": torch.zeros(3, 3)}, r"distances: expected \(3, 3\) finite numbers above 0"),
        ({"distances": torch.full((3, 3), math.nan)}, r"distances: expected \(3, 3\) finite"),
        ({"distances": torch.ones(2, 3)}, r"distances: .*got shape \(2, 3\), least 1"),
        ({"feature_scale": -1.0}, "feature_scale: expected a finite number above 0"),
        ({"confidence": 2.0}, r"confidence: expected a number in \(0, 1\), got 2"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(NeuralCollapseError, match=message):
        pair_margin_bound(*draw(), **({"fitted": "head"} | change))


def test_an_absent_class_and_equal_weights_are_refused():
    features, labels, weight = draw()
    with pytest.raises(
        NeuralCollapseError, match=r"a sample of each of 3 classes, got none of \[2\]"
    ):
        pair_margin_bound(features[:50], labels[:50], weight, fitted="head")
    weight[1] = weight[0]
    with pytest.raises(NeuralCollapseError, match="different rows, got rows 0 and 1 equal"):
        pair_margin_bound(features, labels, weight, fitted="head")


def test_its_share_is_exact():
    labels = np.arange(60) % 2
    features = np.random.default_rng(0).normal(size=(60, 4))
    bound = pair_margin_bound(
        features, labels, np.eye(2, 4), fitted="head", distances=np.full((2, 2), 0.7)
    )
    shares = 30 * np.asarray(bound.empirical)[~np.eye(2, dtype=bool)]
    np.testing.assert_allclose(shares, shares.round(), rtol=0, atol=1e-12)
