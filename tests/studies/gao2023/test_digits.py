import torch

from neuralcollapse.metrics import margin_min, margin_scale
from neuralcollapse.moments import ClassMoments
from neuralcollapse.studies.gao2023.digits import EPOCHS, HALF, trained_digits


def test_it_is_fitted_balanced_and_the_rest_is_fresh():
    trained = trained_digits(HALF)
    assert torch.bincount(trained.labels).tolist() == [HALF] * 10
    assert len(trained.inputs) + len(trained.fresh_inputs) == 1437
    own = {row.numpy().tobytes() for row in trained.inputs}
    fresh = {row.numpy().tobytes() for row in trained.fresh_inputs}
    assert not own & fresh
    assert len(trained.history) == EPOCHS
    assert trained.history[-1].accuracy == 1
    assert not trained.network.training


def test_the_last_snapshot_is_the_network_at_the_end():
    trained = trained_digits(HALF)
    features = trained.features(trained.inputs)
    head = trained.network.head
    weight, bias = head.weight.detach().double(), head.bias.detach().double()
    last = trained.history[-1]
    assert last.margin == margin_min(features @ weight.T + bias, trained.labels)
    moments = ClassMoments(10, features.shape[1]).update(features, trained.labels)
    assert abs(last.scale / margin_scale(moments, weight, bias) - 1) < 1e-12
