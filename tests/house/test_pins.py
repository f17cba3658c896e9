"""pyproject.toml bounds every dependency, and constraints.txt pins it inside its bounds."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]


def project() -> dict[str, list[str]]:
    """The requirements of pyproject.toml by group; "" names those of the package itself."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        read = tomllib.load(file)
    extras: dict[str, list[str]] = read["project"]["optional-dependencies"]
    return {
        "": read["project"]["dependencies"],
        **extras,
        "build": read["build-system"]["requires"],
    }


def pin_lines() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def pins() -> dict[str, Version]:
    split = (line.split("==") for line in pin_lines())
    return {canonicalize_name(name): Version(version) for name, version in split}


REQUIREMENTS = [
    pytest.param(Requirement(text), id=f"{group}-{text}".lstrip("-"))
    for group, texts in project().items()
    for text in texts
]


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_requirement_is_bounded_on_both_sides(requirement: Requirement) -> None:
    assert sorted(one.operator for one in requirement.specifier) == ["<", ">="]


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_pin_is_inside_the_bounds(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_pins_are_exact_and_plain() -> None:
    plain = re.compile(r"[A-Za-z0-9][\w.-]*==\d[\w.]*")
    assert [line for line in pin_lines() if not plain.fullmatch(line)] == []


def test_every_package_is_pinned_once_in_order() -> None:
    names = [canonicalize_name(line.split("==")[0]) for line in pin_lines()]
    assert names == sorted(set(names))


def test_what_is_required_in_turn_is_pinned() -> None:
    extras = frozenset(project()) - {"", "build"}
    assert sorted(required("nofm", extras) - pins().keys()) == []


def required(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """Every installed package that `name` with `extras` requires here, directly or in turn."""
    found: set[str] = set()
    waiting = [(name, extras)]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        for requirement in map(Requirement, requires(name)):
            holds = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in extras | {""}
            )
            wanted = (canonicalize_name(requirement.name), frozenset(requirement.extras))
            if holds and wanted not in seen and is_installed(wanted[0]):
                seen.add(wanted)
                waiting.append(wanted)
                found.add(wanted[0])
    return found


def requires(name: str) -> list[str]:
    return distribution(name).requires or []


def is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
