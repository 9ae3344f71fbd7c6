"""What measuring collapse costs, as ratios to a floor timed in the same process.

    python benchmarks/measure.py [--case a] [--smoke]

pass 1   one read of the stream into ClassMoments, over the floor: one read of the data and one
         d x d product per batch of 256 rows, which any within-class scatter must pay.
all      NC1 (both), CDNV, NC2, NC3, NC4 and margins besides, without intervals, over the floor
         plus one product of each batch with a d x 2K matrix, which NC4 must pay.
whole    measure_features(features, labels, weight), all that it does but for intervals, over the
         same floor.
needed   the kernels that it cannot do without, over the same floor: class means taken off, norms,
         sums of classes, half of each d x d product, the product with 2K columns, norms again, and
         one factorisation. The BLAS of the machine allows no less; the rest is ours.
with     measure_features as it is called by default, with intervals where they take little.
finals   values of K class means and a head that need no pairs, over one d x d product of the means
         in float64, and the memory in units of these means, K d 8 bytes.
pairs    CDNV and angles of all pairs of K given class means, over the product of its tiles alone.
network  measure(model, loader) over the bare forward pass of the same loader.

Process CPU time, one thread; each ratio is of two runs one after the other, and of these ratios the
median is told; data in memory as float32.
Memory is the peak above the data, in a process of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import neuralcollapse as nc
from neuralcollapse.metrics.catalogue import CATALOGUE
from neuralcollapse.metrics.class_distance import CDNVStatistic
from neuralcollapse.metrics.equiangularity import EquiangularityStatistic, equinorm, etf_distance
from neuralcollapse.metrics.head import linear_scores
from neuralcollapse.metrics.measured import Measured
from neuralcollapse.metrics.pairs import TILE, sweep_pairs
from neuralcollapse.metrics.self_duality import product_duality, self_duality
from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.metrics.summary import values_of
from neuralcollapse.metrics.variability import nc1_pinv, nc1_trace_ratio
from neuralcollapse.moments.slab import PADDING, SLAB_ROWS, part_rows

BATCH = 256


@dataclass(frozen=True)
class Stream:
    """Features of N samples, and what the ratios and the memory (MiB) should not exceed."""

    samples: int
    dim: int
    classes: int
    pass_1: float
    everything: float
    whole: float
    memory: float

    def data(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return features, labels, class means as a head, and the logits a network would give."""
        generator = torch.Generator().manual_seed(0)
        means = torch.randn(self.classes, self.dim, generator=generator)
        labels = torch.randint(self.classes, (self.samples,), generator=generator)
        features = torch.empty(self.samples, self.dim)
        for rows, part in zip(features.split(4096), labels.split(4096), strict=True):
            torch.randn(rows.shape, generator=generator, out=rows)
            rows.add_(means[part])
        return features, labels, means, features @ means.T


STREAMS = {
    "a": Stream(60_000, 512, 10, 0.80, 0.85, 1.0, 20),
    "b": Stream(50_000, 512, 100, 0.75, 0.88, 1.1, 20),
    "c": Stream(100_000, 2048, 1000, 0.68, 0.90, 1.0, 150),
    "tiny": Stream(6_000, 256, 20, 1.5, 2.2, 2.2, 20),
}
FINAL_SPACE = 3.0  # of the means in float64
PAIRS = {"d": (10_000, 768, 1.45, 1024), "e": (50_000, 768, 1.45, 1024)}


def floor(features: Tensor) -> None:
    for batch in features.split(BATCH):
        batch.sum()
        torch.mm(batch.T, batch)


def floor_with_head(features: Tensor, columns: Tensor) -> None:
    for batch in features.split(BATCH):
        batch.sum()
        torch.mm(batch.T, batch)
        torch.mm(batch, columns)


def needed(features: Tensor, labels: Tensor, means: Tensor, columns: Tensor) -> None:
    """Run the kernels that any measurement in one pass and a second look must, and no other."""
    dim, wide = means.shape[1], part_rows(means.shape[1], means.device)
    height = max(64, min(dim // 4, 256))  # of panels of the upper triangle
    scatter, sums = torch.zeros(dim, dim), torch.zeros(len(means), dim + PADDING)
    padded, own = torch.zeros(SLAB_ROWS, dim + PADDING), columns.T.contiguous()
    for rows, classes in zip(features.split(SLAB_ROWS), labels.split(SLAB_ROWS), strict=True):
        slab = padded[: len(rows), :dim]
        for part, its, place in zip(
            rows.split(wide), classes.split(wide), slab.split(wide), strict=True
        ):
            torch.index_select(means, 0, its, out=place)
            torch.sub(part, place, out=place)
            torch.linalg.vector_norm(place, dim=1)
        sums.index_add_(0, classes, padded[: len(rows)])
        for start in range(0, dim, height):
            panel = slab[:, start : start + height]
            scatter[start : start + height, start:].addmm_(panel.T, slab[:, start:])
    for rows in features.split(SLAB_ROWS):
        linear_scores(rows, own)
        torch.linalg.vector_norm(rows, dim=1)
    torch.linalg.cholesky_ex(scatter.double())


def pass_1(features: Tensor, labels: Tensor, classes: int) -> nc.ClassMoments:
    moments = nc.ClassMoments(classes, features.shape[1])
    for batch, part in zip(features.split(BATCH), labels.split(BATCH), strict=True):
        moments.update(batch, part)
    _ = moments.num_samples  # what is buffered counts too
    return moments


def everything(
    features: Tensor, labels: Tensor, weight: Tensor, logits: Tensor
) -> dict[str, float]:
    budget = 2 * features.nbytes
    state = CollapseState(*weight.shape, keep=True, feature_budget=budget)
    batches = zip(*(data.split(BATCH) for data in (features, labels, logits)), strict=True)
    for batch, part, scores in batches:
        state.gather(batch, part, scores)
    moments = state.moments
    state.settle(moments.means)
    values = {"nc1_pinv": nc1_pinv(moments), "nc1_trace_ratio": nc1_trace_ratio(moments)}
    rows = moments.centered_means()
    distances, angles = CDNVStatistic(moments), EquiangularityStatistic(len(rows))
    sweep_pairs(rows, [distances, angles])
    values |= {
        "cdnv": distances.values.mean,
        "nc2_equinorm": equinorm(rows),
        "nc2_equiangular": angles.absolute.mean,
        "nc2_etf": etf_distance(rows),
        "nc3_self_duality": self_duality(weight, rows),
        "nc3_product": product_duality(weight, rows),
    }
    return values | {"nc4_agreement": state.agreement, "margin_min": state.margin_min}


def all_pairs(means: Tensor, moments: nc.ClassMoments) -> None:
    sweep_pairs(means, [CDNVStatistic(moments), EquiangularityStatistic(len(means))])


def tiles_alone(means: Tensor) -> None:
    rows = means.float()
    for i in range(0, len(rows), TILE):
        for j in range(i, len(rows), TILE):
            torch.mm(rows[i : i + TILE], rows[j : j + TILE].T)


def median_ratios(
    repeat: int,
    base: Callable[[], object],
    *others: Callable[[], object],
    clock: Callable[[], float] = time.process_time,
) -> list[float]:
    """Seconds of the others over those of the base: medians of ratios of neighbouring runs.

    CPU seconds, if no other clock is given.
    """
    seconds: list[list[float]] = [[] for _ in range(1 + len(others))]
    for _ in range(repeat):
        for times, work in zip(seconds, (base, *others), strict=True):
            start = clock()
            work()
            times.append(clock() - start)
    return [
        statistics.median(a / b for a, b in zip(times, seconds[0], strict=True))
        for times in seconds[1:]
    ]


def peak_memory(case: str, smoke: bool) -> float:
    """MiB above the data that the work of a case takes at its peak, in a fresh process."""
    command = [sys.executable, __file__, "--memory", case, *(["--smoke"] if smoke else [])]
    # What is freed goes back to the system at once, so that the number is of what is held.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    return float(subprocess.check_output(command, text=True, env=environment))


def run_for_memory(case: str, smoke: bool) -> float:
    """Return what a case takes at its peak, see `peak_of`."""
    if case == "finals":
        return peak_of(partial(finals, *final_data(smoke)))
    if case in STREAMS:
        data = shrink(STREAMS[case], smoke).data()
        features, labels, weight, logits = data
        everything(features[:20_000], labels[:20_000], weight, logits[:20_000])  # libraries load
        return peak_of(partial(everything, *data))
    return peak_of(partial(all_pairs, *pair_data(case, smoke)))


def peak_of(work: Callable[[], object]) -> float:
    """Peak of the anonymous memory, looked at every millisecond, over that before the work."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed would hide what the work allocates
    before, peak, done = _anonymous_kib(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(1e-3):
            peak = max(peak, _anonymous_kib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return (peak - before) / 1024


def _anonymous_kib() -> int:
    """Memory that is not of files, also what the system has moved out because it was idle."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(line[1]) for line in lines if line[0] in ("RssAnon:", "VmSwap:"))


def shrink(stream: Stream, smoke: bool) -> Stream:
    if not smoke:
        return stream
    return Stream(3000, stream.dim // 8, min(stream.classes, 50), 0, 0, 0, 0)


def pair_data(case: str, smoke: bool) -> tuple[Tensor, nc.ClassMoments]:
    classes, dim, *_ = PAIRS[case]
    if smoke:
        classes, dim = 1500, 32
    generator = torch.Generator().manual_seed(0)
    moments = nc.ClassMoments(classes, dim, scatter=False)
    means = torch.randn(classes, dim, generator=generator)
    for part in torch.arange(classes).split(4096):
        moments.update(means[part], part)
        moments.update(means[part] + 0.1, part)
    return moments.centered_means(), moments


def final_data(smoke: bool) -> tuple[Tensor, nc.ClassMoments]:
    """Return a head, and moments of about as many class means, for `finals`."""
    moments = pair_data("e", smoke)[1]
    generator = torch.Generator().manual_seed(1)
    return torch.randn(moments.num_classes, moments.dim, generator=generator), moments


def finals(weight: Tensor, moments: nc.ClassMoments) -> dict[str, float]:
    rows = [row for name, row in CATALOGUE.items() if name.startswith(("nc", "margin_norm"))]
    apart = ("scatter", "code", "best_code", "nc4_agreement", "ncc_accuracy")
    plain = [row for row in rows if not {*row.needs} & {*apart} and "equiangular" not in row.name]
    return values_of(Measured(moments, weight, None, {"margin_min": -1.0}), plain)


def final_rows(smoke: bool, repeat: int) -> Iterator[list[str]]:
    """Row of the table for the values of many class means."""
    weight, moments = final_data(smoke)
    means = weight.double()
    ratio, *_ = median_ratios(
        repeat,
        lambda: [part.T @ part for part in means.split(4096)],
        lambda: finals(weight, moments),
    )
    memory = peak_memory("finals", smoke) * 2**20 / means.nbytes
    sizes = f"K {len(means):,}  d {means.shape[1]}"
    yield ["finals", sizes, "K d 8 B", f"{ratio:.3f}", "", f"{memory:.2f}", f"{FINAL_SPACE}"]


def network_ratio(repeat: int, smoke: bool) -> float:
    """measure() over the bare forward pass of a small CNN on 28 x 28 images, CPU time."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 49, 128), nn.ReLU(), nn.Linear(128, 10),
    ).eval()  # fmt: skip
    samples = 600 if smoke else 10_000
    images, labels = torch.randn(samples, 1, 28, 28), torch.arange(samples) % 10
    loader = list(zip(images.split(BATCH), labels.split(BATCH), strict=True))

    def bare() -> None:
        with torch.no_grad():
            for batch, _ in loader:
                model(batch)

    return median_ratios(repeat, bare, lambda: nc.measure(model, loader, progress=False))[0]


def stream_rows(case: str, smoke: bool, repeat: int) -> Iterator[list[str]]:
    """Rows of the table for one stream of features."""
    goal, stream = STREAMS[case], shrink(STREAMS[case], smoke)
    features, labels, weight, logits = stream.data()
    columns = torch.randn(stream.dim, 2 * stream.classes)
    once, *_ = median_ratios(
        repeat, lambda: floor(features), lambda: pass_1(features, labels, len(weight))
    )
    full, *_ = median_ratios(
        repeat,
        lambda: floor_with_head(features, columns),
        lambda: everything(features, labels, weight, logits),
    )
    whole, least, default = median_ratios(
        repeat,
        lambda: floor_with_head(features, columns),
        lambda: nc.measure_features(features, labels, weight, intervals=False),
        lambda: needed(features, labels, weight, columns),
        lambda: nc.measure_features(features, labels, weight),
    )
    memory = peak_memory(case, smoke)
    sizes = f"N {stream.samples:,}  d {stream.dim}  K {stream.classes}"
    yield [case, sizes, "pass 1", f"{once:.3f}", f"{goal.pass_1}"]
    yield [
        "",
        "",
        "all",
        f"{full:.3f}",
        f"{goal.everything}",
        f"{memory:.0f}",
        f"{goal.memory:.0f}",
    ]
    yield ["", "", "whole", f"{whole:.3f}", f"{goal.whole}"]
    yield ["", "", "needed", f"{least:.3f}"]
    yield ["", "", "with", f"{default:.3f}", "1.3" if case != "tiny" else ""]


def pair_rows(case: str, smoke: bool, repeat: int) -> Iterator[list[str]]:
    """Row of the table for the pairs of given class means."""
    *_, most, space = PAIRS[case]
    means, moments = pair_data(case, smoke)
    ratio, *_ = median_ratios(repeat, lambda: tiles_alone(means), lambda: all_pairs(means, moments))
    sizes = f"K {len(means):,}  d {means.shape[1]}"
    memory = peak_memory(case, smoke)
    yield [case, sizes, "pairs", f"{ratio:.3f}", f"{most}", f"{memory:.0f}", f"{space}"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--case", choices=[*STREAMS, *PAIRS, "finals", "network"], action="append")
    parser.add_argument(
        "--smoke", action="store_true", help="three tiny cases, to see that it runs"
    )
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        print(run_for_memory(options.memory, options.smoke))
        return
    repeat = 1 if options.smoke else 7
    table = Table("case", "sizes", "what", "ratio", "at most", "MiB", "at most")
    every = [*(("tiny", "d") if options.smoke else (*STREAMS, *PAIRS)), "finals", "network"]
    for case in options.case or every:
        if case in STREAMS:
            rows = stream_rows(case, options.smoke, repeat)
        elif case in PAIRS:
            rows = pair_rows(case, options.smoke, 1 if case == "e" else min(repeat, 3))
        elif case == "finals":
            rows = final_rows(options.smoke, min(repeat, 3))
        else:
            ratio = f"{network_ratio(repeat, options.smoke):.3f}"
            rows = iter([["network", "small CNN, 28 x 28", "measure", ratio, "1.10"]])
        for row in rows:
            table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
