"""The values of one parameter: a list, or a range in exact arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from nofm.kernels.errors import InputError, unknown

MOST = 10_000
"""Most values of one parameter."""

DIGITS = 30
"""Most digits of a number in a range, and of its exponent's size."""

RANGE = ("from", "to", "step", "factor")
"""Entries of a range."""


def values(name: str, entry: object) -> list[Any]:
    """The values that an entry of `[parameters]` lists, in its order.

    Args:
        name: of the parameter, for errors.
        entry: a list, or a table `{from, to, step}` or `{from, to, factor}`.

    Raises:
        InputError: it is neither, lists nothing, runs backwards, or has more than `MOST` values.
    """
    if isinstance(entry, Mapping):
        return _range(name, entry)
    if not isinstance(entry, list):
        raise InputError(
            f"parameter {name!r} must be a list or a range such as "
            f"{{from = 8, to = 64, factor = 2}}, not {shown(entry)}"
        )
    if not entry:
        raise InputError(f"parameter {name!r} must have at least one value, not none")
    if len(entry) > MOST:
        raise InputError(f"parameter {name!r} may have {MOST} values at most, not {len(entry)}")
    return [plain(value) for value in entry]


def looks_like_a_range(entry: object) -> bool:
    """Whether a table is meant as a range, not as parameters under a common name."""
    return isinstance(entry, Mapping) and (not entry or any(key in RANGE for key in entry))


def plain(value: Any) -> Any:
    """`value` with floats in place of decimals, in lists and tables too."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value


def shown(value: object) -> str:
    """`value` in an error: as a file has it, and not too long."""
    try:
        text = str(value) if isinstance(value, Decimal) else repr(plain(value))
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def ascending(found: Iterable[Any]) -> list[Any]:
    """Numbers in ascending order, anything else as it stands."""
    listed = list(found)
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in listed):
        return sorted(listed)
    return listed


def _range(name: str, entry: Mapping[str, Any]) -> list[Any]:
    for key in entry:
        if key not in RANGE:
            raise unknown(f"entry of the range of {name!r}", key, RANGE)
    steps = [key for key in ("step", "factor") if key in entry]
    if "from" not in entry or "to" not in entry or len(steps) != 1:
        raise InputError(
            f"the range of {name!r} must have from, to, and one of step and factor, "
            f"not {', '.join(entry) or 'nothing'}"
        )
    for key, value in entry.items():
        _check_number(f"{key} of the range of {name!r}", value)
    first, last, by = entry["from"], entry["to"], entry[steps[0]]
    if last < first:
        raise InputError(f"the range of {name!r} runs backwards: from {first} to {last}")
    if steps == ["step"]:
        return _steps(name, first, last, by)
    return _factors(name, first, last, by)


def _check_number(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise InputError(f"{what} must be a number, not {shown(value)}")
    number = Decimal(value)
    digits = number.as_tuple()
    if not number.is_finite():
        raise InputError(f"{what} must be finite, not {value}")
    if len(digits.digits) > DIGITS or abs(int(digits.exponent)) > DIGITS:
        raise InputError(f"{what} may have {DIGITS} digits at most, not {shown(value)}")


def _steps(name: str, first: Any, last: Any, by: Any) -> list[Any]:
    if by <= 0:
        raise InputError(f"step of the range of {name!r} must be above 0, not {by}")
    (a, b), (c, d), (p, q) = (Decimal(x).as_integer_ratio() for x in (first, last, by))
    # (last - first) / by, rounded down, all over one denominator.
    count = (c * b - a * d) * q // (b * d * p) + 1
    _check_count(name, count)
    whole = all(isinstance(x, int) for x in (first, by))
    return [_quotient(a * q + i * p * b, b * q, whole) for i in range(count)]


def _factors(name: str, first: Any, last: Any, by: Any) -> list[Any]:
    if by <= 1:
        raise InputError(f"factor of the range of {name!r} must be above 1, not {by}")
    if first <= 0:
        raise InputError(f"a range of {name!r} by a factor must start above 0, not at {first}")
    _check_count(name, 1 + int(math.log(last / first) / math.log(by)))
    (a, b), (c, d), (p, q) = (Decimal(x).as_integer_ratio() for x in (first, last, by))
    whole = all(isinstance(x, int) for x in (first, by))
    found = []
    while a * d <= c * b:
        found.append(_quotient(a, b, whole))
        a, b = a * p, b * q
    _check_count(name, len(found))
    return found


def _check_count(name: str, count: int) -> None:
    if count > MOST:
        raise InputError(f"the range of {name!r} may have {MOST} values at most, not {count}")


def _quotient(numerator: int, denominator: int, whole: bool) -> int | float:
    """Exact where whole, else the nearest float: Python divides integers so."""
    return numerator // denominator if whole else numerator / denominator
