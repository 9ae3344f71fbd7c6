import math

import numpy as np
import pytest
import torch

from allocations import LargestTensor
from neuralcollapse.metrics import cdnv, equiangularity, etf_distance, nearest_center
from neuralcollapse.metrics.class_distance import CDNVStatistic
from neuralcollapse.metrics.pairs import FLOAT64_CLASSES, TILE, PairMean, PairSpread, sweep_pairs
from neuralcollapse.moments import ClassMoments

NUM, DIM = 6000, 8  # float32 tiles, the last ones ragged


@pytest.fixture(scope="module")
def many():
    """Moments of many classes; some class means all but coincide, in one tile and across tiles."""
    assert NUM > FLOAT64_CLASSES
    assert NUM % TILE
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(NUM, DIM, generator=generator, dtype=torch.float64)
    for i, j, distance in [(3, 5, 1e-4), (10, 3000, 1e-5), (4000, 5999, 1e-6), (7, 2500, 0.02)]:
        means[j] = means[i] + distance * torch.eye(DIM)[0]
    spread = 1e-3 * torch.randn(NUM, 1, generator=generator, dtype=torch.float64).abs()
    axis = torch.eye(DIM)[1].double()
    features = torch.cat([means + spread * axis, means - spread * axis])
    return ClassMoments(NUM, DIM, scatter=False).update(features, torch.arange(NUM).repeat(2))


def test_cdnv_of_many_classes(many):
    means, variances = many.means.numpy(), many.trace_variances.numpy()
    total, worst = 0.0, []
    for i in range(NUM):  # row by row, float64
        squared = ((means[i + 1 :] - means[i]) ** 2).sum(1)
        values = (variances[i + 1 :] + variances[i]) / (2 * squared)
        total += values.sum()
        worst += [(values[j], i, i + 1 + int(j)) for j in np.flatnonzero(values > 1)]
    statistic = CDNVStatistic(many, worst=3)
    sweep_pairs(many.centered_means(), [statistic])
    assert statistic.values.count == NUM * (NUM - 1) // 2
    assert statistic.values.mean == pytest.approx(total / statistic.values.count, rel=1e-5)
    worst = sorted(worst, reverse=True)[:3]
    assert [(i, j) for i, j, _ in statistic.worst_pairs] == [(i, j) for _, i, j in worst]
    assert {(4000, 5999), (10, 3000)} <= {(i, j) for i, j, _ in statistic.worst_pairs}
    near = _Distance(7, 2500)  # near enough for the product of the tile to have lost digits
    sweep_pairs(many.centered_means(), [near])
    assert near.value == pytest.approx(((means[7] - means[2500]) ** 2).sum(), rel=1e-6)
    for (_, _, value), (expected, _, _) in zip(statistic.worst_pairs, worst, strict=True):
        assert value == pytest.approx(expected, rel=1e-5)
    assert cdnv(many, "max") == statistic.worst_pairs[0][2]


class _Distance:
    def __init__(self, i, j):
        self.pair, self.value = (i, j), None

    def add(self, tile):
        if tile.i.ndim == 2:
            rows, columns = tile.i[:, 0].tolist(), tile.j[0].tolist()
            if self.pair[0] in rows and self.pair[1] in columns:
                row, column = rows.index(self.pair[0]), columns.index(self.pair[1])
                self.value = float(tile.squared_distances[row, column])


def test_angles_of_many_classes(many):
    rows = many.means.numpy()
    rows = rows - rows.mean(0)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    absolute, square, maximum, signed = 0.0, 0.0, 0.0, 0.0
    for i in range(NUM):
        deviations = units[i + 1 :] @ units[i] + 1 / (NUM - 1)
        absolute += np.abs(deviations).sum()
        signed += deviations.sum()
        square += (deviations**2).sum()
        maximum = np.abs(deviations).max(initial=maximum)
    pairs = NUM * (NUM - 1) / 2
    assert equiangularity(many.means) == pytest.approx(absolute / pairs, rel=1e-6)
    assert equiangularity(many.means, reduce="max") == pytest.approx(maximum, rel=1e-6)
    std = math.sqrt(square / pairs - (signed / pairs) ** 2)
    assert equiangularity(many.means, reduce="std") == pytest.approx(std, rel=1e-6)


@pytest.mark.parametrize("about_the_mean", [True, False])
def test_etf_distance_of_many_classes(many, about_the_mean):
    rows = many.means.numpy()
    center = rows.mean(0) if about_the_mean else rows[0] / 2
    rows = rows - center
    norm = math.sqrt(sum(((rows @ row) ** 2).sum() for row in rows))
    total = 0.0
    for i, row in enumerate(rows):
        target = np.full(NUM, -1 / NUM)
        target[i] += 1
        total += ((rows @ row / norm - target / math.sqrt(NUM - 1)) ** 2).sum()
    found = etf_distance(many.means, None if about_the_mean else center)
    assert found == pytest.approx(math.sqrt(total), rel=1e-10)


def test_neither_all_pairs_nor_all_scores_are_ever_held(many):
    means = many.means
    with LargestTensor() as largest:
        cdnv(many)
        equiangularity(means)
        etf_distance(means)
        nearest_center(means.float(), means)
    assert largest.numel <= 4 * TILE**2 < NUM**2 / 8


@pytest.mark.slow  # 1.25e9 pairs
def test_fifty_thousand_classes():
    num, dim = 50_000, 4
    features = torch.randn(num, dim, generator=torch.Generator().manual_seed(0))
    moments = ClassMoments(num, dim, scatter=False).update(features, torch.arange(num))
    with LargestTensor() as largest:
        assert cdnv(moments) == 0  # one sample per class
        assert equiangularity(moments.means) > 0.1
        assert etf_distance(moments.means) == pytest.approx(math.sqrt(2), rel=0.01)
        assert (nearest_center(features, moments.means) == torch.arange(num)).all()
    assert largest.numel <= 4 * TILE**2 < num**2 / 500


@pytest.mark.parametrize("bad", [[math.nan, 1.0], [1.0, math.nan]])
def test_extremes_and_spread_keep_nan(bad):
    mean, spread = PairMean(), PairSpread()
    for value in bad:
        mean.add(torch.tensor([[value]]))
        spread.add(torch.tensor([[value]]))
    assert math.isnan(mean.maximum)
    assert math.isnan(mean.mean)
    assert math.isnan(spread.variance)
    assert math.isnan(spread.mean)


def test_statistics_of_no_pairs():
    mean, spread = PairMean(), PairSpread()
    mean.add(torch.empty(0))
    spread.add(torch.empty(0))
    assert math.isnan(mean.mean)
    assert math.isnan(spread.mean)
    assert math.isnan(spread.variance)


COINCIDING = torch.tensor([[0.0, 0], [0, 0], [5, 5], [5, 7], [5, 5.2], [5, 7.2]])


@pytest.mark.parametrize("repeat", [1, 3000])
def test_pairs_of_no_distance_and_no_spread_are_counted_apart(repeat):
    # Two classes of one sample each, at one point; `repeat` makes the sweep one of float32 tiles.
    others = torch.randn(repeat, 2, generator=torch.Generator().manual_seed(0)) + 20
    features = torch.cat([COINCIDING, *(others + step for step in (0.1, -0.1))])
    labels = torch.cat([torch.tensor([0, 1, 2, 2, 3, 3]), 4 + torch.arange(repeat).repeat(2)])
    moments = ClassMoments(4 + repeat, 2).update(features, labels)
    statistic = CDNVStatistic(moments)
    sweep_pairs(moments.centered_means(), [statistic])
    assert statistic.undefined == 1
    assert statistic.values.count == math.comb(4 + repeat, 2) - 1
    assert len(statistic.worst_pairs) == min(10, statistic.values.count)
    assert (0, 1) not in {(i, j) for i, j, _ in statistic.worst_pairs}
    if repeat == 1:
        means, variances = moments.means.numpy(), moments.trace_variances.numpy()
        values = [
            (variances[i] + variances[j]) / (2 * ((means[i] - means[j]) ** 2).sum())
            for i in range(5)
            for j in range(i + 1, 5)
            if (i, j) != (0, 1)
        ]
        assert cdnv(moments) == pytest.approx(np.mean(values))
        assert cdnv(moments, "max") == pytest.approx(max(values))
        assert cdnv(moments, "median") == pytest.approx(sorted(values)[(len(values) - 1) // 2])


def test_where_all_pairs_coincide_there_is_no_value():
    moments = ClassMoments(3, 2).update(torch.ones(3, 2), [0, 1, 2])
    assert all(math.isnan(cdnv(moments, reduce)) for reduce in ("mean", "max", "median"))


def test_a_spread_over_no_distance_is_infinite():
    moments = ClassMoments(2, 1).update(torch.tensor([[0.0], [1], [0], [1]]), [0, 0, 1, 1])
    assert cdnv(moments) == math.inf


@pytest.mark.parametrize("scale", [1e-100, 1e39])
def test_tiles_of_float32_hold_any_scale(many, scale):
    state = many.state_dict()
    state["means"], state["trace_variances"] = (
        state["means"] * scale,
        state["trace_variances"] * scale**2,
    )
    moments = ClassMoments.from_state_dict(state)
    assert cdnv(moments) == pytest.approx(cdnv(many), rel=1e-6)
    assert cdnv(moments, "max") == pytest.approx(cdnv(many, "max"), rel=1e-6)
