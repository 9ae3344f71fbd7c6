"""
A certificate for new data
==========================

What a held-out sample certifies about the error of a small network, and what it does not.

A perceptron is trained on 600 digits until it has all of them right; 600 others are held out, and
the rest stands for new data. The certificate from the held-out count of errors is honest and hard
to beat. The error that collapse seems to allow is read off the training features and off the
held-out ones: collapse does not carry over. Writes certificate.png; runs in a few seconds.
"""

import sys

import torch
from rich.console import Console
from torch.utils.data import TensorDataset

import neuralcollapse as nc
from neuralcollapse.generalization import (
    cantelli_plug_in,
    certify_report,
    cross_fit_certificate,
    pair_risks,
)
from neuralcollapse.metrics import sample_margins
from neuralcollapse.training import TrainConfig, build_network, load_dataset, sgd_epochs

torch.set_num_threads(1)
config = TrainConfig(
    width=0.25, weight_decay=2e-3, batch_size=64, epochs=5 if "--smoke" in sys.argv else 100
)
data = load_dataset(config.data)
images, labels = (
    torch.cat(parts) for parts in zip(data.train.tensors, data.test.tensors, strict=True)
)
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
train, held_out, new = ((images[rows], labels[rows]) for rows in order.split(600))
console = Console(highlight=False, soft_wrap=True)


def trained_on(samples):
    """Return a network trained on these samples."""
    network = build_network(config.net, data.input_shape, data.num_classes, width=config.width)
    for _ in sgd_epochs(network, TensorDataset(*samples), config):
        pass
    return network.eval()


def logits_of(network, samples):
    """Return the network's logits."""
    with torch.no_grad():
        return network(samples[0])


network = trained_on(train)
report = nc.measure(network, [train], test_loader=[held_out], progress=False)
certificate = certify_report(report)
console.print(str(certificate))

error = float((logits_of(network, new).argmax(1) != new[1]).double().mean())
drawing = certificate.plot()
drawing.axes[0].axvline(error, color="black", lw=1)
words = f"{100 * error:.1f} % of {len(new[1])} new digits"
drawing.axes[0].text(1.1 * error, -0.5, words, va="center", bbox={"color": "white", "pad": 1})
drawing.savefig("certificate.png")
console.print(f"\nOn {len(new[1])} new digits the error is {error:.2%}.")

console.print("\nThe pairs of digits that carry most of the risk, on held-out samples:")
risks = pair_risks(logits_of(network, held_out), held_out[1])
console.print(risks.head(5).round(4).to_string(index=False))

console.print("\nCollapse does not carry over from training samples to held-out ones:")
plug_ins = [
    cantelli_plug_in(sample_margins(logits_of(network, split), split[1]))
    for split in (train, held_out)
]
console.print(f"Cantelli, plug-in: {plug_ins[0]:.3f} on training, {plug_ins[1]:.3f} on held-out")
console.print(f"CDNV: {report['cdnv']:.4f} on training, {report['test_cdnv']:.4f} on held-out")

console.print("\nEvery one of these 1,200 digits held out once, by two networks:")
folds = [(held_out, network), (train, trained_on(held_out))]
margins = [sample_margins(logits_of(model, fold), fold[1]) for fold, model in folds]
console.print(str(cross_fit_certificate(margins)))
