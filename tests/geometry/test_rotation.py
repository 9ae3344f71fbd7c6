import pytest
import torch

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry import random_isometry


@pytest.mark.parametrize(("rows", "dim"), [(1, 1), (1, 4), (3, 3), (5, 9)])
def test_rows_are_orthonormal(rows, dim, generator):
    frame = random_isometry(rows, dim, generator)
    assert frame.shape == (rows, dim)
    identity = torch.eye(rows, dtype=torch.float64)
    torch.testing.assert_close(frame @ frame.T, identity, atol=1e-14, rtol=0)


def test_both_signs_of_the_determinant_are_equally_likely():
    generator = torch.Generator().manual_seed(0)
    signs = torch.stack([random_isometry(3, 3, generator).det().sign() for _ in range(2000)])
    assert abs(float(signs.mean())) < 4 / 2000**0.5  # four standard errors of a fair coin


def test_the_law_of_an_entry_is_that_of_haar():
    generator = torch.Generator().manual_seed(1)
    # An entry of a Haar rotation of O(3) is uniform on [-1, 1]: its fourth power has mean 1/5 and
    # variance 1/9 - 1/25.
    corner = torch.stack([random_isometry(3, 3, generator)[0, 0] for _ in range(4000)])
    error = abs(float(corner.pow(4).mean()) - 1 / 5)
    assert error < 4 * (1 / 9 - 1 / 25) ** 0.5 / 4000**0.5


@pytest.mark.parametrize(("rows", "expected"), [(0, "at least 1"), (4, "1 <= rows <= dim = 3")])
def test_more_rows_than_dimensions_are_refused(rows, expected):
    with pytest.raises(NeuralCollapseError, match=f"rows: expected {expected}, got {rows}"):
        random_isometry(rows, 3)
