"""Whatever was counted, no sentence is on the unsafe side of the exact bound.

A printed bound p is safe if p itself, taken as the error, would show so few errors with at most the
probability that the printed confidence leaves: P(Bin(n, p) <= k) <= 1 - confidence.
"""

import re
from decimal import Decimal

import numpy as np
import pytest
import torch
from scipy.stats import binom

from neuralcollapse.generalization import cross_fit_certificate, error_certificate
from neuralcollapse.generalization.certificates.certificate import ErrorCertificate
from neuralcollapse.generalization.certificates.clopper_pearson import clopper_pearson_upper
from neuralcollapse.generalization.margin_bound import MarginBound
from neuralcollapse.generalization.top_label import top_label_parts
from neuralcollapse.report.html.certificate import _picked, class_rows
from neuralcollapse.wording import at_least, at_most

CASES = 1000
SLACK = 1e-9  # of binom.cdf


def shares(text):
    """Return the per cents of a text, as shares."""
    return [
        float(Decimal(found.replace(",", "")) / 100) for found in re.findall(r"([\d.,]+) %", text)
    ]


def is_safe(printed, k, n, confidence, parts=1):
    return printed == 1 or binom.cdf(k, n, printed) <= (1 - confidence) / parts * (1 + SLACK)


@pytest.fixture(scope="module")
def counts():
    """Errors, samples and confidences: of few and many, none and all, mild and strict."""
    random = np.random.default_rng(0)
    n = np.exp(random.uniform(0, np.log(1e6), CASES)).astype(int)
    kind = random.integers(0, 4, CASES)
    k = np.select(
        [kind == 0, kind == 1, kind == 2],
        [0, random.binomial(n, 0.01), n - random.integers(0, 2, CASES)],
        random.binomial(n, random.random(CASES)),
    )
    confidence = 1 - np.exp(random.uniform(np.log(1e-6), np.log(0.5), CASES))
    return list(zip(k.clip(0, n).tolist(), n.tolist(), confidence.tolist(), strict=True))


@pytest.mark.untyped
def test_of_all_classes_and_of_the_best_of_several_runs(counts):
    for runs, (k, n, confidence) in enumerate(counts):
        upper = clopper_pearson_upper(k, n, confidence)
        found = ErrorCertificate(upper, confidence, k, n, 0.0, None, None, {})
        told, bound, seen = shares(found.sentence)
        assert told <= confidence
        assert is_safe(bound, k, n, told), found.sentence
        assert (seen == 0) == (k == 0)
        assert (seen == 1) == (k == n)
        assert f"{k:,} of {n:,} held-out samples" in found.sentence
        runs = 2 + runs % 5
        bound, joint, each = shares(_picked(found, runs, 1 - 0.05 / runs))
        assert is_safe(bound, k, n, joint, runs)
        assert each <= 1 - 0.05 / runs


def test_of_each_class_and_of_the_worst(counts):
    for i in range(0, CASES, 8):
        few = [(min(k, 200), min(n, 200)) for k, n, _ in counts[i : i + 8]]
        confidence = counts[i][2]
        labels = np.repeat(np.arange(8), [n for _, n in few])
        margins = np.concatenate([np.where(np.arange(n) < k, -1.0, 1.0) for k, n in few])
        found = error_certificate(margins, confidence, labels=labels, class_names="abcdefgh")
        told, _, _, worst = shares(found.sentence)
        row = found.worst_class
        assert is_safe(worst, row["errors"], row["n"], told, 8), found.sentence
        for row in class_rows(found.per_class):
            k, n = few["abcdefgh".index(row["name"])]
            assert (row["n"], row["errors"]) == (f"{n:,}", f"{k:,}")
            assert is_safe(*shares(row["upper"]), k, n, told, 8)


def test_of_models_of_folds(counts):
    for i in range(0, CASES, 4):
        few = [(min(k, 200), min(n, 200)) for k, n, _ in counts[i : i + 4]]
        folds = [np.where(np.arange(n) < k, -1.0, 1.0) for k, n in few]
        found = cross_fit_certificate(folds, counts[i][2])
        told, bound = shares(str(found))
        each = [clopper_pearson_upper(k, n, 1 - (1 - told) / 4) for k, n in few]
        assert bound >= np.mean(each) * (1 - SLACK), str(found)


def test_of_floors_and_of_calibration(counts):
    """A floor is a lower bound: it is printed at most as large; an interval never narrower."""
    for k, n, confidence in counts[::40]:
        floor = clopper_pearson_upper(k, n, confidence) / 3
        assert shares(at_least(floor))[0] <= floor
        n = min(n, 200)
        logs = -torch.rand(n, generator=torch.Generator().manual_seed(k)).double()
        margins = torch.where(torch.arange(n) < k, -1.0, 1.0)
        parts = top_label_parts(logs, margins, 5, confidence)
        assert shares(at_least(parts["lower"]))[0] <= parts["lower"]
        assert shares(at_most(parts["upper"]))[0] >= parts["upper"]


def test_of_the_margins_of_a_training_sample():
    random = np.random.default_rng(1)
    for empirical, complexity, deviation, confidence in random.random((CASES, 4)).tolist():
        bound = MarginBound(empirical, complexity, deviation, 1.0, 100, 3, confidence, "nothing")
        said = shares(str(bound))
        assert said[1] <= confidence
        assert said[0] >= bound.bound
        for printed, part in zip(said[2:], (empirical, complexity, deviation), strict=True):
            assert printed >= part
