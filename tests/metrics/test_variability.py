import importlib
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse import measure_features
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.metrics import (
    cdnv,
    effective_rank,
    nc1_pinv,
    nc1_trace_ratio,
    numerical_rank,
    separation_fuzziness,
    vci,
)
from neuralcollapse.metrics.between import between_whitener
from neuralcollapse.metrics.class_distance import CDNVStatistic
from neuralcollapse.metrics.collapse_index import loses_digits
from neuralcollapse.metrics.pairs import sweep_pairs
from neuralcollapse.moments import ClassMoments

WEIGHTINGS = ("pooled", "balanced")
CENTERS = ("class_mean", "sample_mean")
VARIANTS = [
    {"within": w, "between": b, "center": c}
    for w, b, c in itertools.product(WEIGHTINGS, WEIGHTINGS, CENTERS)
]


def label(variant):
    return "-".join(str(value) for value in variant.values())


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
@pytest.mark.parametrize("normalize", [True, False])
def test_nc1_pinv(case, variant, normalize):
    expected = case.naive.nc1_pinv(**variant, normalize=normalize)
    actual = nc1_pinv(case.moments, **variant, normalize=normalize)
    assert actual == pytest.approx(expected, rel=1e-8, abs=1e-13)


def test_nc1_pinv_per_rank_is_the_mean_over_directions():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    means = 3 * torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])  # rank 2
    features = means[labels] + torch.randn(400, 3, generator=generator).double()
    moments = ClassMoments(4, 3).update(features, labels)
    values = np.linalg.eigvalsh(moments.between.numpy())
    whole = nc1_pinv(moments, normalize=False)
    rank = int((values > 1e-3 * values[-1]).sum())
    assert nc1_pinv(moments, per="rank") == pytest.approx(whole / rank)
    assert nc1_pinv(moments) == pytest.approx(whole / 4)


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
@pytest.mark.parametrize("denominator", ["between", "total"])
def test_nc1_trace_ratio(case, variant, denominator):
    actual = nc1_trace_ratio(case.moments, **variant, denominator=denominator)
    expected = case.naive.nc1_trace_ratio(**variant, denominator=denominator)
    assert actual == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("reduce", ["mean", "max", "median"])
@pytest.mark.parametrize("ddof", [0, 1])
def test_cdnv(case, reduce, ddof):
    if ddof and 1 in case.naive.counts:
        pytest.skip("n - 1 is zero")
    expected = case.naive.cdnv(reduce, ddof)
    assert cdnv(case.moments, reduce, ddof) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rank", ["numerical", "full"])
def test_vci(case, rank):
    expected = case.naive.vci(rank)
    # The reference inverts the total scatter and takes the result from 1, so it loses digits to
    # the spread of its eigenvalues; near collapse the closed form below is the judge.
    nearly_collapsed = expected < 1e-4
    tolerance = 1e-6 if nearly_collapsed else 1e-9
    assert vci(case.moments, rank) == pytest.approx(expected, rel=1e-8, abs=tolerance)


def test_separation_fuzziness(case):
    expected = case.naive.separation_fuzziness()
    assert separation_fuzziness(case.moments) == pytest.approx(expected, rel=1e-8, abs=1e-13)


def test_worst_pairs_are_the_largest_in_order(case):
    moments, naive = case.moments, case.naive
    statistic = CDNVStatistic(moments, worst=3)
    sweep_pairs(moments.centered_means(), [statistic])
    pairs = sorted(
        (
            (naive.variances[i] + naive.variances[j])
            / (2 * ((naive.means[i] - naive.means[j]) ** 2).sum()),
            i,
            j,
        )
        for i in naive.present
        for j in naive.present
        if i < j
    )[::-1][:3]
    assert [value for _, _, value in statistic.worst_pairs] == pytest.approx(
        [value for value, _, _ in pairs], rel=1e-9
    )
    if pairs[0][0] > 0:
        assert [(i, j) for i, j, _ in statistic.worst_pairs] == [(i, j) for _, i, j in pairs]


# ------------------------------------------------------------------ invariances

METRICS = {
    "nc1_pinv": nc1_pinv,
    "nc1_pinv pooled": lambda m: nc1_pinv(m, between="pooled", center="sample_mean"),
    "nc1_trace_ratio": nc1_trace_ratio,
    "cdnv": cdnv,
    "cdnv max": lambda m: cdnv(m, "max"),
    "vci": vci,
    "separation_fuzziness": separation_fuzziness,
}


def moments_of(features, labels, num_classes):
    return ClassMoments(num_classes, features.shape[1], "per_class").update(features, labels)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@given(seed=st.integers(0, 100), scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_rotation_scale_shift_and_relabelling_change_nothing(metric, seed, scale, shift):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(60, 5, generator=generator, dtype=torch.float64)
    labels = torch.arange(60) % 4
    labels[:5] = 0
    features += 2 * torch.randn(4, 5, generator=generator, dtype=torch.float64)[labels]
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))[0]
    permutation = torch.randperm(4, generator=generator)
    moved = scale * features @ rotation + shift * scale
    expected = metric(moments_of(features, labels, 4))
    assert metric(moments_of(moved, permutation[labels], 6)) == pytest.approx(expected, rel=1e-8)


@given(seed=st.integers(0, 100), stretch=st.floats(1e-2, 1e2))
def test_vci_is_invariant_to_every_invertible_linear_map(seed, stretch):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(60) % 4
    features = torch.randn(60, 5, generator=generator, dtype=torch.float64)
    features += 2 * torch.randn(4, 5, generator=generator, dtype=torch.float64)[labels]
    left, right = (
        torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))[0]
        for _ in range(2)
    )
    diagonal = torch.tensor([1.0, stretch, 2.0, 0.5, 1.0], dtype=torch.float64)
    moved = moments_of(features @ (left * diagonal) @ right, labels, 4)
    original = moments_of(features, labels, 4)
    assert vci(moved) == pytest.approx(vci(original), rel=1e-8)
    if stretch > 2:
        assert nc1_trace_ratio(moved) != pytest.approx(nc1_trace_ratio(original), rel=1e-6)


# ---------------------------------------------------------------- exact answers


@pytest.mark.parametrize(("num_classes", "dim"), [(2, 1), (4, 3), (5, 12)])
@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_collapsed_etf_gives_zero(metric, num_classes, dim):
    labels = torch.arange(6 * num_classes) % num_classes
    features = 3 + 2 * simplex_etf(num_classes, dim)[labels]
    assert metric(moments_of(features, labels, num_classes)) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("level", [1e-8, 1e-4, 1.0, 1e4])
def test_isotropic_spread_around_an_etf_in_closed_form(level):
    # Each class: its vertex +- s e_j along every axis, so Sigma_W = s^2/d I exactly, and
    # Sigma_B = I / (K-1) on K-1 directions.
    num_classes, dim, s = 4, 5, math.sqrt(level)
    cross = s * torch.cat([torch.eye(dim), -torch.eye(dim)]).double()
    features = (simplex_etf(num_classes, dim, "axis")[:, None] + cross).reshape(-1, dim)
    moments = moments_of(features, torch.arange(num_classes).repeat_interleave(2 * dim), 4)
    per_direction = level / dim * (num_classes - 1)
    assert nc1_trace_ratio(moments) == pytest.approx(level, rel=1e-7)
    assert nc1_pinv(moments) == pytest.approx((num_classes - 1) * per_direction / 4, rel=1e-7)
    assert cdnv(moments) == pytest.approx(level * 3 / 8, rel=1e-7)  # distances^2 = 2K/(K-1)
    assert vci(moments) == pytest.approx(per_direction / (1 + per_direction), rel=1e-7)


def test_ranks_count_directions():
    for rank in (1, 3, 7):
        spectrum = torch.zeros(9).double()
        spectrum[:rank] = 5.0
        assert effective_rank(spectrum) == pytest.approx(rank)
        assert numerical_rank(spectrum) == pytest.approx(rank)
    values = torch.tensor([4.0, 2.0, 1.0, 1.0])
    shares = np.array([0.5, 0.25, 0.125, 0.125])
    assert effective_rank(values) == pytest.approx(np.prod(shares**-shares))
    assert numerical_rank(values) == pytest.approx(8**2 / 22)
    assert effective_rank(torch.tensor([1.0, -1e-18])) == 1
    assert math.isnan(effective_rank(torch.zeros(2)))
    assert math.isnan(numerical_rank(torch.zeros(2)))


# ------------------------------------------------------------- degenerate inputs

EQUAL = [[0.1, 0.7]] * 6
SPREAD = [[0.1, 0.5], [0.5, 0.1], [0.1, 0.5], [0.5, 0.1], [0.5, 0.1], [0.1, 0.5]]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(("features", "value"), [(EQUAL, math.nan), (SPREAD, math.inf)])
def test_equal_class_means_have_the_stated_answer(name, features, value):
    moments = moments_of(torch.tensor(features), torch.tensor([0, 0, 1, 1, 2, 2]), 3)
    value = math.nan if name == "vci" else value
    assert METRICS[name](moments) == pytest.approx(value, nan_ok=True)


def test_two_equal_means_among_others_make_cdnv_infinite():
    features = torch.tensor([[0.0], [2.0], [0.0], [2.0], [5.0], [5.0]])
    moments = moments_of(features, torch.tensor([0, 0, 1, 1, 2, 2]), 3)
    assert cdnv(moments) == cdnv(moments, "max") == math.inf
    assert nc1_trace_ratio(moments) == pytest.approx((2 / 3) / (32 / 9))


@pytest.mark.parametrize("name", METRICS)
def test_one_class_alone_is_refused(name):
    moments = moments_of(torch.randn(5, 2), torch.full((5,), 2), 4)
    message = "moments: expected samples of at least 2 classes, got samples of 1"
    with pytest.raises(NeuralCollapseError, match=message):
        METRICS[name](moments)


@pytest.mark.parametrize("metric", [nc1_pinv, vci, separation_fuzziness])
def test_what_needs_a_scatter_says_so(metric):
    moments = ClassMoments(2, 3, scatter=False).update(torch.randn(4, 3), [0, 0, 1, 1])
    with pytest.raises(NeuralCollapseError, match="collect the moments with scatter='pooled'"):
        metric(moments)


COLLAPSE_INDEX = importlib.import_module("neuralcollapse.metrics.collapse_index")


@pytest.mark.parametrize("sizes", ["equal", "unequal"])
@pytest.mark.parametrize(("num_classes", "dim"), [(2, 1), (5, 30), (12, 7), (40, 40)])
def test_both_ways_to_the_vci_agree(sizes, num_classes, dim, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2000) % num_classes
    if sizes == "unequal":
        labels[:300] = 0
    means = 3 * torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    mixing = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(2000, dim, generator=generator, dtype=torch.float64)
    features = (means[labels] + noise) @ mixing
    moments = ClassMoments(num_classes, dim).update(features, labels)
    by_cholesky = [vci(moments), vci(moments, "full")]
    total = moments.within + moments.between_scatter("pooled", "sample_mean")
    between = moments.between_scatter("pooled", "sample_mean")
    rank = min(dim, num_classes - 1)
    share = float(torch.linalg.solve(total, between).trace()) / rank
    assert by_cholesky[0] == pytest.approx(1 - share, rel=1e-6)
    monkeypatch.setattr(COLLAPSE_INDEX, "LEAST_PIVOT", math.inf)
    assert by_cholesky == pytest.approx([vci(moments), vci(moments, "full")], rel=1e-8)


def test_a_dead_feature_takes_the_other_way():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(500, 9, generator=generator, dtype=torch.float64)
    labels = torch.arange(500) % 4
    features += 2 * torch.randn(4, 9, generator=generator, dtype=torch.float64)[labels]
    alive = vci(ClassMoments(4, 9).update(features, labels))
    features = torch.cat([features, torch.zeros(500, 3)], 1)
    assert vci(ClassMoments(4, 12).update(features, labels)) == pytest.approx(alive, rel=1e-9)


def test_what_is_remembered_is_forgotten_with_the_next_sample():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(300, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (300,), generator=generator)

    def read(moments):
        moments.centered_means().zero_()  # what is handed out is no part of the memory
        moments.between_scatter().zero_()
        moments.within_scatter().zero_()
        functions = (nc1_pinv, nc1_trace_ratio, vci)
        return [f(moments) for f in functions] + [float(moments.within.trace())]

    whole = ClassMoments(3, 5).update(features, labels)
    grown = ClassMoments(3, 5).update(features[:200], labels[:200])
    read(grown)
    grown.update(features[200:], labels[200:])
    assert read(grown) == pytest.approx(read(whole))
    merged = ClassMoments(3, 5).update(features[:200], labels[:200])
    read(merged)
    merged.merge(ClassMoments(3, 5).update(features[200:], labels[200:]))
    assert read(merged) == pytest.approx(read(whole))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dead", [1, 5, 40])
def test_vci_is_that_of_the_features_that_live(dtype, dead):
    """Where the means span all that varies, what is beside them is round-off."""
    generator = torch.Generator().manual_seed(dead)
    labels = torch.arange(800) % 40
    live = torch.randn(40, 3, generator=generator)[labels]
    live = live + torch.randn(800, 3, generator=generator)
    features = torch.zeros(800, 3 + dead)
    features[:, torch.randperm(3 + dead, generator=generator)[:3]] = live
    naive = vci(ClassMoments(40, 3).update(live.double(), labels))
    found = vci(ClassMoments(40, 3 + dead).update(features.to(dtype), labels))
    assert float(found) == pytest.approx(float(naive), rel=1e-4)
    mixed = live.double() @ torch.randn(3, 64, generator=generator, dtype=torch.float64)
    found = vci(ClassMoments(40, 64).update(mixed, labels))
    assert float(found) == pytest.approx(float(naive), rel=1e-4)


def test_directions_far_weaker_than_the_strongest_keep_their_digits():
    """One class mean is 3e6 away: squares of lengths would leave the others no digits."""
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64))[0]
    labels = torch.arange(60) % 5
    means = torch.randn(5, 12, generator=generator, dtype=torch.float64)
    noise = torch.randn(60, 12, generator=generator, dtype=torch.float64)
    means[:, 0] = torch.tensor([3e6, 0, 0, 0, 0])
    noise[:, 0] = 0
    for k in range(5):
        noise[labels == k] -= noise[labels == k].mean(0)
    # Off the strong direction: the between-class scatter without its part along the strong one.
    rest = means[1:, 1:] - means[1:, 1:].mean(0)
    root = torch.linalg.pinv(rest) * 5**0.5
    expected = float((noise[:, 1:] @ root).square().sum()) / 60 / 5
    moments = ClassMoments(5, 12).update((means[labels] + noise) @ rotation, labels)
    assert nc1_pinv(moments) == pytest.approx(expected, rel=1e-6)


def test_means_that_only_equal_weights_tell_apart_have_no_vci():
    features, labels = torch.full((4001, 2), 7e6), torch.zeros(4001, dtype=torch.int64)
    features[-1, 0] += 10
    labels[-1] = 1
    moments = ClassMoments(2, 2).update(features, labels)
    assert nc1_pinv(moments) == 0
    assert math.isnan(vci(moments))


def massive(direction, dtype):
    """Classes of spread .01, with a direction of spread 1e6."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(240) % 4
    noise = 0.01 * torch.randn(240, 8, generator=generator, dtype=torch.float64)
    along = torch.nn.functional.normalize(direction.double(), dim=0)
    strong = 1e6 * torch.randn(240, 1, generator=generator, dtype=torch.float64) * along
    means = torch.randn(4, 8, generator=generator, dtype=torch.float64)
    return (means[labels] + noise + strong).to(dtype), labels


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_massive_feature_costs_vci_no_digits(dtype):
    features, labels = massive(torch.eye(8)[3], dtype)
    moments = ClassMoments(4, 8).update(features, labels)
    rescaled = features.double() / features.double().std(0)  # VCI does not see it
    expected = vci(ClassMoments(4, 8).update(rescaled, labels))
    assert vci(moments) == pytest.approx(expected, rel=1e-4)
    assert not loses_digits(moments)


@pytest.mark.parametrize(
    ("strong", "null"), [(torch.ones(8), False), (torch.zeros(8), False), (torch.zeros(8), True)]
)
def test_lost_digits_of_float64_count_where_classes_differ(strong, null):
    features, labels = massive(strong, torch.float64)
    if null:  # as after a LayerNorm
        features -= features.mean(1, keepdim=True)
    moments = ClassMoments(4, 8).update(features, labels)
    assert loses_digits(moments) == bool(strong.any())
    said = [c for c in measure_features(features, labels).cautions if "too little for float64" in c]
    assert len(said) == int(strong.any())


@pytest.mark.parametrize("sampling", [False, True], ids=["centred", "sampled"])
@pytest.mark.parametrize(("apart", "lost"), [(1.0, 0), (1e-6, 0), (1e-10, 1), (0.0, 0)])
def test_classes_that_differ_along_a_direction_without_digits_are_said(apart, lost, sampling):
    """NC1 leaves the direction out, or has the spread of samples along it wrong; VCI likewise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    noise = 0.1 * torch.randn(400, 6, generator=generator, dtype=torch.float64)
    for k in range(0 if sampling else 4):
        noise[labels == k] -= noise[labels == k].mean(0)
    features = torch.eye(4, 6, dtype=torch.float64)[labels] + noise
    features[:, 2:4] *= torch.tensor([apart, 0.0])  # four means in two or three dimensions
    basis = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    cautions = measure_features(features @ basis, labels).cautions
    assert (
        sum("too little for float64 beside the others: VCI and nc1" in c for c in cautions) == lost
    )


@pytest.mark.parametrize(("apart", "lost"), [(1.0, False), (1e-6, False), (1e-9, True)])
def test_classes_hardly_apart_are_said_where_samples_spread_as_little(apart, lost):
    """Near collapse: the spread of samples has its digits, that of the means has not, squared."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    means = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, apart]], dtype=torch.float64)
    noise = 1e-10 * torch.randn(300, 2, generator=generator, dtype=torch.float64)
    turned = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    cautions = measure_features((means[labels] + noise) @ turned, labels).cautions
    assert any("VCI and nc1_pinv may be wrong" in c for c in cautions) == lost


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("num", "dim"), [(6, 16), (20, 8)])
def test_a_massive_feature_hides_no_direction_between_the_classes(num, dim, dtype):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40 * num) % num
    features = 0.3 * torch.randn(num, dim, generator=generator, dtype=torch.float64)[labels]
    features = features + torch.randn(40 * num, dim, generator=generator, dtype=torch.float64)
    features[:, 3] = 1e7 * (1 + features[:, 3] if dtype == torch.float64 else 1)
    features[:, 3] += 1e5 * torch.randn(40 * num, generator=generator, dtype=torch.float64)
    features = features.to(dtype)
    moments = ClassMoments(num, dim).update(features, labels)
    x, y = features.double().numpy(), labels.numpy()
    means = np.stack([x[y == k].mean(0) for k in range(num)])
    rank = min(num - 1, dim)
    _, lengths, directions = np.linalg.svd(means - means.mean(0), full_matrices=False)
    within = (x - means[y]) @ (directions[:rank].T / lengths[:rank])
    assert nc1_pinv(moments) == pytest.approx((within**2).sum() / len(x), rel=1e-4)
    assert len(between_whitener(moments, "balanced", "class_mean")) == rank
