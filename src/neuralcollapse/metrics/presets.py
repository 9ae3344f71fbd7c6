"""Presets: the numbers that each paper reports, in the paper's own variants."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from neuralcollapse.metrics.class_distance import cdnv
from neuralcollapse.metrics.equiangularity import equiangularity, equinorm, etf_distance
from neuralcollapse.metrics.head import checked_bias, checked_head
from neuralcollapse.metrics.pairwise import pairwise_collapse
from neuralcollapse.metrics.self_duality import product_duality, self_duality
from neuralcollapse.metrics.variability import nc1_pinv, nc1_trace_ratio
from neuralcollapse.moments.class_moments import Center, ClassMoments
from neuralcollapse.validation import check_choice

Preset = Callable[[ClassMoments, Tensor | None, Tensor | None], dict[str, float]]


def preset(
    name: str, moments: ClassMoments, weight: Tensor | None = None, bias: Tensor | None = None
) -> dict[str, float]:
    """Return the numbers that a paper reports, as it defines them.

    On classes of equal size the variants nearly agree; on unbalanced ones numbers of the same name
    can differ many times over.

    Parameters
    ----------
    name
        ``"papyan2020"``, ``"zhu2021"``, ``"han2022"``, ``"tirer2023"``, ``"ji2022"``,
        ``"galanti2022"`` or ``"wu2024"``.
    moments
        Moments of the features that enter the head, with a scatter.
    weight, bias
        (K, d) and (K,) of the head; without a head, its numbers are left out.

    Returns
    -------
    dict of float
        Keys as in `summarize` where the phenomenon is the same, even if the variant is not.

    Raises
    ------
    NeuralCollapseError
        If the name is unknown, or the head does not fit.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.metrics import preset
    >>> moments = ClassMoments(2, 1).update(torch.tensor([[-3.0], [-1], [1], [3]]), [0, 0, 1, 1])
    >>> preset("galanti2022", moments)
    {'cdnv': 0.062500}
    """
    require_preset(name)
    if weight is not None and bias is not None:
        bias = checked_bias(bias, checked_head(moments, weight))
    return PRESETS[name](moments, weight, bias)


def require_preset(name: str) -> None:
    """Refuse a name that is none of a preset."""
    check_choice("name", name, PRESETS, "choose the paper to compare with")


def papyan2020(
    moments: ClassMoments, weight: Tensor | None = None, bias: Tensor | None = None
) -> dict[str, float]:
    r"""Return the numbers of Papyan, Han & Donoho 2020, Figures 2 to 6.

    .. math:: \mathrm{tr}(\Sigma_W \Sigma_B^+)/K, \quad
        \mathrm{std}\|\cdot\| / \mathrm{mean}\|\cdot\|, \quad \mathrm{std} \cos, \quad
        \mathrm{mean} |\cos + \tfrac1{K-1}|, \quad
        \left\| W/\|W\|_F - M/\|M\|_F \right\|_F^2

    Class means are centred at the mean of all samples; the head is not centred. The authors'
    notebook leaves out the 1/K of NC1.
    """
    return _five_figures(moments, weight, "sample_mean")


def han2022(
    moments: ClassMoments, weight: Tensor | None = None, bias: Tensor | None = None
) -> dict[str, float]:
    """Return the numbers of Han, Papyan & Donoho 2022: as 2020, but about the mean of class means.

    For angles, only the mean absolute deviation.
    """
    values = _five_figures(moments, weight, "class_mean")
    return {name: value for name, value in values.items() if "equiangular_std" not in name}


def zhu2021(
    moments: ClassMoments, weight: Tensor | None = None, bias: Tensor | None = None
) -> dict[str, float]:
    r"""Return the numbers of Zhu et al. 2021, Section 4.

    .. math:: \mathrm{tr}(\Sigma_W \Sigma_B^+)/K, \quad
        \left\| \tfrac{W W^\top}{\|W W^\top\|_F} - E \right\|_F, \quad
        \left\| \tfrac{W M^\top}{\|W M^\top\|_F} - E \right\|_F, \quad \|W \mu_G + b\|

    with E the Gram matrix of a simplex ETF, of norm 1, and an uncentred head. The last number,
    which the paper reports in place of NC4, is here ``self_duality_bias``, in the units of a
    logit.
    """
    values = {"nc1_pinv": nc1_pinv(moments, center="sample_mean")}
    if weight is not None:
        head, present = checked_head(moments, weight), moments.present
        center = moments.center("sample_mean")
        values["nc2_etf_head"] = etf_distance(head, _raw(head))
        values["nc3_product"] = product_duality(
            head[present], moments.means[present], center, center_head=False
        )
        scores = head @ center
        if bias is not None:
            scores = scores + checked_bias(bias, head)
        values["self_duality_bias"] = float(scores.norm())
    return values


def tirer2023(
    moments: ClassMoments, weight: Tensor | None = None, bias: Tensor | None = None
) -> dict[str, float]:
    r"""Return the numbers of Tirer, Huang & Niles-Weed 2023, of the features only.

    .. math:: \mathrm{tr}(\Sigma_W \Sigma_B^+)/K, \quad \mathrm{tr}\,\Sigma_W/\mathrm{tr}\,\Sigma_B,
        \quad \left\| \tfrac{M M^\top}{\|M M^\top\|_F} - E \right\|_F

    The paper has classes of equal size; for others, class means are weighted equally here.
    """
    return {
        "nc1_pinv": nc1_pinv(moments),
        "nc1_trace_ratio": nc1_trace_ratio(moments),
        "nc2_etf": etf_distance(moments.centered_means()),
    }


def ji2022(
    moments: ClassMoments, weight: Tensor | None = None, bias: Tensor | None = None
) -> dict[str, float]:
    r"""Return the numbers of Ji et al. 2022, Figure 2: four panels of means and head, centred.

    The variation of the norms, the within-class variation, the deviation of the cosines from
    -1/(K-1), and :math:`\| W_c/\|W_c\|_F - M/\|M\|_F \|_F`. The within-class variation is taken as
    :math:`\mathrm{tr}\,\Sigma_W / \mathrm{tr}\,\Sigma_B`, which is our reading.
    """
    rows = moments.centered_means()
    values = {
        "nc1_trace_ratio": nc1_trace_ratio(moments),
        "nc2_equinorm": equinorm(rows),
        "nc2_equiangular": equiangularity(rows),
    }
    if weight is not None:
        head = checked_head(moments, weight)
        values["nc2_equinorm_head"] = equinorm(head)
        values["nc2_equiangular_head"] = equiangularity(head)
        values["nc3_self_duality"] = self_duality(head[moments.present], rows)
    return values


def galanti2022(
    moments: ClassMoments, weight: Tensor | None = None, bias: Tensor | None = None
) -> dict[str, float]:
    r"""Return the class-distance normalised variance of Galanti, György & Hutter 2022.

    .. math:: \mathrm{mean}_{i \ne j} \; (v_i + v_j) / (2 \|\mu_i - \mu_j\|^2)
    """
    return {"cdnv": cdnv(moments)}


def wu2024(
    moments: ClassMoments, weight: Tensor | None = None, bias: Tensor | None = None
) -> dict[str, float]:
    r"""Return the numbers of Wu & Papyan 2024, for more classes than features: language models.

    CDNV; the spread of the logarithms of lengths; mean and spread of the cosines between class
    means (interference); the coefficient of variation of log 1/||u_i - u_j|| (hyperspherical
    uniformity); the mean of cos(w_k, mu_k - m) and its coefficient of variation (uniform
    self-duality). Class means are centred at the mean of all samples; the head is not centred. The
    spread of the logarithms, which does not depend on the scale, is our reading of their variation.
    """
    pairs = pairwise_collapse(moments, "sample_mean")
    present, origin = moments.present, moments.center("sample_mean")
    means = moments.means[present]
    values = {
        "cdnv": pairs.cdnv_mean,
        "nc2_equinorm": equinorm(means, origin, logarithm=True),
        "nc2_interference": pairs.cosine_mean,
        "nc2_interference_std": pairs.cosine_std,
        "nc2_uniformity": pairs.log_energy_variation,
    }
    if weight is not None:
        head = checked_head(moments, weight)[present]
        cosine, uniform = (
            self_duality(head, means, origin, center_head=False, variant=variant)
            for variant in ("cosine", "uniform_cosine")
        )
        values |= {"nc3_cosine": 1 - cosine, "nc3_uniform": uniform}
    return values


PRESETS: dict[str, Preset] = {
    function.__name__: function
    for function in (papyan2020, zhu2021, han2022, tirer2023, ji2022, galanti2022, wu2024)
}


def _five_figures(moments: ClassMoments, weight: Tensor | None, center: Center) -> dict[str, float]:
    present, origin = moments.present, moments.center(center)
    means = moments.means[present]
    values = {
        "nc1_pinv": nc1_pinv(moments, center=center),
        "nc2_equinorm": equinorm(means, origin),
        "nc2_equiangular_std": equiangularity(means, origin, "std"),
        "nc2_equiangular": equiangularity(means, origin),
    }
    if weight is not None:
        head = checked_head(moments, weight)
        values["nc2_equinorm_head"] = equinorm(head, _raw(head))
        values["nc2_equiangular_std_head"] = equiangularity(head, _raw(head), "std")
        values["nc2_equiangular_head"] = equiangularity(head, _raw(head))
        values["nc3_self_duality"] = self_duality(
            head[present], means, origin, center_head=False, variant="squared"
        )
    return values


def _raw(head: Tensor) -> Tensor:
    return torch.zeros_like(head[0])
