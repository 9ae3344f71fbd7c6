"""Chance values against simulation: features drawn without classes, measured as any others."""

import numpy as np
import pytest
import torch

from neuralcollapse.metrics import ncc_accuracy, summarize
from neuralcollapse.metrics.catalogue import CATALOGUE
from neuralcollapse.metrics.chance.decisions import own_nearest_mean
from neuralcollapse.metrics.setting import Setting
from neuralcollapse.moments import ClassMoments

# Class sizes, d, and how far a mean of so few draws may be from the closed form.
WORLDS = [
    ((10,) * 10, 50),
    ((20,) * 4, 12),
    ((4,) * 20, 6),
    ((50, 50), 20),
    ((100, 50, 20, 10, 5), 30),
    ((30, 3, 3, 3, 3, 3, 3, 3, 3), 4),
]
DRAWS = 40


def simulated(sizes, dim):
    """Return metric -> values over independent draws of features and head."""
    generator = torch.Generator().manual_seed(sum(sizes) + dim)
    labels = torch.repeat_interleave(torch.tensor(sizes))
    found = []
    for _ in range(DRAWS):
        shape = (len(labels), dim)
        features = torch.randn(shape, generator=generator, dtype=torch.float64)
        head = torch.randn(len(sizes), dim, generator=generator, dtype=torch.float64)
        moments = ClassMoments(len(sizes), dim).update(features, labels)
        values = summarize(moments, head)
        values["ncc_accuracy"] = ncc_accuracy(features, labels, moments.means)
        found.append(values)
    return {name: np.array([values[name] for values in found]) for name in found[0]}


@pytest.mark.parametrize(("sizes", "dim"), WORLDS, ids=lambda value: str(value)[:20])
def test_chance_is_what_independent_features_give(sizes, dim):
    setting = Setting(sizes, dim)
    for name, values in simulated(sizes, dim).items():
        metric = CATALOGUE[name]
        if metric.validity is not None and metric.validity(setting):
            continue
        chance = metric.chance(setting)
        error = 4 * values.std() / np.sqrt(DRAWS) + 0.06 * chance.value
        assert values.mean() == pytest.approx(chance.value, abs=error), name
        # None of so few comes beyond the error bar, which one in ten thousand does.
        nearest = values.max() if metric.kind == "share" else values.min()
        assert abs(nearest - metric.best(setting)) >= (
            abs(chance.value - metric.best(setting)) - chance.bar
        ), name


@pytest.mark.parametrize(
    ("num_classes", "samples", "dim", "accuracy"),
    [(10, 10, 50, 0.7597), (3, 20, 50, 0.789)],
)
def test_the_nearest_mean_of_its_own_samples(num_classes, samples, dim, accuracy):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num_classes).repeat(samples)
    found = []
    for _ in range(40):
        features = torch.randn(len(labels), dim, generator=generator)
        means = ClassMoments(num_classes, dim, False).update(features, labels).means
        found.append(ncc_accuracy(features, labels, means))
    chance = own_nearest_mean((samples,) * num_classes, dim)
    assert chance == pytest.approx(accuracy, abs=0.004)
    assert np.mean(found) == pytest.approx(chance, abs=4 * np.std(found) / np.sqrt(40) + 0.004)


def test_a_sample_alone_in_its_class_is_its_own_mean():
    assert own_nearest_mean((1, 1, 1), 5) == 1
    assert own_nearest_mean((5,) * 4, 4096) > 0.999


@pytest.mark.parametrize("sizes", [(2,) * 1000, tuple(range(1, 1201)), (5000,) * 10, (3,) * 5000])
@pytest.mark.parametrize("dim", [1, 3, 64, 999, 2048])
def test_every_size_has_a_chance_value(sizes, dim):
    setting = Setting(sizes, dim, head_rows=len(sizes))
    for metric in CATALOGUE.values():
        if metric.chance is not None:
            value, bar = metric.chance(setting)
            assert np.isfinite(value), metric.name
            assert 0 <= bar < np.inf, metric.name
