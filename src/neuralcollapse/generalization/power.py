"""How many seeds it takes to see an effect of alignment."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pandas as pd
from scipy import stats

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import positive

MOST_SEEDS = 10**6


def alignment_power(ratio: float, alignments: int, seeds: int, level: float = 0.05) -> float:
    r"""Return the power of the F test of alignment, exact for normal random effects.

    .. math:: P\bigl( (1 + b\,\theta^2) F > F_{1-\alpha} \bigr), \qquad F \sim F(a-1, (a-1)(b-1)),
        \quad \theta = \sigma_A / \sigma_{cell}

    Parameters
    ----------
    ratio
        theta >= 0: standard deviation of the alignments' effects over that of a cell (interaction
        with the seed, and error over the root of the number of orders).
    alignments, seeds
        a >= 2 and b >= 2.
    level
        Of the test, in (0, 1).

    Returns
    -------
    float
        In [level, 1).

    Raises
    ------
    NeuralCollapseError
        If there are fewer than two alignments or seeds, or a number is out of range. One seed,
        however many the alignments, has no power.

    Examples
    --------
    >>> round(alignment_power(0.0, 6, 10), 12)
    0.05
    >>> alignment_power(0.5, 12, 9) > 0.8
    True
    """
    _check_level(level)
    for name, value in (("alignments", alignments), ("seeds", seeds)):
        if value < 2:
            raise NeuralCollapseError(
                name, "at least 2", str(value), "fewer cannot tell alignments from seeds"
            )
    if not ratio >= 0:
        raise NeuralCollapseError("ratio", "at least 0", str(ratio), "it is one of deviations")
    df = alignments - 1, (alignments - 1) * (seeds - 1)
    return float(stats.f.sf(stats.f.isf(level, *df) / (1 + seeds * ratio**2), *df))


def seeds_needed(ratio: float, alignments: int, power: float = 0.8, level: float = 0.05) -> int:
    """Return the least number of seeds with which the F test of alignment has a power.

    Parameters
    ----------
    ratio
        theta > 0, see `alignment_power`.
    alignments
        a >= 2.
    power, level
        In (0, 1).

    Returns
    -------
    int
        b >= 2.

    Raises
    ------
    NeuralCollapseError
        If a number is out of range, or more than a million seeds are needed.

    Examples
    --------
    >>> [seeds_needed(0.5, a) for a in (6, 12, 24)]
    [17, 9, 5]
    """
    positive("ratio", ratio)
    return _least(lambda b: alignment_power(ratio, alignments, b, level), power)


def power_table(
    alignments: Sequence[int] = (6, 12, 24),
    ratios: Sequence[float] = (0.25, 0.5, 1.0),
    power: float = 0.8,
    level: float = 0.05,
) -> pd.DataFrame:
    """Return the number of seeds that designs need, one row a number of alignments.

    Parameters
    ----------
    alignments, ratios
        Rows and columns, see `seeds_needed`.
    power, level
        In (0, 1).

    Returns
    -------
    DataFrame
        Of whole numbers.

    Examples
    --------
    >>> power_table([6], [0.25, 0.5, 1.0]).loc[6].tolist()
    [61, 17, 5]
    """
    rows = [[seeds_needed(ratio, a, power, level) for ratio in ratios] for a in alignments]
    return pd.DataFrame(
        rows,
        index=pd.Index(alignments, name="alignments"),
        columns=pd.Index(ratios, name="sigma_A / sigma_cell"),
    )


def seeds_for_paired_effect(
    effect: float, deviation: float, power: float = 0.8, level: float = 0.05
) -> int:
    """Return the number of seeds at which a paired two-sided t test sees a rule's effect.

    Parameters
    ----------
    effect
        Mean difference between rule and random alignments, not 0.
    deviation
        Standard deviation of that difference between seeds, > 0, in the same units.
    power, level
        In (0, 1).

    Returns
    -------
    int
        b >= 2.

    Raises
    ------
    NeuralCollapseError
        If a number is out of range, or more than a million seeds are needed.

    Examples
    --------
    >>> seeds_for_paired_effect(0.3, 0.6)
    34
    """
    size = positive("abs(effect)", abs(effect)) / positive("deviation", deviation)
    _check_level(level)

    def reached(b: int) -> float:
        limit, shift = stats.t.isf(level / 2, b - 1), size * math.sqrt(b)
        law = stats.nct(b - 1, shift)
        return float(law.sf(limit) + law.cdf(-limit))

    return _least(reached, power)


def _least(reached: Callable[[int], float], power: float) -> int:
    """Find the least number of seeds whose rising power is enough, by doubling and halving."""
    _check_level(power)
    high = 2
    while reached(high) < power:
        high *= 2
        if high > MOST_SEEDS:
            raise NeuralCollapseError(
                "power", f"one that {MOST_SEEDS} seeds reach", str(power), "look for more effect"
            )
    low = high // 2  # not enough, or below two
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= power else (middle, high)
    return high


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise NeuralCollapseError(
            "level and power", "numbers in (0, 1)", str(level), "use 0.05 and 0.8"
        )
