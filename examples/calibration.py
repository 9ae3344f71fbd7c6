"""
Confidence and calibration
==========================

What collapse does to confidence: a perceptron trained on past 100 % training accuracy.

On digits, 600 to train on and the rest held out. Once every training digit is right, margins
still grow with the norm of the head, and confidence with them, right or wrong on new digits. One
number, the temperature, takes most of that back. Writes calibration.png; runs in a few seconds.
"""

import sys

import torch
from torch.utils.data import TensorDataset

import neuralcollapse as nc
from neuralcollapse.figure_style import figure
from neuralcollapse.generalization import calibration
from neuralcollapse.training import TrainConfig, build_network, load_dataset, sgd_epochs

torch.set_num_threads(1)
SMOKE = "--smoke" in sys.argv  # a short run
config = TrainConfig(width=0.25, weight_decay=0.0, batch_size=64, epochs=8 if SMOKE else 200)
data = load_dataset(config.data)
images, labels = (
    torch.cat(parts) for parts in zip(data.train.tensors, data.test.tensors, strict=True)
)
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
train, held_out = ((images[rows], labels[rows]) for rows in (order[:600], order[600:]))
network = build_network(config.net, data.input_shape, data.num_classes, width=config.width)

rows = []
for epoch, _ in enumerate(sgd_epochs(network, TensorDataset(*train), config), start=1):
    if epoch not in (1, 2, 4, 8, 16, 32, 64, 128, 200):
        continue
    report = nc.measure(network, [train], intervals=False, progress=False)
    with torch.no_grad():
        logits = network.eval()(held_out[0])
    network.train()
    found = calibration(logits, held_out[1])
    rows.append((epoch, report, found))
    print(
        f"epoch {epoch:3}: training accuracy {report['accuracy']:.3f}, NC1 "
        f"{report['nc1_trace_ratio']:.3f}, minimum margin {report['margin_min']:.2f}; new digits: "
        f"accuracy {found.accuracy:.3f}, confidence {found.mean_confidence:.3f}, calibration error "
        f"{found.ece:.3f}, temperature {found.temperature:.2f}"
    )
print()
print(found)

with figure(1, 2, 9.6, 3.8) as (drawing, panels):
    epochs = [epoch for epoch, *_ in rows]
    left, right = panels
    left.plot(epochs, [found.mean_confidence for *_, found in rows], "o-", label="mean confidence")
    left.plot(epochs, [found.accuracy for *_, found in rows], "s-", label="accuracy")
    left.set(xscale="log", xlabel="epoch", title="New digits: as right as confident?")
    left.legend(loc="lower right")
    right.plot(epochs, [found.temperature for *_, found in rows], "o-", label="best temperature")
    right.plot(
        epochs, [report["nc1_trace_ratio"] for _, report, _ in rows], "s-", label="NC1, training"
    )
    right.set(xscale="log", yscale="log", xlabel="epoch", title="Collapse and temperature")
    right.legend(loc="lower left")
drawing.savefig("calibration.png")
