import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.metrics.decisions import BLOCK, TIED, alike, decide


def naive(scores, labels, slack=0.0):
    """Margins and unique winners, sample by sample."""
    margins, winners = [], []
    for row, y in zip(scores.tolist(), labels.tolist(), strict=True):
        margins.append(row[y] - max(s for k, s in enumerate(row) if k != y))
        near = [k for k, s in enumerate(row) if s >= max(row) - slack]
        winners.append(near[0] if len(near) == 1 else TIED)
    return margins, winners


@pytest.mark.parametrize("num_classes", [2, 3, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 700, 1031])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64])
def test_as_defined(num_classes, dtype):
    generator = torch.Generator().manual_seed(num_classes)
    scores = (8 * torch.randn(60, num_classes, generator=generator)).to(dtype)  # bfloat16 ties
    labels = torch.randint(num_classes, (60,), generator=generator)
    labels[::2] = scores[::2].argmax(1)
    labels[-1] = num_classes - 1
    before = scores.clone()
    margins, winners = decide(scores, labels)
    expected, unique = naive(scores, labels)
    assert margins.tolist() == pytest.approx(expected, rel=1e-6)
    assert winners.tolist() == unique
    assert torch.equal(scores, before)
    assert torch.equal(margins > 0, winners == labels)
    turned = decide(scores.T.contiguous().T, labels)  # other strides
    assert turned[1].tolist() == unique
    expanded = decide(scores[:1].expand(60, -1), labels)  # scores that cannot be written to
    assert expanded[1].tolist() == naive(scores[:1].expand(60, -1), labels)[1]


@given(
    rows=st.lists(st.lists(st.integers(0, 6), min_size=5, max_size=5), min_size=1, max_size=12),
    slack=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
)
def test_what_slack_cannot_tell_apart_has_no_winner(rows, slack):
    scores = torch.tensor(rows, dtype=torch.float32)
    labels = torch.arange(len(rows)) % 5
    _, winners = decide(scores, labels, slack)
    assert winners.tolist() == naive(scores, labels, slack)[1]
    each = torch.full((len(rows),), slack)
    assert decide(scores, labels, each)[1].tolist() == winners.tolist()


@pytest.mark.parametrize("position", [(0, 0), (0, 2), (0, 300)])
def test_nan_wins_nothing(position):
    scores = torch.zeros(1, 301)
    scores[0, 0] = 1
    scores[position] = math.nan
    for label in (0, 2, 300):
        margins, winners = decide(scores, torch.tensor([label]))
        assert math.isnan(margins[0])
        assert winners.tolist() == [TIED]


def test_a_single_class_has_no_rival():
    margins, winners = decide(torch.tensor([[2.0]]), torch.tensor([0]))
    assert margins.tolist() == [math.inf]
    assert winners.tolist() == [0]


def test_two_without_a_winner_are_not_alike():
    assert alike(torch.tensor([TIED, 1]), torch.tensor([TIED, 1])).tolist() == [False, True]
