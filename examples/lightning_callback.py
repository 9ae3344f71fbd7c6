"""
A callback for Lightning
========================

Collapse in a Lightning run: one more callback, and the logger has NC1 to NC4 of every epoch.

Needs the extra: pip install 'neuralcollapse[lightning]'. Runs in some ten seconds.
"""

import csv
import logging
import sys
import warnings
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import neuralcollapse as nc
from neuralcollapse.training import MLP, load_dataset

torch.set_num_threads(1)
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", module="lightning")


class Classifier(pl.LightningModule):
    """A perceptron on images of digits; nothing in it knows of collapse."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = MLP(64, [64, 64], 10)

    def forward(self, inputs):
        """Return the logits."""
        return self.network(inputs)

    def training_step(self, batch, batch_idx):
        """Return the loss of a batch."""
        inputs, labels = batch
        return cross_entropy(self(inputs), labels)

    def validation_step(self, batch, batch_idx):
        """Log the accuracy of a batch."""
        inputs, labels = batch
        self.log("val_accuracy", (self(inputs).argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        """Return the optimiser."""
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-3)


data = load_dataset("digits")
logger = CSVLogger("logs", name="digits")  # or TensorBoard, Weights & Biases, ...
trainer = pl.Trainer(
    max_epochs=2 if "--smoke" in sys.argv else 25,
    accelerator="cpu",
    logger=logger,
    callbacks=[nc.integrations.CollapseCallback("economy", history="logs/collapse")],
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(
    Classifier(),
    DataLoader(data.train, batch_size=64, shuffle=True),
    DataLoader(data.test, batch_size=360),
)

names = [
    *("collapse/nc1_trace_ratio", "collapse/nc2_etf", "collapse/nc3_self_duality"),
    *("collapse/accuracy", "collapse/test_accuracy", "collapse/test_nc1_trace_ratio"),
]
print(f"What the CSV logger wrote to {Path(logger.log_dir)}:")
print("epoch " + "".join(f"{name.split('/')[1]:>21}" for name in names))
with open(Path(logger.log_dir, "metrics.csv"), newline="") as file:
    for row in csv.DictReader(file):
        if row.get(names[0]):
            print(f"{int(row['epoch']) + 1:5} " + "".join(f"{float(row[n]):21.3g}" for n in names))
