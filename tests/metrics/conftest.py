"""The cases that every metric is held against its definition in."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from naive_collapse import NaiveMoments
from neuralcollapse.moments import ClassMoments


@dataclass
class Case:
    """Float64 features of some classes, and a head for them."""

    features: torch.Tensor
    labels: torch.Tensor
    num_classes: int
    weight: torch.Tensor
    bias: torch.Tensor

    @property
    def moments(self):
        moments = ClassMoments(self.num_classes, self.features.shape[1], "per_class")
        return moments.update(self.features, self.labels)

    @property
    def naive(self):
        return NaiveMoments(self.features, self.labels, self.num_classes)

    @property
    def present_rows(self):
        """Class means and head rows of the classes that have samples."""
        present = self.moments.present
        return self.moments.means[present], self.weight[present]


def draw(sizes, dim, seed=0, spread=0.7, offset=0.0, relu=False):
    """Classes of these sizes around Gaussian means, in shuffled order."""
    generator = torch.Generator().manual_seed(seed)
    num_classes = len(sizes)
    means = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    labels = torch.from_numpy(np.repeat(np.arange(num_classes), sizes))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    features = offset + means[labels] + spread * noise
    weight = means + 0.5 * torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    bias = torch.randn(num_classes, generator=generator, dtype=torch.float64)
    return Case(features.relu() if relu else features, labels, num_classes, weight, bias)


CASES = {
    "balanced": draw([20] * 4, 6),
    "imbalanced": draw([40, 3, 11, 25], 6, seed=1),
    "absent": draw([12, 0, 9, 14, 0], 7, seed=2),
    "more classes than dimensions": draw([8] * 9, 4, seed=3),
    "two classes": draw([15, 6], 5, seed=4),
    "one sample each": draw([1] * 5, 8, seed=5),
    "some classes of one": draw([1, 30, 1, 12], 3, seed=6),
    "one dimension": draw([9, 14, 5], 1, seed=7),
    "relu": draw([25] * 6, 12, seed=8, relu=True),
    "offset": draw([20] * 4, 6, seed=9, offset=1000.0),
    "nearly collapsed": draw([30, 20, 30], 5, seed=10, spread=1e-5),
    "fewer samples than dimensions": draw([3, 4, 3], 30, seed=11),
}


@pytest.fixture(params=CASES, ids=lambda name: name.replace(" ", "_"))
def case(request):
    return CASES[request.param]
