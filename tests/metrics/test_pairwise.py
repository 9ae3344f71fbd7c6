import itertools
import math

import numpy as np
import pytest
import torch

from allocations import LargestTensor
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.metrics import (
    equinorm,
    frequency_thirds,
    pairwise_collapse,
    preset,
    self_duality,
    uniformity,
)
from neuralcollapse.metrics.pairs import FLOAT64_CLASSES, TILE
from neuralcollapse.moments import ClassMoments


def long_tail(num, dim, spread, seed=0):
    """Features of classes of very different sizes, two of whose means nearly coincide."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.linspace(1, 30, num).long()
    labels = torch.repeat_interleave(torch.arange(num), sizes)
    means = torch.randn(num, dim, generator=generator, dtype=torch.float64) + 3
    means[1] = means[0] + 1e-5
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    return means[labels] + spread * noise, labels


def naive(features, labels, center, min_samples=1):
    """Wu & Papyan's definitions, class by class and pair by pair in numpy."""
    x, y = features.numpy(), labels.numpy()
    kept = [k for k in range(y.max() + 1) if (y == k).sum() >= min_samples]
    means = [x[y == k].mean(0) for k in kept]
    variances = [((x[y == k] - m) ** 2).sum(1).mean() for k, m in zip(kept, means, strict=True)]
    inside = np.isin(y, kept)
    origin = x[inside].mean(0) if center == "sample_mean" else np.mean(means, 0)
    units = [(m - origin) / np.linalg.norm(m - origin) for m in means]
    cosines, energies, cdnv = (np.full((len(kept),) * 2, np.nan) for _ in range(3))
    for i in range(len(kept)):
        for j in range(len(kept)):
            if i != j:
                cosines[i, j] = units[i] @ units[j]
                energies[i, j] = -math.log(np.linalg.norm(units[i] - units[j]))
                gap = ((means[i] - means[j]) ** 2).sum()
                cdnv[i, j] = (variances[i] + variances[j]) / (2 * gap)
    return kept, cosines, energies, cdnv


@pytest.mark.parametrize("spread", [0.5, 1e-6])
@pytest.mark.parametrize(("num", "dim", "min_samples"), [(20, 5, 1), (40, 3, 8), (5, 9, 2)])
@pytest.mark.parametrize("center", ["class_mean", "sample_mean"])
def test_against_a_naive_reference(num, dim, min_samples, center, spread):
    features, labels = long_tail(num, dim, spread)
    moments = ClassMoments(num, dim, scatter=False).update(features, labels)
    kept, cosines, energies, cdnv = naive(features, labels, center, min_samples)
    found = pairwise_collapse(moments, center, min_samples)
    assert found.classes.tolist() == kept
    values = {
        "cosine_mean": np.nanmean(cosines),
        "cosine_std": np.nanstd(cosines),
        "cosine_max": np.nanmax(cosines),
        "log_energy_mean": np.nanmean(energies),
        "log_energy_variance": np.nanvar(energies),
        "log_energy_variation": np.nanstd(energies) / np.nanmean(energies),
        "log_riesz_mean": math.log(np.nanmean(np.exp((dim - 2) * energies))),
        "cdnv_mean": np.nanmean(cdnv),
    }
    for name, value in values.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-9, abs=1e-11), name
    for name, value in {
        "cdnv_least": np.nanmin(cdnv, 1),
        "cdnv_largest": np.nanmax(cdnv, 1),
        "cosine_largest": np.nanmax(cosines, 1),
    }.items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-9, atol=1e-11)


def test_many_classes_hold_no_pair_matrix_and_agree_with_row_by_row():
    num, dim = FLOAT64_CLASSES + 1000, 6
    generator = torch.Generator().manual_seed(1)
    means = torch.randn(num, dim, generator=generator, dtype=torch.float64)
    means[4000] = means[3] + 1e-6
    moments = ClassMoments(num, dim, scatter=False).update(
        torch.cat([means - 0.1, means + 0.1]), torch.arange(num).repeat(2)
    )
    with LargestTensor() as largest:
        found = pairwise_collapse(moments)
    assert largest.numel <= 4 * TILE**2
    rows = (means - means.mean(0)).numpy()
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    total = square = 0.0
    for i in range(num):
        energies = -0.5 * np.log(((units[i + 1 :] - units[i]) ** 2).sum(1))
        total, square = total + energies.sum(), square + (energies**2).sum()
    pairs = num * (num - 1) / 2
    assert found.log_energy_mean == pytest.approx(total / pairs, rel=1e-7)
    variance = square / pairs - (total / pairs) ** 2
    assert found.log_energy_variance == pytest.approx(variance, rel=1e-6)
    others = np.delete(units, 5, 0) @ units[5]
    assert float(found.cosine_largest[5]) == pytest.approx(others.max(), abs=1e-6)
    distance = ((rows[3] - rows[4000]) ** 2).sum()
    assert float(found.cdnv_largest[3]) == pytest.approx(0.01 * dim / distance, rel=1e-6)


def test_riesz_kernel_in_many_dimensions_neither_underflows_nor_overflows():
    dim = 3000
    found = pairwise_collapse(ClassMoments(4, dim).update(simplex_etf(4, dim), [0, 1, 2, 3]))
    assert found.log_riesz_mean == pytest.approx((2 - dim) * 0.5 * math.log(8 / 3), rel=1e-9)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("copies", [2, 3])
def test_pairs_of_equal_means_without_spread_count_apart_and_leave_the_rest_right(dim, copies):
    features, labels = long_tail(6, dim, 0.5)
    features, labels = features[labels > 1], labels[labels > 1]
    twins = torch.arange(copies) + 6
    x = torch.cat([features, torch.ones(copies, dim).double()])
    y = torch.cat([labels, twins])
    found = pairwise_collapse(ClassMoments(6 + copies, dim, scatter=False).update(x, y))
    kept = [2, 3, 4, 5, *twins.tolist()]
    means = {k: x[y == k].mean(0) for k in kept}
    spread = {k: float(((x[y == k] - means[k]) ** 2).sum(1).mean()) for k in kept}
    center = sum(means.values()) / len(kept)
    cdnv, energies = {}, []
    for i, j in itertools.permutations(kept, 2):
        if not torch.equal(means[i], means[j]):
            gap = float(((means[i] - means[j]) ** 2).sum())
            cdnv[i, j] = (spread[i] + spread[j]) / (2 * gap)
            u, v = ((means[k] - center) / (means[k] - center).norm() for k in (i, j))
            energies.append(-math.log(float((u - v).norm())))
    assert found.coinciding == copies * (copies - 1) // 2
    assert found.cdnv_mean == pytest.approx(np.mean([*cdnv.values()]))
    assert found.log_energy_mean == pytest.approx(np.mean(energies))
    assert found.log_energy_variance == pytest.approx(np.var(energies))
    riesz = np.mean(np.exp((dim - 2) * np.array(energies)))
    assert found.log_riesz_mean == pytest.approx(math.log(riesz), abs=1e-12)
    for name, extreme in (("cdnv_least", min), ("cdnv_largest", max)):
        each = [extreme(value for pair, value in cdnv.items() if pair[0] == k) for k in kept]
        assert getattr(found, name).tolist() == pytest.approx(each), name


def test_without_a_pair_apart_nothing_is_left_to_average():
    found = pairwise_collapse(ClassMoments(3, 2).update(torch.ones(3, 2), [0, 1, 2]))
    assert found.coinciding == 3
    for value in (found.cdnv_mean, found.log_energy_mean, found.log_riesz_mean):
        assert math.isnan(value)
    assert found.cdnv_least.isnan().all()
    assert found.cdnv_largest.isnan().all()


@pytest.mark.parametrize("scale", [1e-13, 1e13])
def test_cdnv_of_very_many_classes_does_not_depend_on_the_unit(scale, monkeypatch):
    monkeypatch.setattr("neuralcollapse.metrics.pairs.FLOAT64_CLASSES", 2)  # then in float32
    features, labels = long_tail(8, 3, 0.5)
    plain, scaled = (
        pairwise_collapse(ClassMoments(8, 3, scatter=False).update(unit * features, labels))
        for unit in (1.0, scale)
    )
    assert scaled.cdnv_mean == pytest.approx(plain.cdnv_mean, rel=1e-4)
    assert scaled.log_energy_mean == pytest.approx(plain.log_energy_mean, rel=1e-4)


def test_coinciding_means_are_counted():
    rows = torch.tensor([[0.0, 1], [0, 1], [1, 0], [-1, 0]]).repeat(2, 1)
    moments = ClassMoments(4, 2).update(
        rows + 0.1 * torch.tensor([[1.0, 0]] * 4 + [[-1, 0]] * 4), torch.arange(4).repeat(2)
    )
    found = pairwise_collapse(moments)
    assert found.coinciding == 1
    assert found.cdnv_mean == math.inf
    assert found.log_energy_mean == pytest.approx(uniformity(moments.means)[0])
    assert torch.isfinite(found.cdnv_least).all()


@pytest.mark.parametrize("min_samples", [2, 100])
def test_too_few_samples_are_refused(min_samples):
    moments = ClassMoments(9, 2).update(torch.randn(4, 2), [0, 1, 2, 2])
    with pytest.raises(NeuralCollapseError, match="at least 2 classes with that many samples"):
        pairwise_collapse(moments, min_samples=min_samples)


def test_wu2024_against_its_definitions():
    features, labels = long_tail(12, 4, 0.3)
    moments = ClassMoments(12, 4).update(features, labels)
    weight = torch.randn(12, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    _, cosines, energies, cdnv = naive(features, labels, "sample_mean")
    x, y = features.numpy(), labels.numpy()
    rows = np.array([x[y == k].mean(0) for k in range(12)]) - x.mean(0)
    lengths = np.linalg.norm(rows, axis=1)
    duality = (rows * weight.numpy()).sum(1) / lengths / np.linalg.norm(weight, axis=1)
    expected = {
        "cdnv": np.nanmean(cdnv),
        "nc2_equinorm": np.log(lengths).std(),
        "nc2_interference": np.nanmean(cosines),
        "nc2_interference_std": np.nanstd(cosines),
        "nc2_uniformity": np.nanstd(energies) / np.nanmean(energies),
        "nc3_cosine": duality.mean(),
        "nc3_uniform": duality.std() / abs(duality.mean()),
    }
    assert preset("wu2024", moments, weight) == pytest.approx(expected, rel=1e-9)
    assert set(preset("wu2024", moments)) == {n for n in expected if not n.startswith("nc3")}


def test_uniform_self_duality_by_hand():
    means = torch.tensor([[1.0, 0], [0, 1], [-1, -1]])
    head = torch.tensor([[2.0, 0], [0, 1], [-1, -1]])
    zero = torch.zeros(2)
    found = self_duality(head, means, zero, center_head=False, variant="uniform_dot")
    assert found == pytest.approx(np.std([2, 1, 2]) / np.mean([2, 1, 2]))
    found = self_duality(head, means, zero, center_head=False, variant="uniform_cosine")
    assert found == pytest.approx(0, abs=1e-12)


def test_logarithms_of_lengths_are_free_of_scale():
    rows = torch.tensor([[1.0, 0], [0, math.e]], dtype=torch.float64)
    for scale in (1, 1e6):
        found = equinorm(scale * rows, torch.zeros(2), logarithm=True)
        assert found == pytest.approx(0.5)


def test_thirds_are_as_even_as_can_be():
    counts = torch.randint(0, 50, (100,), generator=torch.Generator().manual_seed(0))
    thirds = frequency_thirds(counts)
    assert ((thirds == -1) == (counts == 0)).all()
    sizes = [(thirds == t).sum().item() for t in range(3)]
    assert max(sizes) - min(sizes) <= 1
    for t in (0, 1):
        assert counts[thirds == t].max() <= counts[thirds == t + 1].min()
