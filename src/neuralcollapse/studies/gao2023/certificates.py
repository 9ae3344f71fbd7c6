"""Ours: which statements about held-out data keep their promise, and which only explain."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from scipy.optimize import brentq
from scipy.stats import binom, norm

from neuralcollapse.generalization.certificates import (
    cantelli_plug_in,
    cantelli_upper,
    cdnv_error_bound,
    clopper_pearson_upper,
    distribution_free_floor,
    margin_ramp_upper,
)
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.moments import ClassMoments
from neuralcollapse.studies.claims import Evidence, farthest
from neuralcollapse.studies.gao2023.held_out_worlds import NUM_CLASSES, WORLDS, World
from neuralcollapse.studies.gao2023.study import study
from neuralcollapse.wording import number

CONFIDENCE = 0.95
REPLICATES = 2000
RARE = 1e-4  # how often a count may leave the limits set for it, if the statement is true

# Name -> bounds of margins (replicates, n), given a scale from training margins.
Method = Callable[[np.ndarray, float], np.ndarray]
CERTIFICATES: dict[str, Method] = {
    "Clopper-Pearson": lambda m, scale: clopper_pearson_upper((m <= 0).sum(-1), m.shape[-1]),
    "margin ramp": lambda m, scale: margin_ramp_upper(m, scale / 2.0 ** np.arange(5)),
    "Cantelli, clipped": cantelli_upper,
}
PLUG_INS: dict[str, Method] = {
    "Cantelli, plug-in": lambda m, scale: cantelli_plug_in(m),
    "normal, plug-in": lambda m, scale: norm.sf(m.mean(-1) / m.std(-1, ddof=1)),
}


def coverage_table(
    worlds: Sequence[World] = WORLDS, n: int = 400, replicates: int = REPLICATES
) -> pd.DataFrame:
    """Draw held-out samples again and again, and count how often each bound holds.

    Parameters
    ----------
    worlds
        Distributions of the samples, with known errors.
    n
        Held-out samples.
    replicates
        How many times they are drawn.

    Returns
    -------
    DataFrame
        One row per world and method: ``world``, ``error`` (the true one), ``method``,
        ``certifies``, ``coverage`` (share of the draws whose bound is at least the error; nominal
        0.95), ``median`` of the bound.
    """
    generator = np.random.default_rng(0)
    rows = []
    for world in worlds:
        scale = float(np.median(world.draw(1, 600, generator)))  # a training sample's, apart
        margins, error = world.draw(replicates, n, generator), world.error
        for name, method in (CERTIFICATES | PLUG_INS).items():
            bounds = method(margins, scale)
            rows.append(
                {
                    "world": world.name,
                    "error": error,
                    "method": name,
                    "certifies": name in CERTIFICATES,
                    "coverage": float((bounds >= error).mean()),
                    "median": float(np.median(bounds)),
                }
            )
    return pd.DataFrame(rows)


def coverage_markdown(table: pd.DataFrame) -> str:
    """Return a coverage table as Markdown: coverage / median, bold where coverage falls short.

    Parameters
    ----------
    table
        Of `coverage_table`.
    """
    methods = list(dict.fromkeys(table["method"]))
    lines = [["world", "true error", *methods], ["---"] * (2 + len(methods))]
    for world, rows in table.groupby("world", sort=False):
        cells = [
            f"{_mark(row['coverage'])} / {number(row['median'])}" for _, row in rows.iterrows()
        ]
        lines.append([str(world), number(rows["error"].iloc[0]), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _mark(coverage: float) -> str:
    short = coverage < CONFIDENCE - _slack(CONFIDENCE)
    return f"**{coverage:.3f}**" if short else f"{coverage:.3f}"


def _slack(share: float, replicates: int = REPLICATES) -> float:
    """Return how far below `share` a share of the replicates falls but once in 10,000 times."""
    return share - float(binom.ppf(RARE, replicates, share)) / replicates


@study.claim(
    "certificate-coverage",
    "Ours: Clopper-Pearson's bound, the squared margin ramp and Cantelli's on clipped margins hold "
    "with 95 % probability in every one of five worlds: normal, heavy tails, wrong-class atoms, "
    "deep collapse, and deep collapse with atoms; and each spends its whole 5 %.",
)
def _coverage() -> Iterator[Evidence]:
    for n in (100, 400):
        table = coverage_table(n=n)
        for name in CERTIFICATES:
            own = table[table["method"] == name].sort_values("coverage")
            words, least = (
                f"{name}: least coverage of five worlds, n = {n}",
                own["coverage"].iloc[0],
            )
            note = f"{own['world'].iloc[0]}; {REPLICATES} draws"
            yield Evidence.at_least(words, least, CONFIDENCE, _slack(CONFIDENCE), note=note)

    yield from _spent()


def _spent() -> Iterator[Evidence]:
    """Recover from each bound the probability of failure it allows for, which is to be delta."""
    delta, n = 1 - CONFIDENCE, 1000
    tails = [binom.cdf(k, n, clopper_pearson_upper(k, n)) / delta for k in (0, 3, 200)]
    words = "Clopper-Pearson: P(no more errors than seen) at the bound, over delta"
    yield Evidence(words, farthest(tails), 1, 1e-9, note="binomial sums")
    thresholds = 0.5 ** np.arange(5)
    bound = margin_ramp_upper(np.full(n, 2.0), thresholds)
    words = "margin ramp, no error seen: chance of that at the bound, five thresholds, over delta"
    yield Evidence(words, len(thresholds) * (1 - bound) ** n / delta, 1, 1e-9)
    bound = cantelli_upper(np.full(n, 2.0), 2.0)

    def excess(level: float) -> float:
        """Bound of Maurer and Pontil at this level for a sample without spread, less ours."""
        deviation = math.sqrt(2 * level / (n - 1))
        mean = 1 - deviation * math.sqrt(2 * level / n) - level / (3 * n)
        return deviation**2 / (deviation**2 + mean**2) - bound

    level = brentq(excess, 0.1, 20)
    words = "Cantelli, no spread seen: chances that mean or deviation is off, over delta"
    yield Evidence(words, 2 * math.exp(-level) / delta, 1, 1e-9)


@study.claim(
    "collapse-plug-ins-fail",
    "Ours: what collapse measured on the sample seems to allow is no bound. In deep collapse with "
    "a few samples on a wrong class's mean, Cantelli's inequality and the CDNV with plugged-in "
    "moments hold only if the sample has one of these: with probability 1 - (1 - p)^n.",
)
def _plug_ins_fail() -> Iterator[Evidence]:
    for atoms, n in ((0.005, 100), (0.005, 400), (0.02, 100)):
        coverage = _by_method(World("", 0.02, atoms), n, "coverage")
        expected = 1 - (1 - atoms) ** n
        words = f"coverage of Cantelli's plug-in, p = {atoms}, n = {n}"
        yield Evidence(words, coverage["Cantelli, plug-in"], expected, _slack(expected))
    replicates, atoms, n = 400, 0.02, 100
    bounds = _cdnv_bounds(World("", 0.02, atoms), n, replicates)
    expected, covered = 1 - (1 - atoms) ** n, float((bounds >= atoms).mean())
    words = f"coverage of the CDNV's plug-in, p = {atoms}, n = {n}"
    note = f"{replicates} draws of features in 8 dimensions"
    yield Evidence(words, covered, expected, _slack(expected, replicates), note=note)
    share, bound = _chebyshev()
    words = "share nearer to the other class's mean over the CDNV's bound on it, in the worst case"
    note = "one sample in 101 of each class at the boundary: Chebyshev's inequality is attained"
    yield Evidence(words, share / bound, 1, 0.01, note=note)
    worst = cantelli_plug_in(np.concatenate([np.zeros(1), np.full(99, 1.0)]))
    words = "share of errors over Cantelli's plug-in, in the worst case of one sample"
    yield Evidence(words, 0.01 / worst, 1, 1e-9)
    heavy = _by_method(World("", 0.25, degrees=3), 400, "coverage")["normal, plug-in"]
    words = "coverage of the normal plug-in, heavy tails, n = 400"
    note = "less than chance makes of 0.95"
    yield Evidence.at_most(words, heavy, CONFIDENCE - _slack(CONFIDENCE), note=note)


@study.claim(
    "certificate-floor",
    "Ours: without an assumption on the data no bound from n samples is below 1 - (2 delta)^(1/n) "
    "in more than half of its uses, however deep the collapse; what is, fails in a mixture.",
)
def _floor() -> Iterator[Evidence]:
    n = 400
    floor = distribution_free_floor(n, CONFIDENCE)
    medians = _by_method(World("", 0.02), n, "median")
    for name in CERTIFICATES:
        comparison = f"{name}: median in deep collapse, n = {n}"
        yield Evidence.at_least(comparison, medians[name], floor)
    # Say 1 - (2 delta)^(1/n) by the toss of a coin where no error is seen, and 1 otherwise.
    failing = float(binom.pmf(0, n, floor)) / 2
    words = "a bound that is at the floor in half of its uses: its worst chance to fail, over delta"
    note = "so no floor is higher, if a bound may toss a coin"
    yield Evidence(words, failing / (1 - CONFIDENCE), 1, 1e-9, note=note)
    low = "Cantelli, plug-in"
    yield Evidence.at_most(f"{low}: the same", medians[low], floor)
    words = f"{low}: coverage with a share of atoms as large as the floor"
    covered, limit = _by_method(World("", 0.02, floor), n, "coverage")[low], 1 - (1 - floor) ** n
    note = "the proof's mixture: 1 - 2 delta"
    yield Evidence.at_most(words, covered, limit, _slack(limit), note=note)


def _by_method(world: World, n: int, column: str) -> dict[str, float]:
    """Return a column of the coverage table of one world, by method."""
    table = coverage_table([world], n)
    return dict(zip(table["method"], table[column], strict=True))


def _cdnv_bounds(world: World, n: int, replicates: int) -> np.ndarray:
    """Return the CDNV's plug-in of samples of features in 8 dimensions, one a replicate."""
    generator = torch.Generator().manual_seed(0)
    vertices = simplex_etf(NUM_CLASSES, 8, generator=generator)
    labels = torch.arange(n) % NUM_CLASSES
    bounds = []
    for _ in range(replicates):
        wrong = torch.rand(n, generator=generator) < world.atoms
        noise = torch.randn(n, 8, generator=generator, dtype=torch.float64)
        features = vertices[labels] + world.deviation * noise
        features[wrong] = vertices[(labels[wrong] + 1) % NUM_CLASSES]
        moments = ClassMoments(NUM_CLASSES, 8, scatter=False).update(features, labels)
        bounds.append(cdnv_error_bound(moments))
    return np.array(bounds)


def _chebyshev() -> tuple[float, float]:
    """Return the share not nearer to its own mean, and the bound, where both nearly meet."""
    n, gap = 101, 1.0
    own = torch.full((n, 1), -gap / 2 / (n - 1), dtype=torch.float64)
    own[0] = gap / 2  # of mean 0, with one sample half-way to the other mean
    features, labels = torch.cat([own, gap - own]), torch.arange(2).repeat_interleave(n)
    share = float((features[:n] >= gap / 2 - 1e-12).double().mean())
    return share, cdnv_error_bound(ClassMoments(2, 1).update(features, labels))
