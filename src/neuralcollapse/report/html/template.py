"""HTML files from templates: every text escaped, and no file replaced that is not ours."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from neuralcollapse.files import require_ours, write_whole
from neuralcollapse.glossary import GLOSSARY
from neuralcollapse.plain_text import brief
from neuralcollapse.validation import check_choice

# The words by which texts of the page name a term, the longest first, and where it is explained.
ANCHORS = {word.lower(): term.anchor for term in GLOSSARY for word in term.words if "_" not in word}
WORDS = re.compile(
    rf"(?<![\w<-])({'|'.join(map(re.escape, sorted(ANCHORS, key=len, reverse=True)))})(?![\w-])",
    re.IGNORECASE,
)
LONGEST = 40  # characters of a name in a table
MARK = b'<meta name="generator" content="neuralcollapse '  # by which we know our pages


def filled(template: str, **values: Any) -> str:
    """Return a template with its values; every text is escaped, and a missing one is an error.

    Parameters
    ----------
    template
        Name of its file.
    values
        What it asks for, besides the style and the version of this library.
    """
    style = Markup(asset("page.css"))
    return (
        _environment()
        .get_template(template)
        .render(version=version("neuralcollapse"), style=style, **values)
    )


@cache
def _environment() -> Environment:
    """Return the one environment, which compiles each template once."""
    environment = Environment(
        loader=PackageLoader("neuralcollapse.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["formula"] = formula
    environment.filters["terms"] = terms
    environment.filters["named"] = named
    environment.globals["glossary"] = GLOSSARY
    return environment


def formula(text: str) -> Markup:
    """Return a formula as HTML: what follows a low line is set below it.

    Examples
    --------
    >>> formula("tr Σ_W / tr Σ_B <")
    Markup('tr Σ<sub>W</sub> / tr Σ<sub>B</sub> &lt;')
    """
    return Markup(re.sub(r"(?<=\S)_(\w+)", r"<sub>\1</sub>", str(escape(text))))


def named(text: str, most: int = LONGEST) -> Markup:
    """Return a name for a table: one that is long without its middle, and whole on pointing at it.

    Parameters
    ----------
    text
        The name.
    most
        Characters to show.

    Examples
    --------
    >>> named("cat")
    Markup('cat')
    >>> print(named("class " + 40 * "x"))
    <span title="class xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx">class xxxxxxxxxxxxxx…\
xxxxxxxxxxxxxxxxxxx</span>
    """
    short = brief(text, most)
    if short == text:
        return escape(text)
    return Markup('<span title="{}">{}</span>').format(text, short)


def terms(text: str) -> Markup:
    """Return a text in which each word of the glossary leads, where it first stands, to its line.

    Examples
    --------
    >>> terms("a margin < 0 of all margins")
    Markup('a <a class="term" href="#term-margin">margin</a> &lt; 0 of all margins')
    """
    seen = set()

    def marked(found: re.Match[str]) -> str:
        anchor = ANCHORS[found[0].lower()]
        if anchor in seen:
            return found[0]
        seen.add(anchor)
        return f'<a class="term" href="#{anchor}">{found[0]}</a>'

    return Markup(WORDS.sub(marked, str(escape(text))))


def write_html(path: str | Path, text: str) -> Path:
    """Write a page, whole or not at all, and return its file.

    Parameters
    ----------
    path
        The HTML file.
    text
        Of `filled`.

    Raises
    ------
    NeuralCollapseError
        If the file is there and is no page of this library.
    """
    require_replaceable(path)
    return write_whole(path, text)


def require_replaceable(path: str | Path, argument: str = "path") -> None:
    """Refuse the name of no page, and to replace a file that is no page of this library."""
    if Path(path).suffix:
        check_choice(argument, Path(path).suffix.lower(), (".html", ".htm"))
    require_ours(path, MARK, "an earlier report", argument)


def asset(name: str) -> str:
    """Return a script or a style of every page."""
    return (files("neuralcollapse.report.html") / "assets" / name).read_text(encoding="utf-8")
