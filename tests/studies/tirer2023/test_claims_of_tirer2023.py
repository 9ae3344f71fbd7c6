import pytest

from neuralcollapse.studies import judge, load_study

STUDY = load_study("tirer2023")


@pytest.mark.parametrize("claim", STUDY.claims, ids=lambda claim: claim.id)
def test_every_claim_holds(claim):
    verdict = judge(claim)
    failing = [piece for piece in verdict.evidence if not piece.holds]
    assert verdict.holds, verdict.error or failing
    assert verdict.outcome == ("holds as corrected" if claim.correction else "holds")


def test_every_theorem_of_the_paper_is_there():
    names = {claim.id.removeprefix("tirer2023.") for claim in STUDY.claims}
    assert names >= {"thm2.1", "cor2.2", "thm3.1", "cor3.2", "thm4.1", "thm4.2", "sec4-lambdas"}
