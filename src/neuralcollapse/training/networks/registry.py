"""Which networks there are, and how one is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.import_path import IMPORT_PATH
from neuralcollapse.training.networks import resnet, vgg
from neuralcollapse.training.networks.densenet import DenseNet
from neuralcollapse.training.networks.imported import imported_network
from neuralcollapse.training.networks.mlp import MLP, MLP_UNITS
from neuralcollapse.training.networks.resnet import ResNet
from neuralcollapse.training.networks.small_cnn import SmallCNN
from neuralcollapse.training.networks.vgg import VGG
from neuralcollapse.training.networks.width import scaled

CNN_CHANNELS = 32  # of the first convolution of the network "cnn", at width 1

# From (input_shape, num_classes, width, head_bias) to the network.
Maker = Callable[[tuple[int, ...], int, float, bool], nn.Module]


def check_network(name: Any) -> None:
    """Refuse a name that is no network's.

    Parameters
    ----------
    name
        A key of `NETWORKS` or an import path.

    Raises
    ------
    NeuralCollapseError
        If it is neither.
    """
    if not isinstance(name, str) or (name not in NETWORKS and not IMPORT_PATH.fullmatch(name)):
        expected = f"one of {', '.join(NETWORKS)} or package.module:callable"
        raise NeuralCollapseError("net", expected, repr(name), "choose one of these")


def build_network(
    name: str,
    input_shape: Sequence[int],
    num_classes: int,
    *,
    width: float = 1.0,
    head_bias: bool = True,
    seed: int = 0,
) -> nn.Module:
    """Return an untrained network; torch's global random state is kept.

    Parameters
    ----------
    name
        A key of `NETWORKS`. ``"mlp"``: three hidden layers of 256 units. ``"cnn"``: three
        convolutions, the first of 32 channels. ``"vgg11"``, 13, 16, 18, 19; ``"resnet18"``, 34,
        50; ``"densenet40"`` (growth 12, no bottlenecks) and ``"densenet121"``, all with stems for
        small images. Or ``"package.module:callable"``, see `imported_network`.
    input_shape
        (channels, height, width) of an image.
    num_classes
        K, the number of logits.
    width
        Multiplies the number of units or channels of every hidden layer.
    head_bias
        Whether the head has a bias.
    seed
        Of the initial weights.

    Returns
    -------
    Module
        Those of `NETWORKS` have non-negative ``features`` and a linear ``head``.

    Raises
    ------
    NeuralCollapseError
        If the name is unknown, the network is too wide for memory, or an imported network is not
        what is needed.

    Examples
    --------
    >>> from neuralcollapse.training import build_network
    >>> build_network("cnn", (1, 8, 8), 10, width=0.5, head_bias=False).head
    Linear(in_features=64, out_features=10, bias=False)
    """
    check_network(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name in NETWORKS:
            try:
                return NETWORKS[name](tuple(input_shape), num_classes, width, head_bias)
            except RuntimeError as error:
                if "memory" not in str(error):
                    raise
                expected = f"a factor at which the weights of {name} fit into memory"
                remedy = "choose a narrower network"
                raise NeuralCollapseError("width", expected, f"{width:g}", remedy) from error
        return imported_network(name, tuple(input_shape), num_classes, width, head_bias)


def _mlp(shape: tuple[int, ...], num_classes: int, width: float, bias: bool) -> nn.Module:
    return MLP(math.prod(shape), [scaled(MLP_UNITS, width)] * 3, num_classes, bias)


def _cnn(shape: tuple[int, ...], num_classes: int, width: float, bias: bool) -> nn.Module:
    return SmallCNN(shape[0], num_classes, scaled(CNN_CHANNELS, width), bias)


def _of_images(network: Callable[..., nn.Module], **design: Any) -> Maker:
    return lambda shape, num_classes, width, bias: network(
        shape[0], num_classes, **design, width=width, bias=bias
    )


NETWORKS: dict[str, Maker] = {
    "mlp": _mlp,
    "cnn": _cnn,
    **{f"vgg{depth}": _of_images(VGG, stages=stages) for depth, stages in vgg.STAGES.items()},
    **{
        f"resnet{depth}": _of_images(ResNet, stages=stages, bottleneck=bottleneck)
        for depth, (stages, bottleneck) in resnet.STAGES.items()
    },
    "densenet40": _of_images(DenseNet, blocks=(12, 12, 12), growth=12, stem=16),
    "densenet121": _of_images(
        DenseNet, blocks=(6, 12, 24, 16), growth=32, stem=64, bottleneck=True
    ),
}
