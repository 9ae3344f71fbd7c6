"""DenseNet for small images: every layer sees the outputs of all layers before it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neuralcollapse.training.networks.width import scaled


class DenseLayer(nn.Module):
    """Batch norm, ReLU and 3x3 convolution, whose output is appended to the input.

    Parameters
    ----------
    in_channels
        Of the input.
    growth
        Channels appended.
    bottleneck
        Whether a 1x1 convolution to four times `growth` channels comes first, with batch norm
        and ReLU of its own.

    Examples
    --------
    >>> DenseLayer(5, 3, bottleneck=False)(torch.zeros(1, 5, 4, 4)).shape
    torch.Size([1, 8, 4, 4])
    """

    def __init__(self, in_channels: int, growth: int, bottleneck: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if bottleneck:
            layers += _activated(nn.Conv2d(in_channels, 4 * growth, 1, bias=False))
            in_channels = 4 * growth
        layers += _activated(nn.Conv2d(in_channels, growth, 3, padding=1, bias=False))
        self.branch = nn.Sequential(*layers)

    def forward(self, inputs: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h w"]:
        """Return the input with the new channels behind it."""
        return torch.cat([inputs, self.branch(inputs)], 1)


class DenseNet(nn.Module):
    """DenseNet with a stem for small images: one 3x3 convolution of stride 1.

    Between blocks a transition (batch norm, ReLU, 1x1 convolution, average over 2x2 pixels) halves
    the image; odd sizes are rounded up. Unlike in the paper there is no dropout.

    Parameters
    ----------
    in_channels
        1 for grey images, 3 for colour.
    num_classes
        K, the number of logits.
    blocks
        Number of layers in each block.
    growth
        Channels that a layer appends, at width 1.
    stem
        Channels of the first convolution, at width 1.
    bottleneck
        Whether layers are bottlenecks, and transitions halve the channels: DenseNet-BC.
    width
        Multiplies `growth` and `stem`.
    bias
        Whether the head has a bias.

    References
    ----------
    Huang, Liu, van der Maaten & Weinberger 2017, "Densely connected convolutional networks".

    Examples
    --------
    >>> from neuralcollapse.training.networks.densenet import DenseNet
    >>> DenseNet(3, 10, (12, 12, 12), growth=12, stem=16).head
    Linear(in_features=448, out_features=10, bias=True)
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        blocks: Sequence[int],
        growth: int,
        stem: int,
        bottleneck: bool = False,
        width: float = 1.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        growth, channels = scaled(growth, width), scaled(stem, width)
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            convolution=nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        )
        for number, depth in enumerate(blocks, 1):
            if number > 1:
                out = channels // 2 if bottleneck else channels
                convolution = nn.Conv2d(channels, out, 1, bias=False)
                pool = nn.AvgPool2d(2, ceil_mode=True)
                layers[f"transition{number - 1}"] = nn.Sequential(*_activated(convolution), pool)
                channels = out
            block = nn.Sequential()
            for _ in range(depth):
                block.append(DenseLayer(channels, growth, bottleneck))
                channels += growth
            layers[f"block{number}"] = block
        layers["norm"] = nn.BatchNorm2d(channels)
        layers["relu"] = nn.ReLU(inplace=True)
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        self.features = nn.Sequential(layers)
        self.head = nn.Linear(channels, num_classes, bias=bias)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n K"]:
        """Return the logits."""
        return self.head(self.features(images))


def _activated(convolution: nn.Conv2d) -> list[nn.Module]:
    return [nn.BatchNorm2d(convolution.in_channels), nn.ReLU(inplace=True), convolution]
