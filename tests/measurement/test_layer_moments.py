import pytest
import torch
from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement import LayerMoments, measure
from neuralcollapse.metrics.presets import preset
from neuralcollapse.moments import ClassMoments


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(4 * 16, 6),
        nn.ReLU(),
        nn.Linear(6, 3),
    ).eval()


def batches(generator):
    images = torch.randn(30, 1, 6, 6, generator=generator)
    return list(zip(images.split(12), (torch.arange(30) % 3).split(12), strict=True))


def outputs(model, loader, name):
    """The outputs of a layer by running the ones before it, one after the other."""
    rows = torch.cat([inputs for inputs, _ in loader])
    for index in range(int(name) + 1):
        rows = model[index](rows).clone()
    return rows.mean((2, 3)) if rows.ndim == 4 else rows


@torch.no_grad()
def test_moments_are_those_of_the_outputs(generator):
    # Layer 1 is followed by a ReLU in place, which must not reach into what is gathered.
    model, loader = network(), batches(generator)
    names = ["0", "1", "2", "4", "5"]
    with LayerMoments(model, names, 3) as layers:
        report = measure(model, layers.watch(loader), progress=False)
    labels = torch.cat([labels for _, labels in loader])
    for name in names:
        rows = outputs(model, loader, name)
        expected = preset("tirer2023", ClassMoments(3, rows.shape[1]).update(rows, labels))
        values = layers.values()[name]
        assert values.pop("cdnv") > 0
        assert values == pytest.approx(expected, rel=1e-5)
    assert layers.values()["5"]["nc1_pinv"] == pytest.approx(report["nc1_pinv"])


def test_a_second_pass_counts_afresh(generator):
    model, loader = network(), batches(generator)
    with LayerMoments(model, ["4"], 3) as layers:
        measure(model, layers.watch(loader), feature_budget=0, progress=False)
    assert layers.moments["4"].num_samples == 30


def test_other_passes_are_not_counted_and_hooks_are_removed(generator):
    model, loader = network(), batches(generator)
    with LayerMoments(model, ["4"], 3) as layers:
        for inputs, _ in layers.watch(loader):
            model(inputs)
        model(loader[0][0])
    assert layers.moments["4"].num_samples == 30
    assert not any(module._forward_hooks for module in model.modules())


def test_unknown_names_are_refused():
    with pytest.raises(
        NeuralCollapseError,
        match="layers: expected names of modules of the model, got 'seven', 'eight'; choose among",
    ):
        LayerMoments(network(), ["0", "seven", "eight"], 3)


@pytest.mark.parametrize(
    ("model", "calls", "message"),
    [
        (nn.Sequential(nn.Linear(2, 3)), 2, "called once in each forward pass, got calls of '0'"),
        (nn.Sequential(nn.Linear(2, 3)), 0, "called once in each forward pass, got calls of none"),
        (
            nn.Sequential(nn.Flatten(0)),
            1,
            r"layer 0: expected features of shape \(4, d\), one row per sample, got \(8,\)",
        ),
    ],
)
def test_layers_without_one_row_a_sample_are_refused(model, calls, message):
    def run():
        for inputs, _ in layers.watch([(torch.zeros(4, 2), torch.arange(4) % 2)]):
            for _ in range(calls):
                model(inputs)

    with (
        LayerMoments(model, ["0"], 2) as layers,
        pytest.raises(NeuralCollapseError, match=message),
    ):
        run()
