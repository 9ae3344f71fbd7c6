import math

import pytest
import torch

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.moments.slab import SLAB_ROWS, SlabBuffer


def buffer(dtype=torch.float32, **options):
    return SlabBuffer(2, dtype, torch.device("cpu"), **options)


def numbered(start, stop):
    return torch.arange(start, stop)[:, None].expand(-1, 2).float()


@pytest.mark.parametrize("batch", [1, 7, 256, SLAB_ROWS, SLAB_ROWS + 1, 3 * SLAB_ROWS])
def test_every_row_comes_out_once_and_in_order(batch):
    total = 2 * SLAB_ROWS + 100
    slab, seen, labels = buffer(), [], []
    for start in range(0, total, batch):
        index = torch.arange(start, min(start + batch, total))
        for rows, row_labels in slab.append(numbered(start, start + len(index)), index):
            assert len(rows) == SLAB_ROWS
            seen.append(rows.clone())
            labels.append(row_labels.clone())
    rows, row_labels = slab.take()
    assert len(rows) == 100
    expected = torch.arange(total)
    assert torch.equal(torch.cat([*labels, row_labels]), expected)
    assert torch.equal(torch.cat([*seen, rows])[:, 1], expected.float())
    assert len(slab.take()[0]) == 0


def test_features_are_converted():
    slab = buffer(torch.float64)
    assert list(slab.append(torch.tensor([[1, 2]], dtype=torch.uint8), torch.tensor([0]))) == []
    assert slab.take()[0][:, :2].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("bad_row", [0, SLAB_ROWS + 5])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_bad_batch_is_refused_whole(bad_row, value):
    slab = buffer(num_batches=4)
    list(slab.append(numbered(0, 3), torch.arange(3)))
    features = numbered(0, 2 * SLAB_ROWS).clone()
    features[bad_row, 0] = value
    with pytest.raises(
        NonFiniteError, match=r"features in batch 5: .* got 1 NaN or infinite of 8192"
    ):
        list(slab.append(features, torch.arange(2 * SLAB_ROWS)))
    assert slab.take()[0][:, :2].tolist() == numbered(0, 3).tolist()


@pytest.mark.parametrize(
    ("dtype", "accepted", "refused"),
    [(torch.float32, 1e16, 2e16), (torch.float64, 1e150, 1e152)],
    ids=["float32", "float64"],
)
def test_what_cannot_be_squared_is_refused(dtype, accepted, refused):
    slab = buffer(dtype)
    list(slab.append(torch.full((1, 2), accepted, dtype=dtype), torch.zeros(1).long()))
    message = f"squares can be summed in {dtype}, got values up to {refused:.0e}".replace("+", ".")
    with pytest.raises(NeuralCollapseError, match=message):
        list(slab.append(torch.full((1, 2), -refused, dtype=dtype), torch.zeros(1).long()))
    assert slab.filled == 1
