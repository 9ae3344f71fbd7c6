"""
A network and data of your own
==============================

A network and data of your own: trained, measured on the way, its layers too.

``train`` takes any module whose last layer is linear, and any pair of data sets of (input,
label). The same network goes by its import path instead, on the command line and in a
configuration::

    neuralcollapse train --net my_package.my_module:TwoLayers ...

Runs in a few seconds; run it again, and it goes on where it stood or says what it knows.
"""

import sys

import torch
from rich.console import Console
from torch import nn
from torch.utils.data import TensorDataset

from neuralcollapse.report import summary_table
from neuralcollapse.training import TrainConfig, train


class TwoLayers(nn.Module):
    """A perceptron of two layers; `num_classes` is all that an import path needs to take."""

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(20, 64), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(64, num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.head(self.second(self.first(inputs)))


def clouds(samples: int, seed: int) -> TensorDataset:
    """Return four Gaussian clouds that overlap a little."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % 4
    centers = 2 * torch.eye(4, 20)
    return TensorDataset(centers[labels] + torch.randn(samples, 20, generator=generator), labels)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = TrainConfig(
        epochs=3 if "--smoke" in sys.argv else 60, batch_size=64, lr=0.1, weight_decay=2e-3
    )
    records = train(
        config,
        "custom_model",
        model=TwoLayers(),
        data=(clouds(800, seed=1), clouds(400, seed=2)),
        layers=["first", "second"],
        accelerator="cpu",
        resume=True,
        progress=False,
    )
    console = Console(highlight=False)
    console.print(summary_table(records))
    for name, values in records[-1]["layers"].items():
        console.print(
            f"layer {name}: NC1 {values['nc1_pinv']:.2g} on training data, "
            f"{values['test_nc1_pinv']:.2g} on test data"
        )
