"""A made-up run on disk: features that collapse on schedule, measured as those of a network."""

from __future__ import annotations

import json

import numpy as np
import torch

from neuralcollapse.geometry import simplex_etf
from neuralcollapse.measurement import measure_features
from neuralcollapse.moments import ClassMoments
from neuralcollapse.runs import append_record, write_snapshot

HOSTILE_NAMES = ["<script>window.hacked = 1</script>", f'a "b" & {"c" * 60}', "</script>", "日本"]


def write_run(
    folder,
    *,
    num_classes=4,
    dim=None,
    epochs=20,
    sizes=None,
    class_names=None,
    tested=True,
    headed=True,
    snapshots=10,
    before=False,
    layers=0,
    measured=None,
    seed=0,
):
    """Write history, config and snapshots; features approach a simplex ETF as 1 / epoch.

    Every epoch has a record; only `measured` of them are really measured (all if None), and the
    records between repeat the one before.
    """
    generator = torch.Generator().manual_seed(seed)
    dim = dim or max(num_classes, 8)
    sizes = sizes or [12] * num_classes
    labels = torch.repeat_interleave(torch.tensor(sizes))
    targets = 3 * simplex_etf(num_classes, max(dim, num_classes), generator=generator)[:, :dim]
    offset, detour = (torch.randn(num_classes, dim, generator=generator) for _ in range(2))
    noise, unseen = (torch.randn(len(labels), dim, generator=generator) for _ in range(2))
    folder.mkdir(parents=True, exist_ok=True)
    config = {"data": "made up", "net": "none", "loss": "ce", "epochs": epochs, "seed": seed}
    (folder / "config.json").write_text(
        json.dumps({"config": config, "versions": {"python": "3"}, "threads": 1})
    )
    kept = _spread(epochs, snapshots)
    wanted = kept | {1, epochs} if measured is None else kept | set(measured)
    for epoch in range(1, epochs + 1):
        left = 1 / epoch
        if measured is None or epoch in wanted:
            means = targets + left * detour + offset[:1]
            head = targets + 2 * left * offset if headed else None
            features = means[labels] + left * noise
            split = {}
            if tested:
                split = {
                    "test_features": means[labels] + (0.4 + left) * unseen,
                    "test_labels": labels,
                }
            names = class_names or list(map(str, range(num_classes)))
            report = measure_features(features, labels, head, class_names=names, **split)
        record = {"epoch": epoch, "step": 10 * epoch, "seconds": float(epoch), "lr": 0.1}
        # Grades and intervals, which take longer than all else, are of the end.
        values = report.to_record() if epoch == epochs else report.to_dict()
        record |= {"train_loss": left, "num_classes": num_classes}
        if layers:
            record["layers"] = {
                f"features.{i}": {"nc1_trace_ratio": left / (1 + i), "cdnv": left / (2 + i) ** 2}
                for i in range(layers)
            }
        append_record(folder / "history.jsonl", record | values)
        if epoch in kept:
            earlier = None
            if before:
                rows = means[labels] + 3 * left * noise
                earlier = ClassMoments(num_classes, dim).update(rows, labels)
            write_snapshot(folder, epoch, report, before=earlier)
    return folder


def _spread(epochs, count):
    """Return so many epochs, evenly spaced in log time; fewer where they fall together."""
    return set(np.geomspace(1, epochs, count).round().astype(int).tolist()) if count else set()
