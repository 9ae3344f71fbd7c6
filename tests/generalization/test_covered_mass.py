import math

import numpy as np
import pytest
import torch
from scipy.stats import binom

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization import (
    covered_mass,
    decision_radii,
    jacobian_norm,
    lipschitz_bound,
)
from neuralcollapse.generalization.covered_mass import CoveredMass
from neuralcollapse.metrics import sample_margins
from neuralcollapse.training import MLP


def test_radii_are_distances_over_the_constant():
    radii = decision_radii([[6.0, 0.0]], [0], [[1.0, 0.0], [-1.0, 0.0]], lipschitz=4.0)
    assert radii.tolist() == [1.5]


def test_within_a_certified_radius_no_decision_changes():
    torch.manual_seed(0)
    network = MLP(8, [16, 16], 3)
    for _ in range(5):
        network(torch.randn(64, 8))
    network = network.double().eval()
    inputs = torch.randn(100, 8, dtype=torch.float64)
    with torch.no_grad():
        features = network.features(inputs)
        labels = network(inputs).argmax(1)
    head = network.head
    bound = lipschitz_bound(network.features, (8,))
    radii = decision_radii(features, labels, head.weight.data, head.bias.data, lipschitz=bound)
    assert bool((radii > 0).all())
    steps = torch.nn.functional.normalize(torch.randn(30, 100, 8, dtype=torch.float64), dim=2)
    with torch.no_grad():
        for step in steps:
            moved = network(inputs + 0.999 * radii[:, None] * step)
            assert bool((sample_margins(moved, labels) > 0).all())
    assert jacobian_norm(network.features, inputs) < bound


def test_counts_and_the_bound_are_those_of_the_definition(generator):
    train = torch.rand(30, 2, generator=generator)
    labels = torch.arange(30) % 3
    radii = 0.3 * torch.rand(30, generator=generator) - 0.05
    new = torch.rand(50, 2, generator=generator)
    truth = torch.arange(50) % 3
    mass = covered_mass(train, labels, radii, new, truth, 0.9)
    uncovered, nearest = 0, []
    for x, y in zip(new.double(), truth, strict=True):
        own = [float((x - t).norm()) for t in train.double()[labels == y]]
        reach = radii[labels == y].tolist()
        uncovered += not any(d < r for d, r in zip(own, reach, strict=True))
        nearest.append(min(own))
    assert 0 < mass.uncovered == uncovered < 50
    assert mass.neighbor_distance == pytest.approx(sorted(nearest)[24])  # torch's median
    assert mass.radius == pytest.approx(float(radii.median()))
    assert mass.reach == pytest.approx(mass.radius / mass.neighbor_distance)
    # Clopper-Pearson: the probability of so few at the bound is just 1 - confidence.
    assert binom.cdf(uncovered, 50, mass.error_bound) == pytest.approx(0.1)


def test_it_bounds_the_error_of_a_classifier_with_that_constant():
    # Nearest of two sites on a line: decisions change at 0, the map is the identity, L = 1.
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        draws = [rng.uniform(-1, 1, size=(n, 1)) for n in (12, 40)]
        labels = [(x[:, 0] > 0).astype(np.int64) for x in draws]
        head = np.array([[-1.0], [1.0]])
        radii = decision_radii(draws[0], labels[0], head, lipschitz=1.0)
        mass = covered_mass(draws[0], labels[0], radii, draws[1], labels[1], 0.8)
        lines = [(x, r) for x, r in zip(draws[0][:, 0], radii.tolist(), strict=True)]
        grid = np.linspace(-1, 1, 4001)
        inside = np.zeros(4001, bool)
        for x, r in lines:
            inside |= (np.abs(grid - x) < r) & (np.sign(grid) == np.sign(x))
        covered += mass.error_bound >= 1 - inside.mean()
    assert covered >= 0.8 * 200


def test_nothing_covered_is_vacuous_and_a_class_never_seen_is_uncovered():
    train, new = torch.zeros(2, 1), torch.ones(5, 1)
    mass = covered_mass(train, [0, 0], torch.zeros(2), new, [0] * 5)
    assert (mass.uncovered, mass.error_bound, mass.vacuous, mass.reach) == (5, 1.0, True, 0.0)
    strange = covered_mass(train, [0, 0], torch.full((2,), 9.0), new, [1] * 5)
    assert strange.uncovered == 5
    assert strange.neighbor_distance == math.inf
    same = CoveredMass(0, 5, 0.4, 0.95, 1.0, 0.0)
    assert same.reach == math.inf


LINE = torch.arange(4.0)[:, None]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: covered_mass(LINE[:0], torch.zeros(0).long(), torch.ones(0), LINE, [0] * 4),
            "^inputs: expected at least one sample, got none",
        ),
        (
            lambda: covered_mass(LINE, [0] * 4, torch.ones(4), LINE[:0], torch.zeros(0).long()),
            "held_out_inputs: expected at least one sample, got none",
        ),
        (
            lambda: covered_mass(LINE, [0] * 4, torch.ones(4), torch.ones(2, 3), [0, 0]),
            "held_out_inputs: expected 1 numbers a sample, as in training, got 3",
        ),
        (
            lambda: covered_mass(LINE, [0] * 4, torch.ones(3), LINE, [0] * 4),
            "radii: expected 4, one per training sample, got 3",
        ),
        (
            lambda: covered_mass(LINE, [0] * 4, torch.ones(4), LINE, [0] * 4, 1.0),
            r"confidence: expected a number in \(0, 1\)",
        ),
        (
            lambda: decision_radii([[1.0]], [0], [[1.0], [0.0]], lipschitz=0.0),
            "lipschitz: expected a finite number above 0",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_nan_is_refused():
    radii = torch.tensor([1.0, math.nan, 1.0, 1.0])
    with pytest.raises(NonFiniteError, match="radii: expected finite numbers, got 1 NaN"):
        covered_mass(LINE, [0] * 4, radii, LINE, [0] * 4)
