"""
Collapse of a regression
========================

Two targets instead of classes: features sink into the span of the head's rows (NRC1, NRC2, NRC3).

Some of it happens without weight decay; with it, the features go further towards the head's rows.
"""

import sys

import torch
from torch import nn

import neuralcollapse as nc

torch.set_num_threads(1)
inputs = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
targets = torch.stack([inputs[:, 0] * inputs[:, 1], inputs[:, 2].sin()], 1)
for decay in (0.0, 0.2):
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 16), nn.ReLU())
    head = nn.Linear(16, 2)
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=5e-3, weight_decay=decay)
    for _ in range(20 if "--smoke" in sys.argv else 1500):
        loss = nn.functional.mse_loss(head(backbone(inputs)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    report = nc.measure_regression(backbone(inputs).detach(), targets, head.weight.detach())
    print(f"weight decay {decay}, mean squared error {loss:.2g}")
    print(report)
