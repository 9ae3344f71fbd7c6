"""The glossary: what each word means, for the site, the report page and the terminal alike."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Term:
    """A term of the field, with its meaning.

    Attributes
    ----------
    name
        The term, with its symbol where it has one.
    meaning
        In one to three sentences.
    words
        The words that the report page marks; none where they would mark every line.
    """

    name: str
    meaning: str
    words: Sequence[str] = ()

    @property
    def anchor(self) -> str:
        """Return its anchor on a page.

        Examples
        --------
        >>> Term("class mean (μ_k)", "...").anchor
        'term-class-mean'
        """
        return "term-" + "-".join(re.findall(r"[a-z0-9]+", self.name.partition(" (")[0].lower()))


_TERMS = tomllib.loads((files("neuralcollapse") / "glossary.toml").read_text("utf-8"))["term"]
GLOSSARY = tuple(Term(**term) for term in _TERMS)


def looked_up(words: str) -> list[Term]:
    """Return the terms whose name or words contain the query, ignoring case.

    Examples
    --------
    >>> [term.name for term in looked_up("simplex")]
    ['NC2, simplex', 'simplex ETF']
    """
    asked = words.casefold()
    return [t for t in GLOSSARY if any(asked in w.casefold() for w in (t.name, *t.words))]
