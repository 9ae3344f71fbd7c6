import math
from pathlib import Path

import pytest
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import chi2

from neuralcollapse.studies.gao2023.certificates import coverage_markdown, coverage_table
from neuralcollapse.studies.gao2023.held_out_worlds import WORLDS, World

CHAPTER = Path(__file__).parents[3] / "docs/theory/certificates.md"


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
