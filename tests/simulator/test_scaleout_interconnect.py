"""Descriptions of interconnects: presets, TOML both ways, and one line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from nofm.kernels.errors import InputError
from nofm.simulator.scaleout import interconnect

GOOD = interconnect.load("pcie4-hosts")
KNOWN = "nvlink4-ndr, pcie4-hosts, roce-100g"
ENTRIES = (
    "name, sources, reduction, link.gigabits, link.payload, link.latency_us, group.gigabits, "
    "group.payload, group.latency_us, group.size, group.oversubscription"
)


@pytest.mark.parametrize("name", interconnect.presets())
def test_presets_say_where_their_figures_come_from(name: str) -> None:
    found = interconnect.load(name)
    assert found.name == name
    assert found.sources
    again = interconnect.from_toml(found.to_toml(), "again")
    assert again == found


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(GOOD.with_values(**{"link.latency_us": 7.5}).to_toml(), "utf-8")
    found = interconnect.load(path)
    assert found.link.latency_us == 7.5
    assert found.group == GOOD.group
    assert interconnect.load(found) is found


def test_bytes_per_second() -> None:
    link = interconnect.Link(gigabits=100.0, payload=0.5, latency_us=0.0)
    assert link.bytes_per_second == 6.25e9


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"link.gigabits": 0.0}, "link.gigabits: input should be greater than 0, not 0.0"),
        ({"link.payload": 1.5}, "link.payload: input should be less than or equal to 1, not 1.5"),
        (
            {"link.latency_us": -1.0},
            "link.latency_us: input should be greater than or equal to 0, not -1.0",
        ),
        ({"link.latency_us": "2"}, "link.latency_us: input should be a valid number, not '2'"),
        ({"group.size": 1}, "group.size: input should be greater than or equal to 2, not 1"),
        (
            {"group.oversubscription": 9.0},
            "group: oversubscription must be at most size = 8, so that one board alone has its "
            "whole link, not 9",
        ),
        (
            {"reduction": "both"},
            "reduction: input should be 'streamed' or 'stored', not 'both'",
        ),
    ],
)
def test_what_is_out_of_range(values: dict[str, object], line: str) -> None:
    with pytest.raises(InputError) as caught:
        GOOD.with_values(**values)
    assert str(caught.value) == f"interconnect 'pcie4-hosts': {line}"


def test_unknown_entries() -> None:
    with pytest.raises(InputError) as caught:
        GOOD.with_values(**{"link.latency": 1.0})
    assert str(caught.value) == (
        "unknown interconnect entry 'link.latency': did you mean link.latency_us or link.payload "
        f"or group.latency_us? (known: {ENTRIES})"
    )
    with pytest.raises(InputError) as caught:
        interconnect.from_toml(GOOD.to_toml() + "speed = 1\n", "own.toml")
    assert str(caught.value) == (
        "own.toml: unknown entry 'group.speed': did you mean group.size or group.payload or "
        f"group.gigabits? (known: {ENTRIES})"
    )
    with pytest.raises(InputError) as caught:
        interconnect.from_toml('name = "x"\n', "own.toml")
    assert str(caught.value) == "own.toml: entry 'reduction' is missing"
    with pytest.raises(InputError) as caught:
        interconnect.from_toml("name = \n", "own.toml")
    assert str(caught.value).startswith("own.toml is not valid TOML: ")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("roce", f"unknown interconnect 'roce': did you mean roce-100g? (known: {KNOWN})"),
        ("none.toml", "cannot read none.toml: No such file or directory"),
    ],
)
def test_no_such_interconnect(name: str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        interconnect.load(name)
    assert str(caught.value) == line
