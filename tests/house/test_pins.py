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
CUDA = ("cuda-", "nvidia-", "triton")


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
    asked = [Requirement(text) for texts in project().values() for text in texts]
    unpinned = installed_closure(asked) - pins().keys()
    # A CUDA build of torch says itself which CUDA libraries it takes.
    assert [name for name in sorted(unpinned) if not name.startswith(CUDA)] == []


def test_closure_reaches_what_nobody_asks_for() -> None:
    assert "llvmlite" in installed_closure([Requirement("numba")])


def installed_closure(asked: list[Requirement]) -> set[str]:
    """The packages that `asked` brings, itself and in turn, as far as they are installed here."""
    found: set[str] = set()
    waiting = [(requirement, "") for requirement in asked]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        marker = requirement.marker
        if (marker and not marker.evaluate({"extra": extra})) or not is_installed(name):
            continue
        if name in found and not requirement.extras:
            continue
        found.add(name)
        waiting += [
            (Requirement(text), wanted)
            for text in requires(name)
            for wanted in ("", *requirement.extras)
        ]
    return found


def requires(name: str) -> list[str]:
    return distribution(name).requires or []


def is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
