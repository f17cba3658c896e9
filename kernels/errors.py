"""The one error that stands for bad input, wherever it is found."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used.

    The text is one line that says what is wrong, the rule, and the value; the command line
    prints it as it is and exits with code 2.
    """


def unknown(what: str, name: object, choices: Iterable[str]) -> InputError:
    """An `InputError` for a name outside `choices`, with the nearest names first.

    >>> print(unknown("network", "resnet", ["resnet18", "resnet50", "vgg19"]))
    unknown network 'resnet': did you mean resnet50 or resnet18? (known: resnet18, resnet50, vgg19)
    """
    known = list(choices)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f": did you mean {' or '.join(near)}?" if near else ":"
    return InputError(f"unknown {what} {name!r}{hint} (known: {', '.join(known)})")


def positive(what: str, value: object, *, at_most: int = 2**31 - 1) -> int:
    """`value` as an int, or an `InputError` when it is not a whole number in [1, at_most]."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= at_most:
        raise InputError(f"{what} must be a whole number from 1 to {at_most}, not {value!r}")
    return value
