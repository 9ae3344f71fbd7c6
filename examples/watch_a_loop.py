"""
Watch a training loop
=====================

Two lines in a loop of your own: curves of NC1 to NC4, and warnings in plain words.

The curves are those of the records, which are also in the folder ``watched`` for
``neuralcollapse report watched``.
"""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader

import neuralcollapse as nc
from neuralcollapse.report import plot_history, summary_text
from neuralcollapse.training import MLP, load_dataset

torch.set_num_threads(1)
torch.manual_seed(0)
data = load_dataset("digits")
loader = DataLoader(data.train, batch_size=128, shuffle=True)
model = MLP(64, [64, 64], 10)
epochs = 3 if "--smoke" in sys.argv else 120
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)

with nc.watch(  # one
    model,
    loader,
    test_loader=[data.test.tensors],
    schedule="economy",
    epochs=epochs,
    history="watched",
    overwrite=True,
) as collapse:
    for _ in range(epochs):
        for images, labels in loader:
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        collapse.epoch_end()  # two

print(summary_text(collapse.records))
plot_history(collapse.records, ".")
