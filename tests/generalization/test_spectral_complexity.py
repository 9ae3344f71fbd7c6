import math

import numpy as np
import pytest
import torch
from torch import nn

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization import spectral_complexity_measure
from neuralcollapse.training import MLP, SmallCNN


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
