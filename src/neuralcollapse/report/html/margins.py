"""Margins of the last snapshot: by class, and the pairs that are hardest to tell apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuralcollapse.metrics.class_vectors import unit_rows
from neuralcollapse.report.html.packing import pack
from neuralcollapse.runs.snapshots import Snapshot
from neuralcollapse.wording import number

WORST_PAIRS = 12
PICTURE_CLASSES = 100


@dataclass(frozen=True)
class Margins:
    """What a page says of the margins of a snapshot.

    Attributes
    ----------
    epoch
        Of the snapshot.
    classes, range
        Rows, minimum margin first, empty without a head; and the scale that their bars share.
    pairs, by
        Rows, worst first, and what they are ordered by.
    picture
        Packed minimum margins of all pairs, or None.
    """

    epoch: float
    classes: list[dict[str, Any]]
    range: dict[str, Any]
    pairs: list[dict[str, Any]]
    by: str
    picture: dict[str, Any] | None


def margin_data(shot: Snapshot) -> Margins:
    """Return the tables and the picture of a snapshot's margins.

    Parameters
    ----------
    shot
        Without a head, there are only the pairs by CDNV.
    """
    rows, low, high = _class_rows(shot)
    scale = {"low": number(low), "high": number(high), "zero": _place(0.0, low, high)}
    if shot.pair_margins is None:
        closest = shot.closest_pairs[:WORST_PAIRS, :2].tolist()
        pairs = [_pair(shot, int(i), int(j), None) for i, j in closest]
        return Margins(shot.epoch, rows, scale, pairs, "CDNV", None)
    pairs = _pairs_by_margin(shot, shot.pair_margins)
    picture = _picture(shot, shot.pair_margins)
    return Margins(shot.epoch, rows, scale, pairs, "minimum margin", picture)


def _class_rows(shot: Snapshot) -> tuple[list[dict[str, Any]], float, float]:
    if shot.margin_levels is None:
        return [], 0.0, 1.0
    tested = _held_out_least(shot)
    everything = torch.cat([shot.margin_levels.flatten(), tested])
    finite = everything[torch.isfinite(everything)]
    low, high = min(0.0, float(finite.min())), max(0.0, float(finite.max()))
    order = shot.margin_levels[:, 0].nan_to_num(math.inf).argsort(stable=True).tolist()
    rows = []
    for k in order:
        least, few, median = shot.margin_levels[k].tolist()
        test = float(tested[k])
        rows.append(
            {
                "name": shot.class_names[k],
                "samples": int(shot.counts[k]),
                "least": number(least),
                "median": number(median),
                "test": number(test) if math.isfinite(test) else "–",
                "spread": number(math.sqrt(float(shot.trace_variances[k]))),
                "bar": None
                if math.isnan(least)
                else {
                    "left": _place(least, low, high),
                    "few": _place(few, low, high),
                    "right": _place(median, low, high),
                    "test": _place(test, low, high) if math.isfinite(test) else None,
                },
            }
        )
    return rows, low, high


def _held_out_least(shot: Snapshot) -> Tensor:
    """Return the least test margin of each class, NaN where there is none."""
    least = torch.full((len(shot.class_names),), math.inf, dtype=torch.float64)
    if shot.held_out_margins is not None and shot.held_out_labels is not None:
        least.scatter_reduce_(0, shot.held_out_labels, shot.held_out_margins, "amin")
    return torch.where(torch.isfinite(least), least, math.nan)


def _pairs_by_margin(shot: Snapshot, margins: Tensor) -> list[dict[str, Any]]:
    flat = margins.nan_to_num(math.inf).flatten()
    found = flat.argsort(stable=True)[:WORST_PAIRS].tolist()
    size = len(shot.class_names)
    return [_pair(shot, n // size, n % size, float(flat[n])) for n in found if flat[n] < math.inf]


def _pair(shot: Snapshot, i: int, j: int, margin: float | None) -> dict[str, Any]:
    a, b = shot.rows[[i, j]]
    distance = float((a - b).square().sum())
    spread = float(shot.trace_variances[[i, j]].sum())
    cosine = float(unit_rows(a[None]) @ unit_rows(b[None]).T)
    return {
        "i": i,
        "j": j,
        "names": (shot.class_names[i], shot.class_names[j]),
        "margin": None if margin is None else number(margin),
        "wrong": margin is not None and margin <= 0,
        "cdnv": number(spread / (2 * distance) if distance > 0 else math.inf),
        "cosine": number(cosine),
    }


def _picture(shot: Snapshot, margins: Tensor) -> dict[str, Any]:
    hardest = margins.nan_to_num(math.inf).amin(1).argsort(stable=True).tolist()
    shown = sorted(k for k in hardest[:PICTURE_CLASSES] if k in set(shot.present))
    values = pack(margins[shown][:, shown])
    return {"classes": shown, "of": len(shot.present), "values": values}


def _place(value: float, low: float, high: float) -> float:
    """Return where a value lies between the ends of the bars, in per cent."""
    return round(100 * (value - low) / (high - low), 2) if high > low else 0.0
