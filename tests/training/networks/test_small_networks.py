import numpy as np
import pytest
import torch

from neuralcollapse.training import MLP, build_network
from neuralcollapse.training.networks.small_cnn import SmallCNN

CASES = [
    (lambda: MLP(64, [32, 16], 5), (7, 1, 8, 8), 16),
    (lambda: MLP(12, [8], 3, bias=False), (7, 12), 8),
    (lambda: SmallCNN(1, 5, width=4), (7, 1, 8, 8), 16),
    (lambda: SmallCNN(3, 4, width=6), (7, 3, 13, 11), 24),
]


@pytest.mark.parametrize(("network", "shape", "dim"), CASES)
def test_logits_are_the_head_of_non_negative_features(network, shape, dim, generator):
    model = network().eval()
    inputs = torch.randn(shape, generator=generator)
    features = model.features(inputs)
    assert features.shape == (7, dim)
    assert bool((features >= 0).all())
    assert bool((features > 0).any())
    weight, bias = model.head.weight.detach().numpy(), model.head.bias
    expected = features.detach().numpy() @ weight.T
    if bias is not None:
        expected = expected + bias.detach().numpy()
    np.testing.assert_allclose(model(inputs).detach().numpy(), expected, atol=1e-5)


def test_parameters_are_counted_by_hand():
    def count(model):
        return sum(parameter.numel() for parameter in model.parameters())

    # Linear without bias, then two numbers a unit of batch norm; the head with and without bias.
    assert count(MLP(12, [8], 3)) == 12 * 8 + 2 * 8 + 8 * 3 + 3
    assert count(MLP(12, [8], 3, bias=False)) == 12 * 8 + 2 * 8 + 8 * 3
    convolutions = 9 * (3 * 4 + 4 * 8 + 8 * 16) + 2 * (4 + 8 + 16)
    assert count(SmallCNN(3, 5, width=4)) == convolutions + 16 * 5 + 5


def test_samples_do_not_see_each_other_in_evaluation(generator):
    model = SmallCNN(1, 3, width=4).eval()
    images = torch.randn(4, 1, 9, 9, generator=generator)
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(model(images), alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("net", "dim"), [("mlp", 256), ("cnn", 128)])
def test_the_features_have_the_width_asked_for(net, dim):
    for width in (0.25, 0.5, 1.0):
        network = build_network(net, (1, 8, 8), 10, width=width)
        assert network.head.in_features == dim * width


@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_the_head_has_a_bias_or_not(net):
    for bias in (True, False):
        network = build_network(net, (1, 8, 8), 10, width=0.1, head_bias=bias)
        assert (network.head.bias is not None) == bias
