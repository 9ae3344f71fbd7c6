"""ConfigField: what there is to say of one field of a configuration, said once."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

NETWORK_AND_DATA, RECIPE = "Network and data", "Recipe"  # the headings of the options


class Constraint(NamedTuple):
    """What a value must be, in words and as a test; and the names it may have, if it is a name."""

    expected: str
    holds: Callable[[Any], bool]
    choices: tuple[str, ...] = ()


TEXT = Constraint("text", lambda value: isinstance(value, str))
YES_OR_NO = Constraint("True or False", lambda value: isinstance(value, bool))
ABOVE_ZERO = Constraint(
    "a finite number above 0", lambda value: _real(value) and 0 < value < math.inf
)


@dataclass(frozen=True)
class ConfigField:
    """What the check of a configuration, the command line and its help know of one field.

    Attributes
    ----------
    help
        The option's help; its choices are added.
    heading
        Of the options among which it stands.
    constraint
        What a value that is not the default must be; None where it is checked elsewhere.
    absent
        What None, as the default, means.
    only_with
        (field, value) without which it would be silently without effect.
    """

    help: str
    heading: str
    constraint: Constraint | None = None
    absent: str | None = None
    only_with: tuple[str, Any] | None = None


def config_field(default: Any, *said: Any, **more: Any) -> Any:
    """Declare a field of a dataclass, with the arguments of its `ConfigField`.

    Examples
    --------
    >>> from dataclasses import dataclass, fields
    >>> @dataclass
    ... class Recipe:
    ...     epochs: int = config_field(400, "Passes over the data", RECIPE, whole(1))
    >>> [declared] = fields(Recipe)
    >>> declared.default, declared.metadata["field"].constraint.expected
    (400, 'a whole number of at least 1')
    """
    return field(default=default, metadata={"field": ConfigField(*said, **more)})


def one_of(*choices: str) -> Constraint:
    """Return the constraint of a value that is one of a few names."""
    expected = f"one of {', '.join(choices)}"
    return Constraint(expected, lambda name: isinstance(name, str) and name in choices, choices)


def whole(least: int = 0) -> Constraint:
    """Return the constraint of a whole number from `least` on."""
    expected = f"a whole number of at least {least}" if least else "a whole number in [0, 2^63)"
    return Constraint(  # True is no number, and torch's seeds have so many bits
        expected, lambda value: type(value) is int and least <= value < 2**63
    )


def at_least_zero(below: float = 1) -> Constraint:
    """Return the constraint of a number in [0, below)."""
    return Constraint(
        f"a number in [0, {below})", lambda value: _real(value) and 0 <= value < below
    )


def _real(value: Any) -> bool:
    """Whether it is a number, and one that a double holds."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return known and abs(value) <= sys.float_info.max
