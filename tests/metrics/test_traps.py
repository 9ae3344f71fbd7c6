"""Eight ways in which public code measures collapse wrongly, each as a case that must come right.

Where it is short, the wrong way is computed too, so that the case is seen to be a trap.
"""

import math

import numpy as np
import pytest
import torch

from allocations import LargestTensor
from naive_collapse import NaiveMoments
from neuralcollapse.errors import NonFiniteError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.measurement import measure_features
from neuralcollapse.metrics import (
    CollapseState,
    nc1_pinv,
    nc1_trace_ratio,
    nc4_agreement,
    ncc_accuracy,
    nearest_center,
    summarize,
)
from neuralcollapse.moments import ClassMoments


def blobs(num_classes, dim, per_class, spread, norm=1.0, offset=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    means = norm * means / means.norm(dim=1, keepdim=True) + offset
    labels = torch.arange(num_classes).repeat(per_class)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    return (means[labels] + spread * noise).float(), labels


def test_trap_1_rank_cutoff_of_the_pseudo_inverse():
    num_classes, dim = 20, 200
    features, labels = blobs(num_classes, dim, 30, spread=0.05)
    features = features.relu()
    moments = ClassMoments(num_classes, dim).update(features, labels)
    right = NaiveMoments(features, labels, num_classes).nc1_pinv()
    assert nc1_pinv(moments) == pytest.approx(right, rel=1e-6)
    inverse = torch.linalg.pinv(moments.between, rtol=1e-20)
    assert abs(float((moments.within @ inverse).trace()) / num_classes) > 1e3 * right


def test_trap_2_global_mean_in_float32():
    num_classes, dim = 10, 64
    features, labels = blobs(num_classes, dim, 200, spread=1e-4, offset=100.0)
    moments = ClassMoments(num_classes, dim).update(features, labels)
    right = NaiveMoments(features, labels, num_classes).nc1_pinv()
    assert nc1_pinv(moments) == pytest.approx(right, rel=1e-6)
    means = moments.means - features.mean(0)  # the centre on its own, in float32
    inverse = torch.linalg.pinv(means.T @ means / num_classes, rtol=1e-14)
    wrong = float((moments.within @ inverse).trace()) / num_classes
    assert wrong > 10 * right


@pytest.mark.parametrize("spread", [1e-3, 1e-4])
def test_trap_3_raw_second_moments(spread):
    features, labels = blobs(10, 32, 500, spread=spread, norm=10.0)
    moments = ClassMoments(10, 32).update(features, labels)
    right = NaiveMoments(features, labels, 10).nc1_trace_ratio()
    assert nc1_trace_ratio(moments) == pytest.approx(right, rel=1e-6)
    square = torch.zeros(())
    for k in range(10):
        rows = features[labels == k]
        square += rows.square().sum() - len(rows) * rows.mean(0).square().sum()
    wrong = float(square) / len(labels) / float(moments.between.trace())
    assert abs(wrong / right - 1) > 0.03


def test_trap_4_nearest_centre_by_expanded_squares():
    features, labels = blobs(10, 64, 50, spread=1e-5, norm=0.01, offset=5.0)
    means = ClassMoments(10, 64, scatter=False).update(features, labels).means
    assert ncc_accuracy(features, labels, means) == 1
    centres = means.float()
    scores = 2 * features @ centres.T - centres.square().sum(1) - features.square().sum(1)[:, None]
    assert float((scores.argmax(1) == labels).float().mean()) < 0.9


@pytest.mark.parametrize("size", [2049, 1025, 257])
def test_trap_5_absent_classes_labels_from_one_and_odd_counts(size):
    features, labels = blobs(3, 8, size, spread=0.1, offset=20.0)
    expected = summarize(ClassMoments(3, 8).update(features, labels))
    moments = ClassMoments(9, 8).update(features, labels + 4)
    assert summarize(moments) == pytest.approx(expected, rel=1e-9)
    assert moments.counts.tolist() == [0, 0, 0, 0, size, size, size, 0, 0]
    zero_vectors = moments.means.nan_to_num()
    assert float((zero_vectors.mean(0) - moments.center()).norm()) > 10
    found = nearest_center(features, moments.means)
    assert set(found.tolist()) == {4, 5, 6}


def test_trap_6_no_tensor_of_pairs_by_dimensions_or_samples_by_classes():
    num_classes, dim, per_class = 1500, 32, 4
    features, labels = blobs(num_classes, dim, per_class, spread=0.1)
    with LargestTensor() as largest:
        moments = ClassMoments(num_classes, dim).update(features, labels)
        summarize(moments, moments.means)
        measure_features(features, labels, moments.means)
    assert largest.numel < num_classes**2 * dim / 10
    assert largest.numel < len(labels) * num_classes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("num_classes", "dim", "per_class"),
    [(9, 3, 5), (2, 6, 5), (5, 6, 1)],
    ids=["K>d", "K=2", "n=1"],
)
def test_trap_7_every_shape_has_an_answer(num_classes, dim, per_class, dtype):
    features, labels = blobs(num_classes, dim, per_class, spread=0.1)
    features = features.to(dtype)
    moments = ClassMoments(num_classes, dim).update(features, labels)
    naive = NaiveMoments(features, labels, num_classes)
    values = summarize(moments, torch.randn(num_classes, dim))
    assert all(math.isfinite(value) for value in values.values())
    assert values["nc1_pinv"] == pytest.approx(naive.nc1_pinv(), rel=1e-6, abs=1e-14)
    if per_class == 1:
        assert values["nc1_trace_ratio"] == values["cdnv"] == values["vci"] == 0
    if num_classes == 2:
        assert values["nc2_etf"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_trap_7_one_bad_batch_is_named_and_left_out(bad):
    features, labels = blobs(3, 4, 100, spread=0.1)
    moments = ClassMoments(3, 4).update(features, labels)
    expected = summarize(moments)
    spoiled = features.clone()
    spoiled[17, 2] = bad
    with pytest.raises(NonFiniteError, match="features in batch 1: expected finite numbers, got 1"):
        moments.update(spoiled, labels)
    assert summarize(moments) == expected


def test_trap_8_classes_are_the_true_labels_whatever_is_predicted():
    # Features collapsed to an ETF, and a head that is wrong about every one of them.
    vertices = simplex_etf(4, 6, "axis")
    labels = torch.arange(40) % 4
    features = vertices[labels]
    moments = ClassMoments(4, 6).update(features, labels)
    wrong_head = vertices.roll(1, 0)
    values = summarize(moments, wrong_head)
    assert values["nc1_pinv"] == pytest.approx(0, abs=1e-14)
    assert values["nc3_self_duality"] > 1
    state = CollapseState(4, 6, centers=moments.means)
    state.gather(features, labels, features @ wrong_head.T)
    assert state.accuracy == state.agreement == 0
    assert state.ncc_accuracy == 1
    assert nc4_agreement(features, moments.means, wrong_head) == 0
    with pytest.raises(NonFiniteError):  # nothing is swallowed and answered with 1
        summarize(moments, np.nan * wrong_head)
