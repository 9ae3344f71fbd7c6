"""How numbers are written for readers: measurements, counts, shares and one-sided bounds."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import SupportsInt

DIGITS = 3  # of a share, or of its distance to 100 %, whichever is smaller


def number(value: float | None) -> str:
    """Return a measurement with three digits, and an exponent only where it is needed.

    Examples
    --------
    >>> number(0.000123456), number(12345.0), number(3.0), number(float("nan"))
    ('0.000123', '12,300', '3', 'undefined')
    >>> number(-0.5), number(2.5e-7)
    ('−0.5', '2.5·10⁻⁷')
    """
    if value is None or math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "infinite"
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}·10{_raised(int(exponent))}".replace("-", "−")
    rounded = float(f"{value:.3g}")
    return (f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}").replace("-", "−")


def count(value: SupportsInt) -> str:
    """Return a count with all its digits.

    Examples
    --------
    >>> count(2107)
    '2,107'
    """
    return f"{int(value):,}"


def counted(value: SupportsInt, one: str, many: str = "") -> str:
    """Return a count with what is counted, in the plural unless it is one.

    Examples
    --------
    >>> counted(2107, "sample"), counted(1, "held-out sample"), counted(0, "class", "classes")
    ('2,107 samples', '1 held-out sample', '0 classes')
    """
    return f"{count(value)} {one if int(value) == 1 else many or f'{one}s'}"


def are(value: SupportsInt) -> str:
    """Return the verb that goes with a count.

    Examples
    --------
    >>> are(1), are(2)
    ('is', 'are')
    """
    return "is" if int(value) == 1 else "are"


def share(value: float | None) -> str:
    """Return a measured share in per cent: 0 % and 100 % only if it is exactly 0 or 1.

    Examples
    --------
    >>> share(1.0), share(0.98765), share(0.999996), share(1e-6)
    ('100 %', '98.77 %', '99.9996 %', '0.0001 %')
    """
    return _per_cent(value, ROUND_HALF_EVEN)


def accuracy(value: float) -> str:
    """Return a share as columns show it: with two decimals, unless that reads as 0 or 100 %.

    Examples
    --------
    >>> accuracy(0.98765), accuracy(0.5), accuracy(1.0), accuracy(59_999 / 60_000)
    ('98.77 %', '50.00 %', '100 %', '99.9983 %')
    """
    text = f"{100 * value:z.2f} %"
    return share(value) if text in ("0.00 %", "100.00 %", "nan %") else text


def at_most(bound: float | None) -> str:
    """Return an upper bound on a share in per cent, rounded up.

    Examples
    --------
    >>> at_most(0.22015), at_most(2.9957e-5), at_most(0.99996)
    ('22.1 %', '0.003 %', '99.996 %')
    """
    return _per_cent(bound, ROUND_CEILING)


def at_least(bound: float | None) -> str:
    """Return a lower bound on a share, such as a confidence, in per cent, rounded down.

    Examples
    --------
    >>> at_least(0.95), at_least(0.99996), at_least(0.01138)
    ('95 %', '99.996 %', '1.13 %')
    """
    return _per_cent(bound, ROUND_FLOOR)


def no_more_than(bound: float) -> str:
    """Return a bound that must not be exceeded, with three digits, rounded down.

    Examples
    --------
    >>> no_more_than(0.0123678)
    '0.0123'
    """
    return number(_outwards(bound, ROUND_FLOOR))


def between(lower: float, upper: float) -> str:
    """Return an interval of measurements with three digits, rounded outwards.

    Examples
    --------
    >>> between(0.012344, 0.012366), between(0.0, 0.01027)
    ('0.0123 to 0.0124', 'at most 0.0103')
    """
    high = number(_outwards(upper, ROUND_CEILING))
    return f"at most {high}" if lower == 0 < upper else f"{no_more_than(lower)} to {high}"


def listed(names: list[str]) -> str:
    """Return names as a list in a sentence.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def first_names(names: list[str], limit: int = 20) -> str:
    """Return names with commas, and of more than `limit` how many are left out.

    Examples
    --------
    >>> first_names(["a", "b", "c"]), first_names(["a", "b", "c"], limit=2)
    ('a, b, c', 'a, b and 1 more')
    """
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _per_cent(value: float | None, rounding: str) -> str:
    """Round in decimal, where 0.95 is exact, with enough digits to tell it from 0 and 100 %."""
    if value is None or math.isnan(value):
        return "undefined"
    if abs(value) >= 1000:  # not a share, and perhaps with more digits than a decimal has
        return f"{number(_outwards(100 * value, rounding))} %"
    exact = 100 * Decimal(repr(float(value) + 0.0))  # zero has no sign
    small = min(abs(exact), abs(100 - exact))
    if not small:
        return f"{exact:.0f} %"
    last = Decimal(1).scaleb(min(-1, small.adjusted() + 1 - DIGITS))
    return f"{exact.quantize(last, rounding):f}".rstrip("0").rstrip(".") + " %"


def _outwards(value: float, rounding: str) -> float:
    """Round up or down to three digits."""
    if not value or not math.isfinite(value):
        return value
    exact = Decimal(repr(float(value)))
    return float(exact.quantize(Decimal(1).scaleb(exact.adjusted() + 1 - DIGITS), rounding))


def _raised(exponent: int) -> str:
    digits = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
    return str(exponent).translate(digits)
