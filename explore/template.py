"""The TOML of any design of a space, from one text and what is written for each value."""

from __future__ import annotations

from collections.abc import Sequence

from nofm.dataflow.accelerator import Accelerator


def template(base: Accelerator, names: Sequence[str]) -> list[str | int]:
    """Lines of `base.to_toml()`; those of the entries `names` are their places in it instead.

    >>> from nofm.dataflow.accelerator import load
    >>> template(load("sat-4x4"), ["clock_mhz"])[:2]
    ['name = "sat-4x4"', 0]
    """
    return [names.index(name) if name in names else line for name, line in _entries(base.to_toml())]


def written(machine: Accelerator, names: Sequence[str]) -> list[str]:
    """The lines of a machine's TOML that give the entries `names`, in their order."""
    lines = dict(_entries(machine.to_toml()))
    return [lines[name] for name in names]


def _entries(toml: str) -> list[tuple[str, str]]:
    """Every line with the dotted name of what it gives, "" where it gives nothing.

    The text is one that `Accelerator.to_toml` wrote: an entry takes one line.
    """
    found, section = [], ""
    for line in toml.split("\n"):
        name = ""
        if line.startswith("["):
            section = line[1:-1] + "."
        elif line:
            name = section + line.split(" = ", 1)[0]
        found.append((name, line))
    return found
