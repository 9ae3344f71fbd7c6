"""When a run is measured: often while much changes, then evenly in the logarithm of time."""

from __future__ import annotations

from collections.abc import Sequence

from neuralcollapse.errors import NeuralCollapseError


def measurement_epochs(
    epochs: int,
    *,
    every: int | None = None,
    at: Sequence[int] | None = None,
    dense: int = 20,
    per_decade: int = 20,
) -> list[int]:
    """Return the epochs after which to measure, in order; the last is always among them.

    Parameters
    ----------
    epochs
        Of the run.
    every
        Measure after every so many epochs.
    at
        Measure after these epochs; those beyond the run are left out.
    dense, per_decade
        If neither is given: measure after each of the first `dense` epochs, then so many times
        while their number grows tenfold.

    Raises
    ------
    NeuralCollapseError
        If `every` or an epoch of `at` is below 1, or both are given.

    Examples
    --------
    >>> measurement_epochs(100, dense=5, per_decade=4)
    [1, 2, 3, 4, 5, 9, 16, 28, 50, 89, 100]
    >>> measurement_epochs(10, every=4)
    [4, 8, 10]
    """
    if every is not None and at is not None:
        raise NeuralCollapseError(
            "measure_every, measure_at", "at most one of them", "both", "leave one out"
        )
    if every is not None and every < 1:
        raise NeuralCollapseError(
            "measure_every", "at least 1 epoch", str(every), "use 1 for every epoch"
        )
    if at is not None and min(at, default=1) < 1:
        raise NeuralCollapseError(
            "measure_at", "epochs from 1 on", str(min(at)), "number the epochs from 1"
        )
    if every is not None:
        chosen = set(range(every, epochs + 1, every))
    elif at is not None:
        chosen = set(at)
    else:
        chosen = set(range(1, dense + 1))
        power = 0
        while (later := round(dense * 10 ** (power / per_decade))) < epochs:
            chosen.add(later)
            power += 1
    return sorted(epoch for epoch in chosen | {epochs} if epoch <= epochs)
