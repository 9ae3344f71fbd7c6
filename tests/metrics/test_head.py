import pytest
import torch
from torch.nn.functional import normalize

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.head import Head


def test_logits_are_products_with_rows_and_a_bias(generator):
    features, weight = torch.randn(5, 4, 3, generator=generator), torch.randn(7, 3)
    bias = torch.randn(7)
    head = Head("fc", weight, bias)
    assert (head.num_classes, head.dim) == (7, 3)
    torch.testing.assert_close(head.logits(features), features @ weight.T + bias)
    assert head.features(features) is features


def test_a_cosine_head_sees_directions_alone(generator):
    features, rows = torch.randn(5, 3, generator=generator), torch.randn(7, 3, generator=generator)
    head = Head("fc", 4 * normalize(rows, dim=1), scale=4.0)
    cosines = torch.stack([torch.cosine_similarity(features, row[None], dim=1) for row in rows], 1)
    torch.testing.assert_close(head.logits(features), 4 * cosines)
    torch.testing.assert_close(head.logits(100 * features), 4 * cosines)
    torch.testing.assert_close(head.features(head.features(features)), head.features(features))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(NeuralCollapseError, match=r"weight of the head 'fc': expected shape \(K"):
        Head("fc", torch.ones(3))
    with pytest.raises(NeuralCollapseError, match="one entry per class"):
        Head("fc", torch.ones(3, 2), torch.ones(2))
