"""The parts that engines are made of, each synthesized by itself and counted as often as it stands.

A part is a module that stands in many places; what is left of an engine without those is its part
`REST`. Modules that no part names are flattened into the one that holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.synthesis.families import Resources

if TYPE_CHECKING:
    from nofm.rtl.hierarchy import Unit

REST, ALL = "rest", "all"
"""What an engine has but once; the whole engine, synthesized as `nofm rtl --synth` does."""

FAMILY = "xcup"

Parameters = Mapping[str, int]


@dataclass(frozen=True)
class Engine:
    """How an engine is taken apart.

    Attributes:
        parameters: names of what its hardware depends on.
        build: the engine's top module.
        parts: every part's own module by the part's name, without `REST`.
    """

    parameters: tuple[str, ...]
    build: Callable[[Parameters], Unit]
    parts: Mapping[str, Callable[[Parameters], Unit]]


def _stce(parameters: Parameters) -> Unit:
    from nofm.rtl.stce.stce import Stce

    return Stce(Geometry(**parameters))


def _uspe(parameters: Parameters) -> Unit:
    from nofm.rtl.stce.uspe import Uspe

    return Uspe(Geometry(**parameters))


def _row_edge(parameters: Parameters) -> Unit:
    from nofm.rtl.stce.row_edge import RowEdge

    return RowEdge(Geometry(**parameters))


def _row_delay(parameters: Parameters) -> Unit:
    from nofm.rtl.stce.control import row_control
    from nofm.rtl.stce.delay import Delay

    geometry = Geometry(**parameters)
    return Delay(row_control(geometry).size, geometry.longest_row_delay)


def _group_port(parameters: Parameters) -> Unit:
    from nofm.rtl.stce.ports import OperandPort

    return OperandPort(parameters["port"])


def _weight_port(parameters: Parameters) -> Unit:
    from nofm.rtl.stce.ports import OperandPort

    return OperandPort(1, Geometry(**parameters).index_bits)


def _column_edge(parameters: Parameters) -> Unit:
    from nofm.rtl.stce.column_edge import ColumnEdge

    return ColumnEdge(Geometry(**parameters))


def _result_port(parameters: Parameters) -> Unit:
    from nofm.rtl.elastic import Elastic

    return Elastic(32)


def _sore(parameters: Parameters) -> Unit:
    from nofm.rtl.sore.engine import Sore
    from nofm.rtl.sore.geometry import Geometry

    return Sore(Geometry(**parameters))


def _sore_lane(parameters: Parameters) -> Unit:
    from nofm.rtl.sore.geometry import Geometry
    from nofm.rtl.sore.lane import Lane

    return Lane(Geometry(**parameters))


def _wuve(parameters: Parameters) -> Unit:
    from nofm.rtl.wuve.engine import Wuve
    from nofm.rtl.wuve.geometry import Depths, Geometry

    depths = Depths.of(parameters["latency_cycles"])
    return Wuve(Geometry(parameters["lanes"], depths))


def _wuve_lane(parameters: Parameters) -> Unit:
    from nofm.rtl.wuve.geometry import Depths
    from nofm.rtl.wuve.lane import Lane

    return Lane(Depths.of(parameters["latency_cycles"]))


def _wuve_stream(parameters: Parameters) -> Unit:
    from nofm.rtl.elastic import Elastic

    return Elastic(80 * parameters["lanes"])


ENGINES: dict[str, Engine] = {
    "stce": Engine(
        tuple(entry.name for entry in fields(Geometry)),
        _stce,
        {
            "uspe": _uspe,
            "row edge": _row_edge,
            "row delay": _row_delay,
            "group port": _group_port,
            "weight port": _weight_port,
            "column edge": _column_edge,
            "result port": _result_port,
        },
    ),
    "sore": Engine(("lanes", "entries", "group", "latency_cycles"), _sore, {"lane": _sore_lane}),
    "wuve": Engine(
        ("lanes", "latency_cycles"), _wuve, {"lane": _wuve_lane, "stream": _wuve_stream}
    ),
}
"""Every engine that is estimated. Pre-generation's chain is made of the lanes of two of them."""


def measure(engine: str, part: str, parameters: Parameters, folder: Path) -> Resources:
    """Synthesize one part of an engine, or `ALL` of it, in `folder`.

    Raises:
        InputError: Yosys is not installed, or failed.
    """
    from nofm.rtl.hierarchy import modules
    from nofm.rtl.synthesis.design import read
    from nofm.rtl.synthesis.synthesize import map_design, synthesize

    own = ENGINES[engine]
    if part in own.parts:
        unit = own.parts[part](parameters)
        return synthesize(modules(unit), unit.module_name, FAMILY, folder, flat=True).resources
    unit = own.build(parameters)
    if part == ALL:
        return synthesize(modules(unit), unit.module_name, FAMILY, folder).resources
    design = read(modules(unit), unit.module_name, folder)
    known = {build(parameters).module_name for build in own.parts.values()}
    return map_design(design, FAMILY, (), known=sorted(known & set(design.cells))).resources
