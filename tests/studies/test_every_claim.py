"""What `neuralcollapse verify` judges, claim by claim."""

import pytest

from neuralcollapse.studies import judge, load_study
from neuralcollapse.studies.papers import PAPERS

OF_THE_PAPER = {
    "ji2022": {"def2.1", "thm3.1", "thm3.2", "thm3.3", "cor3.1", "def3.1", "ex3.1", "fig2"},
    "tirer2023": {
        *("thm2.1", "cor2.2", "thm3.1", "cor3.2", "thm4.1", "thm4.2", "sec4-lambdas"),
        *("fig2", "fig3"),
    },
    "gao2023": {"thm4.1", "thm4.4", "cor4.5", "thm4.8", "rem4.9", "thm4.10", "fig3", "fig4"},
}
TRAINS_FOR_LONG = {"tirer2023.fig3", "gao2023.fig4", "gao2023.rem4.9"}
CLAIMS = [
    pytest.param(
        claim, id=claim.id, marks=[pytest.mark.slow] if claim.id in TRAINS_FOR_LONG else []
    )
    for paper in PAPERS
    for claim in load_study(paper).claims
]


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_claim_holds(claim):
    verdict = judge(claim)
    failing = [piece for piece in verdict.evidence if not piece.holds]
    assert verdict.holds, verdict.error or failing
    assert verdict.outcome == ("holds as corrected" if claim.correction else "holds")


@pytest.mark.parametrize("paper", PAPERS)
def test_every_theorem_of_the_paper_is_there(paper):
    names = {claim.id.removeprefix(f"{paper}.") for claim in load_study(paper).claims}
    assert names >= OF_THE_PAPER[paper]
