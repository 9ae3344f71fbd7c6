import math

import pytest
import torch
from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training import NETWORKS, build_network

NARROW = 0.0625  # fast; every network keeps all of its layers


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


# Published: kuangliu/pytorch-cifar's models of ten classes, and DenseNet's Table 2 (1.0M for the
# network of depth 40, to the last digit in andreasveit/densenet-pytorch).
PUBLISHED = {
    "resnet18": 11_173_962,
    "resnet34": 21_282_122,
    "resnet50": 23_520_842,
    "densenet40": 1_019_722,
    "densenet121": 6_956_298,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_number_of_parameters_is_the_published_one(name):
    assert count(build_network(name, (3, 32, 32), 10)) == PUBLISHED[name]


# torchvision's documented totals of vgg*_bn, less its three linear layers of 25088, 4096 and 4096
# inputs. It has biases in its convolutions, superfluous before a batch norm and not in ours.
LINEAR = 25088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000
TORCHVISION = {
    "vgg11": 132_868_840 - LINEAR,
    "vgg13": 133_053_736 - LINEAR,
    "vgg16": 138_365_992 - LINEAR,
    "vgg19": 143_678_248 - LINEAR,
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_vgg_has_the_published_convolutions(name):
    network = build_network(name, (3, 32, 32), 10)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    biases = sum(m.out_channels for m in convolutions)
    assert count(network) - sum(map(count, linear)) + biases == TORCHVISION[name]
    assert len(convolutions) + len(linear) == int(name.removeprefix("vgg"))
    assert sum(map(count, linear)) == 2 * (512 * 512 + 512) + 512 * 10 + 10


def test_vgg18_lies_between_16_and_19():
    networks = {n: build_network(f"vgg{n}", (3, 32, 32), 10) for n in (16, 18, 19)}
    weights = {
        n: [tuple(m.weight.shape) for m in network.modules() if hasattr(m, "weight")]
        for n, network in networks.items()
    }
    layers = {n: sum(len(shape) > 1 for shape in shapes) for n, shapes in weights.items()}
    assert layers == {16: 16, 18: 18, 19: 19}
    # Two convolutions of 512 channels more than 16, one of 256 fewer than 19, with batch norm.
    sizes = {n: count(network) for n, network in networks.items()}
    assert sizes[18] - sizes[16] == 2 * (9 * 512**2 + 2 * 512)
    assert sizes[19] - sizes[18] == 9 * 256**2 + 2 * 256


def test_densenet40_by_the_papers_arithmetic():
    channels, expected = 16, 27 * 16
    for block in range(3):
        for _ in range(12):
            expected += 2 * channels + 9 * channels * 12
            channels += 12
        if block < 2:
            expected += 2 * channels + channels**2
    expected += 2 * channels + channels * 10 + 10
    assert count(build_network("densenet40", (3, 32, 32), 10)) == expected


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 9, 5)])
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_the_head_of_non_negative_features(name, shape, generator):
    network = build_network(name, shape, 7, width=NARROW).eval()
    with torch.no_grad():
        features = network.features(images := torch.randn(2, *shape, generator=generator))
        logits = network(images)
    assert features.shape == (2, network.head.in_features)
    assert bool((features >= 0).all())
    assert bool((features > 0).any())
    expected = features.double() @ network.head.weight.double().T + network.head.bias
    torch.testing.assert_close(logits.double(), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_seed_determines_the_weights_and_nothing_else_changes(name):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (
        build_network(name, (1, 8, 8), 3, width=NARROW, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.head.weight, other.head.weight)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_head_has_a_bias_or_not(name):
    with_bias, without = (
        build_network(name, (1, 8, 8), 3, width=NARROW, head_bias=bias) for bias in (True, False)
    )
    assert without.head.bias is None
    assert count(with_bias) - count(without) == 3


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_reaches_every_parameter(name, generator):
    network = build_network(name, (1, 16, 16), 4, width=NARROW)
    images = torch.randn(12, 1, 16, 16, generator=generator)
    nn.functional.cross_entropy(network(images), torch.arange(12) % 4).backward()
    without = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not bool(parameter.grad.abs().sum() > 0)
    ]
    assert not without


@pytest.mark.parametrize("name", NETWORKS)
def test_twice_the_width_has_about_four_times_the_weights(name):
    # Exactly: doubling multiplies all but the first layer by 4, that, norms and biases by 2.
    narrow, wide = (build_network(name, (1, 8, 8), 2, width=width) for width in (0.25, 0.5))
    for (key, small), large in zip(narrow.named_parameters(), wide.parameters(), strict=True):
        ends = {"head.bias": 1, "head.weight": 2}
        first = key == next(k for k, p in narrow.named_parameters() if p.ndim > 1)
        assert large.numel() == small.numel() * ends.get(key, 2 if small.ndim == 1 or first else 4)


def test_residual_and_dense_layers_do_what_they_are_named_for(generator):
    images = torch.randn(2, 1, 8, 8, generator=generator)
    resnet = build_network("resnet18", (1, 8, 8), 3, width=NARROW).eval()
    block = resnet.features.stage1[0]
    inputs = torch.relu(torch.randn(2, 4, 8, 8, generator=generator))
    nn.init.zeros_(block.branch[-1].weight)  # the last batch norm: the branch gives nothing
    torch.testing.assert_close(block(inputs), inputs)
    densenet = build_network("densenet40", (1, 8, 8), 3, width=0.25).eval()
    stem = densenet.features.convolution(images)
    assert torch.equal(densenet.features.block1(stem)[:, : stem.shape[1]], stem)


def test_samples_do_not_see_each_other_in_evaluation(generator):
    for name in ("vgg11", "resnet18", "densenet40"):
        network = build_network(name, (1, 9, 9), 3, width=NARROW).eval()
        images = torch.randn(3, 1, 9, 9, generator=generator)
        with torch.no_grad():
            alone = torch.cat([network(image[None]) for image in images])
            torch.testing.assert_close(network(images), alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["vit", "", "a:", "a.b", "vgg12", "a b:c"])
def test_an_unknown_name_is_refused_with_the_list(name):
    with pytest.raises(
        NeuralCollapseError,
        match=r"net: expected one of mlp, cnn, vgg11, .* or package\.module:call",
    ):
        build_network(name, (1, 8, 8), 10)


def test_a_width_rounds_but_never_to_nothing():
    network = build_network("mlp", (1, 2, 2), 2, width=1e-9)
    assert network.head.in_features == 1
    assert build_network("mlp", (4,), 2, width=math.pi / 256).head.in_features == 3


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_wider_than_any_machine_is_refused(name):
    message = "width: expected at most .*, a million units or channels in a layer, got 1e.09"
    with pytest.raises(NeuralCollapseError, match=message):
        build_network(name, (3, 32, 32), 10, width=1e9)


def test_a_network_too_wide_for_this_machine_is_refused(monkeypatch):
    def failing(*_):
        raise RuntimeError(reason)

    monkeypatch.setitem(NETWORKS, "mlp", failing)
    reason = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 65536 bytes"
    with pytest.raises(NeuralCollapseError, match=r"width: .* of mlp fit into memory, got 99"):
        build_network("mlp", (1, 8, 8), 10, width=99)
    reason = "another"
    with pytest.raises(RuntimeError, match="another"):
        build_network("mlp", (1, 8, 8), 10, width=99)
