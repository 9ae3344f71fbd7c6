"""One glossary: what the terminal and the page of a report say is what the source says."""

import re
from html import unescape

import pytest

from cli_runner import run
from neuralcollapse.glossary import GLOSSARY, looked_up
from neuralcollapse.metrics.catalogue import CATALOGUE
from neuralcollapse.report.html import render_page
from neuralcollapse.report.html.template import formula, terms
from neuralcollapse.runs import Run


def test_each_term_stands_once_in_order_with_a_place_of_its_own():
    assert [t.name for t in GLOSSARY] == sorted((t.name for t in GLOSSARY), key=str.casefold)
    assert len({t.anchor for t in GLOSSARY}) == len(GLOSSARY)
    words = [word for t in GLOSSARY for word in t.words]
    assert len(set(words)) == len(words)
    assert all(t.meaning.endswith(".") for t in GLOSSARY)


def test_the_terminal_says_every_meaning_within_80_columns():
    shown = run("glossary").stdout
    assert max(map(len, shown.splitlines())) <= 80
    for term in GLOSSARY:
        assert f"{term.name} {term.meaning}" in " ".join(shown.split())


def test_the_terminal_explains_a_word_or_a_metric_by_a_part_of_it():
    words = " ".join(run("glossary", "ETF").stdout.split())
    assert next(t.meaning for t in looked_up("simplex etf")) in words
    for name in ("nc2_etf", "nc2_etf_head"):
        assert f"{name}: {CATALOGUE[name].title}" in words
        assert CATALOGUE[name].formula in words
    assert run("glossary", "no such word").exit_code == 2


def test_the_page_holds_the_glossary_and_each_marked_word_leads_into_it():
    records = [{"epoch": e, "nc1_trace_ratio": 1 / e**2} for e in (1, 10, 100)]
    page = render_page([Run("run", records)])
    told = dict(re.findall(r'<div id="(term-[^"]+)"><dt>.*?</dt><dd>(.*?)</dd>', page))
    assert told == {t.anchor: formula(t.meaning) for t in GLOSSARY}
    led = re.findall(r'<a class="term" href="#([^"]+)">([^<]+)</a>', page)
    assert {anchor for anchor, _ in led} <= set(told)
    assert ("term-nc1-variability-collapse", "NC1") in led


@pytest.mark.parametrize("text", ["collapsed: the margins, NC1 < 0.1", "pre-margin & margin_min"])
def test_marking_words_leaves_the_text_as_it_was(text):
    assert unescape(re.sub(r"<[^>]+>", "", terms(text))) == text
    assert "margin_min" not in re.findall(r">([^<]+)</a>", terms(text))
