"""Features about the vertices of an ETF, drawn and judged as a user would; the truth is known."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from neuralcollapse.generalization import (
    cantelli_plug_in,
    cantelli_upper,
    clopper_pearson_upper,
    error_certificate,
    margin_ramp_upper,
)
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.metrics import sample_margins
from neuralcollapse.studies.gao2023.held_out_worlds import WORLDS, World

CLASSES, DIM, N, REPLICATES = 4, 8, 150, 600
RARE = 1e-4


def held_out_margins(world, replicates, generator, n=N):
    """Return (replicates, n) margins of features in 8 dimensions under an ETF head."""
    vertices = simplex_etf(CLASSES, DIM, generator=generator)
    labels = torch.randint(CLASSES, (replicates * n,), generator=generator)
    noise = torch.randn(len(labels), DIM, generator=generator, dtype=torch.float64)
    if np.isfinite(world.degrees):
        squares = torch.randn(len(labels), int(world.degrees), generator=generator).square().sum(1)
        noise *= ((world.degrees - 2) / squares).sqrt()[:, None]
    features = vertices[labels] + world.deviation * noise
    wrong = torch.rand(len(labels), generator=generator) < world.atoms
    features[wrong] = vertices[(labels[wrong] + 1) % CLASSES]
    return sample_margins(features @ vertices.T, labels).numpy().reshape(replicates, n)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_certificates_cover_in_every_world(world, generator):
    scale = float(np.median(held_out_margins(world, 1, generator)))
    margins = held_out_margins(world, REPLICATES, generator)
    least = binom.ppf(RARE, REPLICATES, 0.95)
    bounds = {
        "count": clopper_pearson_upper((margins <= 0).sum(1), N),
        "ramp": margin_ramp_upper(margins, scale / 2.0 ** np.arange(5)),
        "cantelli": cantelli_upper(margins, scale),
    }
    for name, bound in bounds.items():
        assert (bound >= world.error).sum() >= least, name
    # What is drawn is the world whose error is known.
    errors = (margins <= 0).sum()
    limits = binom.ppf([RARE, 1 - RARE], margins.size, world.error)
    assert limits[0] <= errors <= limits[1]


@pytest.mark.parametrize(("atoms", "n"), [(0.005, 100), (0.005, 400), (0.02, 100)])
def test_the_plug_in_holds_only_if_the_sample_has_an_atom(atoms, n, generator):
    world = World("deep collapse and atoms", 0.02, atoms)
    margins = held_out_margins(world, REPLICATES, generator, n)
    covered = cantelli_plug_in(margins) >= world.error
    assert (covered == (margins <= 0).any(1)).all()
    assert covered.sum() < binom.ppf(RARE, REPLICATES, 0.95)


def test_the_classes_are_covered_together(generator):
    # One class is hard: all bounds must hold at once in 80 % of the draws.
    errors, replicates = np.array([0.3, 0.02, 0.0, 0.05]), 300
    draws = np.random.default_rng(0)
    hits = 0
    for _ in range(replicates):
        labels = draws.integers(4, size=100)
        margins = np.where(draws.random(100) < errors[labels], -1.0, 1.0)
        table = error_certificate(margins, 0.8, labels=labels, class_names="0123").per_class
        hits += (table["upper"] >= errors[table["class"].astype(int)]).all()
    assert hits >= binom.ppf(RARE, replicates, 0.8)
