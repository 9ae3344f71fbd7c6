"""Training a perceptron layer by layer or end to end, and its collapse at every depth."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from neuralcollapse.metrics.presets import preset
from neuralcollapse.moments import ClassMoments
from neuralcollapse.training import MLP, ImageData, TrainConfig, sgd_epochs
from neuralcollapse.training.networks.mlp import MLP_UNITS
from neuralcollapse.training.networks.width import scaled

Collapse = dict[str, list[float]]


def layerwise_features(
    data: ImageData, depth: int, config: TrainConfig, device: str = "cpu"
) -> list[Tensor]:
    """Train one hidden layer after the other, each with a new head, the earlier ones fixed.

    Parameters
    ----------
    data
        Images and labels; the training images are used.
    depth
        Number of hidden layers.
    config
        Of every stage: `width` of the hidden layer, loss, optimiser, epochs, seed.
    device
        Where to train, all data at once.

    Returns
    -------
    list of Tensor
        Training features (N, 256 width) of each hidden layer, the first one first.
    """
    inputs, labels = (part.to(device) for part in data.train.tensors)
    features = [inputs.flatten(1)]
    for stage in range(depth):
        network = _network(features[-1].shape[1], 1, data.num_classes, config, stage).to(device)
        _train(network, features[-1], labels, config)
        features += _hidden(network, features[-1])
    return features[1:]


def end_to_end_features(
    data: ImageData, depth: int, config: TrainConfig, device: str = "cpu"
) -> list[Tensor]:
    """Train all hidden layers at once.

    Parameters
    ----------
    data, depth, config, device
        As in `layerwise_features`.

    Returns
    -------
    list of Tensor
        As in `layerwise_features`.
    """
    inputs, labels = (part.to(device) for part in data.train.tensors)
    network = _network(math.prod(data.input_shape), depth, data.num_classes, config, 0).to(device)
    _train(network, inputs, labels, config)
    return _hidden(network, inputs)


def collapse_by_depth(features: list[Tensor], labels: Tensor, num_classes: int) -> Collapse:
    """Measure NC1, NC1~ and NC2 of the features at each depth, as the paper defines them.

    Parameters
    ----------
    features
        From `layerwise_features` or `end_to_end_features`.
    labels
        (N,) of the training images.
    num_classes
        K.
    """
    rows = [
        preset("tirer2023", ClassMoments(num_classes, part.shape[1]).update(part, labels))
        for part in features
    ]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _network(inputs: int, depth: int, num_classes: int, config: TrainConfig, stage: int) -> MLP:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 * config.seed + stage)
        return MLP(inputs, [scaled(MLP_UNITS, config.width)] * depth, num_classes, config.head_bias)


def _train(network: MLP, inputs: Tensor, labels: Tensor, config: TrainConfig) -> None:
    for _ in sgd_epochs(network, TensorDataset(inputs, labels), config):
        pass


@torch.no_grad()
def _hidden(network: MLP, inputs: Tensor) -> list[Tensor]:
    """Return the output of every hidden layer, in evaluation mode."""
    network.eval()
    outputs, features = inputs, []
    for layer in network.features:
        outputs = layer(outputs)
        if isinstance(layer, nn.ReLU):
            features.append(outputs)
    return features
