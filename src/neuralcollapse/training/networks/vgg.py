"""VGG for small images: stages of 3x3 convolutions, each stage followed by a max-pool."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from neuralcollapse.training.networks.width import scaled

CHANNELS = (64, 128, 256, 512, 512)  # of the five stages, at width 1
UNITS = 512  # of each of the two hidden linear layers, at width 1

# Convolutions in each stage. 11, 13, 16 and 19 are configurations A, B, D and E of the paper; it
# has no 18 layers: ours lies between D and E, with 15 convolutions and the three linear layers.
STAGES = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    18: (2, 2, 3, 4, 4),
    19: (2, 2, 4, 4, 4),
}


class VGG(nn.Module):
    """VGG with batch norm, for images of any size.

    Ours differs from the paper's in what small images ask for: batch norm after every
    convolution, an average over what is left of the image, 512 units instead of 4096 in the two
    hidden linear layers, and no dropout, whose noise would blur the features being measured. A
    max-pool rounds odd sizes up, so that an image of 8x8 pixels passes all five.

    Parameters
    ----------
    in_channels
        1 for grey images, 3 for colour.
    num_classes
        K, the number of logits.
    stages
        Number of convolutions in each of the five stages, such as ``STAGES[16]``.
    width
        Multiplies all channels and units.
    bias
        Whether the head has a bias.

    References
    ----------
    Simonyan & Zisserman 2015, "Very deep convolutional networks for large-scale image
    recognition", Table 1.

    Examples
    --------
    >>> from neuralcollapse.training.networks.vgg import VGG
    >>> from neuralcollapse.training.networks.vgg import STAGES
    >>> VGG(3, 10, STAGES[11], width=0.25).head
    Linear(in_features=128, out_features=10, bias=True)
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        stages: Sequence[int],
        width: float = 1.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = in_channels
        for channels, convolutions in zip(CHANNELS, stages, strict=True):
            now = scaled(channels, width)
            for _ in range(convolutions):
                convolution = nn.Conv2d(before, now, 3, padding=1, bias=False)
                layers += [convolution, nn.BatchNorm2d(now), nn.ReLU(inplace=True)]
                before = now
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        units = scaled(UNITS, width)
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        layers += [nn.Linear(before, units), nn.ReLU(inplace=True)]
        layers += [nn.Linear(units, units), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(units, num_classes, bias=bias)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n K"]:
        """Return the logits."""
        return self.head(self.features(images))
