import json

import numpy as np
import pytest
from scipy.stats import binom

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization import clopper_pearson_upper, cross_fit_certificate


def test_it_averages_the_folds_at_a_share_of_the_level():
    folds = [[1.0, -1.0, 2.0], [0.0] * 4, [3.0] * 10]
    certificate = cross_fit_certificate(folds, 0.9)
    uppers = [clopper_pearson_upper(k, n, 1 - 0.1 / 3) for k, n in ((1, 3), (4, 4), (0, 10))]
    assert certificate.per_fold["upper"].tolist() == pytest.approx(uppers)
    assert certificate.upper == pytest.approx(np.mean(uppers))
    assert certificate.per_fold["errors"].tolist() == [1, 4, 0]
    record = json.loads(json.dumps(certificate.to_dict()))
    assert record["per_fold"][1] == {"n": 4, "errors": 4, "upper": 1.0}


def test_it_covers_the_average_of_models_that_differ():
    generator = np.random.default_rng(0)
    errors, replicates = np.array([0.0, 0.02, 0.3, 0.1, 0.05]), 400
    hits = 0
    for _ in range(replicates):
        wrong = generator.random((5, 40)) < errors[:, None]
        certificate = cross_fit_certificate(list(np.where(wrong, -1.0, 1.0)), 0.8)
        hits += certificate.upper >= errors.mean()
    assert hits >= binom.ppf(1e-4, replicates, 0.8)


def test_its_words_say_what_it_is_not():
    text = str(cross_fit_certificate([[1.0] * 50, [1.0] * 49 + [-1.0]]))
    assert (
        "At 95 % confidence the average error of the 2 fold models on new data is at most" in text
    )
    assert "1 of 100 samples is misclassified" in text
    assert "does not certify a model trained on all folds" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0]],), "fold_margins: expected at least 2 folds, got 1; use error_certificate"),
        (([[1.0], []],), r"fold_margins\[1\]: expected at least one sample, got none"),
        (([[1.0], [[1.0]]],), r"fold_margins\[1\]: expected 1 axis, got shape \(1, 1\)"),
        (([[1.0], [1.0]], -0.1), r"confidence: expected a number in \(0, 1\), got -0.1"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        cross_fit_certificate(*arguments)


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match=r"fold_margins\[0\]: expected finite numbers, got 1"):
        cross_fit_certificate([[float("nan")], [1.0]])
