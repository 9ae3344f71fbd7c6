import json
import math

import numpy as np
import pandas as pd
import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import alignment_effects, compare_rules, crossed_anova
from neuralcollapse.generalization.crossed_anova import within_seed_permutation


def runs(a=4, b=5, r=2, effect=0.0, rule=None, bad=(), seed=0):
    rng = np.random.default_rng(seed)
    seeds = rng.normal(size=b)
    names = [*range(a), *([rule] if rule else [])]
    rows = [
        (n, s, o, effect * i + seeds[s] + 0.1 * rng.normal(), (n, s, o) not in bad)
        for i, n in enumerate(names)
        for s in range(b)
        for o in range(r)
    ]
    return pd.DataFrame(rows, columns=["alignment", "seed", "order", "value", "converged"])


def test_it_holds_what_its_parts_give():
    table = runs(rule="hungarian")
    effects = alignment_effects(table, ["hungarian"], permutations=200)
    values = table[table["alignment"] != "hungarian"]["value"].to_numpy().reshape(4, 5, 2)
    pd.testing.assert_frame_equal(effects.anova, crossed_anova(values))
    assert effects.permutation_p == within_seed_permutation(values, 200)
    pd.testing.assert_frame_equal(effects.rules, compare_rules(table, ["hungarian"]))
    assert effects.among_fitting is None
    assert effects.tests.loc["alignment, permuted", "p"] == effects.permutation_p


def test_seed_spread_is_not_taken_for_alignment():
    effects = alignment_effects(runs())
    assert effects.permutation_p > 0.05
    assert effects.components.loc["seed", "sd"] > 5 * effects.components["sd"].drop("seed").max()
    assert "No difference between alignments beyond that of seeds" in str(effects)
    assert "fit their training data" in str(effects)


def test_a_real_effect_is_found_with_limits_about_it():
    effects = alignment_effects(runs(effect=1.0))
    assert effects.permutation_p < 0.01
    sd = float(np.std([0, 1, 2, 3], ddof=1))
    low, high = effects.limits
    assert low < sd < high
    assert effects.components.loc["alignment", "sd"] == pytest.approx(sd, rel=0.1)
    assert "Alignments differ on average over seeds." in str(effects)


def test_a_negative_component_is_shown_as_such():
    effects = alignment_effects(runs(seed=3))
    variance = effects.components["variance"]
    assert (variance < 0).any()
    assert "below 0" in str(effects)
    assert math.isnan(effects.components["sd"][variance.idxmin()])


def test_runs_that_did_not_fit_are_reported_and_kept():
    bad = [(1, 0, 0), (1, 2, 1), (3, 4, 0)]
    table = runs(bad=bad)
    effects = alignment_effects(table, permutations=100)
    pd.testing.assert_frame_equal(effects.anova, alignment_effects(runs()).anova)
    assert effects.fits["converged"].tolist() == [10, 8, 10, 9]
    lost = table[(table["alignment"] == 1) & ~table["converged"]]["value"].mean()
    assert effects.fits.loc[1, "mean_unconverged"] == pytest.approx(lost)
    assert effects.among_fitting.design.alignments == (0, 2)
    kept = table[table["alignment"].isin([0, 2])]["value"].to_numpy().reshape(2, 5, 2)
    pd.testing.assert_frame_equal(effects.among_fitting.anova, crossed_anova(kept))
    text = str(effects)
    assert "92.5 % of the runs fit" in text
    assert "alignment 1: 2 of 10" in text
    assert "among the 2 alignments that always fit" in text


def test_nothing_fits():
    table = runs().assign(converged=False)
    effects = alignment_effects(table)
    assert effects.among_fitting is None
    assert "alignment 0: 10 of 10, mean" in str(effects)


def test_the_dict_is_json(tmp_path):
    table = runs(r=1, rule="procrustes", bad=[(0, 0, 0)])
    effects = alignment_effects(table, ["procrustes"], permutations=50)
    record = json.loads(json.dumps(effects.to_dict(), allow_nan=False))
    assert record["orders"] == 1
    assert record["anova"]["seed"]["p"] is None
    assert record["fits"]["0"]["converged"] == 4
    assert record["rules"]["procrustes"]["p_holm"] == effects.rules["p_holm"].iloc[0]
    assert record["among_fitting"]["alignments"] == 3
    path = effects.plot(tmp_path / "effects.png", 100, "test accuracy, %")
    assert path.stat().st_size > 10000


def test_the_order_of_the_rows_does_not_matter():
    table = runs(effect=0.1)
    first = alignment_effects(table, permutations=50)
    other = alignment_effects(table.sample(frac=1, random_state=1), permutations=50)
    np.testing.assert_allclose(first.anova, other.anova, rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alignment_effects(runs(), ["qap"]), "rules: expected alignments in the table"),
        (lambda: alignment_effects(runs()[1:]), "got none of alignment 0, seed 0, order 0"),
        (lambda: alignment_effects(runs(a=1)), "at least 2 alignments"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()
