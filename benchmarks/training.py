"""What the trainer costs, as ratios to a floor timed in the same process.

    python benchmarks/training.py [--case cnn] [--smoke]

loop     one epoch of the trainer, without a measurement, over one epoch of a bare loop written by
         hand: the same network, order, loss, optimiser and schedule, no check and no record.
measure  one measurement of training and test data, over the bare forward pass of both.
layers   the same with every layer of `default_layers`.
save     one checkpoint, in seconds of wall time: written, and on the disk.

The mlp misses the goal of measuring: its forward pass takes 10 ms, of which the fixed cost of a
measurement, some 25 ms of small matrices, is no small part.

Process CPU time, one thread, medians of ratios of neighbouring runs; data in memory as float32.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from measure import median_ratios
from neuralcollapse.measurement import default_layers
from neuralcollapse.training import TrainConfig, build_network
from neuralcollapse.training.batches import Batches
from neuralcollapse.training.checkpoints import Checkpoint, save_checkpoint
from neuralcollapse.training.epochs import prepared, train_epoch
from neuralcollapse.training.execution import Execution
from neuralcollapse.training.measuring import CPU_BATCH, RunMeasurement
from neuralcollapse.training.optimizer import build_optimizer

CLASSES = 10
PLAIN = Execution()
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
GOALS = {"loop": "1.05", "measure": "1.15", "layers": ""}


@dataclass(frozen=True)
class Case:
    """A network, its data and its steps."""

    net: str
    width: float
    shape: tuple[int, int, int]
    train: int
    test: int
    batch_size: int
    repeat: int

    def split(self, samples: int, seed: int) -> TensorDataset:
        """Return noise with a bright patch whose place tells the class."""
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(samples, *self.shape, generator=generator)
        labels = torch.arange(samples) % CLASSES
        images.flatten(1)[torch.arange(samples), labels] += 5
        return TensorDataset(images, labels)


CASES = {
    # The digits of the demo: the smallest steps there are, so the largest overhead.
    "mlp": Case("mlp", 1.0, (1, 8, 8), 1437, 360, 256, repeat=41),
    "cnn": Case("cnn", 1.0, (1, 28, 28), 2000, 400, 128, repeat=7),
    "resnet18": Case("resnet18", 0.25, (3, 32, 32), 500, 100, 50, repeat=11),
}


def network(case: Case, execution: Execution) -> nn.Module:
    """Return the network of a case, laid out as it is to be trained."""
    return execution.lay_out(build_network(case.net, case.shape, CLASSES, width=case.width))


class Trainer:
    """The trainer's parts on one process."""

    def __init__(self, case: Case, device: str = "cpu", execution: Execution = PLAIN) -> None:
        self.execution = execution
        self.config = TrainConfig(batch_size=case.batch_size, epochs=1000)
        self.train, self.test = case.split(case.train, 0), case.split(case.test, 1)
        self.model = network(case, execution)
        self.fabric = Fabric(accelerator=device, devices=1)
        optimizer = build_optimizer(self.model, self.config)
        self.forward, self.optimizer = prepared(self.model, optimizer, self.fabric)
        self.batches = Batches(self.train, case.batch_size, 0, self.fabric)
        self.number = 0

    def epoch(self) -> None:
        """Train for one epoch."""
        self.number += 1
        train_epoch(
            self.number, self.forward, self.optimizer, self.batches, self.config, self.fabric,
            self.execution,
        )  # fmt: skip

    def measurement(self, layers: Sequence[str]) -> RunMeasurement:
        """Return what measures the run."""
        return RunMeasurement(self.model, self.train, self.test, self.fabric.device, layers)


class Bare:
    """The loop that one would write by hand."""

    def __init__(self, case: Case, device: str = "cpu", execution: Execution = PLAIN) -> None:
        self.inputs, self.labels = (part.to(device) for part in case.split(case.train, 0).tensors)
        self.test = case.split(case.test, 1).tensors[0].to(device)
        self.batch_size, self.step = case.batch_size, 0
        self.execution = execution
        self.model = network(case, execution).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.05, 0.9, weight_decay=1e-2)
        self.steps = 1000 * math.ceil(case.train / case.batch_size)

    def epoch(self) -> None:
        """Train for one epoch."""
        self.model.train()
        for rows in torch.randperm(len(self.labels)).split(self.batch_size):
            for group in self.optimizer.param_groups:
                group["lr"] = 0.025 * (1 + math.cos(math.pi * self.step / self.steps))
            self.optimizer.zero_grad()
            logits = self.execution.forward(self.model, self.inputs[rows])
            cross_entropy(logits, self.labels[rows]).backward()
            self.optimizer.step()
            self.step += 1

    def forward(self) -> None:
        """Let training and test data through the network."""
        self.model.eval()
        with torch.no_grad():
            for images in (*self.inputs.split(CPU_BATCH), *self.test.split(CPU_BATCH)):
                self.model(images)


def rows(name: str, case: Case, smoke: bool) -> Iterator[list[str]]:
    """Rows of the table for one case."""
    if smoke:
        case = replace(case, train=60, test=30, batch_size=30)
    trainer, bare = Trainer(case), Bare(case)
    repeat = 1 if smoke else case.repeat
    if not smoke:  # the first epochs allocate
        trainer.epoch()
        bare.epoch()
    ratios = {"loop": median_ratios(repeat, bare.epoch, trainer.epoch)[0]}
    choices = (), default_layers(trainer.model)
    measured = [trainer.measurement(layers).record for layers in choices]
    values = median_ratios(repeat, bare.forward, *measured)
    ratios |= dict(zip(("measure", "layers"), values, strict=True))
    size = sum(parameter.numel() for parameter in trainer.model.parameters())
    for what, ratio in ratios.items():
        yield [name, f"{size:,}", what, f"{ratio:.3f}", GOALS[what]]
    with tempfile.TemporaryDirectory() as folder:
        state = trainer.model.state_dict(), trainer.optimizer.state_dict()
        start = time.perf_counter()
        save_checkpoint(Path(folder, "checkpoint.pt"), Checkpoint(1, 0.0, 0, *state))
        yield [name, f"{size:,}", "save", f"{time.perf_counter() - start:.3f} s", ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # Memory that goes back to the system and comes again page by page makes the same work cost up
    # to 1.7 times as much, or not, by chance: keep it.
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_MMAP_THRESHOLD, 2**25)
    table = Table("case", "parameters", "what", "ratio", "at most")
    for name in options.case or CASES:
        for row in rows(name, CASES[name], options.smoke):
            table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
