import pytest

from cli_runner import run
from neuralcollapse import studies


@pytest.mark.parametrize("holds", [True, False])
def test_verify_tells_by_its_exit_status(monkeypatch, holds):
    study = studies.Study("toy2020", "A toy")

    @study.claim("thm1", "one is one")
    def check():
        yield studies.Evidence("one", measured=1.0, expected=1.0 if holds else 2.0)

    monkeypatch.setattr("neuralcollapse.studies.papers.load_study", lambda paper: study)
    monkeypatch.setattr("neuralcollapse.studies.papers.PAPERS", ("toy2020",))
    result = run("verify", "toy2020")
    assert result.exit_code == (0 if holds else 1)
    assert "toy2020.thm1" in result.output
    last = result.output.strip().splitlines()[-1]
    assert last == f"1 claim: 1 {'holds' if holds else 'fails'}"


def test_verdicts_fit_80_columns_and_cut_no_number_off(monkeypatch):
    study = studies.Study("tirer2023", "A toy of the longest names")

    @study.claim("collapse-does-not-transfer", "a statement of many words " * 6)
    def check():
        yield studies.Evidence("the ratio of the next layer at the smallest decay", 1.2345, 1.0)

    monkeypatch.setattr("neuralcollapse.studies.papers.load_study", lambda paper: study)
    monkeypatch.setattr("neuralcollapse.studies.papers.PAPERS", ("tirer2023",))
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in ([], ["--details"]):
        shown = run("verify", *arguments).stdout
        assert max(map(len, shown.splitlines())) <= 80
        assert "1.2345" in shown
        assert "smallest decay" in " ".join(shown.split())


def test_one_line_a_claim_and_the_evidence_with_details(monkeypatch):
    study = studies.Study("toy2020", "A toy")
    for name, measured in (("thm1", 1.0), ("thm2", 3.0)):

        @study.claim(name, f"the statement of {name}")
        def check(measured=measured):
            yield studies.Evidence("one", 1.0, 1.0)
            yield studies.Evidence("the number", measured, 1.0)

    monkeypatch.setattr("neuralcollapse.studies.papers.load_study", lambda paper: study)
    monkeypatch.setattr("neuralcollapse.studies.papers.PAPERS", ("toy2020",))
    first, second, _ = [s for s in run("verify").output.splitlines() if s.strip()]
    assert first.split() == ["toy2020.thm1", "holds", "2"]
    assert second.split() == [
        *["toy2020.thm2", "fails", "2", "the", "number:", "3,", "not", "=", "1"]
    ]
    detailed = run("verify", "--details").output
    assert "the statement of thm2" in detailed
    assert "the number" in detailed
