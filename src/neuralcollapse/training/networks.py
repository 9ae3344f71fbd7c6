"""Small classifiers, each a map to non-negative features and a linear layer called `head`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


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
