"""All statistics of pairs of many classes against one upper-triangular product, and softmax codes.

Measured on one core of a busy two-core x86-64 virtual machine, d = 768. K = 50,257: all statistics
cost 1.27 times the products (40 s), class moments of a million rows 26 s, and all together at most
3.2 K d numbers of 8 bytes above the data. K = 8,192: between 1.3 and 1.9 times, by what else the
machine does. A code of 1,000 rows in 64 dimensions takes 9 s.

Floor: the products of all tiles on and above the diagonal, in single precision, and nothing else.
Processor time in one process on one thread, least of the repeats. ``--smoke`` is small;
``--classes 50257`` is the vocabulary of GPT-2.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from rich.table import Table

from neuralcollapse.geometry import softmax_code
from neuralcollapse.metrics import pairwise_collapse
from neuralcollapse.metrics.pairs import TILE
from neuralcollapse.moments import ClassMoments


def seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def products(rows: torch.Tensor) -> None:
    for start in range(0, len(rows), TILE):
        for other in range(start, len(rows), TILE):
            rows[start : start + TILE] @ rows[other : other + TILE].T


def compare(num: int, dim: int, repeats: int) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(num, dim, generator=generator)
    moments = ClassMoments(num, dim, scatter=False)
    moments.update(torch.cat([means - 0.1, means + 0.1]), torch.arange(num).repeat(2))
    floor = min(seconds(lambda: products(means)) for _ in range(repeats))
    sweep = min(seconds(lambda: pairwise_collapse(moments)) for _ in range(repeats))
    return floor, sweep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few classes only")
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=768)
    options = parser.parse_args()
    torch.set_num_threads(1)
    num, dim = (300, 16) if options.smoke else (options.classes, options.dim)
    floor, sweep = compare(num, dim, 1 if options.smoke else 2)
    table = Table("K", "d", "product (s)", "all statistics (s)", "ratio")
    table.add_row(str(num), str(dim), f"{floor:.2f}", f"{sweep:.2f}", f"{sweep / floor:.2f}")
    Console().print(table)
    size, steps = ((20, 4), 20) if options.smoke else ((1000, 64), None)
    taken = seconds(partial(softmax_code, *size, steps=steps))
    print(f"softmax code {size}: {taken:.1f} s")


if __name__ == "__main__":
    main()
