import io

from rich.console import Console

from neuralcollapse.studies import Claim, Evidence, Verdict, verdict_table


def rendered(*verdicts):
    console = Console(width=80, file=io.StringIO())
    console.print(verdict_table(verdicts))
    return console.file.getvalue()


def test_a_row_for_the_claim_and_one_for_each_piece_of_evidence():
    claim = Claim("toy.thm1", "Sums [of two] are even.", iter, "only for odd numbers")
    evidence = (
        Evidence("one and three", 4.0, 4.0, note="by hand"),
        Evidence("one and two", 3.0, 4.5, 0.25, "<="),
        Evidence("two and two", 5.0, 4.0),
    )
    text = rendered(Verdict(claim, evidence))
    lines = text.splitlines()
    assert any("toy.thm1" in s and "fails" in s for s in lines)
    assert any("Sums [of two] are even." in s for s in lines)
    assert "Correction: only for odd numbers" in text
    assert any("one and three (by hand)" in s and s.split()[-3:] == ["4", "=", "4"] for s in lines)
    assert any("one and two" in s and "<= 4.5 ± 0.2" in s and "fails" not in s for s in lines)
    assert any("two and two" in s and "fails" in s for s in lines)


def test_an_error_is_shown_with_its_message():
    verdict = Verdict(Claim("toy.thm2", "A toy.", iter), (), "ValueError: no [such] number")
    text = rendered(verdict)
    assert "ValueError: no [such] number" in text
    assert "error" in text
