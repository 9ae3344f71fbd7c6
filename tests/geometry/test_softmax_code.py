import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.geometry import one_vs_rest_margin, random_isometry, simplex_etf, softmax_code
from neuralcollapse.geometry.code_bound import least_largest_cosine, one_vs_rest_bound

SEARCHED = {  # K, d -> rho: the spherical codes of the tables (Tammes; Sloane)
    (7, 3): 0.7898617,
    (9, 3): 2 / 3,
    (12, 3): 0.5527864,
    (10, 4): 5 / 6,  # Petersen
    (16, 5): 0.8,  # Clebsch
}
HARD = {
    (8, 3): 0.7387961,
    (10, 3): 0.5956057,
    (13, 3): 0.4573635,
    (14, 3): 0.4360497,
    (16, 3): 0.3877054,
    (24, 3): 0.2769215,
    (24, 4): 0.5,  # the 24-cell
    (12, 5): 0.8460682,
    (27, 6): 0.75,  # Schlaefli
}


def unit_rows(num, dim, seed):
    rows = torch.randn(num, dim, generator=torch.Generator().manual_seed(seed)).double()
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(("size", "rho"), SEARCHED.items(), ids=str)
def test_search_finds_the_known_optima(size, rho):
    code = softmax_code(*size, starts=4, steps=800)
    assert code.margin == pytest.approx(rho, abs=1e-6)
    assert code.margin <= code.upper
    assert code.status == "best known"
    torch.testing.assert_close(code.vertices.norm(dim=1), torch.ones(size[0]).double())
    assert code.margin == pytest.approx(one_vs_rest_margin(code.vertices).lower, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "rho"), HARD.items(), ids=str)
def test_search_finds_the_optima_that_few_starts_miss(size, rho):
    assert softmax_code(*size).margin == pytest.approx(rho, abs=1e-6)


@pytest.mark.parametrize("num", [2, 3, 4, 5, 6, 9, 10, 11])
def test_closed_forms_are_optimal(num):
    expected = {
        num - 1: num / (num - 1),
        num + 3: num / (num - 1),
        2: 1 - math.cos(2 * math.pi / num) if num > 2 else 2.0,
        1: 0.0 if num > 2 else 2.0,
    } | {dim: 1.0 for dim in range(2, num - 1) if num <= 2 * dim}
    for dim, rho in expected.items():
        code = softmax_code(num, dim)
        assert code.status == "optimal"
        assert code.vertices.shape == (num, dim)
        assert code.margin == pytest.approx(rho, abs=1e-12)
        assert code.upper == pytest.approx(rho, abs=1e-12)


@given(seed=st.integers(0, 2**16), size=st.sampled_from([(4, 2), (6, 3), (9, 3), (12, 3), (12, 5)]))
def test_no_rows_exceed_the_bound(seed, size):
    assert one_vs_rest_margin(unit_rows(*size, seed)).upper <= one_vs_rest_bound(*size)


@pytest.mark.parametrize(("num", "dim", "cosine"), [(16, 5, 0.2), (27, 6, 0.25), (275, 22, 1 / 6)])
def test_levenshtein_is_exact_at_its_codes(num, dim, cosine):
    assert least_largest_cosine(num, dim) == pytest.approx(cosine, abs=1e-12)


def test_cosine_bound_grows_with_the_number_and_has_no_jump():
    for dim in (3, 4, 10):
        values = [
            least_largest_cosine(num, dim)
            for num in (*range(2, 12), *range(12, 40, 3), 100, 1000, 50_257)
        ]
        assert (np.diff(values) >= -1e-12).all()
        assert values[-1] < 1
    assert least_largest_cosine(12, 3) <= 1 - 0.5527864


@pytest.mark.parametrize(("num", "dim"), [(4, 2), (7, 3), (10, 4)])
def test_margin_is_the_distance_from_the_hull(num, dim):
    rows = unit_rows(num, dim, num).numpy()
    margins = one_vs_rest_margin(rows).margins.numpy()
    for k in range(num):
        others = np.delete(rows, k, 0)
        found = minimize(
            lambda weights, k=k, others=others: ((rows[k] - weights @ others) ** 2).sum(),
            np.full(num - 1, 1 / (num - 1)),
            bounds=[(0, 1)] * (num - 1),
            constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-16, "maxiter": 500},
        )
        assert margins[k] == pytest.approx(math.sqrt(found.fun), abs=1e-6)


@given(seed=st.integers(0, 2**16), size=st.sampled_from([(2, 1), (5, 2), (9, 3), (40, 8), (6, 9)]))
def test_certificate_closes_and_features_attain_it(seed, size):
    rows = 3 * unit_rows(*size, seed) + 5.0  # neither unit nor centred
    found = one_vs_rest_margin(rows)
    assert 0 <= found.gap < 1e-12
    for k, feature in enumerate(found.features):
        attained = min(float((rows[k] - rows[j]) @ feature) for j in range(size[0]) if j != k)
        assert attained == pytest.approx(float(found.margins[k]), abs=1e-12)
    least = one_vs_rest_margin(rows, every_class=False)
    assert (least.lower, least.upper) == pytest.approx((found.lower, found.upper), abs=1e-12)
    assert (least.margins <= found.margins + 1e-12).all()


@given(seed=st.integers(0, 2**16))
def test_margin_of_tied_rivals(seed):
    # Vertices of orthogonal simplices: many rivals at one distance, in any order.
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    found = one_vs_rest_margin(softmax_code(9, 5).vertices[order])
    torch.testing.assert_close(found.margins, torch.ones(9).double(), rtol=0, atol=1e-12)
    assert found.gap < 1e-12


@given(seed=st.integers(0, 2**16), scale=st.floats(1e-3, 1e3))
def test_invariances(seed, scale):
    rows = unit_rows(7, 3, seed)
    moved = scale * rows @ random_isometry(3, 3, torch.Generator().manual_seed(seed)) + 1.0
    expected = scale * one_vs_rest_margin(rows).margins
    torch.testing.assert_close(
        one_vs_rest_margin(moved).margins, expected, rtol=1e-9, atol=1e-9 * scale
    )


def test_a_row_in_the_hull_zero_rows_and_twins_have_no_margin():
    rows = [[0.0, 0.0], [1, 0], [-1, 0], [0, 1], [0, 1]]
    found = one_vs_rest_margin(rows)
    assert found.margins.tolist() == pytest.approx([0, 1, 1, 0, 0], abs=1e-12)
    assert found.upper < 1e-12
    assert one_vs_rest_margin(torch.zeros(3, 2)).upper == 0


def test_temperature_to_zero_attains_the_code():
    """Cross-entropy of unit rows and features, at falling temperature, ends at the code."""
    rows, features = unit_rows(7, 3, 0), unit_rows(7, 3, 1)
    rows.requires_grad_()
    features.requires_grad_()
    optimizer = torch.optim.Adam([rows, features], 0.02)
    for step in range(600):
        temperature = 0.3 * (0.001 / 0.3) ** (step / 600)
        optimizer.param_groups[0]["lr"] = min(0.02, 5 * temperature)
        w, h = (torch.nn.functional.normalize(x, dim=1) for x in (rows, features))
        scores = (h @ w.T - (h * w).sum(1, keepdim=True)) / temperature
        loss = temperature * scores.fill_diagonal_(-torch.inf).flatten().logsumexp(0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert one_vs_rest_margin(w).lower == pytest.approx(0.78986, abs=5e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: softmax_code(1, 3), "num_classes: expected at least 2, got 1"),
        (lambda: softmax_code(3, 0), "dim: expected at least 1, got 0"),
        (lambda: softmax_code(9, 3, starts=0), "starts: expected at least 1, got 0"),
        (lambda: softmax_code(9, 3, steps=0), "steps: expected at least 1, got 0"),
        (lambda: one_vs_rest_margin([[1.0]]), "weight: expected at least 2 rows, got 1"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_non_finite_rows_are_refused():
    with pytest.raises(NonFiniteError):
        one_vs_rest_margin([[math.nan, 1.0], [0, 1]])


def test_simplex_and_more_dimensions():
    margins = one_vs_rest_margin(simplex_etf(5, 9)).margins
    torch.testing.assert_close(margins, torch.full_like(margins, 1.25))
