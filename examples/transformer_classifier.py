"""
A vision transformer, layer by layer
====================================

A vision transformer of the transformers library, with random weights, trained and measured.

The 64 pixels of a digit become 4 tokens, and one of the class. The library's models return an
object, and want named inputs: batches are mappings, of which ``measure`` passes all but the
labels by name. The head is found by what the model calls ``logits``. Every layer is measured by
the average of its tokens; the head sees one of them alone. Runs in some ten seconds; nothing is
downloaded.
"""

import sys

import torch
from rich.console import Console
from transformers import ViTConfig, ViTForImageClassification

import neuralcollapse as nc
from neuralcollapse.training import load_dataset

torch.set_num_threads(1)
torch.manual_seed(0)
data = load_dataset("digits", per_class=100).standardized()
config = ViTConfig(
    image_size=8,
    patch_size=4,
    num_channels=1,
    hidden_size=48,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=96,
    num_labels=data.num_classes,  # type: ignore[call-arg] # of every configuration
    initializer_range=0.1,
)
model = ViTForImageClassification(config)


def batches(split, size, order):
    """Return batches as the library's own data collators make them."""
    images, labels = split
    return [
        {"pixel_values": images[rows], "labels": labels[rows]}
        for rows in order(len(labels)).split(size)
    ]


train, test = data.train.tensors, data.test.tensors
epochs, size = 1 if "--smoke" in sys.argv else 15, 50
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.05)
total = epochs * len(train[1]) // size
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=total)
for _ in range(epochs):
    model.train()
    for batch in batches(train, size, torch.randperm):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

ordered = batches(train, 500, torch.arange)
console = Console(highlight=False, soft_wrap=True)
report = nc.measure(model, ordered, test_loader=batches(test, 360, torch.arange))
console.print(str(report))
console.print()
console.print(str(nc.measure_layers(model, ordered)))
