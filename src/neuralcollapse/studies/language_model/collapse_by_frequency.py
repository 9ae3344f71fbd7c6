"""How far frequent, middling and rare words have collapsed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neuralcollapse.measurement import CollapseReport
from neuralcollapse.metrics import frequency_thirds, preset
from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.moments import ClassMoments

ENOUGH = 5  # tokens of a word; with fewer, its mean and spread say little
THIRDS = ("rare", "middling", "frequent")


def by_frequency(report: CollapseReport, weight: Tensor) -> dict[str, float]:
    """Return the measures of Wu & Papyan for each third of the words, and decisions on test text.

    Parameters
    ----------
    report
        Of training and test text.
    weight
        (K, d) rows of the head.

    Returns
    -------
    dict of float
        ``cdnv_rare``, ``nc3_cosine_frequent`` and so on, of words with at least `ENOUGH` training
        tokens; ``test_accuracy_...`` and ``test_nc4_agreement_...`` are shares of test tokens.
    """
    counts = report.train.moments.counts
    thirds = frequency_thirds(counts)
    found: dict[str, float] = {}
    for index, third in enumerate(THIRDS):
        chosen = (thirds == index) & (counts >= ENOUGH)
        values = {"words": float(chosen.sum())}
        if int(chosen.sum()) > 2:
            part = _restricted(report.train.moments, chosen)
            values |= preset("wu2024", part, weight)
            values["interference_least"] = least_interference(int(chosen.sum()), part.dim)
        if report.test is not None:
            values |= _decisions(report.test.state, chosen)
        found |= {f"{name}_{third}": value for name, value in values.items()}
    return found


def least_interference(num_vectors: int, dim: int) -> float:
    """Return the least root mean square of the cosines between vectors (Welch's bound)."""
    if num_vectors <= dim:
        return 0.0
    return math.sqrt((num_vectors - dim) / (dim * (num_vectors - 1)))


def _restricted(moments: ClassMoments, chosen: Tensor) -> ClassMoments:
    """Return the moments of some classes alone; the others count as absent."""
    state = moments.state_dict()
    kept = chosen.to(torch.float64).cpu()
    return ClassMoments.from_state_dict(
        {
            "counts": state["counts"] * kept,
            "means": state["means"] * kept[:, None],
            "trace_variances": state["trace_variances"] * kept,
            "scatter": state["scatter"][:0],
        }
    )


def _decisions(state: CollapseState, chosen: Tensor) -> dict[str, float]:
    table, counts = state.per_class(), state.moments.counts * chosen
    total = float(counts.sum())
    return {
        f"test_{name}": float((table[name].nan_to_num() * counts).sum()) / total
        for name in ("accuracy", "nc4_agreement", "ncc_accuracy")
        if total
    }
