"""Symmetric products in panels against the plain product."""

import pytest
import torch

from neuralcollapse.moments.slab import SLAB_ROWS, part_rows
from neuralcollapse.moments.upper_product import add_upper_product, column_panels, mirror


@pytest.mark.parametrize("dim", [1, 63, 64, 65, 300])
def test_a_mirrored_upper_product_is_the_product(dim: int) -> None:
    rows = torch.randn(70, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(dim))
    weights = torch.linspace(-1, 2, 70, dtype=torch.float64)
    total = torch.zeros(dim, dim, dtype=torch.float64)
    add_upper_product(total, rows[:30], weights[:30])
    add_upper_product(total, rows[30:], weights[30:])
    torch.testing.assert_close(mirror(total), torch.einsum("ni,n,nj->ij", rows, weights, rows))
    assert torch.equal(total, total.T)


def test_what_is_far_below_the_diagonal_is_not_computed() -> None:
    total = torch.zeros(256, 256)
    add_upper_product(total, torch.ones(3, 256))
    assert [panel.stop for panel in column_panels(256)] == [64, 128, 192, 256]
    assert not total[64:, :64].any()
    assert bool((total.triu() == torch.full((256, 256), 3.0).triu()).all())


def test_a_device_that_waits_for_calls_gets_one_panel_and_whole_slabs() -> None:
    assert [panel.stop for panel in column_panels(256, whole=True)] == [256]
    assert part_rows(2048, torch.device("meta")) == SLAB_ROWS
    assert part_rows(2048, torch.device("cpu")) < SLAB_ROWS
