import re

import pytest

import neuralcollapse as nc
from neuralcollapse.citations import PAPERS, USES
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.catalogue import CATALOGUE
from neuralcollapse.metrics.presets import PRESETS
from neuralcollapse.ood import METHODS
from neuralcollapse.studies.papers import PAPERS as STUDIED

REQUIRED = {
    "article": {"author", "title", "journal", "year", "volume"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "misc": {"author", "title", "year", "eprint"},
}


def parse(bibtex):
    """Read BibTeX by counting braces; return key -> (kind, fields)."""
    entries = {}
    for entry in bibtex.split("\n\n"):
        kind, key, body = re.fullmatch(r"@(\w+)\{(\w+),\n(.*)\n\}", entry, re.DOTALL).groups()
        fields = {}
        while body.strip():
            name, body = re.match(r"\s*(\w+) = \{(.*)", body, re.DOTALL).groups()
            depth, end = 1, 0
            while depth:
                depth += {"{": 1, "}": -1}.get(body[end], 0)
                end += 1
            fields[name], body = body[: end - 1], body[end:].removeprefix(",")
        assert key not in entries
        entries[key] = (kind, fields)
    return entries


def test_every_entry_parses_and_is_whole():
    entries = parse(nc.cite(*PAPERS))
    assert list(entries) == list(PAPERS)
    for key, (kind, fields) in entries.items():
        assert REQUIRED[kind] <= set(fields), key
        assert key.endswith(fields["year"])
        assert fields["author"].isascii()
        for person in fields["author"].split(" and "):
            assert re.fullmatch(r"[^,]+, [^,]+", person), person
        assert "eprint" in fields or "doi" in fields, key
        assert re.fullmatch(r"\d{4}\.\d{4,5}", fields.get("eprint", "0000.0000"))
        family = re.sub(r"\W|^Ben ", "", fields["author"].split(",")[0]).lower()
        assert key.startswith(family), key


def test_presets_studies_and_uses_have_an_entry():
    assert set(PRESETS) | set(STUDIED) <= set(PAPERS)
    assert set(PAPERS) >= {key for keys in USES.values() for key in keys}
    assert set(METHODS) - {"nearest_mean"} <= set(USES)  # which has no paper of its own
    assert set(PAPERS) >= {key for metric in CATALOGUE.values() for key in metric.cites}
    for name in CATALOGUE:
        assert nc.cite(f"test_{name}") == nc.cite(name)
    assert nc.cite("accuracy") == ""  # of no one


def test_a_report_is_cited_as_it_is():
    report = nc.measure_features([[-3.0], [-1.0], [1.0], [3.0]], [0, 0, 1, 1])
    assert list(parse(nc.cite(*report))) == [
        "papyan2020",
        "tirer2023",
        "galanti2022",
        "xu2023",
        "zhu2021",
    ]


def test_the_main_papers_are_cited_by_default_and_each_once():
    assert list(parse(nc.cite())) == ["ji2022", "tirer2023", "gao2023", "papyan2020"]
    assert list(parse(nc.cite("layer_peeled", "fang2021", "nc1_pinv"))) == [
        "fang2021",
        "ji2022",
        "papyan2020",
    ]


def test_an_unknown_name_is_refused():
    with pytest.raises(NeuralCollapseError, match=r"or what was used .*neco.*, got 'x'"):
        nc.cite("x")
