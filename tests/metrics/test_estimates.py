"""Corrected values against the truth of made-up worlds, and intervals by how often they cover."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import beta

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement import measure_features
from neuralcollapse.metrics.estimates.class_sample import ClassSample, PooledScatter
from neuralcollapse.metrics.estimates.corrected import (
    PROBES,
    corrected_cdnv,
    corrected_equiangular,
    corrected_equinorm,
    corrected_etf,
    corrected_pinv,
    corrected_self_duality,
    corrected_trace_ratio,
    corrected_vci,
    pinv_probe,
    pinv_terms,
    vci_probe,
)
from neuralcollapse.metrics.estimates.estimate import estimates, share_interval
from neuralcollapse.metrics.estimates.jackknife import interval, standard_error
from neuralcollapse.metrics.estimates.sample_groups import leave_out
from neuralcollapse.metrics.estimates.second_look import scatter_changes
from neuralcollapse.metrics.left_out import LeftOut
from neuralcollapse.metrics.nearest_center import NearestCenter
from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.moments.group_sums import GROUPS

K, DIM = 5, 16
WORLDS = ("isotropic", "anisotropic", "near collapse", "exact ETF", "unequal")


class World:
    """Normal classes with one covariance, whose metrics are known."""

    def __init__(self, name: str, per_class: int) -> None:
        generator = torch.Generator().manual_seed(5)
        self.means = torch.randn(K, DIM, generator=generator).double()
        self.deviation = torch.ones(DIM).double()
        if name in ("anisotropic", "unequal"):
            self.deviation = torch.arange(1, DIM + 1).double().rsqrt()
        if name in ("near collapse", "exact ETF"):
            etf = nc.simplex_etf(K, DIM, generator=generator, dtype=torch.float64)
            self.means = etf * math.sqrt(DIM)
        if name == "near collapse":
            self.deviation = 1e-4 * self.deviation
        self.head = self.means
        if name not in ("near collapse", "exact ETF"):
            noise = torch.randn(K, DIM, generator=generator).double()
            self.head = self.means + 0.3 * noise
        ends = 20 if name == "unequal" else 1
        sizes = [round(per_class * (1 + (ends - 1) * k / (K - 1))) for k in range(K)]
        self.labels = torch.arange(K).repeat_interleave(torch.tensor(sizes))
        self.generator = torch.Generator().manual_seed(7)

    def draw(self) -> torch.Tensor:
        noise = torch.randn(len(self.labels), DIM, generator=self.generator, dtype=torch.float64)
        return self.means[self.labels] + noise * self.deviation

    @property
    def truth(self) -> dict[str, float]:
        rows, within = self.means - self.means.mean(0), float(self.deviation.square().sum())
        pairs = [
            within / float((self.means[i] - self.means[j]).square().sum())
            for i in range(K)
            for j in range(i)
        ]
        return {
            "nc1_trace_ratio": within * K / float(rows.square().sum()),
            "cdnv": float(np.mean(pairs)),
            "nc2_equinorm": nc.metrics.equinorm(self.means),
            "nc2_equiangular": nc.metrics.equiangularity(self.means),
            "nc2_etf": nc.metrics.etf_distance(self.means),
            "nc3_self_duality": nc.metrics.self_duality(self.head, self.means),
        }

    @property
    def pinv(self) -> float:
        rows = self.means - self.means.mean(0)
        inverse = torch.linalg.pinv(rows.T @ rows)
        return float((inverse.diagonal() * self.deviation.square()).sum())

    @property
    def vci(self) -> float:
        share = torch.bincount(self.labels) / len(self.labels)
        rows = (self.means - share.double() @ self.means) / self.deviation
        theta = torch.linalg.eigvalsh(rows.T @ (share[:, None] * rows))[1 - K :]
        return float((1 / (1 + theta)).mean())


def covered(name: str, per_class: int, draws: int) -> dict[str, float]:
    """How often each interval covers the truth; nearly all draws have one."""
    world = World(name, per_class)
    truth = world.truth
    hits: dict[str, list[bool]] = {metric: [] for metric in truth}
    for _ in range(draws):
        state = CollapseState(K, DIM, intervals=True)
        state.gather(world.draw(), world.labels)
        found = estimates(state, dict.fromkeys(truth, math.nan), world.head)
        for metric, value in truth.items():
            if not found[metric].has_interval:
                assert metric == "cdnv", found[metric].reason
                continue
            # A distance that is 0 in theory is 1e-8 in round-off; a spread may be 1e-8 itself.
            slack = 1e-7 if metric.startswith(("nc2", "nc3")) else 0.0
            low, high = found[metric].lower - slack, found[metric].upper + slack
            hits[metric].append(low <= value <= high)
    assert all(len(hit) >= 0.95 * draws for hit in hits.values())
    return {metric: float(np.mean(hit)) for metric, hit in hits.items()}


def covered_of_scatter(name: str, per_class: int, draws: int) -> dict[str, float]:
    """The same of what a second look is for, where there are corrected values."""
    world = World(name, per_class)
    truth = {"nc1_pinv": world.pinv, "vci": world.vci}
    hits: dict[str, list[bool]] = {metric: [] for metric in truth}
    for _ in range(draws):
        state = CollapseState(K, DIM, intervals=True, feature_budget=2**20)
        state.gather(world.draw(), world.labels)
        state.settle(state.moments.means)
        found = estimates(state, dict.fromkeys(truth, math.nan))
        for metric, value in truth.items():
            if not math.isnan(found[metric].corrected):
                hits[metric].append(found[metric].lower <= value <= found[metric].upper)
    assert all(len(hit) > draws / 2 for hit in hits.values())
    return {metric: float(np.mean(hit)) for metric, hit in hits.items()}


@pytest.mark.parametrize("name", ["near collapse", "unequal"])
def test_intervals_of_what_follows_the_scatter_cover_the_truth(name):
    shares = covered_of_scatter(name, 20, 16)
    assert min(shares.values()) >= 0.68, shares  # 11 of 16: one in 1,000 at 95 %


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_coverage_of_what_follows_the_scatter_is_92_to_100_per_cent(name):
    shares = covered_of_scatter(name, 20, 400)
    assert min(shares.values()) >= 0.92 - 3 * math.sqrt(0.08 * 0.92 / 400), shares


def test_a_second_look_tells_how_the_scatter_moves_without_each_group():
    """Against the scatter of the others, along the same directions; in batches, from any order."""
    world = World("unequal", 6)
    mixed = torch.randperm(len(world.labels), generator=world.generator)
    x, y = world.draw()[mixed], world.labels[mixed]
    state = CollapseState(K, DIM, intervals=True, feature_budget=2**20)
    for part, labels in zip(x.split(7), y.split(7), strict=True):
        state.gather(part, labels)
    state.settle(state.moments.means)
    sample = ClassSample.of(state.moments)
    replicates = [sample.without(left) for left in leave_out(state.moments)]
    place = [int((y[:i] == y[i]).sum()) for i in range(len(y))]
    group = (torch.tensor(place) + y) % GROUPS
    for probe, sums in zip(PROBES, state.looked, strict=True):
        rows = probe(sample)
        for g, change in enumerate(scatter_changes(rows, sample, replicates, sums)):
            other = nc.ClassMoments(K, DIM).update(x[group != g], y[group != g])
            rest = int(other.counts.sum())
            scatter = other.within * rest / (rest - K) - sample.pooled.matrix
            assert change == pytest.approx(float((rows @ scatter @ rows.T).trace()), rel=1e-6)


def test_a_probe_is_the_derivative_by_the_scatter():
    """The square L^T L, against values at scatters a little larger in one direction."""
    world = World("exact ETF", 30)
    sample = ClassSample.of(nc.ClassMoments(K, DIM).update(world.draw(), world.labels))
    rows = vci_probe(sample)
    for v in torch.randn(3, DIM, generator=world.generator).double():
        wider = PooledScatter(sample.pooled.matrix + 1e-5 * v[:, None] * v, sample.pooled.nu)
        change = corrected_vci(replace(sample, pooled=wider)) - corrected_vci(sample)
        assert change == pytest.approx(1e-5 * float((rows @ v).square().sum()), rel=1e-3)
    plain, *bias = pinv_terms(sample)
    rows = pinv_probe(sample) * math.sqrt(1 + sum(bias))
    assert plain == pytest.approx(float((rows @ sample.pooled.matrix @ rows.T).trace()))


@pytest.mark.parametrize("name", WORLDS)
def test_intervals_cover_the_truth(name):
    shares = covered(name, 10, 24)
    assert np.mean(list(shares.values())) >= 0.92, shares
    assert min(shares.values()) >= 0.75, shares  # 18 of 24: one in 10,000 at 95 %


@pytest.mark.slow
@pytest.mark.parametrize("per_class", [5, 20])
@pytest.mark.parametrize("name", WORLDS)
def test_coverage_is_92_to_100_per_cent(name, per_class):
    shares = covered(name, per_class, 400)
    slack = 3 * math.sqrt(0.08 * 0.92 / 400)
    assert min(shares.values()) >= 0.92 - slack, shares


@pytest.mark.parametrize("name", ["isotropic", "exact ETF", "unequal"])
def test_corrected_values_have_a_small_part_of_the_bias_of_the_plain_ones(name):
    """Cells of the tables of bias, five samples per class: means over draws against the truth."""
    world, draws = World(name, 5), 50
    truth, found, plain = world.truth, [], []
    squares = ("nc2_equinorm", "nc2_equiangular", "nc3_self_duality")
    functions = {
        "nc1_trace_ratio": corrected_trace_ratio,
        "cdnv": corrected_cdnv,
        "nc2_equinorm": corrected_equinorm,
        "nc2_equiangular": corrected_equiangular,
        "nc2_etf": corrected_etf,
        "nc3_self_duality": corrected_self_duality,
    }
    rows = world.means - world.means.mean(0)
    spectrum = torch.linalg.eigvalsh(rows @ rows.T)[1:]
    expected = {n: truth[n] ** 2 if n in squares else truth[n] for n in functions}
    expected["nc2_etf"] = float(spectrum.var(correction=0) / spectrum.mean() ** 2)
    head = world.head - world.head.mean(0)
    for _ in range(draws):
        moments = nc.ClassMoments(K, DIM).update(world.draw(), world.labels)
        sample = ClassSample.of(moments, head)
        found.append([function(sample) for function in functions.values()])
        means = moments.means - moments.means.mean(0)
        eigenvalues = torch.linalg.eigvalsh(means @ means.T)[1:]
        plain.append([
            nc.metrics.nc1_trace_ratio(moments), nc.metrics.cdnv(moments),
            nc.metrics.equinorm(means) ** 2, nc.metrics.equiangularity(means) ** 2,
            float(eigenvalues.var(correction=0) / eigenvalues.mean() ** 2),
            nc.metrics.self_duality(head, means) ** 2,
        ])  # fmt: skip
    target = np.array(list(expected.values()))
    bias = np.abs(np.mean(found, 0) - target)
    error = np.std(found, 0) / math.sqrt(draws)
    before = np.abs(np.mean(plain, 0) - target)
    assert (bias <= np.maximum(4 * error, 0.35 * before)).all(), dict(
        zip(functions, zip(bias, error, before, strict=True), strict=True)
    )
    assert bias[0] < before[0] / 3
    assert bias[-1] < before[-1] / 3


def test_pinv_is_corrected_where_the_terms_are_small_and_withheld_elsewhere():
    """An exact ETF, 10 samples per class: the plain value is low by what the terms say."""
    world = World("exact ETF", 10)
    plain, fixed = [], []
    for _ in range(40):
        sample = ClassSample.of(nc.ClassMoments(K, DIM).update(world.draw(), world.labels))
        value, offset, variance = pinv_terms(sample)
        plain.append(value)
        fixed.append(corrected_pinv(sample))
        assert fixed[-1] == pytest.approx(value / (1 + offset + variance))
    assert abs(np.mean(fixed) - world.pinv) < 0.5 * abs(np.mean(plain) - world.pinv)
    few = World("isotropic", 3)
    sample = ClassSample.of(nc.ClassMoments(K, DIM).update(few.draw(), few.labels))
    assert math.isnan(corrected_pinv(sample))


def test_pinv_terms_at_plain_values_are_nc1_pinv_with_nu():
    world = World("anisotropic", 9)
    moments = nc.ClassMoments(K, DIM).update(world.draw(), world.labels)
    plain = pinv_terms(ClassSample.of(moments))[0]
    assert plain == pytest.approx(nc.metrics.nc1_pinv(moments) * 45 / 40, rel=1e-9)


def test_vci_near_collapse_divides_by_the_degrees_of_freedom():
    """At n = 8 the plain value is low by a third; between classes the spectrum is 4, four times."""
    world = World("near collapse", 8)
    truth = 1 / (1 + 4 / 1e-8)
    found, plain = [], []
    for _ in range(16):
        moments = nc.ClassMoments(K, DIM).update(world.draw(), world.labels)
        found.append(corrected_vci(ClassSample.of(moments)))
        plain.append(nc.metrics.vci(moments))
    assert np.mean(found) == pytest.approx(truth, rel=0.15)
    assert np.mean(plain) < 0.75 * truth
    few = World("near collapse", 4)
    sample = ClassSample.of(nc.ClassMoments(K, DIM).update(few.draw(), few.labels))
    assert math.isnan(corrected_vci(sample))  # fewer than 2 d degrees of freedom


def test_traces_of_powers_are_those_of_the_distribution():
    """The first two exactly in the mean; the third to first order in 1 / nu."""
    deviation = torch.arange(1, 9).double()
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(1500):
        x = torch.randn(30, 8, generator=generator, dtype=torch.float64) * deviation
        pooled = PooledScatter(x.T @ x / 30, 30.0)
        found.append([pooled.t1, pooled.t2, pooled.t3])
    expected = [float((deviation**power).sum()) for power in (2, 4, 6)]
    error = np.std(found, 0) / math.sqrt(len(found))
    assert (np.abs(np.mean(found, 0) - expected)[:2] < 4 * error[:2]).all()
    assert np.mean(found, 0)[2] == pytest.approx(expected[2], rel=0.1)


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_leaving_a_group_out_is_measuring_the_others(order):
    world = World("unequal", 1)
    x, y = world.draw(), world.labels
    if order == "shuffled":
        mixed = torch.randperm(len(y), generator=world.generator)
        x, y = x[mixed], y[mixed]
    state = CollapseState(K, DIM, intervals=True)
    for part, labels in zip(x.split(7), y.split(7), strict=True):
        state.gather(part, labels)
    place = [int((y[:i] == y[i]).sum()) for i in range(len(y))]
    group = (torch.tensor(place) + y) % GROUPS
    single = torch.bincount(y)[y] == 1
    for g, left in enumerate(leave_out(state.moments)):
        stays = (group != g) | single
        other = nc.ClassMoments(K, DIM).update(x[stays], y[stays])
        sizes = other.counts.double()
        assert left.sizes.tolist() == sizes.tolist()
        torch.testing.assert_close(left.steps, other.means - state.moments.means)
        spreads = other.trace_variances * sizes / (sizes - 1)
        torch.testing.assert_close(left.spreads[sizes > 1], spreads[sizes > 1])


def test_groups_have_equal_parts_of_every_class_whatever_the_batches():
    y = torch.arange(4).repeat_interleave(40)
    whole, parts, merged = (nc.ClassMoments(4, 2, groups=True) for _ in range(3))
    x = torch.randn(160, 2, generator=torch.Generator().manual_seed(0))
    whole.update(x, y)
    for features, labels in zip(x.split(3), y.split(3), strict=True):
        parts.update(features, labels)
    assert torch.equal(whole.group_counts, parts.group_counts)
    assert set(whole.group_counts.flatten().tolist()) == {2, 3}
    merged.merge(whole)
    merged.update(x, y)
    assert torch.equal(merged.group_counts.sum(0), 2 * whole.counts)
    assert set(merged.group_counts.flatten().tolist()) == {5}


def test_groups_survive_packing():
    world = World("isotropic", 6)
    state = CollapseState(K, DIM, intervals=True)
    state.gather(world.draw(), world.labels)
    again = CollapseState.from_vector(state.to_vector(), K, DIM, intervals=True)
    values = dict.fromkeys(("cdnv",), 0.0)
    one, other = (estimates(each, values)["cdnv"] for each in (state, again))
    assert (one.corrected, one.lower) == pytest.approx((other.corrected, other.lower), rel=1e-9)
    state.merge(again)
    assert state.moments.group_counts.sum() == 2 * len(world.labels)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=16)
    replicates = [np.delete(values, i).mean() for i in range(16)]
    assert standard_error(replicates) == pytest.approx(values.std(ddof=1) / 4)
    low, high = interval(1.0, 0.5, 16)
    assert (low + high) / 2 == pytest.approx(1)
    assert high - 1 == pytest.approx(0.5 * 2.13145, rel=1e-4)


def test_the_nearest_mean_by_leave_one_out_is_that_of_the_others():
    """Against means without the sample, one by one, and the noise that one sample less adds."""
    world = World("isotropic", 4)
    x, y = world.draw(), world.labels
    x = x - 0.7 * world.means[y]
    moments = nc.ClassMoments(K, DIM).update(x, y)
    right = []
    for i in range(len(y)):
        n = int((y == y[i]).sum())
        rest = torch.arange(len(y)) != i
        means = torch.stack([x[rest & (y == k)].mean(0) for k in range(K)])
        own = x[y == y[i]]
        spread = float(own.var(0).sum())
        distances = (x[i] - means).square().sum(1)
        distances[y[i]] -= spread / (n * (n - 1))
        right.append(int(distances.argmin()) == int(y[i]))
    nearest = NearestCenter(moments.means)
    _, own, ahead, _ = nearest.judged(x, y)
    found, told = LeftOut(moments).right(y, own, ahead)
    assert found.tolist() == right
    assert told.all()
    assert not all(right)


def test_own_samples_are_judged_by_leave_one_out_and_fresh_ones_as_they_are():
    """Noise: nearest to the mean it helped to make, but not to that of the others."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(100, 50, generator=generator), torch.arange(100) % 10
    report = measure_features(
        x, y, test_features=torch.randn(100, 50, generator=generator), test_labels=y
    )
    own, fresh = (report.estimates[name] for name in ("ncc_accuracy", "test_ncc_accuracy"))
    assert report["ncc_accuracy"] > 0.7
    assert own.lower <= 0.1 <= own.upper
    assert own.upper < 0.5
    assert fresh.corrected == report["test_ncc_accuracy"]


@pytest.mark.parametrize(("k", "n"), [(0, 7), (3, 7), (7, 7)])
def test_shares_have_exact_intervals(k, n):
    low, high = share_interval(k, n)
    assert low == pytest.approx(beta.ppf(0.025, k, n - k + 1) if k else 0)
    assert high == pytest.approx(beta.ppf(0.975, k + 1, n - k) if k < n else 1)


def test_what_has_no_interval_says_why():
    world = World("isotropic", 4)
    few = measure_features(world.draw(), world.labels).estimates["cdnv"]
    assert (few.has_interval, few.reason) == (False, "a class has fewer than 5 samples")
    assert few.corrected > 0
    world = World("isotropic", 6)
    x, y = world.draw(), world.labels
    off = measure_features(x, y, intervals=False).estimates["cdnv"]
    assert not off.has_interval
    assert "intervals=True" in off.reason
    assert measure_features(x, y).estimates["cdnv"].has_interval
    bare = measure_features(x, y, scatter=False).estimates["cdnv"]
    assert bare.reason == "the within-class scatter was not kept"
    once = measure_features(world.means, torch.arange(K)).estimates["cdnv"]
    assert once.reason == "one sample per class tells nothing about its spread"
    still = measure_features(world.means[y], y).estimates["cdnv"]
    assert still.reason == "there is no spread"


def test_training_shares_are_exact_and_test_shares_are_estimates():
    world = World("isotropic", 8)
    report = measure_features(
        world.draw(), world.labels, world.head,
        test_features=world.draw(), test_labels=world.labels,
    )  # fmt: skip
    assert "fitted to these samples" in report.estimates["accuracy"].reason
    fresh = report.estimates["test_accuracy"]
    assert fresh.lower < report["test_accuracy"] <= fresh.upper
    least = report.estimates["test_margin_min"]
    assert least.words.endswith("at most 7.22 %")  # 1 - 0.05^(1 / 40)
    assert "margin_min" not in report.estimates


def test_the_report_shows_them_and_says_which_question_they_answer():
    world = World("isotropic", 8)
    report = measure_features(
        world.draw(), world.labels, test_features=world.draw(), test_labels=world.labels
    )
    text = " ".join(str(report).split())
    assert "what unlimited fresh samples would give" in text
    assert "Of a complete data set the plain value is exact." in text
    frame = report.to_frame()
    found = report.estimates["test_cdnv"]
    assert frame.loc["cdnv", "test_upper"] == found.upper
    assert math.isnan(frame.loc["vci", "lower"])  # too few samples for its features
    assert report.to_record()["estimates"]["test_cdnv"] == {
        "corrected": found.corrected, "lower": found.lower, "upper": found.upper
    }  # fmt: skip
    assert '"estimates"' in report.to_json()


def test_neither_rotation_nor_scale_nor_order_of_classes_matters():
    world = World("anisotropic", 12)
    x, y = world.draw(), world.labels
    turn = torch.linalg.qr(torch.randn(DIM, DIM, generator=world.generator).double()).Q
    one = measure_features(x, y).estimates
    other = measure_features(3 * x @ turn + 5, y).estimates
    for name in world.truth:
        if name in one:
            assert one[name].corrected == pytest.approx(other[name].corrected, rel=1e-6), name
            assert one[name].upper == pytest.approx(other[name].upper, rel=1e-6), name


@pytest.mark.parametrize("scale", [1e-130, 1e-60, 1e52, 1e140])
def test_units_of_features_and_head_change_nothing(scale):
    """Cubes of variances leave float64 long before their squares do."""
    world = World("anisotropic", 30)
    x, y = world.draw(), world.labels
    one = measure_features(x, y, world.head, intervals=True)
    other = measure_features(scale * x, y, 1e-100 * world.head, intervals=True)
    for name, value in one.items():
        if name != "margin_min":
            assert other[name] == pytest.approx(value, rel=1e-6), name
    for name, each in one.estimates.items():
        if name != "margin_min":
            assert other.estimates[name].corrected == pytest.approx(
                each.corrected, rel=1e-6, nan_ok=True
            ), name
            assert other.estimates[name].upper == pytest.approx(each.upper, rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("scale", [1e-160, 1e160])
def test_a_head_whose_squares_leave_float64_is_refused(scale):
    world = World("isotropic", 8)
    with pytest.raises(NeuralCollapseError, match="weight: expected numbers whose squares fit"):
        measure_features(world.draw(), world.labels, scale * world.head)


def test_means_within_their_noise_are_a_reason_to_doubt_the_cdnv():
    world = World("isotropic", 8)
    x = world.draw()
    report = measure_features(x, world.labels)
    assert not report.estimates["cdnv"].doubt
    between = world.means[1] - world.means[0]
    near = x - (world.labels == 1)[:, None] * between  # the second class where the first is
    report = measure_features(near, world.labels)
    found = report.estimates["cdnv"]
    assert found.doubt == "class means are less than 1.5 standard errors apart"
    assert not found.has_interval
    assert "Do not rely on the corrected cdnv: class means" in " ".join(str(report).split())


@pytest.mark.parametrize("metric", ["nc1_trace_ratio", "cdnv"])
def test_intervals_of_means_near_their_noise_are_withheld_or_cover(metric):
    """Two classes from 1 to 8 standard errors apart: without the limit, 34 % at the second."""
    generator = torch.Generator().manual_seed(3)
    labels, hits, shown = torch.arange(2).repeat_interleave(20), 0, []
    step = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    for length in (0.75, 1.0, 1.5, 2.5, 5.0):
        shown.append(0)
        for _ in range(24):
            noise = torch.randn(40, 3, generator=generator, dtype=torch.float64)
            state = CollapseState(2, 3, intervals=True)
            state.gather(noise + length * labels[:, None] * step, labels)
            found = estimates(state, {metric: math.nan})[metric]
            if not found.has_interval:
                near = found.reason == "class means are less than 3 standard errors apart"
                assert near or math.isnan(found.corrected)
                continue
            truth = 3 / length**2 * (4 if metric == "nc1_trace_ratio" else 1)
            shown[-1] += 1
            hits += found.lower <= truth <= found.upper
    assert shown[0] <= 6  # a half are without an interval only by chance
    assert shown[-1] == 24
    assert hits / sum(shown) >= 0.8


@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_degenerate_worlds_have_reasons_and_no_errors(apart):
    """A head of zeros; and class means that are equal but for noise, or exactly."""
    world = World("isotropic", 8)
    x = world.draw() - (1 - apart) * world.means[world.labels]
    found = measure_features(x, world.labels, torch.zeros(K, DIM)).estimates
    assert not found["nc3_self_duality"].has_interval
    mirrored = torch.cat([x, -x])
    twice = measure_features(mirrored, torch.cat([world.labels] * 2)).estimates
    assert all(each.has_interval or each.reason for each in twice.values())


def test_fewer_than_two_classes_have_no_estimates():
    with pytest.raises(NeuralCollapseError):
        measure_features(torch.ones(4, 2), [0, 0, 0, 0])


def test_vci_has_an_interval_only_where_each_direction_stands_out_of_noise():
    """With 20 classes, a third of whose directions drown, it covered 52 % of the time."""
    generator = torch.Generator().manual_seed(4)
    means = torch.eye(20, 24, dtype=torch.float64)
    labels = torch.arange(20).repeat_interleave(10)
    for size, shown in ((4.0, 12), (0.5, 0)):
        found = []
        for _ in range(12):
            noise = torch.randn(200, 24, generator=generator, dtype=torch.float64)
            state = CollapseState(20, 24, intervals=True, feature_budget=2**24)
            state.gather(noise + size * means[labels], labels)
            state.settle(state.moments.means)
            found.append(estimates(state, {"vci": math.nan})["vci"])
        assert sum(each.has_interval for each in found) == shown
        assert all(each.corrected > 0 for each in found)
    assert (
        "each direction of the means"
        in measure_features(noise + 0.5 * means[labels], labels, intervals=True)
        .estimates["vci"]
        .reason
    )


@pytest.mark.parametrize(
    ("tails", "shown"),
    [
        ("normal", True),
        ("in coordinates", True),
        ("of whole samples", False),
        ("of classes", False),
    ],
)
def test_long_tails_leave_vci_without_an_interval(tails, shown):
    """The inverse of a scatter is another then: of a multivariate t, 35 % of intervals covered."""
    generator = np.random.default_rng(0)
    labels = np.arange(10).repeat(50)
    noise = generator.standard_normal((500, 64))
    if tails == "in coordinates":
        noise = generator.standard_t(8, (500, 64))
    elif tails == "of whole samples":
        noise *= np.sqrt(5 / generator.chisquare(5, (500, 1)))
    elif tails == "of classes":
        noise *= np.linspace(0.3, 2, 10)[labels][:, None]
    features = 2 * generator.standard_normal((10, 64))[labels] + noise
    state = CollapseState(10, 64, intervals=True)
    state.gather(features, labels)
    sample = ClassSample.of(state.moments)
    found = measure_features(features, labels, intervals=True).estimates["vci"]
    assert found.has_interval == shown
    assert found.corrected > 0
    assert (sample.kurtosis < 0.2) == shown
    if shown:
        assert abs(sample.kurtosis) < 0.06
