"""Small classifiers, each a map to non-negative features and a linear layer called `head`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError

MLP_UNITS = 256  # of each of the three hidden layers, at width 1
CNN_CHANNELS = 32  # of the first convolution, at width 1


class MLP(nn.Module):
    """A perceptron: linear layers, each with batch norm and ReLU, then a linear head.

    Parameters
    ----------
    input_dim
        Numbers in an input, which may have any shape: it is flattened.
    hidden
        Widths of the hidden layers; the last is the dimension d of the features.
    num_classes
        K, the number of logits.
    bias
        Whether the head has a bias.

    Examples
    --------
    >>> MLP(64, [32, 16], 10).head
    Linear(in_features=16, out_features=10, bias=True)
    """

    def __init__(
        self, input_dim: int, hidden: Sequence[int], num_classes: int, bias: bool = True
    ) -> None:
        super().__init__()
        widths = (input_dim, *hidden)
        layers = [
            layer
            for a, b in pairwise(widths)
            for layer in (nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU(inplace=True))
        ]
        self.features = nn.Sequential(nn.Flatten(), *layers)
        self.head = nn.Linear(widths[-1], num_classes, bias=bias)

    def forward(self, inputs: Float[Tensor, "n ..."]) -> Float[Tensor, "n K"]:
        """Return the logits."""
        return self.head(self.features(inputs))


class SmallCNN(nn.Module):
    """Three 3x3 convolutions, each with batch norm and ReLU, averaged over the image.

    Every convolution after the first halves the image and doubles the channels, so that the
    features have dimension d = 4 width. Images may be of any size.

    Parameters
    ----------
    in_channels
        1 for grey images, 3 for colour.
    num_classes
        K, the number of logits.
    width
        Channels of the first convolution.
    bias
        Whether the head has a bias.

    Examples
    --------
    >>> SmallCNN(1, 10, width=16).head
    Linear(in_features=64, out_features=10, bias=True)
    """

    def __init__(self, in_channels: int, num_classes: int, width: int, bias: bool = True) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(in_channels, width, stride=1),
            *_convolution(width, 2 * width, stride=2),
            *_convolution(2 * width, 4 * width, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * width, num_classes, bias=bias)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n K"]:
        """Return the logits."""
        return self.head(self.features(images))


def _convolution(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]


def scaled(units: int, width: float) -> int:
    """Return a number of units or channels times the width multiplier, rounded, at least 1.

    Parameters
    ----------
    units
        At width 1.
    width
        The multiplier, above 0.

    Examples
    --------
    >>> scaled(256, 0.25), scaled(32, 0.001)
    (64, 1)
    """
    return max(1, round(units * width))


def check_network(name: Any) -> None:
    """Refuse a name that is no network's.

    Parameters
    ----------
    name
        A key of `NETWORKS`.

    Raises
    ------
    NeuralCollapseError
        If it is none.
    """
    if name not in NETWORKS:
        raise NeuralCollapseError(
            "net",
            f"one of {', '.join(NETWORKS)} or package.module:callable",
            repr(name),
            "choose one of these",
        )


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
        A key of `NETWORKS`.
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

    Raises
    ------
    NeuralCollapseError
        If the name is unknown.

    Examples
    --------
    >>> build_network("cnn", (1, 8, 8), 10, width=0.5, head_bias=False).head
    Linear(in_features=64, out_features=10, bias=False)
    """
    check_network(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name](tuple(input_shape), num_classes, width, head_bias)


def _mlp(shape: tuple[int, ...], num_classes: int, width: float, bias: bool) -> MLP:
    return MLP(math.prod(shape), [scaled(MLP_UNITS, width)] * 3, num_classes, bias)


def _cnn(shape: tuple[int, ...], num_classes: int, width: float, bias: bool) -> SmallCNN:
    return SmallCNN(shape[0], num_classes, scaled(CNN_CHANNELS, width), bias)


# Name -> maker of the network from (input_shape, num_classes, width, head_bias).
NETWORKS: dict[str, Callable[[tuple[int, ...], int, float, bool], nn.Module]] = {
    "mlp": _mlp,
    "cnn": _cnn,
}
