import math

import pytest
import torch
from torch import nn

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization.operator_norm import convolution_norm, linear_norm


def dense_norm(layer, shape):
    """The largest singular value of the matrix of the whole map, one column an input."""
    layer = layer.double()
    basis = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    with torch.no_grad():
        columns = layer(basis).flatten(1) - layer(0 * basis[:1]).flatten(1)
    return float(torch.linalg.svdvals(columns)[0])


CIRCULAR = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 5, "padding": 2},
    {"kernel_size": (1, 3), "padding": (0, 1)},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": 3, "padding": 1, "stride": (1, 3)},
    {"kernel_size": 3, "padding": 1, "groups": 2},
    {"kernel_size": 7, "padding": 3},  # larger than the image
]


@pytest.mark.parametrize("options", CIRCULAR, ids=str)
def test_circular_convolutions_have_their_exact_norm(options):
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 4, padding_mode="circular", **options)
    size = (6, 6) if options["kernel_size"] != 7 else (4, 4)
    expected = dense_norm(layer, (2, *size))
    assert convolution_norm(layer, size) == pytest.approx(expected, rel=1e-10)


ZEROS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3},
    {"kernel_size": 4, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 3, "padding": "same", "groups": 2},
    {"kernel_size": 2, "padding": "same", "dilation": 2},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 3, "padding": "valid"},
]


@pytest.mark.parametrize("options", ZEROS, ids=str)
@pytest.mark.parametrize("size", [(5, 7), (9, 6)])
def test_with_zero_padding_it_is_a_bound_and_a_close_one(options, size):
    torch.manual_seed(1)
    layer = nn.Conv2d(2, 4, **options)
    exact, bound = dense_norm(layer, (2, *size)), convolution_norm(layer, size)
    assert exact <= bound * (1 + 1e-12)
    assert bound < 1.6 * exact


def test_it_approaches_the_exact_norm_as_the_image_grows():
    torch.manual_seed(2)
    layer = nn.Conv1d(2, 2, 3, padding=1)
    gaps = [convolution_norm(layer, (n,)) / dense_norm(layer, (2, n)) - 1 for n in (8, 32, 128)]
    assert gaps[0] > 4 * gaps[1] > 16 * gaps[2] >= 0


def test_the_reshaped_kernel_has_another_norm():
    layer = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")
    layer.weight.data.fill_(1.0)
    assert float(layer.weight.detach().norm()) == 3.0
    assert convolution_norm(layer, (8, 8)) == pytest.approx(9.0)


def test_a_linear_layer_has_its_largest_singular_value():
    torch.manual_seed(3)
    layer = nn.Linear(7, 4)
    assert linear_norm(layer) == pytest.approx(dense_norm(layer, (7,)), rel=1e-12)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(1, 1, 2, padding=1, padding_mode="circular"),
        nn.Conv2d(1, 1, 3, stride=4, padding=1, padding_mode="circular"),
    ],
)
def test_padding_that_repeats_inputs_is_refused(layer):
    with pytest.raises(NeuralCollapseError, match="padding: expected zeros, or circular with an o"):
        convolution_norm(layer, (6, 6))


def test_nan_is_refused():
    layer = nn.Conv2d(1, 1, 3)
    layer.weight.data[0, 0, 0, 0] = math.nan
    with pytest.raises(NonFiniteError, match="weight: expected finite numbers, got 1 NaN"):
        convolution_norm(layer, (6, 6))
