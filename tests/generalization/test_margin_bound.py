import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import margin_bound, uniform_margin_bound
from neuralcollapse.geometry import simplex_etf


def naive_bound(z, y, w, g, delta):
    """The formula in the logits' own units, with loops."""
    z, w = np.asarray(z), np.asarray(w)
    n, K = len(z), len(w)
    w = w - w.mean(0)
    loss = 0.0
    for row, label in zip(z, y, strict=True):
        scores = w @ row
        m = min(scores[label] - scores[j] for j in range(K) if j != label)
        loss += min(1.0, max(0.0, 1 - m / g)) / n
    norm = math.sqrt(sum(x * x for row in z for x in row))
    head = math.sqrt(sum(x * x for row in w for x in row))
    complexity = 4 * head * math.sqrt(K - 1) * norm / (g * n)
    return loss, complexity, 3 * math.sqrt(math.log(2 / delta) / (2 * n))


def draw(seed, n=60, K=3, dim=5, noise=0.4):
    """Gaussian classes about a simplex, and its vertices as the head."""
    generator = torch.Generator().manual_seed(seed)
    vertices = simplex_etf(K, dim, "axis")
    labels = torch.randint(K, (n,), generator=generator)
    spread = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    return vertices[labels] + noise * spread, labels, vertices


@given(seed=st.integers(0, 1000), rho=st.floats(0.1, 10), confidence=st.floats(0.01, 0.999))
def test_it_is_the_formula(seed, rho, confidence):
    features, labels, weight = draw(seed)
    bound = margin_bound(
        features, labels, weight, relative_margin=rho, fitted="head", confidence=confidence
    )
    head = float((weight - weight.mean(0)).norm())
    expected = naive_bound(features, labels, weight, rho * head, 1 - confidence)
    assert (bound.empirical, bound.complexity, bound.deviation) == pytest.approx(expected)
    assert bound.margin == pytest.approx(rho * head)
    assert bound.bound == pytest.approx(sum(expected))
    assert bound.vacuous == (sum(expected) >= 1)


@given(seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3), shift=st.floats(-5, 5))
def test_the_scale_of_the_head_and_a_common_shift_do_not_matter(seed, scale, shift):
    features, labels, weight = draw(seed)
    for bound in (
        lambda w: margin_bound(features, labels, w, relative_margin=0.7, fitted="head"),
        lambda w: uniform_margin_bound(features, labels, w, fitted="head"),
    ):
        expected = bound(weight).bound
        assert bound(scale * weight + shift).bound == pytest.approx(expected, rel=1e-9)


def test_a_bias_is_one_more_feature(generator):
    features, labels, weight = draw(0)
    bias = torch.randn(3, generator=generator, dtype=torch.float64)
    wide = torch.cat([features, torch.ones(len(features), 1).double()], 1)
    folded = torch.cat([weight, bias[:, None]], 1)
    setting = {"relative_margin": 0.5, "fitted": "head"}
    one = margin_bound(features, labels, weight, bias, **setting)
    assert one == margin_bound(wide, labels, folded, **setting)


@given(seed=st.integers(0, 1000), k=st.integers(-6, 6))
def test_uniform_is_never_below_the_fixed_bound_at_its_margin(seed, k):
    features, labels, weight = draw(seed)
    uniform = uniform_margin_bound(features, labels, weight, fitted="head")
    rho = uniform.margin / float(weight.norm())
    fixed = margin_bound(features, labels, weight, relative_margin=rho, fitted="head")
    assert uniform.bound >= fixed.bound
    assert math.log2(rho) == pytest.approx(round(math.log2(rho)), abs=1e-9)
    # It is the least over the grid, each margin with its share of the failure probability.
    share = 0.05 / ((math.pi**2 / 3 - 1) * (1 + abs(k)) ** 2)
    other = margin_bound(
        features, labels, weight, relative_margin=2.0**k, fitted="head", confidence=1 - share
    )
    assert uniform.bound <= other.bound + 1e-12


def test_the_scale_of_the_features_matters_only_through_the_unit_of_the_grid():
    features, labels, weight = draw(1, n=2000)
    base = uniform_margin_bound(features, labels, weight, fitted="head")
    large = uniform_margin_bound(1000 * features, labels, weight, fitted="head", feature_scale=1000)
    assert large.bound == pytest.approx(base.bound)
    guess = uniform_margin_bound(1000 * features, labels, weight, fitted="head")
    assert base.bound < guess.bound < base.bound + 0.1


def test_more_samples_help_and_more_confidence_and_classes_cost():
    def at(copies=1, confidence=0.95, K=3):
        vertices = simplex_etf(K, 12, "axis")
        labels = torch.arange(K).repeat(20 * copies)
        return margin_bound(
            vertices[labels],
            labels,
            vertices,
            relative_margin=0.3,
            fitted="head",
            confidence=confidence,
        ).bound

    assert at(1) > at(2) > at(3)
    assert at(1) == pytest.approx(2 * at(4))  # nothing is below the margin: 1/sqrt(n) exactly
    assert at(confidence=0.5) < at(confidence=0.9) < at(confidence=0.999)

    def of_classes(K):  # the same number of samples
        vertices = simplex_etf(K, 12, "axis")
        labels = torch.arange(120) % K
        setting = {"relative_margin": 0.3, "fitted": "head"}
        return margin_bound(vertices[labels], labels, vertices, **setting).complexity

    assert of_classes(2) < of_classes(3) < of_classes(10)


def test_the_complexity_is_tight_for_the_vector_class(generator):
    # E sup over ||W||_F <= 1 of sum_ik s_ik <w_k, z_i>, rows of W summing to zero, is the mean norm
    # of the centred K x d matrix S^T Z; the bound sqrt((K-1)) ||Z||_F is Jensen's inequality.
    n, K, d = 20, 4, 5
    features = torch.randn(n, d, generator=generator, dtype=torch.float64)
    signs = torch.randint(0, 2, (20_000, n, K), generator=generator).double() * 2 - 1
    sums = torch.einsum("tnk,nd->tkd", signs, features)
    norms = (sums - sums.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    error = 5 * float(norms.std()) / math.sqrt(len(norms))
    bound = math.sqrt(K - 1) * float(features.norm())
    assert float(norms.mean()) <= bound + error
    assert float(norms.mean()) >= 0.95 * bound
    squares = float(norms.square().mean())
    assert squares == pytest.approx(bound**2, rel=0.03)  # an identity of the second moment


def test_the_rademacher_complexity_of_the_ramp_is_below_its_bound(generator):
    # A lower estimate of E sup by ascent over heads in the ball, from several starts.
    n, K, d, g = 8, 3, 2, 0.5
    features = torch.randn(n, d, generator=generator, dtype=torch.float64)
    labels = torch.arange(n) % K
    values = []
    for _ in range(15):
        signs = torch.randint(0, 2, (n,), generator=generator).double() * 2 - 1
        W = torch.randn(64, K, d, generator=generator, dtype=torch.float64).requires_grad_()
        ascent = torch.optim.Adam([W], lr=0.1)
        best = -math.inf
        for _ in range(60):
            head = W / W.flatten(1).norm(dim=1)[:, None, None]
            scores = torch.einsum("tkd,nd->tnk", head, features)
            own = scores.gather(2, labels[None, :, None].expand(64, n, 1))
            rivals = scores.scatter(2, labels[None, :, None].expand(64, n, 1), -math.inf)
            ramp = (1 - (own - rivals.amax(2, keepdim=True)).squeeze(2) / g).clamp(0, 1)
            objective = (ramp * signs).sum(1)
            best = max(best, objective.max().item())
            ascent.zero_grad()
            (-objective.sum()).backward()
            ascent.step()
        values.append(best)
    bound = 2 * math.sqrt(K - 1) * float(features.norm()) / g  # half of the term times n
    assert 0 < sum(values) / len(values) < bound


def test_it_holds_for_heads_fitted_on_the_sample():
    rng = np.random.default_rng(0)
    K, d, n, runs = 2, 5, 400, 60
    centers = np.eye(d)[:K]
    fresh_labels = rng.integers(K, size=4000)
    fresh = centers[fresh_labels] + 0.25 * rng.normal(size=(4000, d))
    covered, informative = 0, 0
    for _ in range(runs):
        labels = rng.integers(K, size=n)
        sample = centers[labels] + 0.25 * rng.normal(size=(n, d))
        head = np.linalg.lstsq(sample, np.eye(K)[labels], rcond=None)[0].T  # overfits on purpose
        bound = uniform_margin_bound(sample, labels, head, fitted="head", confidence=0.8)
        error = np.mean((fresh @ head.T).argmax(1) != fresh_labels)
        covered += bound.bound >= error
        informative += not bound.vacuous
    assert covered >= 0.8 * runs
    assert informative == runs
    assert error > 0


@pytest.mark.parametrize(
    ("fitted", "valid", "words"),
    [
        ("nothing", True, "valid, but needlessly loose"),
        ("head", True, "valid: it holds for every head"),
        ("network", False, "not valid: the features were fitted on this sample"),
    ],
)
def test_it_says_whether_it_is_valid(fitted, valid, words):
    bound = uniform_margin_bound(*draw(0), fitted=fitted)
    assert bound.valid is valid
    assert bound.validity.startswith(words)
    assert bound.validity in str(bound)
    assert ("(vacuous)" in str(bound)) == bound.vacuous


SETTING = {"relative_margin": 1.0, "fitted": "head"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relative_margin": 0.0}, "relative_margin: expected a finite number above 0, got 0"),
        ({"relative_margin": -1.0}, "relative_margin: expected a finite number above 0"),
        ({"relative_margin": math.nan}, "relative_margin: expected a finite number above 0"),
        ({"confidence": 0.0}, r"confidence: expected a number in \(0, 1\), got 0"),
        ({"confidence": 1.2}, r"confidence: expected a number in \(0, 1\), got 1.2"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(NeuralCollapseError, match=message):
        margin_bound(*draw(0), **(SETTING | change))


def test_other_bad_input_is_refused():
    with pytest.raises(NeuralCollapseError, match="feature_scale: expected a finite number above"):
        uniform_margin_bound(*draw(0), fitted="head", feature_scale=0.0)
    with pytest.raises(NeuralCollapseError, match="features: expected at least one sample"):
        uniform_margin_bound(torch.ones(0, 2), torch.zeros(0).long(), torch.eye(2), fitted="head")
