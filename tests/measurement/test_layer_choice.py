import pytest
from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.layer_choice import checked_layers, default_layers
from neuralcollapse.training import build_network

BLOCKS = {"resnet18": 8, "resnet34": 16, "resnet50": 16, "densenet40": 36, "densenet121": 58}
ACTIVATIONS = {"mlp": 3, "cnn": 3, "vgg11": 10, "vgg16": 15, "vgg19": 18}


@pytest.mark.parametrize("name", BLOCKS)
def test_networks_of_blocks_are_measured_block_by_block(name):
    network = build_network(name, (3, 16, 16), 4, width=0.0625)
    layers = default_layers(network)
    assert len(layers) == BLOCKS[name]
    kinds = {type(network.get_submodule(layer)).__name__ for layer in layers}
    assert kinds == {"ResidualBlock" if "resnet" in name else "DenseLayer"}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_plain_networks_are_measured_at_their_activations(name):
    network = build_network(name, (3, 16, 16), 4, width=0.0625)
    layers = default_layers(network)
    assert len(layers) == ACTIVATIONS[name]
    assert all(isinstance(network.get_submodule(layer), nn.ReLU) for layer in layers)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleList([nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.ReLU())])
        self.experts = nn.ModuleList([Expert(), Expert()])


class Expert(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)


def test_blocks_inside_blocks_are_left_out():
    model = nn.ModuleDict({"blocks": nn.ModuleList([Block(), Block()]), "single": Block()})
    assert default_layers(model) == ["blocks.0", "blocks.1", "single"]


def test_sequentials_in_a_row_are_no_blocks():
    layers = [nn.Sequential(nn.Linear(2, 2), nn.GELU()) for _ in range(2)]
    assert default_layers(nn.Sequential(*layers, nn.Softmax(1))) == ["0.1", "1.1"]


def test_a_linear_network_is_measured_at_its_linear_layers():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 2), nn.Linear(2, 2))
    assert default_layers(model) == ["0", "2"]


def test_names_are_checked():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    assert checked_layers(model, ["2", "0"]) == ["2", "0"]
    assert checked_layers(model, None) == ["1"]
    with pytest.raises(
        NeuralCollapseError, match=r"layers: expected names .*, got '7', 'x'; choose"
    ):
        checked_layers(model, ["0", "7", "x"])
    with pytest.raises(NeuralCollapseError, match="got none; choose among '0', '1', '2'"):
        checked_layers(model, [])
    with pytest.raises(NeuralCollapseError, match=r"layers: expected names .* got none"):
        checked_layers(nn.Linear(2, 2), None)
