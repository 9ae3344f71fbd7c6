"""The perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

MLP_UNITS = 256  # of each of the three hidden layers of the network "mlp", at width 1


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
    >>> from neuralcollapse.training import MLP
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
