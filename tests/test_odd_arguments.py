"""Arguments of odd kinds and sizes end in a right number or in one clear error."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import neuralcollapse as nc
from neuralcollapse import ClassMoments, generalization, metrics, theory
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry import (
    etf_gram,
    fittable_etf,
    one_vs_rest_margin,
    orthant_margins,
    random_isometry,
    simplex_encoded_labels,
    simplex_etf,
    standard_simplex,
)
from neuralcollapse.metrics import preset, summarize
from neuralcollapse.ood import Mahalanobis, ViM, fpr_at_tpr, ood_scores, second_moment
from neuralcollapse.runs.snapshots import snapshot

NAN, INF = math.nan, math.inf
GENERATOR = torch.Generator().manual_seed(0)
Y = torch.arange(12) % 3
X = 3 * torch.eye(3, 4)[Y] + torch.randn(12, 4, generator=GENERATOR)
W = torch.randn(3, 4, generator=GENERATOR)
MOMENTS = ClassMoments(3, 4).update(X, Y)
H, LABELS = torch.randn(6, 4, generator=GENERATOR).double(), [0, 0, 1, 1, 2, 2]
PLANE = torch.tensor([[1.0, 0], [-0.5, 0.5], [-0.5, -0.5]]).double()


BATCHES = [(X, Y)]
MODEL = torch.nn.Linear(4, 3)
REPORT = nc.measure_features(X, Y)


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: preset("papyan2020", MOMENTS, W, [NAN, 0, 0]), "bias: expected finite"),
        (lambda: summarize(MOMENTS, W[None]), "weight: expected a matrix"),
        (
            lambda: ViM(MOMENTS, 1e-100 * W.double(), [1e100, 0, 0], alpha=1.0),
            "weight and bias: squares",
        ),
        (lambda: ViM(MOMENTS, W, train_features=torch.tensor(1.0)), "train_features"),
        (lambda: Mahalanobis(MOMENTS, shrinkage=1j), "shrinkage: expected a number"),
        (lambda: generalization.alignment_power(INF, 5, 3), "ratio: expected a finite number"),
        (lambda: generalization.calibration(W, [0, 1, 2]), "n >= 4"),
        (lambda: generalization.calibration(X.softmax(1), Y), "got probabilities.*logarithm"),
        (lambda: generalization.calibration(X, Y, bins=NAN), "bins: expected a whole number"),
        (lambda: generalization.calibration(X, Y, bins=10**9), "bins: expected at most"),
        (lambda: generalization.cross_fit_certificate(torch.tensor(1.0)), "at least 2 folds"),
        (
            lambda: generalization.error_certificate([1.0] * 12, labels=Y, class_names=object()),
            "class_names|labels",
        ),
        (
            lambda: generalization.error_certificate([1.0] * 12, labels=Y, tolerance=1j),
            "tolerance: expected a number",
        ),
        (
            lambda: generalization.error_certificate(
                [1.0, 2.0], held_out_ids=[NAN, NAN], train_ids=[1.0]
            ),
            "held_out_ids: expected one name per sample",
        ),
        (
            lambda: generalization.error_certificate(
                [1.0, 2.0], held_out_ids=[1, 2], train_ids=[[3]]
            ),
            "train_ids: expected one name per sample",
        ),
        (
            lambda: nc.measure_features(X.to_sparse(), Y),
            "features: .* got layout",
        ),
        (lambda: nc.measure_features(X.to("meta"), Y), "features: .* on the meta device"),
        (
            lambda: nc.measure_features(np.ma.masked_array(X.numpy(), X.numpy() > 2), Y),
            "features: expected real numbers, got .* of them masked",
        ),
        (lambda: nc.measure_features(X, [10**30] * 12), "labels: .* beyond 64 bits"),
        (lambda: nc.measure(MODEL, None), "loader: expected an iterable"),
        (lambda: nc.watch(MODEL, None).epoch_end(), "loader: expected an iterable"),
        (lambda: nc.measure(MODEL, BATCHES, max_batches=1.5), "max_batches: expected a whole"),
        (lambda: nc.measure(MODEL, BATCHES, min_samples=-1), "min_samples: expected at least 0"),
        (lambda: nc.measure(MODEL, BATCHES, feature_budget="x"), "feature_budget: expected a num"),
        (lambda: nc.measure(MODEL, BATCHES, feature_budget=NAN), "feature_budget: expected a num"),
        (lambda: nc.measure(MODEL, BATCHES, device="nope"), "device: expected a device of torch"),
        (lambda: nc.measure(MODEL, BATCHES, device="cuda:99"), "device: .* is here, got 'cuda:99'"),
        (lambda: nc.measure(MODEL, BATCHES, min_samples=99), "min_samples: .* that two .* got 99"),
        (lambda: nc.CollapseMetrics(3, 4, head=3), r"head: expected shape \(3, 4\)"),
        (lambda: REPORT.worst_pairs(0), "count: expected at least 1"),
        (lambda: nc.compare(REPORT, None), "report_b: expected a report, got NoneType"),
        (lambda: theory.LayerPeeledModel([0, 1], NAN), "dim: expected a whole number"),
        (lambda: theory.sufficient_statistics(H, [0, 1, 2, 0, 1, 2**62]), "a sample of each"),
        (lambda: simplex_encoded_labels([0, 2**62]), "a sample of each of 4611686018427387905"),
        (lambda: theory.polygon_kkt_point(4, NAN), "samples_per_class: expected a whole"),
        # Strengths whose products would be 0.
        (lambda: theory.weight_decay_optimum(3, 2, 4, 1e-200, 1e-200), "lambda_w: .* least 1e-60"),
        (lambda: theory.paired_critical_point(1e-200, 1e-200), "lambda_w: expected at least 1e-60"),
        (lambda: theory.unequal_minimizer([3, 2], 2, 0.1, 1e-200), "lambda_h: .* least 1e-60"),
        (
            lambda: theory.predicted_geometry([3, 2], 2, weight_decay=(1e-200, 1e-200)),
            "lambda_W: expected at least 1e-60",
        ),
        (
            lambda: theory.PerturbationOperator(PLANE.T @ PLANE, [0, 1], 1, 1e-200, 1e-200),
            "means|lambda_h",
        ),
        (
            lambda: theory.PerturbationOperator(torch.eye(2), [0, 1], 1e60, 1e30, 1.0),
            "lambda_w, lambda_h and beta: expected strengths whose sums and products",
        ),
        # Arrays that no memory holds.
        (lambda: simplex_etf(10**6, 10**6), "dim: expected arrays of at most .* numbers"),
        (lambda: random_isometry(10**6, 10**6), "dim: expected arrays of at most"),
        (lambda: etf_gram(10**6), "num_classes: expected arrays .*got 1,000,000 x 1,000,000"),
        (lambda: standard_simplex(10**6), "num_classes: expected arrays of at most"),
        (lambda: fittable_etf(3, 10**6, draws=1), "dim: expected arrays of at most"),
        (lambda: theory.polygon_kkt_point(10**6), "num_classes: expected arrays of at most"),
        (lambda: theory.simplex_groups_kkt_point([10**5, 2]), "group_sizes: expected arrays of"),
        (lambda: theory.weight_decay_optimum(10**15, 1, 10**15, 1, 1), "num_classes: expected arr"),
        (lambda: theory.separation_optimum([10**9, 1], 10), "class_sizes: expected arrays of at"),
        (lambda: theory.predicted_geometry([1] * 10**5, 10**5), "dim: expected arrays of at most"),
        (lambda: theory.unequal_minimizer([1] * 10**5, 2, 1, 1), "class_sizes: expected arrays"),
        (lambda: theory.regularized_mse_minimizer(3, 10**9, 9, 1, 1), "n: expected arrays of at"),
        (lambda: theory.regularized_mse_minimizer(3, 1, 10**12, 1, 1), "d: expected arrays of at"),
        (lambda: theory.paired_critical_point(0.1, 0.1, 10**12), "samples_per_class: expected arr"),
        (lambda: theory.origin_spectrum([10**12, 1], 3), "class_sizes: expected arrays of at"),
        (lambda: theory.paired_kkt_point(1, 10**12), "dim: expected arrays of at"),
        # Other kinds and shapes.
        (lambda: theory.commuting_path(1.0, 0.1, 3, 1, 1, [1]), "variances: .*radii of shape "),
        (
            lambda: theory.commuting_path([1.0], [0.1], "a", 1, 1, [1]),
            "num_classes: expected a n",
        ),
        (
            lambda: theory.commuting_path([1.0], [0.1], 3, 1, W, [1]),
            "lambda_h: expected a number",
        ),
        (lambda: theory.central_path(H, LABELS, 1, W, [1]), "lambda_h: expected a number"),
        (lambda: theory.collapsed_path_time(1, 2, 1, W), "lambda_h: expected a number"),
        (
            lambda: theory.head_mean_path([[0.1]]),
            "lr: expected one number, or one for each step",
        ),
        (lambda: theory.unequal_minimizer([3, 2], 2, 1, 1, class_weights="abc"), "class_weights"),
        (lambda: theory.unequal_minimizer([3, 2], 2, 1, 1, class_weights=[None]), "class_weights"),
        (
            lambda: theory.kkt_residuals(PLANE, PLANE, [0, 1, 2], torch.ones(2, 7)),
            r"multipliers: expected shape \(3, 3\), got \(2, 7\)",
        ),
        (lambda: theory.PerturbationOperator(torch.zeros(0, 4), [], 1, 1, 1), "means|labels"),
        (lambda: theory.PerturbationOperator(1e200 * PLANE, [0, 1, 2], 1, 1, 1), "means: .*square"),
        (
            lambda: theory.regularized_mse_optimality(torch.ones(4, 4), H, LABELS, 1, 1),
            r"W: expected shape \(3, d\), got \(4, 4\)",
        ),
        (lambda: theory.collapse_errors(1e200 * PLANE, PLANE, [0, 1, 2]), "W: .*squares fit"),
        (
            lambda: theory.weight_decay_escape(PLANE, 1e200 * PLANE, [0, 1, 2], 1, 1),
            "H: .*squares fit",
        ),
        (lambda: random_isometry(3, 4, 0), "generator: expected a torch.Generator, got 0"),
        (
            lambda: simplex_etf(3, 4, dtype="float32"),
            "dtype: expected a floating-point dtype",
        ),
        (lambda: simplex_etf(3, 4, dtype=torch.int64), "dtype: expected a floating-point dtype"),
        (lambda: theory.paired_kkt_point(1, NAN), "dim: expected a whole number"),
        (lambda: theory.simplex_groups_kkt_point(["a", "b"]), "group_sizes: expected real"),
        (lambda: theory.simplex_groups_kkt_point([[2, 2]]), "group_sizes: expected at least two"),
        (lambda: theory.weight_decay_optimum(NAN, 1, 3, 0.1, 0.1), "num_classes: expected a whole"),
        (
            lambda: theory.predicted_within_ratio(H[:, :1].expand(6, 4), LABELS, 1e-40, 0.1, 1.0),
            "lambda_w, lambda_h and beta: expected strengths above the round-off",
        ),
        (
            lambda: nc.predicted_geometry([2, 3], 2, weight_decay=5e-4),
            r"weight_decay: expected two strengths \(lambda_W, lambda_H\)",
        ),
        (
            lambda: nc.measure_regression(X, 1e200 * X[:, :2].double(), W[:2]),
            "targets: expected numbers whose squares fit in float64",
        ),
        (lambda: nc.measure_regression(X, 1e-200 * X[:, :2].double(), W[:2]), "fit in float64"),
        (
            lambda: nc.measure_regression(X, X[:, :2], W[:2], weight_decay=5e-4),
            "weight_decay: expected two strengths",
        ),
    ],
)
def test_one_clear_error(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


@pytest.mark.untyped
@pytest.mark.parametrize(
    "call",
    [
        metrics.nc1_pinv,
        metrics.nc1_trace_ratio,
        metrics.vci,
        metrics.cdnv,
        metrics.directional_cdnv,
        metrics.pairwise_collapse,
        generalization.cdnv_error_bound,
        second_moment,
        summarize,
        Mahalanobis,
        lambda report: metrics.margin_scale(report, W),
        lambda report: metrics.few_shot_bound(report, 5),
        lambda report: ViM(report, W, alpha=1.0),
        lambda report: ood_scores(report, W, None, X, "msp"),
    ],
)
def test_a_report_is_no_moments(call):
    message = r"moments: expected class moments, got CollapseReport; pass report\.train\.moments"
    with pytest.raises(NeuralCollapseError, match=message):
        call(REPORT)


@pytest.mark.untyped
@pytest.mark.parametrize("call", [generalization.certify_report, lambda m: snapshot(1, m)])
def test_moments_are_no_report(call):
    message = "report: expected a report, got ClassMoments; pass what measure or measure_features"
    with pytest.raises(NeuralCollapseError, match=message):
        call(MOMENTS)


@pytest.mark.untyped
def test_numbers_of_any_kind_count():
    assert fpr_at_tpr([3.0, 2.0], [1.0, 2.0], torch.tensor(0.95)) == 0.5
    for method in ("neco", "vim"):
        more = {"alpha": 1.0} if method == "vim" else {}
        whole, given = (
            ood_scores(MOMENTS, W, None, X, method, num_components=n, **more)
            for n in (2, np.float32(2))
        )
        torch.testing.assert_close(whole, given)
    sizes = [pd.Series([2, 3], index=[5, 6]), np.array([2.0, 3.0]), torch.tensor([2, 3])]
    values = {theory.simplex_groups_kkt_point(s).value for s in sizes}
    assert len(values) == 1
    operator = theory.GeneralPerturbationOperator(
        H.clone().requires_grad_(), LABELS, 0.5, 0.5, torch.tensor(1.0)
    )
    assert np.isfinite(operator.features).all()


def test_what_lies_beyond_doubles_goes_to_its_limit():
    assert generalization.center_deviation_probability(3, 10, 1.0, 1e-300) == 0
    assert generalization.etf_error(3, 1e-300) == 0


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_bounds_of_margins_do_not_depend_on_their_scale(scale):
    margins = np.array([1.0, 2.0, 3.0, -0.5, 4.0] * 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plug_in = generalization.cantelli_plug_in(scale * margins)
        upper = generalization.cantelli_upper(scale * margins[:50], 1e50) if scale == 1 else None
    assert plug_in == pytest.approx(generalization.cantelli_plug_in(margins), rel=1e-12)
    assert upper is None or 0 < upper <= 1


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_margins_of_heads_scale_with_them(scale):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = one_vs_rest_margin(scale * PLANE)
        behind = orthant_margins(scale * PLANE)
    whole = one_vs_rest_margin(PLANE)
    assert found.lower == pytest.approx(scale * whole.lower, rel=1e-9)
    torch.testing.assert_close(found.margins, scale * whole.margins)
    torch.testing.assert_close(behind.margins, scale * orthant_margins(PLANE).margins)


def test_calibration_takes_what_still_has_a_gradient():
    logits = X[:, :3].clone().requires_grad_()
    found = generalization.calibration(logits, Y)
    assert found.ece == generalization.calibration(logits.detach(), Y).ece


def test_ties_are_told():
    certificate = generalization.error_certificate([0.0] * 3 + [1.0] * 97)
    assert certificate.ties == certificate.errors == 3
    assert "The largest logits of 3 of 100 held-out samples tie." in " ".join(
        str(certificate).split()
    )
    assert "tie" not in str(generalization.error_certificate([-1.0] * 3 + [1.0] * 97))


def test_two_vectors_have_no_interval_of_their_shape():
    labels = torch.arange(40) % 2
    features = torch.randn(40, 3, generator=GENERATOR) + 2 * labels[:, None]
    report = nc.measure_features(features, labels)
    assert report.estimates["nc2_etf"].reason == "two vectors are always an ETF"
    assert report.estimates["nc1_trace_ratio"].has_interval
    assert "replicates" not in repr(report.estimates)


def test_simplices_of_the_line():
    assert simplex_etf(2, 1).abs().flatten().tolist() == pytest.approx([1, 1])


def test_saddles_that_only_round_off_sees_come_to_an_end():
    found = theory.near_features_minimizer(1e-20 * H[:2], [0, 1], 1e-14, 1e-14, 1.0)
    assert found.status == "not converged"


def test_a_batch_without_samples_says_nothing():
    empty = (X[:0], Y[:0])
    found = nc.measure(MODEL, [empty, (X, Y), empty])
    assert found.to_dict() == nc.measure(MODEL, BATCHES).to_dict()
    with pytest.raises(KeyError, match="no metric 'nope' was measured"):
        found.reading("nope")


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: MOMENTS.between_scatter("class"), "weighting"),
        (lambda: MOMENTS.between_scatter(center="mean"), "center"),
        (lambda: nc.metrics.nc1_pinv(MOMENTS, per="classes"), "per"),
        (lambda: nc.metrics.nc1_pinv(MOMENTS, within="class"), "weighting"),
        (lambda: nc.metrics.nc1_pinv(MOMENTS, center="mean"), "center"),
        (lambda: nc.metrics.nc1_trace_ratio(MOMENTS, denominator="all"), "denominator"),
        (lambda: nc.metrics.vci(MOMENTS, rank="whole"), "rank"),
        (lambda: nc.metrics.cdnv(MOMENTS, reduce="worst"), "reduce"),
        (lambda: nc.metrics.cdnv(MOMENTS, ddof=2), "ddof"),
        (lambda: nc.metrics.equinorm(W, ddof=2), "ddof"),
        (lambda: nc.metrics.equiangularity(W, reduce="median"), "reduce"),
        (lambda: nc.metrics.self_duality(W, W, variant="dot"), "variant"),
        (lambda: nc.metrics.pairwise_collapse(MOMENTS, "means"), "center"),
    ],
)
def test_an_option_that_is_none_of_the_choices_is_refused(call, name):
    """A misspelt option must not quietly stand for one of the others."""
    with pytest.raises(NeuralCollapseError, match=f"^{name}: expected one of "):
        call()


SQUARED = {
    "vectors": lambda scale: metrics.etf_distance(scale * W.double()),
    "target": lambda scale: metrics.gram_distance(W, scale * torch.eye(3).double()),
    "weight of self-duality": lambda scale: metrics.self_duality(scale * W.double(), W),
    "means of a product": lambda scale: metrics.product_duality(W, scale * W.double()),
    "weight of a distance": lambda scale: metrics.boundary_distances(X, Y, scale * W.double()),
    "weight of a mean": lambda scale: metrics.head_mean(scale * W.double()),
    "means of nearest": lambda scale: metrics.nearest_center(X, scale * W.double()),
    "singular_values": lambda scale: metrics.numerical_rank([2 * scale, scale]),
}


@pytest.mark.parametrize("scale", [1e160, 1e-160])
@pytest.mark.parametrize("call", SQUARED.values(), ids=SQUARED.keys())
def test_what_cannot_be_squared_is_refused(call, scale):
    with pytest.raises(NeuralCollapseError, match="expected numbers whose squares fit in float64"):
        call(scale)


@pytest.mark.parametrize("method", ["nci", "neco", "mahalanobis", "nearest_mean"])
def test_features_that_cannot_be_squared_have_no_score_and_no_nearest_mean(method):
    huge = 1e160 * X.double()
    for call in (
        lambda: ood_scores(MOMENTS, W, None, huge, method),
        lambda: metrics.ncc_accuracy(huge, Y, MOMENTS.means),
    ):
        with pytest.raises(NeuralCollapseError, match="features: expected numbers whose squares"):
            call()


def test_a_head_whose_logits_overflow_agrees_with_nothing_and_is_refused():
    with pytest.raises(NeuralCollapseError, match="logits of the head: expected finite numbers"):
        metrics.nc4_agreement(X, MOMENTS.means, 1e39 * W.double())


def test_an_empty_spectrum_has_no_rank():
    assert math.isnan(metrics.effective_rank([]))
    assert math.isnan(metrics.effective_rank([0.0]))
