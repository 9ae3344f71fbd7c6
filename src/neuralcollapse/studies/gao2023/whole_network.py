"""The margin bound of the whole network, which is valid on its training set and says nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from neuralcollapse.generalization import spectral_complexity_measure
from neuralcollapse.metrics import sample_margins
from neuralcollapse.studies.claims import Evidence
from neuralcollapse.studies.gao2023.digits import HALF, trained_digits
from neuralcollapse.studies.gao2023.study import study


@study.claim(
    "whole-network",
    "Ours: the bound that would be valid on the training set, that of all networks of these norms, "
    "is vacuous by orders of magnitude; so its spectral complexity is a measure, no bound.",
)
def _whole_network() -> Iterator[Evidence]:
    trained = trained_digits(HALF)
    complexity = spectral_complexity_measure(trained.network)
    n = len(trained.labels)
    width = max(max(p.shape) for p in trained.network.parameters() if p.ndim == 2)
    with torch.no_grad():
        margins = sample_margins(trained.network(trained.inputs), trained.labels)
    size = float(trained.inputs.flatten(1).norm())
    margin = float(margins.quantile(0.1))
    rate = 72 * math.log(n) * math.sqrt(math.log(2 * width**2))
    bound = rate * size * complexity / (margin * n)
    note = f"R_A = {complexity:.3g}, margin of the lowest tenth {margin:.2g}, n = {n}"
    yield Evidence("its complexity term", bound, 1e3, 0, ">=", note)
    weights = [torch.eye(3), 2 * torch.eye(3)]
    by_hand = 2 * (2 * 3 ** (2 / 3)) ** 1.5
    yield Evidence(
        "R_A of two multiples of the identity", spectral_complexity_measure(weights), by_hand, 1e-12
    )
