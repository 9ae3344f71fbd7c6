"""How many seeds it takes to see an effect of alignment.

Here are the random effects of a crossed design, which no library has; statsmodels has the power of
paired and one-way designs.
"""

from __future__ import annotations

from bisect import bisect_left

from scipy import stats

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import fraction, positive, real_number, whole_number

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
    >>> from neuralcollapse.generalization import alignment_power
    >>> round(alignment_power(0.0, 6, 10), 12)
    0.05
    >>> alignment_power(0.5, 12, 9) > 0.8
    True
    """
    fraction("level", level, "use 0.05 for 5 %")
    for name, value in (("alignments", alignments), ("seeds", seeds)):
        if whole_number(name, value, 1) < 2:
            raise NeuralCollapseError(
                name, "at least 2", str(value), "fewer cannot tell alignments from seeds"
            )
        whole_number(name, value, 2, MOST_SEEDS)
    if real_number("ratio", ratio) != 0:
        ratio = positive("ratio", ratio)
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
    >>> from neuralcollapse.generalization import seeds_needed
    >>> [seeds_needed(0.5, a) for a in (6, 12, 24)]
    [17, 9, 5]
    """
    positive("ratio", ratio)
    fraction("power", power, "use 0.8 for 80 %")
    counts = range(2, MOST_SEEDS + 1)  # the power rises with the seeds
    place = bisect_left(counts, power, key=lambda b: alignment_power(ratio, alignments, b, level))
    if place == len(counts):
        expected = f"one that {MOST_SEEDS} seeds reach"
        raise NeuralCollapseError("power", expected, str(power), "use more alignments")
    return counts[place]
