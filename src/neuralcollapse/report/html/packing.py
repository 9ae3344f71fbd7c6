"""How numbers travel in the page: short decimals, and arrays as base64."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np

DIGITS = 5


def short(value: Any) -> float | None:
    """Return a number with five significant digits, None if it is not finite.

    Examples
    --------
    >>> short(0.123456789), short(float("nan"))
    (0.12346, None)
    """
    number = float(value)
    return float(f"{number:.{DIGITS}g}") if math.isfinite(number) else None


def pack(values: Any, dtype: str = "<f4") -> str:
    """Return an array as base64 of little-endian numbers.

    Examples
    --------
    >>> pack([1, 2], "<i2")
    'AQACAA=='
    """
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode()


def script_json(value: Any) -> str:
    r"""Return JSON that is safe inside a script element, whatever the strings in it.

    Examples
    --------
    >>> script_json({"name": "</script>"})
    '{"name":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
