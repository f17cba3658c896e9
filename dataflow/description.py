"""What descriptions of machines share: checks, entries by dotted name, TOML both ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from nofm.dataflow import toml_text
from nofm.kernels.errors import InputError, unknown

MAX_FILE_BYTES = 1 << 20


class Table(BaseModel):
    """A table of a description: immutable, and without entries that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Described = TypeVar("Described", bound=Table)


def checked(
    kind: type[Described],
    document: Mapping[str, Any],
    source: str,
    reference: Callable[[], dict[str, Any]],
) -> Described:
    """Check a description given as nested dicts.

    Args:
        kind: what it describes.
        document: nested dicts of plain values.
        source: its name in errors.
        reference: gives a description with every entry, for the names of those that there are.

    Raises:
        InputError: with the first entry that is wrong, named by its dotted path and `source`.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        # A misspelt entry is also a missing one: the spelling says more.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        raise InputError(complaint(first, source, reference)) from None


def complaint(found: Any, source: str, reference: Callable[[], dict[str, Any]]) -> str:
    """One line for one of the errors that pydantic found; arguments as those of `checked`."""
    where = ".".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        return f"{source}: {unknown('entry', where, entries(reference()))}"
    if found["type"] == "missing":
        return f"{source}: entry {where!r} is missing"
    message = found["msg"].removeprefix("Value error, ")
    if found["type"] == "value_error":
        return f"{source}: {where}: {message}"
    return f"{source}: {where}: {message[0].lower() + message[1:]}, not {shown(found['input'])}"


def replaced(document: dict[str, Any], values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The document, changed in place: entries replaced by dotted name; `what` they are, in errors.

    Raises:
        InputError: there is no such entry.
    """
    for dotted, value in values.items():
        *path, last = dotted.split(".")
        table = document
        for key in path:
            if not isinstance(table.get(key), dict):
                raise unknown(what, dotted, entries(document))
            table = table[key]
        if last not in table or isinstance(table[last], dict):
            raise unknown(what, dotted, entries(document))
        table[last] = value
    return document


def entries(document: Mapping[str, Any] | BaseModel, prefix: str = "") -> list[str]:
    """Dotted names of all entries, in the order in which they are checked."""
    names: list[str] = []
    for key, value in document if isinstance(document, BaseModel) else document.items():
        table = isinstance(value, dict | BaseModel)
        names += entries(value, f"{prefix}{key}.") if table else [prefix + key]
    return names


def shown(value: object) -> str:
    """`value` in an error: not too long, and also where Python prints no number that long."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def toml(document: Mapping[str, Any]) -> str:
    """A document of plain values and tables of them as TOML."""
    lines = [
        f"{key} = {toml_text.written(v)}" for key, v in document.items() if not isinstance(v, dict)
    ]
    for key, table in document.items():
        if isinstance(table, dict):
            lines += [
                "",
                f"[{key}]",
                *(f"{k} = {toml_text.written(v)}" for k, v in table.items()),
            ]
    return "\n".join(lines) + "\n"


def file_text(path: Path, what: str) -> str:
    """Text of a description's file; `what` it is, in errors.

    Raises:
        InputError: it cannot be read, is too large, or is no text.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(
                f"{path}: {what} has at most {MAX_FILE_BYTES} bytes, not {path.stat().st_size}"
            )
        return path.read_text("utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not valid TOML: it is not UTF-8 text") from None
