"""The picture of a report keeps its panels, whatever the classes are called and however few."""

import pytest
import torch

from neuralcollapse.geometry import simplex_etf
from neuralcollapse.measurement import measure_features
from neuralcollapse.measurement.figures import NAME, plot_report

LONG = "a name of a class without end " * 4


@pytest.mark.parametrize("names", [["a", "b"], [f"{LONG}{letter}" for letter in "abcde"]])
def test_panels_keep_their_room(names):
    num_classes = len(names)
    vertices, labels = simplex_etf(num_classes, 8), torch.arange(10 * num_classes) % num_classes
    noise = torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(0))
    report = measure_features(vertices[labels] + 0.05 * noise, labels, vertices, class_names=names)
    figure = plot_report(report)
    figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert len(panels) == 4
    assert all(axes.get_position().height > 0.25 for axes in panels)
    (space,) = (axes for axes in figure.axes if axes.name == "3d")
    limits = {axis.get_view_interval()[1] for axis in (space.xaxis, space.yaxis, space.zaxis)}
    assert len(limits) == 1  # one length in all directions
    drawn = [text.get_text() for text in space.texts]
    assert len(drawn) == min(num_classes, 4)
    assert all(len(text) <= NAME for text in drawn)
    assert len(set(drawn)) == len(drawn)


def test_a_head_of_zeros_has_no_margins_to_draw():
    labels = torch.arange(12) % 3
    features = simplex_etf(3, 4)[labels]
    figure = plot_report(measure_features(features, labels, torch.zeros(3, 4)))
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "all logits alike, no margins" in texts
