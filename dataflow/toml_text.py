"""Descriptions of machines as TOML: reading, writing, and those that come with a package."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib import resources
from typing import Any

from nofm.kernels.errors import InputError


def read(text: str, source: str, parse_float: Callable[[str], Any] = float) -> dict[str, Any]:
    """The tables of TOML text; `source` is its name in errors, `parse_float` reads its floats.

    Raises:
        InputError: it is malformed.
    """
    try:
        return tomllib.loads(text, parse_float=parse_float)
    except RecursionError:
        raise InputError(f"{source} is not valid TOML: it is nested too deeply") from None
    except ValueError as error:  # malformed, or a number of too many digits
        raise InputError(f"{source} is not valid TOML: {str(error).splitlines()[0]}") from None


def written(value: object) -> str:
    """A value as TOML: a text, a number or a list of these."""
    if isinstance(value, str):
        escaped = "".join(
            f"\\u{ord(c):04x}"
            if ord(c) < 32 or ord(c) == 127
            else {'"': '\\"', "\\": "\\\\"}.get(c, c)
            for c in value
        )
        return f'"{escaped}"'
    if isinstance(value, list):
        return "[" + ", ".join(written(item) for item in value) + "]"
    return repr(value)


def preset_files(package: str) -> dict[str, Any]:
    """Files of the folder `presets` of a package, by their names without `.toml`, sorted."""
    folder = resources.files(package) / "presets"
    found = {f.name[:-5]: f for f in folder.iterdir() if f.name.endswith(".toml")}
    return dict(sorted(found.items()))
