"""
Measure a network
=================

A perceptron learns digits, and is measured on training and test data.

The table has every value with its target and what chance would give; the picture shows the class
means: their cosines, their spectrum, the margins, and four of them in space.
"""

import sys

import torch
from torch import nn

import neuralcollapse as nc
from neuralcollapse.training import load_dataset

torch.set_num_threads(1)
torch.manual_seed(0)
data = load_dataset("digits")
images, labels = data.train.tensors
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-3)
for _ in range(20 if "--smoke" in sys.argv else 400):
    loss = nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

report = nc.measure(model, [(images, labels)], test_loader=[data.test.tensors])
print(report)
report.plot("first_measurement.png")
