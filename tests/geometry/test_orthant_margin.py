import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.geometry import fittable_etf, orthant_margins, simplex_etf


@pytest.mark.parametrize(("k", "d"), [(3, 4), (4, 4), (5, 9), (10, 16)])
def test_against_a_general_solver_of_the_dual(k, d, generator):
    head = simplex_etf(k, d, generator=generator)
    margins = orthant_margins(head).margins
    for y in range(k):
        rows = torch.stack([head[y] - head[j] for j in range(k) if j != y]).numpy()

        def half_square(weights, rows=rows):
            return 0.5 * (weights @ rows).clip(0) @ (weights @ rows).clip(0)

        found = minimize(
            half_square,
            [1 / (k - 1)] * (k - 1),
            jac=lambda weights, rows=rows: rows @ (weights @ rows).clip(0),
            bounds=[(0, 1)] * (k - 1),
            constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-16, "maxiter": 500},
        )
        assert float(margins[y]) == pytest.approx(math.sqrt(2 * found.fun), abs=1e-6)


@given(seed=st.integers(0, 2**16), size=st.sampled_from([(2, 1), (2, 2), (3, 5), (6, 6), (10, 30)]))
def test_primal_and_dual_meet(seed, size):
    head = simplex_etf(*size, generator=torch.Generator().manual_seed(seed))
    found = orthant_margins(head)
    assert 0 <= found.gap < 1e-9
    assert (found.features >= 0).all()
    for y, (margin, z) in enumerate(zip(found.margins, found.features, strict=True)):
        attained = min(float((head[y] - head[j]) @ z) for j in range(size[0]) if j != y)
        assert attained == pytest.approx(float(margin), abs=1e-9)
        assert 0 <= margin <= size[0] / (size[0] - 1) + 1e-12
        assert float(z.norm()) == pytest.approx(float(margin > 0), abs=1e-12)


@pytest.mark.parametrize("k", [2, 3, 10])
def test_blocks_have_the_margin_of_one_class_each(k):
    for orientation, d in (("axis", k), ("axis", 3 * k), ("block", 3 * k + 1)):
        margins = orthant_margins(simplex_etf(k, d, orientation)).margins
        torch.testing.assert_close(margins, torch.full_like(margins, math.sqrt(k / (k - 1))))


def test_by_hand_in_the_plane():
    # Three vertices at 90, 210 and 330 degrees: only the first, and the last through (1, 0), win
    # somewhere in the quadrant. There z = (0, 1) gives 3/2; for the last, (sqrt 3/2, -3/2) and
    # (sqrt 3, 0) have their largest least product at (1, 0).
    angles = [math.radians(degrees) for degrees in (90, 210, 330)]
    head = [[math.cos(angle), math.sin(angle)] for angle in angles]
    margins = orthant_margins(head).margins
    expected = torch.tensor([1.5, 0.0, math.sqrt(3) / 2], dtype=torch.float64)
    torch.testing.assert_close(margins, expected)


def test_an_unfittable_class_wins_nowhere_in_the_orthant():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(20000, 6, generator=generator, dtype=torch.float64)
    seen = 0
    for _ in range(20):
        head = simplex_etf(6, 6, generator=generator)
        unfittable = orthant_margins(head).unfittable
        winners = (points @ head.T).argmax(1)
        assert not unfittable[winners].any()
        seen += int(unfittable.any())
    assert seen > 0


@given(seed=st.integers(0, 2**16), scale=st.floats(1e-3, 1e3))
def test_what_it_does_and_does_not_depend_on(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    head = simplex_etf(5, 7, generator=generator)
    margins = orthant_margins(head).margins
    rows, columns = (torch.randperm(n, generator=generator) for n in (5, 7))
    torch.testing.assert_close(orthant_margins(scale * head).margins, scale * margins)
    torch.testing.assert_close(orthant_margins(head[rows]).margins, margins[rows])
    torch.testing.assert_close(orthant_margins(head[:, columns]).margins, margins)
    torch.testing.assert_close(orthant_margins(head + torch.ones(7)).margins, margins)


def test_equal_rows_cannot_be_told_apart():
    assert orthant_margins([[1.0, 2.0], [1.0, 2.0]]).margins.tolist() == [0, 0]
    assert orthant_margins([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]]).unfittable.all()


def test_the_search_keeps_the_best_draw():
    found = fittable_etf(10, 12, 20, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    least = [orthant_margins(simplex_etf(10, 12, generator=generator)).least for _ in range(20)]
    assert found.least.tolist() == least
    assert found.orthant.least == max(least) > 0
    assert min(least) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: orthant_margins([[1.0, 2.0]]), "weight: expected at least 2 rows, got 1"),
        (lambda: fittable_etf(4, 4, 0), "draws: expected at least 1, got 0"),
        (lambda: fittable_etf(4, 2), "dim: expected dim >= num_classes - 1 = 3"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="weight: expected finite numbers, got 1 NaN"):
        orthant_margins([[float("nan")], [1.0]])
