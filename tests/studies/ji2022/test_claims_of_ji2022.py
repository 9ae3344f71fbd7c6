import pytest

from neuralcollapse.studies import judge, load_study

STUDY = load_study("ji2022")


@pytest.mark.parametrize("claim", STUDY.claims, ids=lambda claim: claim.id)
def test_every_claim_holds(claim):
    verdict = judge(claim)
    failing = [piece for piece in verdict.evidence if not piece.holds]
    assert verdict.holds, verdict.error or failing
    assert verdict.outcome == ("holds as corrected" if claim.correction else "holds")


def test_every_theorem_of_the_paper_is_there():
    names = {claim.id.removeprefix("ji2022.") for claim in STUDY.claims}
    assert names >= {"def2.1", "thm3.1", "thm3.2", "thm3.3", "cor3.1", "def3.1", "ex3.1", "fig2"}
