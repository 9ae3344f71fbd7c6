"""Each claim fails under a fault in a public function: no claim holds whatever the code does."""

import contextlib
import dataclasses
import inspect
import math
import sys

import numpy as np
import pytest
import torch

from neuralcollapse import generalization as gen
from neuralcollapse import geometry, metrics, theory
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import certificates
from neuralcollapse.geometry import alignment
from neuralcollapse.studies import FigureJob, load_study
from neuralcollapse.studies.papers import PAPERS
from neuralcollapse.studies.tirer2023 import figure2, layerwise

CLAIMS = {claim.id: claim for paper in PAPERS for claim in load_study(paper).claims}


def replaced(found, **changes):
    """Return a result with some of its fields changed by functions."""
    return dataclasses.replace(found, **{k: f(getattr(found, k)) for k, f in changes.items()})


def times(factor):
    """Return a fault that multiplies what a function returns."""
    return lambda original: lambda *a, **k: factor * original(*a, **k)


def field(**changes):
    """Return a fault that changes fields of what a function returns."""
    return lambda original: lambda *a, **k: replaced(original(*a, **k), **changes)


def half(value):
    return value / 2


def double(value):
    return 2 * value


def to_first_order(factor):
    """A fault of Equation 5 alone."""
    return lambda f: lambda self, *a: f(self, *a) * (factor if self.variant == "first-order" else 1)


def later(original):
    """A clock that runs wrong: states of half the log time, shown as of the whole."""

    def flow(W, H, labels, log_times, *a, **k):
        return original(W, H, labels, [t / 2 for t in np.atleast_1d(log_times)], *a, **k)

    return flow


def without_own_part(original):
    """A Hessian product that forgets how the residual moves the factors."""

    def product(self, W, H, U, V):
        (a, b), (_, d) = original(self, W, H, U, V), original(self, W, H, 0 * U, V)
        return a, (b + d) / 2

    return product


def double_first(original):
    """A matrix whose first row is twice as long."""

    def encoded(*a, **k):
        rows = original(*a, **k).clone()
        rows[0] *= 2
        return rows

    return encoded


def without_decay(original):
    """The limit of no decay for the shape at a decay."""
    return lambda *a, weight_decay=None, **k: original(*a, **k)


def swapped_pair(original):
    return lambda self, dH0: original(self, dH0).flip(0)


def leaning(found):
    """A direction with a part along the radius."""
    return replaced(found, dW=lambda dW: 2 * dW)


def other_columns(original):
    """The norms of columns for those of rows."""

    def measure(network):
        if isinstance(network, torch.nn.Module):
            return original(network)
        return original([weight.T for weight in network])

    return measure


def swapped_seeds_and_orders(original):
    def effects(table, *a, **k):
        swapped = table.rename(columns={"seed": "order", "order": "seed"})
        return original(swapped if table["order"].nunique() > 1 else table, *a, **k)

    return effects


def without_shares(original):
    """A grid of margins each of which spends the whole of delta / (1 + |k|)^2."""

    def bound(*a, **k):
        found = original(*a, **k)
        level = 2 * found.num_samples * (found.deviation / 3) ** 2 - math.log(math.pi**2 / 3 - 1)
        return replaced(found, deviation=lambda _: 3 * math.sqrt(level / found.num_samples / 2))

    return bound


def of_delta(factor):
    """Return a fault that has the bound spend another multiple of delta."""
    return lambda original: lambda *a: original(*a, confidence=1 - factor * 0.05)


def plain_floor(num_samples, confidence=0.95):
    return 1 - (1 - confidence) ** (1 / num_samples)


def first_pass(images, depth, config, device):
    """Layers that are all copies of the first."""
    labels = images.train.tensors[1]
    generator = torch.Generator().manual_seed(config.seed)
    means = torch.randn(10, 8, generator=generator)[labels]
    return [means + torch.randn(len(labels), 8, generator=generator)] * depth


def deterministic_decays(job, configs, **options):
    """Histories in which more decay of the features means more variability, at any strength."""
    return [
        [
            {"epoch": 1, "accuracy": 1.0, "nc2_etf": 1.0, "nc1_trace_ratio": 1.0}
            | {"nc1_pinv": 1 + 10 * c.weight_decay + c.head_weight_decay}
        ]
        for c in configs
    ]


# Claim, public function (or a class and its method), fault.
FAULTS = [
    ("ji2022.def2.1", geometry, "simplex_etf", times(1.001)),
    ("ji2022.thm3.1", theory, "least_margin_bound", field(nuclear=double)),
    ("ji2022.thm3.1", theory, "least_margin_bound", field(product=half)),
    ("ji2022.thm3.1", theory, "least_margin_bound", field(mean_square=double)),
    (
        *("ji2022.thm3.1-any-sizes", theory, "least_margin_bound"),
        field(mean_square=lambda x: 1.01 * x),
    ),
    ("ji2022.thm3.1-any-sizes", theory, "separation_optimum", field(value=lambda x: 1.01 * x)),
    ("ji2022.thm3.2", theory, "gradient_flow", later),
    ("ji2022.thm3.2", theory, "gradient_flow", field(gap=half)),
    ("ji2022.thm3.2", theory, "kkt_residuals", field(stationarity=half)),
    ("ji2022.thm3.2", theory, "kkt_residuals", field(dual=half)),
    ("ji2022.thm3.2", theory, "kkt_residuals", field(complementarity=half)),
    ("ji2022.fig2", theory, "collapse_errors", field(within_class=lambda x: x**2)),
    ("ji2022.fig2", theory, "collapse_errors", field(equinorm_rows=lambda x: x**2)),
    ("ji2022.fig2", theory, "collapse_errors", field(self_duality=double)),
    ("ji2022.fig2-constants", theory, "flow_asymptotics", field(per_class=double)),
    ("ji2022.fig2-balanced", theory, "collapse_errors", field(within_class=lambda x: x**2)),
    ("ji2022.ex3.1", theory, "simplex_groups_kkt_point", field(multipliers=half)),
    ("ji2022.ex3.1", theory, "paired_critical_point", field(W=lambda W: 1.001 * W)),
    ("ji2022.ex3.1", theory, "paired_critical_point", field(value=lambda x: 1.01 * x)),
    ("ji2022.ex3.1", theory, "polygon_kkt_point", field(value=lambda x: 1.01 * x)),
    ("ji2022.def3.1", theory, "escape_direction", lambda f: lambda *a: leaning(f(*a))),
    ("ji2022.thm3.3", theory, "escape_direction", field(dW=torch.neg)),
    ("ji2022.cor3.1", theory, "escape_direction", field(curvature=half)),
    ("ji2022.cor3.1", theory.LayerPeeledModel, "log_hvp", without_own_part),
    ("ji2022.cor3.1", theory.LayerPeeledModel, "hvp", without_own_part),
    ("ji2022.cor3.1-rate", theory, "escape_direction", field(multiplier=half)),
    ("ji2022.cor3.1-origin", theory, "origin_spectrum", times(1.01)),
    (
        "tirer2023.thm3.1-commuting",
        theory,
        "commuting_path",
        lambda f: lambda *a: f(*a[:4], 0.0, a[5]),
    ),
    ("tirer2023.thm3.1-commuting", theory, "collapsed_path_time", times(2.0)),
    ("tirer2023.thm2.1", theory, "regularized_mse_minimizer", field(value=half)),
    ("tirer2023.thm2.1", theory, "regularized_mse_loss", times(0.5)),
    ("tirer2023.thm2.1", theory, "regularized_mse_optimality", field(frame=half)),
    ("tirer2023.cor2.2", theory, "near_features_minimizer", field(H=lambda H: 1.001 * H)),
    ("tirer2023.thm3.1", theory, "central_path", field(trace_within_rate=double)),
    ("tirer2023.thm3.1", theory, "central_path", field(trace_between_rate=half)),
    ("tirer2023.thm3.1-reduction", theory, "central_path", field(propagators=lambda g: g.mT)),
    ("tirer2023.thm3.1-reduction", theory, "central_path", field(within=half)),
    ("tirer2023.thm3.1-reduction", theory, "minimizing_head", times(1.01)),
    ("tirer2023.thm3.1-reduction", theory, "central_path_velocity", times(0.99)),
    ("tirer2023.cor3.2", theory, "trace_ratio_falls_from", times(0.5)),
    ("tirer2023.cor3.2", theory, "trace_ratio_falls_from", times(0.0)),
    ("tirer2023.thm4.1", theory.PerturbationOperator, "apply", times(0.99)),
    ("tirer2023.thm4.1", theory.PerturbationOperator, "classifier_response", times(0.5)),
    ("tirer2023.thm4.1", theory.PerturbationOperator, "classifier_response", swapped_pair),
    ("tirer2023.thm4.1-any", theory.GeneralPerturbationOperator, "apply", times(0.99)),
    ("tirer2023.thm4.1-any", theory.GeneralPerturbationOperator, "apply", to_first_order(1.01)),
    (
        *("tirer2023.thm4.1-any", theory.GeneralPerturbationOperator),
        *("classifier_response", swapped_pair),
    ),
    (
        *("tirer2023.thm4.2", theory.PerturbationOperator, "block_singular_values"),
        lambda f: lambda *a: f(*a)[:1] + f(*a)[2:] + f(*a)[1:2],
    ),
    (
        *("tirer2023.sec4-lambdas", theory.PerturbationOperator, "elasticities"),
        lambda f: lambda *a: f(*a)[::-1],
    ),
    ("tirer2023.fig2", layerwise, "layerwise_features", lambda f: first_pass),
    ("tirer2023.fig3", FigureJob, "train", lambda f: deterministic_decays),
    ("gao2023.fig4", gen, "alignment_effects", swapped_seeds_and_orders),
    ("ji2022.label-smoothing", theory, "weight_decay_optimum", field(value=lambda x: 1.001 * x)),
    ("ji2022.label-smoothing", theory, "weight_decay_optimum", field(margin=lambda x: 1.1 * x)),
    ("ji2022.label-smoothing", theory, "weight_decay_optimum", field(W=lambda W: 1.1 * W)),
    ("ji2022.depth", theory, "deep_separation", field(cost=lambda x: 1.01 * x)),
    ("ji2022.depth", theory, "deep_separation", lambda f: lambda K, M, n=1: f(K, 2, n)),
    ("ji2022.thm3.2-unequal", theory, "gradient_flow", later),
    ("ji2022.thm3.2-unequal", geometry, "simplex_encoded_labels", double_first),
    ("ji2022.thm3.2-few-dimensions", theory, "gradient_flow", field(W=double)),
    ("ji2022.thm3.2-few-dimensions", theory, "polygon_kkt_point", field(value=lambda x: 0.99 * x)),
    ("ji2022.unequal-decay", theory, "unequal_minimizer", field(merge_strength=double)),
    ("ji2022.unequal-decay", theory, "predicted_geometry", without_decay),
    ("gao2023.etf-error", gen, "etf_error", times(1.05)),
    ("gao2023.etf-error", gen, "etf_error", lambda f: lambda K, s, *a, **k: f(K, s)),
    ("gao2023.thm4.10", gen, "center_deviation_probability", lambda f: lambda K, *a: f(2, *a) / 2),
    ("gao2023.thm4.10", gen, "nearest_center_error_bound", times(0.5)),
    ("gao2023.certificate-coverage", certificates, "cantelli_upper", of_delta(2)),
    ("gao2023.certificate-coverage", certificates, "margin_ramp_upper", of_delta(5)),
    ("gao2023.certificate-coverage", certificates, "clopper_pearson_upper", of_delta(1.1)),
    ("gao2023.collapse-plug-ins-fail", certificates, "cdnv_error_bound", times(0.5)),
    ("gao2023.collapse-plug-ins-fail", certificates, "cantelli_plug_in", times(0.5)),
    ("gao2023.certificate-floor", certificates, "distribution_free_floor", lambda f: plain_floor),
    ("gao2023.collapse-does-not-transfer", certificates, "certify_report", field(upper=half)),
    ("gao2023.thm4.8", gen, "decision_radii", times(2.0)),
    (
        *("gao2023.thm4.8", gen, "missing_mass_bound"),
        lambda f: lambda cells, n, confidence: gen.expected_missing_mass_bound(cells, n),
    ),
    ("gao2023.thm4.8", gen, "expected_missing_mass_bound", times(0.5)),
    ("gao2023.thm4.8", gen, "covered_mass", field(error_bound=double)),
    ("gao2023.rem4.9", gen, "farthest_point_net", field(indices=lambda points: points[:1])),
    ("gao2023.rem4.9", gen, "decision_radii", times(2.0)),
    ("gao2023.rem4.9", gen, "lipschitz_bound", times(0.5)),
    ("gao2023.propA", alignment, "procrustes_rotation", times(0.999)),
    ("gao2023.thm4.1", metrics, "margin_lower_bound", times(1.1)),
    ("gao2023.thm4.1", metrics, "margin_min", times(0.5)),
    ("gao2023.thm4.1-ceiling", metrics, "mean_loss_floor", times(0.9)),
    ("gao2023.thm4.1-ceiling", metrics, "margin_collapse_ratio", times(1.1)),
    ("gao2023.thm4.1-ceiling", metrics, "normalized_margin_lower_bound", times(0.5)),
    ("gao2023.fig3", metrics, "margin_min", times(-1.0)),
    ("gao2023.thm4.4", gen, "uniform_margin_bound", without_shares),
    ("gao2023.thm4.4", gen, "margin_bound", field(complexity=half)),
    ("gao2023.cor4.5", gen, "margin_bound", field(complexity=double)),
    ("gao2023.cor4.5", gen, "collapsed_margin_bound", field(complexity=half)),
    ("gao2023.propB", geometry, "orthant_margins", field(margins=half)),
    ("gao2023.whole-network", gen, "spectral_complexity_measure", other_columns),
    ("gao2023.whole-network", gen, "whole_network_bound", times(0.5)),
]


def everywhere(monkeypatch, owner, name, fault):
    """Put a fault into a function wherever the library has taken it from its place."""
    original = getattr(owner, name)
    faulty = fault(original)
    if isinstance(owner, type):
        monkeypatch.setattr(owner, name, faulty)
        return
    for module in [m for n, m in sys.modules.items() if n.startswith("neuralcollapse")]:
        if vars(module).get(name) is original:
            monkeypatch.setattr(module, name, faulty)
    for way, function in figure2.WAYS.items():
        if function is original:
            monkeypatch.setitem(figure2.WAYS, way, faulty)


def first_always(faults):
    """One fault of each claim for every run of the tests, the others for the nightly one."""
    seen = set()
    for i, (claim, owner, name, fault) in enumerate(faults):
        marks = [pytest.mark.slow] if claim in seen else []
        seen.add(claim)
        yield pytest.param(claim, owner, name, fault, marks=marks, id=f"{claim}-{name}-{i}")


@pytest.mark.parametrize(("claim", "owner", "name", "fault"), first_always(FAULTS))
def test_the_claim_fails_under_the_fault(claim, owner, name, fault, monkeypatch):
    everywhere(monkeypatch, owner, name, fault)
    # By a number that comes out wrong, not by an error; the first is enough.
    assert any(not piece.holds for piece in CLAIMS[claim].check())


def of_nan(fault):
    """Return a fault that gives NaN where this one gives a wrong number; None if it is no such."""
    kind, *_ = fault.__qualname__.split(".")
    if kind == times.__name__:
        return times(math.nan)
    if kind == field.__name__:
        changes = inspect.getclosurevars(fault).nonlocals["changes"]
        if "indices" not in changes:
            return field(**{name: lambda value: math.nan * value for name in changes})
    return None


NAN_FAULTS = [
    (claim, owner, name, of_nan(fault)) for claim, owner, name, fault in FAULTS if of_nan(fault)
]


@pytest.mark.parametrize(("claim", "owner", "name", "fault"), first_always(NAN_FAULTS))
def test_no_claim_holds_on_nan(claim, owner, name, fault, monkeypatch):
    everywhere(monkeypatch, owner, name, fault)
    with contextlib.suppress(NeuralCollapseError):  # NaN may also be refused on the way
        assert any(not piece.holds for piece in CLAIMS[claim].check())


def test_every_claim_has_a_fault():
    assert {claim for claim, *_ in FAULTS} == set(CLAIMS)
