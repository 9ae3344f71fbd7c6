"""glossary: what a word or a metric means."""

from __future__ import annotations

from textwrap import TextWrapper
from typing import Annotated

import typer

from neuralcollapse.cli.app import app, tell


@app.command()
def glossary(
    term: Annotated[
        str | None,
        typer.Argument(help="Word or metric, or a part of it; all words if omitted."),
    ] = None,
) -> None:
    """Say what a word of the report, or a metric, means.

    Examples: neuralcollapse glossary margin, or neuralcollapse glossary nc2_etf
    """
    from neuralcollapse.errors import NeuralCollapseError
    from neuralcollapse.glossary import GLOSSARY, looked_up

    found = {t.name: t.meaning for t in (GLOSSARY if term is None else looked_up(term))}
    if term is not None:
        from neuralcollapse.metrics.catalogue import CATALOGUE  # torch takes a second to import

        found |= {
            f"{name}: {row.title}": "\n".join(filter(None, (row.formula, row.note, row.caveat)))
            for name, row in CATALOGUE.items()
            if term.casefold() in name
        }
    if not found:
        raise NeuralCollapseError(
            "term", "a word of the glossary or a metric", repr(term), "omit it to see the words"
        )
    tell("\n\n".join(f"{name}\n{_column(meaning)}" for name, meaning in found.items()))


def _column(text: str) -> str:
    """Return lines of at most 80 columns, set in below their term."""
    column = TextWrapper(80, "  ", "  ", break_on_hyphens=False)
    return "\n".join(map(column.fill, text.split("\n")))
