"""A network runs under a tap as it does without: what a hook could not read is told after."""

import pytest
import torch
from torch import nn

from neuralcollapse import FeatureTap
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.integrations.batch_observer import BatchObserver
from neuralcollapse.measurement.layer_tap import LayerTap
from neuralcollapse.runs.recorder import CollapseRecorder


def spoiled():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[2].bias[0] = torch.nan
    return model


def test_the_network_runs_to_its_end_and_the_error_comes_with_what_was_heard():
    model, x = spoiled(), torch.ones(5, 3)
    with FeatureTap(model) as tap:
        torch.testing.assert_close(model(x), model(x), equal_nan=True)
        with pytest.raises(NeuralCollapseError, match="bias: expected finite numbers"):
            tap.take()


def test_an_error_that_nobody_asked_for_is_raised_at_the_end():
    model, x, ran = spoiled(), torch.ones(5, 3), []
    with pytest.raises(NeuralCollapseError, match="bias: expected finite"), FeatureTap(model):
        ran.append(model(x))
    assert len(ran) == 1
    broken = nn.Sequential(model, nn.Linear(7, 2))
    with pytest.raises(RuntimeError, match="shapes"), FeatureTap(broken, model[2]):
        broken(x)  # the network's own error goes first


def test_a_layer_that_cannot_be_pooled_does_not_stop_the_network():
    def pool(output):
        raise ValueError("no pool")

    model, x = spoiled(), torch.ones(5, 3)
    with LayerTap(model, ["0"], pool) as layers:
        assert model(x).shape == (5, 2)
        with pytest.raises(ValueError, match="no pool"):
            layers.take(5)


def test_a_batch_that_is_dropped_takes_its_error_along():
    model, x = spoiled(), torch.ones(5, 3)
    observer = BatchObserver(model, CollapseRecorder())
    observer.open()
    observer.expect((x, torch.zeros(5, dtype=torch.int64)))
    model(x)
    observer.discard()
    observer.open()
    observer.expect((x, torch.zeros(5, dtype=torch.int64)))
    model(x)
    with pytest.raises(NeuralCollapseError, match="bias: expected finite"):
        observer.close()
    assert not observer.opened
