"""
Many feature files on a Ray cluster
===================================

Many feature files, measured by tasks on a Ray cluster, in one report.

What travels is the state of a file, not its features: class moments and counts, one vector. The
tasks run twice, since the nearest class mean of a sample is known when the means of all files
are. On a cluster, give ``ray.init`` its address, and the files names that every machine can read.
Run it with: python examples/ray_feature_files.py
"""

from __future__ import annotations

import tempfile

import ray
import torch
from torch import Tensor

import neuralcollapse as nc
from neuralcollapse.measurement import read_features, write_features
from neuralcollapse.metrics.head import Head
from neuralcollapse.metrics.state import CollapseState


@ray.remote
def state_of(path: str, centers: Tensor | None) -> Tensor:
    """Return the packed state of one file, settled by the class means of all if they are known."""
    arrays = read_features(path)
    features, labels, weight, bias = (
        torch.as_tensor(arrays[name]) for name in ("features", "labels", "weight", "bias")
    )
    state = CollapseState(*weight.shape, centers=centers)
    for rows, true in zip(features.split(2048), labels.split(2048), strict=True):
        state.gather(rows, true, Head("", weight, bias).logits(rows))
    return state.to_vector()


def merged(paths: list[str], sizes: tuple[int, int], centers: Tensor | None) -> CollapseState:
    """Return the state of all files, merged as they arrive."""
    total, waiting = CollapseState(*sizes), [state_of.remote(path, centers) for path in paths]
    while waiting:
        (done, *_), waiting = ray.wait(waiting)
        total.merge(CollapseState.from_vector(torch.tensor(ray.get(done)), *sizes))
    return total


def main() -> None:
    """Write six files, measure them by tasks, and hold the values against one process."""
    generator = torch.Generator().manual_seed(0)
    means, weight = 3 * torch.randn(5, 16, generator=generator), torch.randn(5, 16)
    bias, parts, paths = torch.zeros(5), [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(6):
            labels = torch.randint(5, (400,), generator=generator)
            features = means[labels] + torch.randn(400, 16, generator=generator)
            parts.append((features, labels))
            paths.append(f"{folder}/part{number}.safetensors")
            write_features(paths[-1], features=features, labels=labels, weight=weight, bias=bias)
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        first = merged(paths, (5, 16), None)
        state = merged(paths, (5, 16), first.moments.means)
        ray.shutdown()
    values = state.values(weight, bias)
    features, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    alone = nc.measure_features(features, labels, weight, bias)
    worst = max(abs(values[name] - value) / max(abs(value), 1e-6) for name, value in alone.items())
    assert worst < 1e-5, worst
    print(f"NC1 {values['nc1_pinv']:.4f}, NC4 {values['nc4_agreement']:.2%} of 6 files by tasks;")
    print(f"of one process the same, to {worst:.0e} of each value")


if __name__ == "__main__":
    main()
