"""Theorem 4.8: covering the training data, and what of it can be computed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.stats import beta

from neuralcollapse.generalization import (
    covered_mass,
    decision_radii,
    expected_missing_mass_bound,
    farthest_point_net,
    jacobian_norm,
    lipschitz_bound,
    missing_mass_bound,
)
from neuralcollapse.studies.claims import Evidence, largest, smallest
from neuralcollapse.studies.gao2023.digits import HALF, trained_digits
from neuralcollapse.studies.gao2023.study import study


@study.claim(
    "thm4.8",
    "If the classifier is right within eps of every training point, its error is at most the "
    "probability of what no training point is near to: in expectation at most C / (2 (n+1)) with C "
    "cells that cover the classes.",
    correction="the cells must have diameter eps (balls of eps / 2), the margin over the Lipschitz "
    "constant be fixed beforehand, and the covering number of the support is unknown: a sample's "
    "net bounds it from below only; ours: certify the covered mass with held-out data, and on "
    "images that is vacuous",
)
def _covering() -> Iterator[Evidence]:
    yield Evidence(
        "missing mass, two equal cells, n = 1", 2 * 0.5 * 0.5, expected_missing_mass_bound(2, 1)
    )
    yield from _two_cells()
    rng = np.random.default_rng(0)
    excess, covered, runs = -1.0, 1.0, 2000
    for cells, n in ((10, 20), (50, 50), (50, 200)):
        for q in (np.full(cells, 1 / cells), 0.8 ** np.arange(cells)):
            q = q / q.sum()
            mass = (rng.multinomial(n, q, size=runs) == 0) @ q
            excess = largest(excess, mass.mean() - expected_missing_mass_bound(cells, n))
            covered = smallest(covered, np.mean(mass <= missing_mass_bound(cells, n, 0.9)))
    note = f"{runs} samples of each of 6 distributions"
    yield Evidence.at_most("largest excess of the mean missing mass", excess, 0, note=note)
    yield Evidence.at_least("least share below the 90 % bound", covered, 0.9)
    yield from _line()
    yield from _digits()


def _two_cells() -> Iterator[Evidence]:
    """Enumerate two cells exactly: a sample misses one of them if all fall in the other."""
    share = np.linspace(0.01, 0.99, 99)
    exceeded = 0.0
    for n in (1, 2, 3, 5):
        bound = missing_mass_bound(2, n, 0.9)
        failing = (1 - share) ** n * (share > bound) + share**n * (1 - share > bound)
        exceeded = largest(exceeded, float(failing.max()))
    note = "two cells of any size, n = 1 to 5, exact"
    yield Evidence.at_most("largest chance to exceed the 90 % bound", exceeded, 0.1, note=note)
    n = 5
    bare = expected_missing_mass_bound(2, n)
    failing = (1 - share) ** n * (share > bare) + share**n * (1 - share > bare)
    note = "without a deviation it would be exceeded more often than that"
    yield Evidence.at_least("to exceed the bound on its mean", float(failing.max()), 0.1, note=note)
    deviation = missing_mass_bound(2, n, 0.9) - bare
    yield Evidence("chance left to the deviation", np.exp(-n * deviation**2), 0.1, 1e-12)


def _line() -> Iterator[Evidence]:
    """Certify a classifier for which covering works: two intervals, the sign, and L = 1."""
    rng = np.random.default_rng(1)

    def draw(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.from_numpy(rng.integers(2, size=n))
        return (2 * labels - 1)[:, None] * torch.from_numpy(rng.uniform(0.2, 1, (n, 1))), labels

    (train, labels), (new, truth) = draw(50), draw(1000)
    radii = decision_radii(train, labels, [[-1.0], [1.0]], lipschitz=1.0)
    # Each ball ends where the decision does: 0.1 % nearer nothing changes, 0.1 % farther it does.
    for share, expected, words in ((0.999, 0, "within"), (1.001, len(train), "just beyond")):
        moved = train[:, 0] - share * radii * torch.sign(train[:, 0])
        changed = float(((moved > 0) != (labels == 1)).sum())
        yield Evidence(f"decisions that change {words} the radius, of 50", changed, expected)
    mass = covered_mass(train, labels, radii, new, truth)
    reached = (new - train[:, 0]).abs() < radii
    naive = float((~(reached & (truth[:, None] == labels)).any(1)).sum())
    yield Evidence("held-out points in no ball, counted pair by pair", mass.uncovered, naive)
    exact = beta.ppf(0.95, mass.uncovered + 1, 1000 - mass.uncovered)
    yield Evidence("its bound over that of a count", mass.error_bound / exact, 1, 1e-9)
    note = "two intervals, 50 training and 1000 held-out points; the error is 0"
    yield Evidence.at_most("where it works: certified error", mass.error_bound, 0.01, note=note)


def _digits() -> Iterator[Evidence]:
    trained = trained_digits(HALF)
    shape = tuple(trained.inputs.shape[1:])
    certified = lipschitz_bound(trained.network.features, shape)
    estimate = jacobian_norm(trained.network.features, trained.inputs)
    note = "L of the map from pixels to features: product of norms, largest Jacobian"
    yield Evidence.at_least("certified L over the estimate", certified / estimate, 1, note=note)
    head = trained.network.head
    features = trained.features(trained.inputs)
    for name, constant in (("certified", certified), ("estimated", estimate)):
        radii = decision_radii(
            features, trained.labels, head.weight.detach(), head.bias.detach(), lipschitz=constant
        )
        mass = covered_mass(
            trained.inputs, trained.labels, radii, trained.test_inputs, trained.test_labels
        )
        note = f"{len(radii)} training and {mass.num_held_out} test digits"
        yield Evidence.at_least(
            f"{name} L: uncovered share", mass.uncovered / mass.num_held_out, 0.9, note=note
        )
        yield Evidence.at_most(f"{name} L: radius over nearest distance", mass.reach, 0.5)
        if name == "certified":
            net = farthest_point_net(trained.inputs.flatten(1), float(radii.median()))
            share = net.size / len(radii)
            note = "so |T| / 2n = 1/2 for any network: a lower bound on C in place of C"
            yield Evidence("size of the sample's net over n", share, 1, 0.01, note=note)
