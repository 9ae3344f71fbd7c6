"""The covering bound beside test accuracy: nets and radii of small designs, counted naively."""

import numpy as np
import pytest

from neuralcollapse.studies.gao2023.alignment import alignments, setting
from neuralcollapse.studies.gao2023.alignment_runs import digits_split, train_alignments
from neuralcollapse.studies.gao2023.covering_ranks import (
    agreement,
    class_radii,
    covering_bound,
    measure_ranks,
)


@pytest.fixture(scope="module")
def trained():
    return train_alignments(setting(16, 1, 1, epochs=1), alignments("rotations", 16, 2))[1]


def test_radii_are_least_pair_margins_over_the_norms_of_the_layers(trained):
    images, labels, _, _ = digits_split(0)
    found = class_radii(trained, images, labels)
    for run in range(2):
        head, logits = trained.heads[run].double(), trained.logits(images)[run].double()
        constant = np.prod([np.linalg.norm(w[run].double().numpy(), 2) for w in trained.weights])
        for k in (0, 7):
            pairs = [
                float((logits[labels == k, k] - logits[labels == k, j]).min())
                / (constant * float((head[k] - head[j]).norm()))
                for j in range(10)
                if j != k
            ]
            assert found[run, k] == pytest.approx(min(pairs), rel=1e-4, abs=1e-7)


def test_the_bound_is_between_one_ball_a_class_and_one_a_sample():
    images, labels, _, _ = digits_split(0)
    images = images.double()
    for radius, points in ((1e-6, 300), (-1.0, 300), (100.0, 10)):
        assert covering_bound(images, labels, np.full(10, radius)) == points / 600
    bounds = [covering_bound(images, labels, np.full(10, r)) for r in (1.0, 1.5, 2.0, 3.0)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] > bounds[-1]


def test_a_design_is_measured_run_by_run():
    found = measure_ranks("rotations", 16, count=2, seeds=1, orders=2, epochs=1)
    assert found.smallest == 0.5
    for values in (found.bounds, found.margins, found.accuracy):
        assert values.shape == (1, 2, 2)
    assert (found.bounds <= 0.5).all()
    assert found.stretch != 0


def test_agreement_is_the_mean_of_the_seeds_between_its_limits():
    values = np.exp(np.arange(12.0).reshape(3, 4))
    other = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 3, 2]])
    mean, low, high = agreement(values, other)
    assert mean == pytest.approx((1 - 1 + 0.8) / 3)
    assert low < mean < high
    assert low + high == pytest.approx(2 * mean)
