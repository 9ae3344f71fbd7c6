import numpy as np
import pytest
from scipy import stats

from neuralcollapse.studies.gao2023 import rotation_replication
from neuralcollapse.studies.gao2023.rotation_replication import decide, rank_correlation


def record(slope, effect, unfit=(), seed=0):
    """A record of 12 rotations, 4 seeds and 2 orders with the effects wanted."""
    rng = np.random.default_rng(seed)
    margins = rng.uniform(size=12)
    levels = slope * margins + effect * rng.normal(size=12)
    runs = [
        (a, s, o, 0.9 + 0.01 * levels[a] + 0.01 * rng.normal(), (a, s, o) not in unfit, 1.0, None)
        for a in range(12)
        for s in range(4)
        for o in range(2)
    ]
    names = ("alignment", "seed", "order", "value", "converged", "train_accuracy", "epochs_to_fit")
    columns = dict(zip(names, map(list, zip(*runs, strict=True)), strict=True))
    return {"margins": margins.tolist(), "runs": columns}


def test_rank_correlation_is_spearmans(generator):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20))
    y += 0.5 * x
    correlation, p = rank_correlation(x, y)
    expected = stats.spearmanr(x, y, alternative="greater")
    assert correlation == pytest.approx(expected.statistic)
    assert p == pytest.approx(expected.pvalue, rel=0.15)  # of a t law; ours is by permutation
    assert np.isnan(rank_correlation(x[:9], y[:9])[0])


def test_a_planted_effect_is_confirmed_and_none_is_not(monkeypatch):
    monkeypatch.setattr(rotation_replication, "PERMUTATIONS", 499)
    assert decide(record(5.0, 0.1))["confirmed"].tolist() == [True, True, True]
    assert decide(record(0.0, 0.0))["confirmed"].tolist() == [False, False, False]
    assert decide(record(0.0, 3.0, seed=2))["confirmed"].tolist() == [True, False, False]


def test_too_few_rotations_that_fit_leave_the_third_open(monkeypatch):
    monkeypatch.setattr(rotation_replication, "PERMUTATIONS", 499)
    decided = decide(record(5.0, 0.1, unfit=[(a, 0, 0) for a in range(3)]))
    assert decided["rotations"].tolist() == [12, 12, 9]
    assert decided.loc["H3", "p"] == 1
    assert not decided.loc["H3", "confirmed"]
