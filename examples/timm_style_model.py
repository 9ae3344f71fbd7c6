"""
A model with timm's interface, layer by layer
=============================================

A model with timm's interface, trained with a plain loop and measured layer by layer.

timm's models have ``forward_features``, ``forward_head``, ``get_classifier`` and ``num_classes``;
nothing of this is needed to measure them: the last linear layer is found by its output, and the
blocks by their being repeated. So ``timm.create_model("resnet18", num_classes=10)`` takes the
place of the class below as it is. Runs in some ten seconds.
"""

import sys

import torch
from rich.console import Console
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import neuralcollapse as nc
from neuralcollapse.training import load_dataset


class Block(nn.Module):
    """A depthwise convolution, then a perceptron on every pixel's channels, as in ConvNeXt."""

    def __init__(self, channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.BatchNorm2d(channels)
        self.perceptron = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1), nn.GELU(), nn.Conv2d(2 * channels, channels, 1)
        )

    def forward(self, x):
        """Return the input and what was found."""
        return x + self.perceptron(self.norm(self.depthwise(x)))


class TimmStyleNet(nn.Module):
    """The interface of timm's models, around six blocks."""

    def __init__(self, num_classes, in_chans=1, channels=32, depth=6, drop_rate=0.1):
        super().__init__()
        self.num_classes = num_classes
        self.stem = nn.Conv2d(in_chans, channels, 2, stride=2)
        self.blocks = nn.Sequential(*[Block(channels) for _ in range(depth)])
        self.norm = nn.BatchNorm2d(channels)
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head_drop = nn.Dropout(drop_rate)
        self.fc = nn.Linear(channels, num_classes)

    def get_classifier(self):
        """Return the last layer."""
        return self.fc

    def forward_features(self, x):
        """Return the last map."""
        return self.norm(self.blocks(self.stem(x)))

    def forward_head(self, x, pre_logits=False):
        """Return the logits of a map, or the features of the last layer."""
        x = self.head_drop(self.global_pool(x))
        return x if pre_logits else self.fc(x)

    def forward(self, x):
        """Return the logits."""
        return self.forward_head(self.forward_features(x))


torch.set_num_threads(1)
torch.manual_seed(0)
data = load_dataset("digits")
loader = DataLoader(data.train, batch_size=64, shuffle=True)
test_loader = DataLoader(data.test, batch_size=360)
model = TimmStyleNet(data.num_classes)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
epochs = 1 if "--smoke" in sys.argv else 8
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=epochs * len(loader))
console = Console(highlight=False, soft_wrap=True)

before = nc.measure(model, loader, test_loader=test_loader)
for _ in range(epochs):
    model.train()
    for images, labels in loader:
        loss = cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
after = nc.measure(model, loader, test_loader=test_loader)

console.print("             untrained    trained")
for name in ("accuracy", "test_accuracy", "nc1_pinv", "nc2_etf", "nc3_self_duality"):
    console.print(f"{name:17}{before[name]:>9.4g}{after[name]:>11.4g}")
console.print()
console.print(str(nc.measure_layers(model, loader)))
