"""Text from outside, made safe to show in a terminal or a figure."""

from __future__ import annotations

import unicodedata

# They reverse the direction of the text that follows, so that one name can pose as another.
BIDIRECTIONAL = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def plain(text: object, keep: str = "") -> str:
    r"""Return text with every character that could control a terminal written as an escape.

    Parameters
    ----------
    text
        From anywhere: a class name, a path, an error message.
    keep
        Characters to keep, such as ``"\n"`` where several lines are meant.

    Returns
    -------
    str
        With escapes such as ``\x1b`` for control characters, lone surrogates (bytes of a file
        name that are not UTF-8), line separators and marks of text direction.

    Examples
    --------
    >>> plain("caf\u00e9 \x1b[31mred"), plain("a\nb", keep="\n")
    ('café \\x1b[31mred', 'a\nb')
    """
    return "".join(
        character if character in keep or not _steers(character) else _escaped(character)
        for character in str(text)
    )


def unmathed(text: object, most: int | None = None) -> str:
    r"""Return plain text that matplotlib does not parse as a formula.

    Parameters
    ----------
    text
        From anywhere.
    most
        The largest length; the middle of a longer text is left out.

    Examples
    --------
    >>> print(unmathed("$\\frac$"), unmathed("a class of a long name", most=11))
    \$\frac\$ a cla… name
    """
    whole = plain(text)
    return (whole if most is None else brief(whole, most)).replace("$", r"\$")


def brief(text: str, most: int) -> str:
    """Return a text without its middle where it is longer than so many characters.

    Names that begin alike often end differently, so both ends are kept.

    Examples
    --------
    >>> brief("a class of a long name", 11), brief("short", 11)
    ('a cla… name', 'short')
    """
    return text if len(text) <= most else f"{text[: most // 2]}…{text[most // 2 + 1 - most :]}"


def _steers(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cs", "Zl", "Zp") or character in BIDIRECTIONAL


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
