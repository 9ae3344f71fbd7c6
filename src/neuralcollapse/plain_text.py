"""Text from outside, as a terminal or a figure may show it."""

from __future__ import annotations

import unicodedata

# They turn the direction of what follows, so that a name can pretend to be another.
BIDIRECTIONAL = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def plain(text: object, keep: str = "") -> str:
    r"""Return text with what would steer a terminal written out.

    Parameters
    ----------
    text
        Of anywhere: a class name, a path, the message of an error.
    keep
        Characters to leave, such as ``"\n"`` where several lines are meant.

    Returns
    -------
    str
        With escapes such as ``\x1b`` for control characters, lone surrogates (bytes of a file
        name that are no UTF-8), line separators and marks of direction.

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
    r"""Return plain text that matplotlib does not read as a formula.

    Parameters
    ----------
    text
        Of anywhere.
    most
        Characters to keep; of a longer text the middle is left out.

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
