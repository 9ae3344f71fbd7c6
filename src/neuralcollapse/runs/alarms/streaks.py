"""Streaks: for how many measurements in a row each training sample has been wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.runs.alarms.samples import OFTEN


class Streaks:
    """Follow the samples of measurements in which they come in the same order.

    Examples
    --------
    >>> streaks, state = Streaks(), CollapseState(2, 1, keep=True)
    >>> state.gather(torch.ones(2, 1), [0, 1], torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    >>> [streaks.after(state) for _ in range(OFTEN)][-1]
    ([1], 10, 2)
    >>> streaks.state_dict()
    {'total': 2, 'wrong': [[1, 10]]}
    """

    def __init__(self) -> None:
        self._labels: Tensor | None = None
        self._lengths = torch.empty(0)

    def state_dict(self) -> dict[str, Any]:
        """Return what goes on from a checkpoint, ready for JSON."""
        wrong = self._lengths.nonzero().flatten()
        pairs = torch.stack([wrong, self._lengths[wrong].long()], dim=1)
        return {"total": len(self._lengths), "wrong": pairs.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there, if the next measurement has as many samples."""
        self._labels = None
        self._lengths = torch.zeros(state["total"], dtype=torch.int32)
        for index, length in state["wrong"]:
            self._lengths[index] = length

    def after(self, state: CollapseState) -> tuple[Sequence[int], int, int] | None:
        """Return the samples that stay wrong, for how many measurements, and how many there are.

        None where single samples are not kept, or come in another order than before, as those of
        a loader that shuffles do.
        """
        labels, margins = state.labels.cpu(), state.margins.cpu()
        if not len(labels) or len(margins) != len(labels):
            return None
        restored = self._labels is None and len(self._lengths) == len(labels)
        if not restored and (self._labels is None or not torch.equal(labels, self._labels)):
            self._lengths = torch.zeros(len(labels), dtype=torch.int32)
        self._labels = labels
        self._lengths = torch.where(margins > 0, 0, self._lengths + 1)
        stuck = (self._lengths >= OFTEN).nonzero().flatten()
        least = int(self._lengths[stuck].min()) if len(stuck) else 0
        return stuck.tolist(), least, len(labels)
