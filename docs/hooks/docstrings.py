"""Our docstrings are numpydoc with reStructuredText's formulas; the site is Markdown."""

import re

import griffe

DISPLAY = re.compile(r"^\.\. math::([^\n]*(?:\n(?:[ \t]+\S[^\n]*)?)*)", re.MULTILINE)
INLINE = re.compile(r":math:`([^`]+)`")


def to_markdown(docstring: str) -> str:
    """Return the docstring with Markdown's formulas."""
    text = DISPLAY.sub(lambda found: f"\n$$\n{_one_paragraph(found[1])}\n$$\n\n", docstring)
    return INLINE.sub(lambda found: f"${_one_paragraph(found[1])}$", text)


def _one_paragraph(formula: str) -> str:
    return " ".join(formula.split())


class MarkdownDocstrings(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
