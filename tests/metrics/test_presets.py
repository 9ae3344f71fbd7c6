import itertools

import numpy as np
import pytest
import torch

import naive_collapse as naive
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.metrics import PRESETS, preset
from neuralcollapse.moments import ClassMoments


def definitions(case):
    """Each paper's formulas, in numpy; head and means of the classes that have samples."""
    data, present = case.naive, case.naive.present
    head, means = case.weight.numpy(), data.means[present]
    own_head, zero = head[present], np.zeros(head.shape[1])
    everything, balanced = data.center("sample_mean"), data.center("class_mean")
    within = data.within("pooled")

    def nc1(center):
        between = np.mean([np.outer(mu - center, mu - center) for mu in means], axis=0)
        rank = len(present) - 1
        return np.trace(within @ naive.pinv_of_rank(between, rank)) / len(present)

    def papyan(center):
        return {
            "nc1_pinv": nc1(center),
            "nc2_equinorm": naive.equinorm(means, center),
            "nc2_equiangular_std": naive.equiangularity(means, center, "std"),
            "nc2_equiangular": naive.equiangularity(means, center),
            "nc2_equinorm_head": naive.equinorm(head, zero),
            "nc2_equiangular_std_head": naive.equiangularity(head, zero, "std"),
            "nc2_equiangular_head": naive.equiangularity(head, zero),
            "nc3_self_duality": naive.self_duality(own_head, means, center, False, "squared"),
        }

    def wu(rows, head):
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        pairs = list(itertools.combinations(units, 2))
        cosines = [u @ v for u, v in pairs]
        with np.errstate(divide="ignore", invalid="ignore"):
            energies = [-np.log(np.linalg.norm(u - v)) for u, v in pairs]
            uniformity = np.std(energies) / np.mean(energies)
        duality = (units * head).sum(1) / np.linalg.norm(head, axis=1)
        return {
            "nc2_equinorm": np.log(np.linalg.norm(rows, axis=1)).std(),
            "nc2_interference": np.mean(cosines),
            "nc2_interference_std": np.std(cosines),
            "nc2_uniformity": uniformity,
            "nc3_cosine": duality.mean(),
            "nc3_uniform": duality.std() / abs(duality.mean()),
        }

    han = papyan(balanced)
    del han["nc2_equiangular_std"], han["nc2_equiangular_std_head"]
    trace_ratio = np.trace(within) / np.mean([((mu - balanced) ** 2).sum() for mu in means])
    return {
        "papyan2020": papyan(everything),
        "zhu2021": {
            "nc1_pinv": nc1(everything),
            "nc2_etf_head": naive.product_distance(head, head),
            "nc3_product": naive.product_distance(own_head, means - everything),
            "self_duality_bias": np.linalg.norm(head @ everything + case.bias.numpy()),
        },
        "han2022": han,
        "tirer2023": {
            "nc1_pinv": nc1(balanced),
            "nc1_trace_ratio": trace_ratio,
            "nc2_etf": naive.etf_distance(means),
        },
        "ji2022": {
            "nc1_trace_ratio": trace_ratio,
            "nc2_equinorm": naive.equinorm(means),
            "nc2_equiangular": naive.equiangularity(means),
            "nc2_equinorm_head": naive.equinorm(head),
            "nc2_equiangular_head": naive.equiangularity(head),
            "nc3_self_duality": naive.self_duality(own_head, means),
        },
        "galanti2022": {"cdnv": data.cdnv()},
        "wu2024": {"cdnv": data.cdnv(), **wu(means - everything, own_head)},
    }


@pytest.mark.parametrize("name", PRESETS)
def test_as_the_paper_defines(case, name):
    expected = definitions(case)[name]
    values = preset(name, case.moments, case.weight, case.bias)
    assert list(values) == list(expected)
    # On a line directions coincide, and their energies have no spread.
    assert values == pytest.approx(expected, rel=1e-7, abs=1e-7, nan_ok=True)
    without_head = preset(name, case.moments)
    assert {key: values[key] for key in without_head} == pytest.approx(without_head, nan_ok=True)
    assert not any("head" in key or "nc3" in key for key in without_head)


def imbalanced_toy():
    labels = torch.tensor([0] * 200 + [1] * 20 + [2] * 4)
    generator = torch.Generator().manual_seed(0)
    means = torch.tensor([[4.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    spread = torch.tensor([0.2, 0.5, 0.9])[labels, None]
    features = means[labels] + spread * torch.randn(224, 3, generator=generator)
    return ClassMoments(3, 3).update(features, labels)


def test_within_class_variability_of_imbalanced_classes_depends_on_the_paper():
    moments = imbalanced_toy()
    nc1 = {name: next(iter(preset(name, moments).values())) for name in PRESETS}
    assert nc1["papyan2020"] != pytest.approx(nc1["han2022"], rel=0.03)
    distinct = {name: nc1[name] for name in ("papyan2020", "han2022", "ji2022", "galanti2022")}
    values = sorted(distinct.values())
    assert all(b > 1.03 * a for a, b in itertools.pairwise(values))
    assert values[-1] > 2 * values[0]


@pytest.mark.parametrize("name", PRESETS)
def test_collapse_is_zero(name):
    vertices = simplex_etf(4, 6)
    moments = ClassMoments(4, 6).update(vertices.repeat(3, 1), torch.arange(12) % 4)
    values = preset(name, moments, 2 * vertices, torch.zeros(4))
    collapsed = dict.fromkeys(values, 0)
    if name == "wu2024":  # cosines themselves: of the means, and of the head with them
        collapsed |= {"nc2_interference": -1 / 3, "nc3_cosine": 1}
    assert values == pytest.approx(collapsed, abs=1e-7)


def test_an_unknown_paper_is_refused():
    message = "name: expected one of papyan2020, zhu2021, .*wu2024, got 'papyan'"
    with pytest.raises(NeuralCollapseError, match=message):
        preset("papyan", ClassMoments(2, 2))


@pytest.mark.parametrize("name", ["papyan2020", "zhu2021", "han2022", "ji2022"])
def test_a_head_that_does_not_fit_is_refused(name):
    with pytest.raises(NeuralCollapseError, match=r"weight: expected shape \(3, 3\)"):
        preset(name, imbalanced_toy(), torch.ones(3, 4))
