import math
import re
import runpy
from pathlib import Path

import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import chi2

from neuralcollapse.generalization import clopper_pearson_upper, distribution_free_floor
from neuralcollapse.studies.gao2023.certificates import coverage_markdown, coverage_table
from neuralcollapse.studies.gao2023.held_out_worlds import WORLDS, World
from neuralcollapse.studies.gao2023.transfer import transfer_table, transfer_words

ROOT = Path(__file__).parents[3]
CHAPTER = ROOT / "docs/theory/certificates.md"
NUMBER = r"\d+(?:\.\d+)?"


def chapter():
    return " ".join(CHAPTER.read_text().split())


def numbers_of(pattern, text=None):
    """The numbers that groups of a pattern find in the chapter, or in a text."""
    found = re.search(pattern, chapter() if text is None else text)
    assert found, pattern
    return [float(group) for group in found.groups()]


def test_the_coverage_table_has_every_world_and_method():
    table = coverage_table(n=20, replicates=50)
    assert len(table) == len(WORLDS) * 5
    assert table["coverage"].between(0, 1).all()
    assert table.groupby("world")["error"].nunique().eq(1).all()
    assert table.equals(coverage_table(n=20, replicates=50))


def rows_of(text):
    return [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]


def test_the_table_of_the_chapter_has_the_worlds_and_methods_that_are_drawn():
    drawn = rows_of(coverage_markdown(coverage_table(n=20, replicates=50)))
    told = rows_of(CHAPTER.read_text())
    assert all(len(row) == 7 for row in drawn)
    assert drawn[:2] == [row for row in told if row in drawn[:2]]
    assert {tuple(row[:2]) for row in drawn} <= {tuple(row[:2]) for row in told}


@pytest.mark.slow
def test_the_numbers_of_the_chapter_are_those_of_the_claim():
    assert coverage_markdown(coverage_table()) in CHAPTER.read_text()


def test_the_words_beside_the_table_of_the_chapter_agree_with_it():
    rows = rows_of(CHAPTER.read_text())
    start = next(i for i, row in enumerate(rows) if row[0] == "| world") + 2
    medians = [
        [float(cell.split(" / ")[1]) for cell in row[2:4]] for row in rows[start : start + 5]
    ]
    ratios = [ramp / exact for exact, ramp in medians]
    told = numbers_of(r"its median bound is ([\d.]+) to ([\d.]+) times as large")
    assert told == pytest.approx([min(ratios), max(ratios)], abs=0.01)
    spreads = numbers_of(r"spread by \*s\* = ([\d.]+), ([\d.]+), ([\d.]+), ([\d.]+) and ([\d.]+)")
    assert spreads == [world.deviation for world in WORLDS]
    (share,) = numbers_of(r"where there are atoms, one sample in (\d+)")
    assert {world.atoms for world in WORLDS} == {0, 1 / share}
    (plugged,) = numbers_of(r"¹⁰⁰ = ([\d.]+) that the sample")
    assert plugged == round(1 - (1 - 1 / share) ** 100, 3)
    assert numbers_of(r"plug-in holds in (\d+) % of the draws") == [round(100 * plugged)]
    (factor,) = numbers_of(r"within a factor ([\d.]+) of the floor")
    assert clopper_pearson_upper(0, 600) / distribution_free_floor(600) < factor + 0.05
    (over,) = numbers_of(r"about ([\d.]+)/\*n\* at 95 %")
    assert 400 * distribution_free_floor(400) == pytest.approx(over, abs=0.05)


def test_a_transfer_is_said_in_words_that_round_to_the_safe_side():
    seed = {"error": 0.02012, "certificate": 0.04321, "Cantelli's plug-in": 0.30149, "CDNV": 0.5}
    table = pd.DataFrame([seed, seed | {"certificate": 0.05, "CDNV": 0.70011}])
    assert transfer_words(table) == (
        "the error on new data is 2.01 % to 2.01 %, the certificates are 4.33 % to 5 %. Cantelli's "
        "plug-in is 0.301 to 0.302 times as large on training as on held-out samples, the CDNV 0.5 "
        "to 0.701 times."
    )


@pytest.mark.slow
def test_what_does_not_transfer_in_the_chapter_is_what_the_claim_finds():
    # Trained networks differ a little between machines: the words agree, the numbers nearly.
    words = transfer_words(transfer_table())
    (told,) = re.findall(r"the error on new data is .* times\.(?= Show both)", chapter())
    assert re.sub(NUMBER, "", told) == re.sub(NUMBER, "", words)
    told, found = ([float(n) for n in re.findall(NUMBER, text)] for text in (told, words))
    assert told[:4] == pytest.approx(found[:4], abs=1.5)  # per cent
    assert told[4:] == pytest.approx(found[4:], abs=0.15)


def printed(script, tmp_path, monkeypatch, capsys):
    """What a script of the gallery prints, run in full."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [script])
    runpy.run_path(str(ROOT / "examples" / script), run_name="__main__")
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_the_caption_of_the_certificate_has_its_counts(tmp_path, monkeypatch, capsys):
    text = printed("certificate.py", tmp_path, monkeypatch, capsys)
    told = numbers_of(r"of which (\d+) are wrong; .* on 597 more, (\d+) of them wrong")
    (wrong,) = numbers_of(r"(\d+) of 600 held-out samples", text)
    (error,) = numbers_of(r"On 597 new digits the error is ([\d.]+)%", text)
    assert told == pytest.approx([wrong, 597 * error / 100], abs=6)


@pytest.mark.slow
def test_the_temperatures_of_the_chapter_are_those_of_the_example(tmp_path, monkeypatch, capsys):
    text = printed("calibration.py", tmp_path, monkeypatch, capsys)
    line = r"epoch +{}: training accuracy 1.000, NC1 ([\d.]+), minimum margin ([\d.]+);.*?"
    line += r"calibration error ([\d.]+), temperature ([\d.]+)"
    first, last = (numbers_of(line.format(epoch), text) for epoch in (8, 200))
    told = numbers_of(
        r"NC1 fell from ([\d.]+) to ([\d.]+), its minimum margin rose from ([\d.]+) to ([\d.]+), "
        r".* ask for from ([\d.]+) to ([\d.]+); "
        r"the calibration error was ([\d.]+) % and is ([\d.]+) %"
    )
    for at, found in ((0, first), (1, last)):
        collapse, margin, temperature, error = told[at::2]
        assert collapse == pytest.approx(found[0], abs=0.05)
        assert margin == pytest.approx(found[1], abs=1)
        assert temperature == pytest.approx(found[3], abs=0.15)
        assert error / 100 == pytest.approx(found[2], abs=0.01)


def normal_error(deviation):
    def integrand(x):
        return math.exp(-x * x / 2) * (1 - ndtr(x + (4 / 3) ** 0.5 / deviation) ** 3)

    return quad(integrand, -12, 12, epsabs=1e-13)[0] / math.sqrt(2 * math.pi)


@pytest.mark.parametrize("deviation", [0.45, 0.25, 2.0])
def test_the_error_of_a_normal_world(deviation):
    assert World("", deviation).error == pytest.approx(normal_error(deviation), rel=1e-9)
    mixed = World("", deviation, atoms=0.1).error
    assert mixed == pytest.approx(0.1 + 0.9 * normal_error(deviation), rel=1e-9)


def test_the_error_of_a_world_with_heavy_tails():
    def integrand(square):
        return chi2.pdf(square, 3) * normal_error(0.25 * square**-0.5)

    expected = quad(integrand, 0, 40, epsrel=1e-6, limit=100)[0]
    assert World("", 0.25, degrees=3).error == pytest.approx(expected, rel=1e-5)
