import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import crossed_anova
from neuralcollapse.generalization.crossed_anova import ratio_interval, within_seed_permutation

SHAPES = [(2, 2, 1), (3, 2, 2), (4, 5, 3), (2, 6, 2)]


def naive(y):
    """Mean squares, run by run, by explicit sums."""
    a, b, r = y.shape
    runs = [(p, s, o) for p in range(a) for s in range(b) for o in range(r)]

    def mean(keep):
        chosen = [y[run] for run in runs if keep(run)]
        return sum(chosen) / len(chosen)

    sums = dict.fromkeys(("alignment", "seed", "order", "alignment x seed", "error"), 0.0)
    grand = mean(lambda run: True)
    for p, s, o in runs:
        by_p, by_s = mean(lambda run, p=p: run[0] == p), mean(lambda run, s=s: run[1] == s)
        cell = mean(lambda run, p=p, s=s: run[:2] == (p, s))
        by_so = mean(lambda run, s=s, o=o: run[1:] == (s, o))
        sums["alignment"] += (by_p - grand) ** 2
        sums["seed"] += (by_s - grand) ** 2
        sums["order"] += (by_so - by_s) ** 2
        sums["alignment x seed"] += (cell - by_p - by_s + grand) ** 2
        sums["error"] += (y[p, s, o] - cell - by_so + by_s) ** 2
    df = (a - 1, b - 1, b * (r - 1), (a - 1) * (b - 1), (a - 1) * b * (r - 1))
    return {name: sums[name] / d for name, d in zip(sums, df, strict=True) if d}


@pytest.mark.parametrize("shape", SHAPES)
def test_mean_squares_by_explicit_sums(shape):
    y = np.random.default_rng(0).normal(size=shape)
    found = crossed_anova(y)["mean_square"].to_dict()
    assert found == pytest.approx(naive(y), rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_squares_and_degrees_add_up(shape):
    y = np.random.default_rng(1).normal(size=shape)
    table = crossed_anova(y)
    total = ((y - y.mean()) ** 2).sum()
    assert (table["mean_square"] * table["df"]).sum() == pytest.approx(total, rel=1e-12)
    assert table["df"].sum() == y.size - 1


def draws(rng, count, shape, sd):
    """Simulated designs, (count, a, b, r), with standard deviations of A, B, C, AB and E."""
    a, b, r = shape
    sizes = [(a, 1, 1), (1, b, 1), (1, b, r), (a, b, 1), (a, b, r)]
    return sum(s * rng.normal(size=(count, *size)) for s, size in zip(sd, sizes, strict=True))


def test_components_are_unbiased():
    sd, count = (0.5, 0.8, 0.6, 0.7, 0.4), 1500
    found = np.array(
        [
            crossed_anova(y)["variance"]
            for y in draws(np.random.default_rng(2), count, (4, 3, 2), sd)
        ]
    )
    # Columns: alignment, seed, order, alignment x seed, error.
    errors = found.mean(0) - np.square(sd)
    assert (np.abs(errors) < 4 * found.std(0) / math.sqrt(count)).all()
    assert (found[:, 0] < 0).any()  # not clipped


def test_the_component_of_seeds_is_that_of_seeds():
    # y = seed effect s, order effect +-1 within each seed, nothing else: MS_B = a r var(s),
    # MS_C = 2 a per seed with r = 2, and the unbiased component of seeds takes MS_C away.
    a, seeds = 3, np.array([0.0, 2.0, 4.0, 10.0])
    y = np.broadcast_to(seeds[:, None] + np.array([-1.0, 1.0]), (a, 4, 2))
    table = crossed_anova(y)
    assert table.loc["order", "variance"] == pytest.approx(2.0)
    assert table.loc["seed", "variance"] == pytest.approx(seeds.var(ddof=1) - 2.0 / 2)
    assert table.loc["alignment", "variance"] == pytest.approx(0.0, abs=1e-12)


def test_the_level_is_exact_under_the_null_and_the_law_is_F():
    rng = np.random.default_rng(3)
    found = [crossed_anova(y) for y in draws(rng, 1200, (4, 5, 2), (0, 1.0, 0.5, 0.7, 0.3))]
    F = np.array([table.loc["alignment", "F"] for table in found])
    assert stats.kstest(F, stats.f(3, 12).cdf).pvalue > 1e-3
    p = np.array([table.loc["alignment", "p"] for table in found])
    assert abs((p <= 0.05).mean() - 0.05) < 4 * math.sqrt(0.05 * 0.95 / len(p))


def test_the_permutation_test_keeps_its_level_without_a_normal_law():
    rng = np.random.default_rng(4)
    skewed = rng.exponential(size=(600, 4, 5, 1)) ** 2 * (1 + np.arange(5)[:, None])
    p = np.array([within_seed_permutation(y, 99, seed) for seed, y in enumerate(skewed)])
    # 99 permutations: the p-value is uniform on 0.01, 0.02, ..., 1.
    assert abs((p <= 0.05).mean() - 0.05) < 4 * math.sqrt(0.05 * 0.95 / len(p))
    assert abs(p.mean() - 0.505) < 4 * math.sqrt(1 / 12 / len(p))


def test_all_permutations_of_a_small_design_by_enumeration():
    # Two alignments, three seeds: each seed's pair is swapped or not, and only the square of the
    # sum of differences 1, 2, 4 matters. Of eight assignments, two reach (1 + 2 + 4)^2.
    y = np.array([[[1.0], [2.0], [4.0]], [[0.0], [0.0], [0.0]]])
    p = within_seed_permutation(y, 20000)
    assert abs(p - 2 / 8) < 4 * math.sqrt(0.25 * 0.75 / 20000)


@given(
    seed=st.integers(0, 2**16),
    shift=st.floats(-100, 100),
    scale=st.floats(0.1, 10),
)
def test_what_it_does_and_does_not_depend_on(seed, shift, scale):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(3, 4, 2))
    table = crossed_anova(y)
    seeds = rng.normal(size=(1, 4, 1))
    moved = crossed_anova(shift + scale * (y + seeds))
    for source in ("alignment", "alignment x seed"):
        assert moved.loc[source, "F"] == pytest.approx(table.loc[source, "F"], rel=1e-8)
        assert moved.loc[source, "mean_square"] == pytest.approx(
            scale**2 * table.loc[source, "mean_square"], rel=1e-8
        )
    renamed = y[rng.permutation(3)][:, rng.permutation(4)][:, :, rng.permutation(2)]
    np.testing.assert_allclose(crossed_anova(renamed), table, rtol=1e-10)


def test_the_interval_covers_as_often_as_it_says():
    rng, ratio = np.random.default_rng(5), 0.6
    covered = []
    for y in draws(rng, 800, (5, 6, 1), (ratio, 1.0, 0, 0, 1.0)):
        low, high = ratio_interval(crossed_anova(y).loc["alignment", "F"], 5, 6, 0.9)
        covered.append(low <= ratio <= high)
    assert abs(np.mean(covered) - 0.9) < 4 * math.sqrt(0.9 * 0.1 / 800)


def test_without_error_there_is_no_test_or_a_certain_one():
    flat = crossed_anova(np.ones((2, 3, 2)))
    assert flat["F"].isna().all()
    assert flat["p"].isna().all()
    ramp = crossed_anova(np.arange(3.0)[:, None, None] + np.zeros((3, 4, 1)))
    assert ramp.loc["alignment", "F"] == math.inf
    assert ramp.loc["alignment", "p"] == 0
    assert within_seed_permutation(np.ones((2, 3, 2)), 10) == 1
    assert all(math.isnan(limit) for limit in ratio_interval(math.nan, 2, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: crossed_anova(np.ones((2, 3))),
            r"values: expected shape \(a, b, r\).*got \(2, 3\)",
        ),
        (lambda: crossed_anova(np.ones((1, 3, 2))), r"got \(1, 3, 2\); use crossed_design"),
        (lambda: crossed_anova(np.ones((2, 1, 2))), r"got \(2, 1, 2\)"),
        (lambda: ratio_interval(1.0, 3, 3, 95.0), r"confidence: expected a number in \(0, 1\)"),
        (
            lambda: within_seed_permutation(np.ones((2, 2, 1)), 0),
            "permutations: expected at least 1",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()
