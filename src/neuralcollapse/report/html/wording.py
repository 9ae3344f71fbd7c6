"""How numbers are written for a reader."""

from __future__ import annotations

import math


def number(value: float | None) -> str:
    """Return a value with three digits, without a needless exponent.

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


def share(value: float | None) -> str:
    """Return a share in per cent.

    Examples
    --------
    >>> share(1.0), share(0.98765)
    ('100 %', '98.77 %')
    """
    if value is None or math.isnan(value):
        return "undefined"
    return f"{100 * value:.2f}".rstrip("0").rstrip(".") + " %"


def listed(names: list[str]) -> str:
    """Return names in a sentence.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _raised(exponent: int) -> str:
    digits = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
    return str(exponent).translate(digits)
