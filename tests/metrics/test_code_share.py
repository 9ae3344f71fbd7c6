"""Where no simplex fits, a head is held against codes: polygons by hand, margins by brute force."""

import itertools
import math

import pytest
import torch

import neuralcollapse as nc
from neuralcollapse.geometry import softmax_code
from neuralcollapse.metrics.code_share import code_share

CODES = ("nc2_code", "nc2_code_proved", "nc3_code", "margin_code")


def polygon(corners):
    angles = torch.arange(corners).double() * 2 * math.pi / corners
    return torch.stack([angles.cos(), angles.sin()], 1)


@pytest.mark.parametrize("corners", [5, 6, 9])
def test_a_polygon_with_its_own_features_is_the_best_code_of_the_plane(corners):
    found = code_share(3 * polygon(corners), 0.1 * polygon(corners))
    assert found.margin == pytest.approx(1 - math.cos(2 * math.pi / corners), abs=1e-12)
    for share in (found.proved, found.known, found.duality, found.means):
        assert share == pytest.approx(1, abs=1e-6)


def test_shares_are_those_of_the_definition():
    generator = torch.Generator().manual_seed(0)
    head, means = torch.randn(2, 8, 3, generator=generator).double()
    rows, points = (torch.nn.functional.normalize(x, dim=1) for x in (head, means))
    least = min(
        float((rows[k] - rows[j]) @ points[k]) for k, j in itertools.permutations(range(8), 2)
    )
    best = softmax_code(8, 3, generator=generator).margin  # the cube's twisted sister, .7388
    found = code_share(head, means)
    assert found.means == pytest.approx(least / best, rel=1e-4)
    assert found.known == pytest.approx(found.margin / best, rel=1e-4)
    assert found.proved <= found.known <= 1


@pytest.mark.parametrize(("head", "features"), [(1e-25, 1e25), (1e25, 1e-25), (1e-13, 1e-13)])
def test_shares_do_not_depend_on_the_unit_of_head_or_features(head, features):
    generator = torch.Generator().manual_seed(0)
    rows, means = torch.randn(2, 6, 3, generator=generator).double()
    plain, scaled = code_share(rows, means), code_share(head * rows, features * means)
    for name in ("margin", "proved", "known", "duality", "means"):
        assert getattr(scaled, name) == pytest.approx(getattr(plain, name), rel=1e-9), name


def test_a_report_has_them_where_no_simplex_fits_and_nowhere_else():
    features, labels = polygon(6).repeat(2, 1), torch.arange(6).repeat(2)
    report = nc.measure_features(features, labels, polygon(6))
    assert [name for name in report if "code" in name] == list(CODES[:2] + CODES[2:])
    assert "of the best known" in report.reading("nc2_code").words
    assert report.reading("nc2_code").grade == ""  # what chance gives is not known
    assert "nc3_code" not in nc.measure_features(features[:, :1], labels, torch.ones(6, 1))
    assert "nc3_code" not in nc.measure_features(features, labels)  # no head
    assert "nc3_code" not in nc.measure_features(
        features[:, :1].repeat(1, 5), labels, torch.ones(6, 5)
    )
    zero = polygon(6)
    zero[0] = 0
    assert "nc3_code" not in nc.measure_features(features, labels, zero)  # a row of no direction
    many = torch.randn(130, 2, generator=torch.Generator().manual_seed(0))
    values = nc.measure_features(many.repeat(2, 1), torch.arange(130).repeat(2), many)
    assert "nc2_code_proved" in values
    assert "nc2_code" not in values  # no code is searched for


def test_a_turned_head_is_as_good_a_code_but_no_dual():
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    found = code_share(polygon(6) @ turn, polygon(6))
    assert found.known == pytest.approx(1, abs=1e-6)
    assert found.duality == pytest.approx(0, abs=1e-9)
    assert found.means < 0
