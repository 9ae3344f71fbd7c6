"""
Find wrong labels by their margins
==================================

Five per cent of the labels of digits are wrong; the minimum margins of a short training find them.

A network fits wrong labels last. So the margins of an early epoch tell them from the others; at
the end of training all margins are positive, and they tell nothing.
"""

import sys

import torch
from torch import nn

from neuralcollapse.figure_style import figure
from neuralcollapse.metrics import sample_margins
from neuralcollapse.training import load_dataset

torch.set_num_threads(1)
torch.manual_seed(0)
images, truth = load_dataset("digits").train.tensors
wrong = torch.zeros(len(truth), dtype=torch.bool)
wrong[torch.randperm(len(truth))[: len(truth) // 20]] = True
labels = torch.where(wrong, (truth + torch.randint(1, 10, truth.shape)) % 10, truth)

model = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
steps = (5, 10, 20) if "--smoke" in sys.argv else (30, 100, 400)
with figure(1, 3, 10.8, 3.2) as (drawing, panels):
    for step in range(1, steps[-1] + 1):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in steps:
            with torch.no_grad():
                margins = sample_margins(model(images), labels)
            least = margins.argsort()[: int(wrong.sum())]
            share = float(wrong[least].double().mean())
            print(f"step {step:3}: {share:.0%} of the smallest margins have a wrong label")
            axes = panels[steps.index(step)]
            for chosen, label in ((~wrong, "right label"), (wrong, "wrong label")):
                axes.hist(margins[chosen].numpy(), bins=40, density=True, alpha=0.6, label=label)
            axes.set(title=f"step {step}", xlabel="margin")
    panels[0].legend()
drawing.savefig("label_noise.png")
