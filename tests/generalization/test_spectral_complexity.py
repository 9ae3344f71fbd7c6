import math

import numpy as np
import pytest
import torch
from torch import nn

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization import spectral_complexity_measure, whole_network_bound
from neuralcollapse.training import MLP
from neuralcollapse.training.networks.small_cnn import SmallCNN


def naive(matrices):
    product, total = 1.0, 0.0
    for matrix in matrices:
        matrix = np.asarray(matrix)
        spectral = math.sqrt(np.linalg.eigvalsh(matrix @ matrix.T)[-1])
        rows = sum(math.sqrt(sum(x * x for x in row)) for row in matrix)
        product *= spectral
        total += (rows / spectral) ** (2 / 3)
    return product * total ** (3 / 2)


def test_it_is_the_formula(generator):
    sizes = [(6, 4), (5, 6), (3, 5)]
    matrices = [torch.randn(*s, generator=generator, dtype=torch.float64) for s in sizes]
    value = spectral_complexity_measure(matrices)
    assert value == pytest.approx(naive(matrices), rel=1e-12)
    assert value == pytest.approx(spectral_complexity_measure([m.numpy() for m in matrices]))
    matrices[1] = 7 * matrices[1]
    assert spectral_complexity_measure(matrices) == pytest.approx(7 * value)


def test_one_layer_is_the_sum_of_its_row_norms():
    assert spectral_complexity_measure([[[3.0, 4.0], [0.0, 2.0]]]) == pytest.approx(7)


def test_a_network_is_its_matrices_with_batch_norm_folded_in():
    torch.manual_seed(0)
    network = MLP(6, [5, 4], 3)
    network(torch.randn(30, 6))
    network.eval()
    folded = []
    for linear, norm in ((1, 2), (4, 5)):
        layer, batch_norm = network.features[linear], network.features[norm]
        scale = batch_norm.weight / (batch_norm.running_var + batch_norm.eps).sqrt()
        folded.append((layer.weight * scale[:, None]).detach())
    matrices = [*folded, network.head.weight.detach()]
    assert spectral_complexity_measure(network) == pytest.approx(naive(matrices), rel=1e-5)
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 2))).eval()
    weights = [plain[0].weight.detach(), plain[2][0].weight.detach()]
    assert spectral_complexity_measure(plain) == pytest.approx(naive(weights), rel=1e-5)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ([], "network: expected at least one linear layer, got none"),
        ([torch.eye(2), torch.zeros(2, 2)], "weights that are not all zero, got layer 1 zero"),
        (SmallCNN(1, 2, 4).eval(), "linear layers, batch norm right after them, .* got Conv2d"),
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.BatchNorm1d(2)).eval(), "got BatchNorm1d"),
        (
            nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)).eval(),
            "with running statistics, .* got BatchNorm1d",
        ),
        (nn.Sequential(nn.Linear(2, 2)).train(), "network: expected evaluation mode"),
    ],
)
def test_bad_input_is_refused(network, message):
    with pytest.raises(NeuralCollapseError, match=message):
        spectral_complexity_measure(network)


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="network: expected finite numbers, got 1 NaN"):
        spectral_complexity_measure([torch.tensor([[math.nan, 1.0]])])


def test_it_says_that_it_is_no_bound():
    assert "not a bound" in spectral_complexity_measure.__doc__


def test_the_bound_of_all_networks_is_the_formula():
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(5, 7, generator=generator), torch.randn(3, 5, generator=generator)]
    inputs = torch.randn(40, 7, generator=generator)
    margins = torch.randn(40, generator=generator).double() + 1
    n, g, delta = 40, 0.8, 0.1
    ramp = sum(min(1.0, max(0.0, 1 - float(m) / g)) for m in margins) / n
    size = math.sqrt(sum(float(x) ** 2 for x in inputs.ravel()))
    rate = 72 * math.log(n) * math.sqrt(math.log(2 * 7**2)) * size * naive(weights) / (g * n)
    chance = 3 * math.sqrt(math.log(2 / delta) / (2 * n))
    found = whole_network_bound(weights, inputs, margins, margin=g, confidence=0.9)
    assert found == pytest.approx(ramp + 8 / n**1.5 + rate + chance, rel=1e-6)
    with pytest.raises(NeuralCollapseError, match="margins: expected one margin for each of"):
        whole_network_bound(weights, inputs, margins[:3], margin=g)
    with pytest.raises(NeuralCollapseError, match="margin: expected"):
        whole_network_bound(weights, inputs, margins, margin=0.0)
