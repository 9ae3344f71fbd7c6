"""Proposition B (ours): behind a ReLU some rotations of an ETF cannot be fitted at all."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from neuralcollapse.geometry import orthant_margins, simplex_etf
from neuralcollapse.geometry.simplex_etf import Orientation
from neuralcollapse.studies.claims import Evidence
from neuralcollapse.studies.gao2023.alignment_runs import digits_split
from neuralcollapse.studies.gao2023.study import study
from neuralcollapse.training import PerceptronConfig, train_ensemble

DRAWS = 300
DIMS = (10, 12, 16, 24)
SCALE = 5.0


def unfittable_share(dim: int) -> float:
    """Return the share of Haar rotations of an ETF (10, dim) in which a class cannot be fitted."""
    generator = torch.Generator().manual_seed(0)
    heads = (simplex_etf(10, dim, generator=generator) for _ in range(DRAWS))
    return sum(bool(orthant_margins(head).unfittable.any()) for head in heads) / DRAWS


@study.claim(
    "propB",
    "Ours: behind a ReLU, a head without bias can give class y non-negative features of norm 1 a "
    "margin of at most its orthant margin, which rotation changes and permutation only moves to "
    "another class; where it is 0, as in most rotations of an ETF with D = K, class y cannot be "
    "fitted. So rotating does not keep the same training problem.",
)
def _orthant() -> Iterator[Evidence]:
    cases: tuple[tuple[Orientation, int], ...] = (("block", 64), ("axis", 16))
    for orientation, dim in cases:
        margins = orthant_margins(simplex_etf(10, dim, orientation)).margins
        error = float((margins - math.sqrt(10 / 9)).abs().max())
        yield Evidence(f"largest error of sqrt(K/(K-1)), {orientation} ETF", error, 0, 1e-12)
    shares = [unfittable_share(dim) for dim in DIMS]
    note = f"K = 10, {DRAWS} Haar rotations"
    yield Evidence.at_least("share with an unfittable class, D = 10", shares[0], 0.5, note=note)
    for i in range(1, len(DIMS)):
        words = f"the same, D = {DIMS[i]}, against D = {DIMS[i - 1]}"
        yield Evidence.at_most(words, shares[i], shares[i - 1])
    generator = torch.Generator().manual_seed(1)
    head = simplex_etf(10, 10, generator=generator)
    while not orthant_margins(head).unfittable.any():
        head = simplex_etf(10, 10, generator=generator)
    permutation = torch.randperm(10, generator=generator)
    change = orthant_margins(head).margins[permutation] - orthant_margins(head[permutation]).margins
    yield Evidence("change of the margins by a permutation", float(change.abs().max()), 0, 1e-12)
    yield from _training(head)


def _training(head: torch.Tensor) -> Iterator[Evidence]:
    """Train on a head with an unfittable class, behind a ReLU and with linear features."""
    inputs, labels, _, _ = digits_split(0)
    unfittable = orthant_margins(head).unfittable
    hopeless = unfittable[labels]
    accuracy = []
    for relu in (True, False):
        config = PerceptronConfig(dim=10, relu_features=relu, epochs=60)
        heads = (SCALE * head).expand(4, -1, -1)
        trained = train_ensemble(inputs, labels, heads, range(4), [0] * 4, config)
        accuracy.append(float(trained.accuracy(inputs[hopeless], labels[hopeless]).max()))
    words = "best training accuracy on the classes of margin 0"
    yield Evidence(f"{words}, ReLU", accuracy[0], 0, note="4 networks, D = 10, 60 epochs")
    yield Evidence(f"{words}, linear features", accuracy[1], 1, note="the same head")
