import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import cdnv_error_bound
from neuralcollapse.metrics import cdnv, ncc_accuracy
from neuralcollapse.moments import ClassMoments


def draw(sizes, spread, seed, dim=3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.tensor(sizes))
    means = torch.randn(len(sizes), dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    return means[labels] + spread * noise, labels


def moments_of(features, labels, num_classes):
    return ClassMoments(num_classes, features.shape[1], scatter=False).update(features, labels)


@given(seed=st.integers(0, 1000), spread=st.sampled_from([1e-3, 0.01, 0.05]))
def test_balanced_it_is_a_multiple_of_the_cdnv(seed, spread):
    features, labels = draw([7] * 5, spread, seed)
    moments = moments_of(features, labels, 5)
    expected = min(4 * 4 * cdnv(moments), 1.0)
    assert cdnv_error_bound(moments) == pytest.approx(expected, rel=1e-10)


def test_unbalanced_it_is_the_sum_over_pairs():
    features, labels = draw([2, 30, 9], 0.03, 3)
    total = 0.0
    for i in range(3):
        rows = features[labels == i]
        variance = float((rows - rows.mean(0)).square().sum(1).mean())
        for j in range(3):
            if j != i:
                gap = rows.mean(0) - features[labels == j].mean(0)
                total += len(rows) / len(labels) * 4 * variance / float(gap.square().sum())
    assert total < 1
    assert cdnv_error_bound(moments_of(features, labels, 3)) == pytest.approx(total, rel=1e-10)


@given(seed=st.integers(0, 1000), spread=st.sampled_from([0.05, 0.1, 0.3]))
def test_it_bounds_the_errors_of_the_nearest_mean_in_its_own_sample(seed, spread):
    features, labels = draw([3, 8, 20], spread, seed)
    moments = moments_of(features, labels, 3)
    error = 1 - ncc_accuracy(features, labels, moments.means)
    assert cdnv_error_bound(moments) >= error


def test_absent_classes_do_not_count():
    features, labels = draw([6, 6], 0.05, 1)
    assert cdnv_error_bound(moments_of(features, labels * 2, 4)) == pytest.approx(
        cdnv_error_bound(moments_of(features, labels, 2))
    )


def test_it_is_zero_when_collapsed_and_one_where_means_coincide():
    vertices = torch.eye(3, dtype=torch.float64)
    labels = torch.arange(3).repeat(2)
    assert cdnv_error_bound(moments_of(vertices[labels], labels, 3)) == 0.0
    for features in (torch.ones(4, 2), torch.tensor([[0.0, 1], [0, -1], [0, 1], [0, -1]])):
        assert cdnv_error_bound(moments_of(features, torch.tensor([0, 0, 1, 1]), 2)) == 1.0


def test_one_class_is_refused():
    moments = moments_of(torch.randn(3, 2), torch.zeros(3, dtype=torch.int64), 2)
    with pytest.raises(NeuralCollapseError, match="at least 2"):
        cdnv_error_bound(moments)
