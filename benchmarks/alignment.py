"""Ensembles of perceptrons: trained at once and one by one, and the design of Figure 4.

HEADER

Both ways train the same networks on the same batches (checked: their logits agree): perceptrons
64-64-64-D with a ReLU on the features, 300 digits, batches of 25, momentum. One by one: a torch
module, autograd, torch.optim.SGD. Measured in one process on one thread, best of three, per network
and step; the ratio is one by one over at once. Last line: 12 alignments x 10 seeds x 2 orders x 150
epochs, test accuracies included, once. ``--smoke`` runs a few steps only and leaves out that line.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neuralcollapse.geometry import simplex_etf
from neuralcollapse.studies.gao2023.alignment import alignments, setting
from neuralcollapse.studies.gao2023.alignment_runs import digits_split, run_alignments
from neuralcollapse.training import FixedHead, PerceptronConfig, train_ensemble
from neuralcollapse.training.perceptron import batch_order, initial_weights

NETWORKS = 24
AGREEMENT = 1e-3  # of logits in single precision, after a few epochs


def best_of(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        answer = call()
        seconds.append(time.process_time() - start)
    return min(seconds), answer


def train_alone(head: Tensor, seed: int, order: int, config: PerceptronConfig) -> nn.Module:
    inputs, labels, _, _ = digits_split(0)
    layers: list[nn.Module] = []
    for weight, bias in zip(*initial_weights(seed, inputs.shape[1], config), strict=True):
        linear = nn.Linear(*weight.shape)
        linear.load_state_dict({"weight": weight.T, "bias": bias[0]})
        layers += [linear, nn.ReLU()]
    model = nn.Sequential(*layers, FixedHead(head))
    optimizer = torch.optim.SGD(model.parameters(), config.lr, config.momentum)
    for rows in batch_order(seed, order, len(labels), config):
        optimizer.zero_grad()
        cross_entropy(model(inputs[rows]), labels[rows]).backward()
        optimizer.step()
    return model


def compare(dim: int, batch_size: int, epochs: int, repeats: int) -> tuple[float, float]:
    """Return microseconds per network and step, at once and one by one."""
    config = PerceptronConfig(dim=dim, batch_size=batch_size, epochs=epochs)
    inputs, labels, _, _ = digits_split(0)
    generator = torch.Generator().manual_seed(0)
    heads = torch.stack(
        [5 * simplex_etf(10, dim, generator=generator).float() for _ in range(NETWORKS)]
    )
    keys = list(product(range(NETWORKS // 2), (0, 1)))
    seeds, orders = zip(*keys, strict=True)
    together, ensemble = best_of(
        lambda: train_ensemble(inputs, labels, heads, seeds, orders, config), repeats
    )
    some = range(0, NETWORKS, 8)
    alone, models = best_of(
        lambda: [train_alone(heads[r], seeds[r], orders[r], config) for r in some], repeats
    )
    with torch.no_grad():
        logits = ensemble.logits(inputs)
        gap = max(
            float((logits[r] - model(inputs)).abs().max())
            for r, model in zip(some, models, strict=True)
        )
    if gap > AGREEMENT:
        raise RuntimeError(f"D = {dim}: logits differ by {gap:.3g}")
    steps = epochs * -(-len(labels) // batch_size)
    return 1e6 * together / steps / NETWORKS, 1e6 * alone / steps / len(some)


def rows(smoke: bool) -> Iterator[tuple[int, int, float, float]]:
    for dim, batch_size in ((16, 25),) if smoke else ((16, 25), (64, 25), (16, 50), (64, 50)):
        yield dim, batch_size, *compare(dim, batch_size, 1 if smoke else 5, 1 if smoke else 5)


def figure4_seconds(dim: int) -> float:
    design = replace(setting(dim), orders=2)
    return best_of(lambda: run_alignments(design, alignments("rotations", dim)), 1)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few steps only")
    smoke = parser.parse_args().smoke
    torch.set_num_threads(1)
    table = Table("D", "batch", "at once (µs)", "one by one (µs)", "ratio")
    for dim, batch_size, together, alone in rows(smoke):
        cells = (f"{together:.0f}", f"{alone:.0f}", f"{alone / together:.1f}")
        table.add_row(str(dim), str(batch_size), *cells)
    Console().print(table)
    if not smoke:
        print(f"12 x 10 x 2 networks, D = 64: {figure4_seconds(64):.0f} s")


if __name__ == "__main__":
    main()
