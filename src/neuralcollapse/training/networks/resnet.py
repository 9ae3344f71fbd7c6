"""ResNet for small images: no stride and no max-pool before the first block."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from neuralcollapse.training.networks.width import scaled

CHANNELS = (64, 128, 256, 512)  # of the four stages, at width 1

# Depth -> blocks in each stage, and whether they are bottlenecks.
STAGES = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True)}


class ResidualBlock(nn.Module):
    """Convolutions with batch norm, added to the input, then ReLU.

    A basic block has two 3x3 convolutions; a bottleneck has three, 1x1, 3x3 and 1x1, the last
    with four times the channels. The stride is that of the (first) 3x3 convolution. Where the
    shape changes, the input passes a 1x1 convolution with batch norm.

    Parameters
    ----------
    in_channels, channels
        Of the input, and of the 3x3 convolution.
    stride
        1, or 2 to halve the image.
    bottleneck
        Which of the two.

    Examples
    --------
    >>> block = ResidualBlock(8, 4, 2, bottleneck=True)
    >>> block.out_channels, len(block.shortcut)
    (16, 2)
    """

    def __init__(self, in_channels: int, channels: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        self.out_channels = 4 * channels if bottleneck else channels
        sizes = (1, 3, 1) if bottleneck else (3, 3)
        widths = (channels, channels, self.out_channels) if bottleneck else (channels,) * 2
        place = sizes.index(3)
        layers: list[nn.Module] = []
        before = in_channels
        for i, (size, now) in enumerate(zip(sizes, widths, strict=True)):
            step = stride if i == place else 1
            layers.append(nn.Conv2d(before, now, size, step, padding=size // 2, bias=False))
            layers.append(nn.BatchNorm2d(now))
            layers.append(nn.ReLU(inplace=True))
            before = now
        self.branch = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != self.out_channels:
            projection = nn.Conv2d(in_channels, self.out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(self.out_channels))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        """Return the sum of branch and shortcut, rectified."""
        return self.relu(self.branch(inputs) + self.shortcut(inputs))


class ResNet(nn.Module):
    """ResNet with the stem for small images: one 3x3 convolution of stride 1, no max-pool.

    Parameters
    ----------
    in_channels
        1 for grey images, 3 for colour.
    num_classes
        K, the number of logits.
    stages
        Number of blocks in each of the four stages; all but the first halve the image.
    bottleneck
        Whether the blocks are bottlenecks, as in ResNet50.
    width
        Multiplies all channels.
    bias
        Whether the head has a bias.

    References
    ----------
    He, Zhang, Ren & Sun 2016, "Deep residual learning for image recognition", Table 1.

    Examples
    --------
    >>> from neuralcollapse.training.networks.resnet import ResNet
    >>> from neuralcollapse.training.networks.resnet import STAGES
    >>> ResNet(3, 10, *STAGES[50], width=0.25).head
    Linear(in_features=512, out_features=10, bias=True)
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        stages: Sequence[int],
        bottleneck: bool = False,
        width: float = 1.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        before = scaled(CHANNELS[0], width)
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            convolution=nn.Conv2d(in_channels, before, 3, padding=1, bias=False),
            norm=nn.BatchNorm2d(before),
            relu=nn.ReLU(inplace=True),
        )
        for number, (channels, blocks) in enumerate(zip(CHANNELS, stages, strict=True), 1):
            stage = nn.Sequential()
            for i in range(blocks):
                stride = 2 if number > 1 and i == 0 else 1
                block = ResidualBlock(before, scaled(channels, width), stride, bottleneck)
                stage.append(block)
                before = block.out_channels
            layers[f"stage{number}"] = stage
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        self.features = nn.Sequential(layers)
        self.head = nn.Linear(before, num_classes, bias=bias)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n K"]:
        """Return the logits."""
        return self.head(self.features(images))
