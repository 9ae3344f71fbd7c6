"""A convolutional network small enough for a laptop."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


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
    >>> from neuralcollapse.training.networks.small_cnn import SmallCNN
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
