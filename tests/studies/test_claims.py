import itertools
import math

import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.studies import Claim, Evidence, Study, Verdict, judge
from neuralcollapse.studies.claims import exit_status, farthest, largest, smallest


def toy(*evidence, correction=None):
    return Claim("toy.thm1", "A toy.", lambda: iter(evidence), correction)


GOOD, BAD = Evidence("a number", 1.0, 1.0), Evidence("a number", 2.0, 1.0)


@pytest.mark.parametrize(
    ("measured", "expected", "tolerance", "relation", "holds"),
    [
        (1.0, 1.0, 0.0, "=", True),
        (1.05, 1.0, 0.1, "=", True),
        (0.95, 1.0, 0.1, "=", True),
        (0.8, 1.0, 0.1, "=", False),
        (1.2, 1.0, 0.1, "=", False),
        (0.1, 1.0, 0.0, "<=", True),
        (1.2, 1.0, 0.1, "<=", False),
        (9.0, 1.0, 0.0, ">=", True),
        (0.95, 1.0, 0.1, ">=", True),
        (0.8, 1.0, 0.1, ">=", False),
        (math.nan, 1.0, 9.0, "=", False),
        (math.nan, 1.0, 9.0, "<=", False),
        (math.nan, 1.0, 9.0, ">=", False),
        (math.inf, 1.0, 9.0, "<=", False),
    ],
)
def test_evidence_holds_on_the_right_side_only(measured, expected, tolerance, relation, holds):
    assert Evidence("a number", measured, expected, tolerance, relation).holds is holds


@pytest.mark.parametrize(
    ("claim", "outcome", "status"),
    [
        (toy(GOOD), "holds", 0),
        (toy(GOOD, GOOD, correction="a factor 2"), "holds as corrected", 0),
        (toy(GOOD, BAD), "fails", 1),
        (toy(BAD, correction="a factor 2"), "fails", 1),
        (toy(), "error", 1),
    ],
)
def test_one_piece_of_evidence_decides(claim, outcome, status):
    verdict = judge(claim)
    assert verdict.outcome == outcome
    assert verdict.holds is (status == 0)
    assert exit_status([verdict, judge(toy(GOOD))]) == status


def test_a_broken_check_is_a_verdict_that_keeps_what_came_before():
    def check():
        yield GOOD
        raise ZeroDivisionError("no digits left")

    verdict = judge(Claim("toy.thm2", "A toy.", check))
    assert verdict == Verdict(verdict.claim, (GOOD,), "ZeroDivisionError: no digits left")
    assert verdict.outcome == "error"
    assert exit_status([verdict]) == 1


def test_an_interrupt_is_not_a_verdict():
    def check():
        raise KeyboardInterrupt
        yield GOOD

    with pytest.raises(KeyboardInterrupt):
        judge(Claim("toy.thm3", "A toy.", check))


def test_a_study_keeps_its_claims_in_order_and_refuses_two_of_one_name():
    study = Study("toy2022", "A toy paper")
    for name in ("thm2", "thm1"):
        study.claim(name, "A toy.")(lambda: iter([GOOD]))
    assert [claim.id for claim in study.claims] == ["toy2022.thm2", "toy2022.thm1"]
    assert study.claims[0].paper == "toy2022"
    with pytest.raises(NeuralCollapseError, match=r"name: .*, got toy2022.thm1 twice; rename one"):
        study.claim("thm1", "Another.")


@pytest.mark.parametrize("values", itertools.permutations([1.0, math.nan, 3.0]))
def test_nan_is_reported_wherever_it_stands(values):
    assert math.isnan(largest(*values))
    assert math.isnan(smallest(*values))
    assert math.isnan(farthest(values))


def test_without_nan_they_are_the_extremes():
    assert (largest(1, -2, 3), smallest(1, -2, 3), farthest([1, -2, 3], 0)) == (3, -2, 3)
