"""The margin bound of the whole network, which is valid on its training set and says nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from neuralcollapse.generalization import spectral_complexity_measure, whole_network_bound
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
    with torch.no_grad():
        margins = sample_margins(trained.network(trained.inputs), trained.labels)
    margin = float(margins.quantile(0.1))
    bound = whole_network_bound(trained.network, trained.inputs, margins, margin=margin)
    note = f"R_A = {complexity:.3g}, margin of the lowest tenth {margin:.2g}, n = {n}"
    yield Evidence.at_least("the bound", bound, 1e3, note=note)
    weights = [torch.eye(3), 2 * torch.eye(3)]
    by_hand = 2 * (2 * 3 ** (2 / 3)) ** 1.5
    yield Evidence(
        "R_A of two multiples of the identity", spectral_complexity_measure(weights), by_hand, 1e-12
    )
    unit = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 0.0]])
    words = "R_A of one layer with one unit of weights 3 and 4"
    note = "the norm of the unit, as its spectral norm is; by columns it would be 7"
    yield Evidence(words, spectral_complexity_measure([unit]), 5, 1e-12, note=note)
    inputs = torch.full((2, 2), 0.5)
    bound = whole_network_bound([unit], inputs, [2.0, 1.0], margin=2.0, confidence=0.5)
    rest = bound - 0.25 - 8 / 2**1.5 - 3 * math.sqrt(math.log(4) / 4)
    by_hand = 72 * math.log(2) * math.sqrt(math.log(18)) * 1 * 5 / (2 * 2)
    yield Evidence("its complexity term, two samples", rest, by_hand, 1e-9, note="by hand")
