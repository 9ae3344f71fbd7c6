"""The rows of the catalogue, in the order of a report."""

from __future__ import annotations

import math

from neuralcollapse.metrics import validity
from neuralcollapse.metrics.chance import decisions, shape, spread
from neuralcollapse.metrics.collapse_index import vci
from neuralcollapse.metrics.equiangularity import equiangularity, equinorm, etf_distance
from neuralcollapse.metrics.estimates.corrected import (
    Corrected,
    corrected_cdnv,
    corrected_equiangular,
    corrected_equinorm,
    corrected_etf,
    corrected_pinv,
    corrected_self_duality,
    corrected_trace_ratio,
    corrected_vci,
    etf_distance_of,
    pairs_apart,
    pinv_probe,
    total_apart,
    vci_probe,
)
from neuralcollapse.metrics.margin_scale import margin_ceiling
from neuralcollapse.metrics.metric import Metric
from neuralcollapse.metrics.self_duality import product_duality, self_duality
from neuralcollapse.metrics.setting import Setting
from neuralcollapse.metrics.variability import nc1_pinv, nc1_trace_ratio
from neuralcollapse.wording import share

NC1 = "NC1 variability collapse"
NC2 = "NC2 simplex ETF"
NC3 = "NC3 self-duality"
NC4 = "NC4 nearest mean"
DECISIONS = "Decisions"


def _least_etf_distance(num_vectors: int, dim: int) -> float:
    """Return sqrt(2 - 2 sqrt(d/(K-1))) for K > d + 1, that of any tight frame."""
    return math.sqrt(2 - 2 * math.sqrt(min(dim / (num_vectors - 1), 1)))


def _means_target(s: Setting) -> float:
    return _least_etf_distance(s.num_classes, s.dim)


def _wrong(value: float) -> str:
    return "all right" if value == 1 else f"{share(1 - value)} wrong"


def _margin(value: float) -> str:
    return "every sample is right" if value > 0 else "a sample is wrong"


def _of_best(value: float) -> str:
    return f"{share(value)} of the best known"


ROWS = (
    Metric(
        "nc1_pinv", NC1, "within-class variability, in units of that between classes",
        "tr(Σ_W Σ_B⁺)/K", ("scatter",), 0.0, spread.of_pinv, validity.spread, 1e-3, ("papyan2020",),
        lambda m: nc1_pinv(m.moments),
        "within-class variability, measured by that between classes",
        "The literature's NC1, in variants that differ many times over on unequal classes; needs a "
        "*d* × *d* scatter. One direction in which the means hardly differ can make most of it.",
        label="tr Σ$_W$Σ$_B^+$/K",
        corrected=Corrected(corrected_pinv, "log", pairs=True, probe=pinv_probe),
    ),
    Metric(
        "nc1_trace_ratio", NC1, "the same, whatever the direction",
        "tr Σ_W / tr Σ_B", (), 0.0, spread.of_trace_ratio, validity.spread, 1e-2, ("tirer2023",),
        lambda m: nc1_trace_ratio(m.moments),
        "the same without regard to direction",
        "Blind to direction: a spread that the head never sees counts too.",
        label="tr Σ$_W$ / tr Σ$_B$",
        corrected=Corrected(corrected_trace_ratio, "log", apart=total_apart),
    ),
    Metric(
        "cdnv", NC1, "spread of two classes over their distance",
        "mean (vᵢ + vⱼ) / 2‖μᵢ − μⱼ‖²", (), 0.0, spread.of_cdnv, validity.spread, 1e-2,
        ("galanti2022",),
        lambda m: m.pairs[0].values.mean,
        "spread of two classes over their distance, mean of all pairs",
        "The mean over pairs hides a bad pair: look at `report.worst_pairs()`.",
        label="CDNV",
        corrected=Corrected(corrected_cdnv, "log", pairs=True, apart=pairs_apart),
    ),
    Metric(
        "vci", NC1, "spread that a linear classifier still sees",
        "1 − tr(Σ_T⁺ Σ_B) / rank Σ_B", ("scatter",), 0.0, spread.of_vci, validity.linear_spread,
        1e-2, ("xu2023",),
        lambda m: vci(m.moments),
        "share of the variation that is not between class means",
        "Invariant under invertible linear maps of the features: a direction of tiny spread counts "
        "as much as any. Says nothing for *d* + 1 samples or fewer.",
        label="VCI",
        corrected=Corrected(corrected_vci, "log", pairs=True, probe=vci_probe),
    ),
    Metric(
        "nc2_equinorm", NC2, "means: are they equally long?",
        "std ‖μₖ‖ / mean ‖μₖ‖", (), 0.0, shape.of_equinorm, validity.means, 0.05, ("papyan2020",),
        lambda m: equinorm(m.means),
        "are the class means equally long?",
        "Says nothing about angles. Unequal classes need not have equal lengths.",
        label="lengths",
        corrected=Corrected(corrected_equinorm, "square"),
    ),
    Metric(
        "nc2_equiangular", NC2, "means: are their angles equal?",
        "mean |cos + 1/(K−1)|", (), lambda s: 0.0 if s.fits else None, shape.of_equiangular,
        validity.means, 0.05, ("papyan2020",),
        lambda m: m.pairs[1].absolute.mean,
        "are the angles between class means all equal?",
        "The signed mean is near zero for any centred vectors, so it is not offered.",
        label="angles",
        corrected=Corrected(corrected_equiangular, "square", pairs=True),
    ),
    Metric(
        "nc2_etf", NC2, "means: distance from an ETF",
        "‖M Mᵀ/‖M Mᵀ‖ − ETF‖", (), _means_target, shape.of_etf_distance, validity.means, 0.1,
        ("zhu2021",),
        lambda m: etf_distance(m.means),
        "length and angle together: distance of the Gram matrix",
        "For unequal classes theory predicts another shape, whose distance from an ETF is the "
        "target: `report.predicted`, `nc.metrics.gram_distance`.",
        label="Gram matrix",
        corrected=Corrected(corrected_etf, "square", etf_distance_of),
    ),
    Metric(
        "nc2_equinorm_head", NC2, "head: are its rows equally long?",
        "std ‖wₖ‖ / mean ‖wₖ‖", ("head",), 0.0, shape.of_head(shape.of_equinorm), validity.head,
        0.05, ("papyan2020",),
        lambda m: equinorm(m.head_vectors),
        "are the rows of the head equally long?",
        "The bias is left out, and the mean row, which softmax does not see.",
    ),
    Metric(
        "nc2_equiangular_head", NC2, "head: are their angles equal?",
        "mean |cos + 1/(K−1)|", ("head",), lambda s: 0.0 if s.rows <= s.dim + 1 else None,
        shape.of_head(shape.of_equiangular), validity.head, 0.05, ("papyan2020",),
        lambda m: equiangularity(m.head_vectors),
        "are the angles between its rows all equal?",
        "As above.",
    ),
    Metric(
        "nc2_etf_head", NC2, "head: distance from an ETF",
        "‖W Wᵀ/‖W Wᵀ‖ − ETF‖", ("head",), lambda s: _least_etf_distance(s.rows, s.dim),
        shape.of_head(shape.of_etf_distance), validity.head, 0.1, ("zhu2021",),
        lambda m: etf_distance(m.head_vectors),
        "length and angle together: distance of the Gram matrix",
        "An untrained head of many features is near an ETF: compare with its chance value.",
    ),
    Metric(
        "nc2_code", NC2, "K > d + 1: head against the best code",
        "ρ(W/‖w‖) / ρ best known", ("best_code",), 1.0, None, None, None, ("jiang2023",),
        lambda m: m.code.known,
        "one-vs-rest margin of its unit rows, as a share of the largest known",
        "Only where no simplex fits, for up to 128 classes. With weight decay the best rows are "
        "of unequal length, another configuration.",
        "share", _of_best,
    ),
    Metric(
        "nc2_code_proved", NC2, "the same, as a share of an upper bound",
        "ρ(W/‖w‖) / bound", ("code",), None, None, None, None, ("jiang2023",),
        lambda m: m.code.proved,
        "the true share of the largest possible lies between this and `nc2_code`",
        "For up to 512 classes. No head exceeds the bound, and often none attains it.",
        "share", lambda value: f"{share(value)} of what none exceeds",
    ),
    Metric(
        "nc3_self_duality", NC3, "head against means",
        "‖W/‖W‖ − M/‖M‖‖", ("head",), 0.0, shape.of_self_duality, validity.predicted, 0.1,
        ("papyan2020",),
        lambda m: self_duality(m.present_head, m.means),
        "distance between head and class means, each scaled to norm 1",
        "Papers also print its square.",
        label="self-duality",
        corrected=Corrected(corrected_self_duality, "square"),
    ),
    Metric(
        "nc3_product", NC3, "logits of means against an ETF",
        "‖W Mᵀ/‖W Mᵀ‖ − ETF‖", ("head",), _means_target, shape.of_product_duality,
        validity.product, 0.1, ("zhu2021",),
        lambda m: product_duality(m.present_head, m.means),
        "are the logits of the class means those of an ETF?",
        "Also 0 where head and means are stretched in opposite ways, so it does not replace the "
        "one above.",
        label="product",
    ),
    Metric(
        "nc3_code", NC3, "K > d + 1: means against the code's features",
        "meanₖ cos(μₖ, hₖ), hₖ ∝ wₖ − its projection on the hull of the others", ("code",), 1.0,
        None, None, None, ("jiang2023",),
        lambda m: m.code.duality,
        "do class means point where the margin of the head is attained?",
        "Means are not centred: the rows of a code need not sum to 0.",
        "signed", lambda value: f"mean cosine {value:.3f}",
    ),
    Metric(
        "nc4_agreement", NC4, "head agrees with nearest mean",
        "argmaxₖ ⟨wₖ, x⟩ + bₖ = argminₖ ‖x − μₖ‖", ("nc4_agreement",), 1.0, decisions.of_agreement,
        validity.nearest_mean, 1e-3, ("papyan2020",),
        lambda m: m.shares["nc4_agreement"],
        "share of samples on which both rules agree",
        "High early in training already, so it says little about how deep the collapse is; "
        "Papyan plots one minus it.",
        "share", lambda value: f"{share(1 - value)} decided otherwise",
    ),
    Metric(
        "ncc_accuracy", NC4, "accuracy of the nearest mean",
        "argminₖ ‖x − μₖ‖ = y", ("ncc_accuracy",), 1.0, decisions.of_nearest_mean,
        validity.nearest_mean, None, ("papyan2020",),
        lambda m: m.shares["ncc_accuracy"],
        "share of samples nearest to the mean of their own class",
        "Needs labels, not the head; not the same as the agreement. With few samples of many "
        "features it is near 1, whatever the features are.",
        "share", _wrong,
    ),
    Metric(
        "accuracy", DECISIONS, "accuracy of the head",
        "argmaxₖ ⟨wₖ, x⟩ + bₖ = y", ("accuracy",), 1.0, decisions.of_accuracy, None, None, (),
        lambda m: m.shares["accuracy"],
        "share of samples that are right",
        "Collapse is about what happens *after* it is 1.",
        "share", _wrong,
    ),
    Metric(
        "margin_min", DECISIONS, "minimum margin, in logits",
        "minᵢ (s_y − maxⱼ sⱼ)", ("margin_min",), None, None, None, None, ("gao2023",),
        lambda m: m.shares["margin_min"],
        "grows without limit as norms grow",
        "Twice the head is twice the margin and the same classifier. Never compare two networks by "
        "it.",
        "signed", _margin,
    ),
    Metric(
        "margin_normalized", DECISIONS, "minimum margin over its scale",
        "minᵢ (s_y − maxⱼ sⱼ) / τ", ("head", "margin_min"),
        lambda s: margin_ceiling(s.num_classes) if s.fits else None, None, None, None, ("gao2023",),
        lambda m: m.margin,
        "free of scale: rises towards its ceiling K/(K−1)",
        "The ceiling holds for classes of equal size.",
        "signed", _margin,
    ),
    Metric(
        "margin_collapse_ratio", DECISIONS, "the same, as a share of its ceiling",
        "minᵢ (s_y − maxⱼ sⱼ) / τ · (K−1)/K", ("head", "margin_min"),
        lambda s: 1.0 if s.fits else None, None, None, 0.05, ("gao2023",),
        lambda m: m.margin / margin_ceiling(len(m.rows)),
        "the same as a share of its value at collapse: rises to 1",
        "A minimum over samples: a single misclassified one keeps it at 0 or below.",
        "signed", _margin,
    ),
    Metric(
        "margin_code", DECISIONS, "K > d + 1: minimum margin of the means over the best code's",
        "min ⟨wₖ − wⱼ, μₖ⟩ of unit vectors / ρ best known", ("best_code",), 1.0, None, None, None,
        ("jiang2023",),
        lambda m: m.code.means,
        "free of scale: rises to 1, which only a code better than the best known exceeds",
        "Measured on class means, not on samples.",
        "signed", _of_best,
    ),
)  # fmt: skip
