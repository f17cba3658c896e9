"""The manifest: what a program needs to know of emitted engines, as one document."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib.wiring import In

from nofm.rtl.emit.design import Design, documentation, summary
from nofm.rtl.engines import ENGINES
from nofm.rtl.hierarchy import Unit

SCHEMA = "nofm.rtl/1"
COUNTER = "count_"
FIELDS = re.compile(r"(\w+(?:, \w+)*): (.+)")


def manifest(design: Design, paths: dict[str, str]) -> dict[str, Any]:
    """The document of a design; docs/rtl.md lists its fields.

    Args:
        design: the engines.
        paths: file of each module, by its name.
    """
    return {
        "schema": SCHEMA,
        "version": version("nofm"),
        "hardware": design.accelerator.to_document(),
        "engines": [_engine(design, name, paths) for name in design.engines],
        "left_out": [
            {"engine": name, "reason": reason} for name, reason in design.left_out.items()
        ],
        "modules": [_module(design, name, path) for name, path in paths.items()],
    }


def _engine(design: Design, name: str, paths: dict[str, str]) -> dict[str, Any]:
    built = design.engines[name]
    ports = list(_ports(built.top))
    return {
        "engine": name,
        "title": ENGINES[name].title,
        "top": built.top.module_name,
        "files": [paths[module] for module in design.below(name)],
        "parameters": parameters(built.top),
        "ports": ports,
        "streams": list(_streams(ports)),
        "job": list(_fields(design, name)),
        "counters": {
            port["port"]: port["meaning"] for port in ports if port["port"].startswith(COUNTER)
        },
    }


def _module(design: Design, name: str, path: str) -> dict[str, Any]:
    each = design.modules[name]
    return {
        "module": name,
        "file": path,
        "lines": len(design.verilog(name).splitlines()),
        "summary": summary(each.unit),
        "parameters": parameters(each.unit),
        # Units without a pipeline, or with several paths of their own lengths, have none.
        "delay_cycles": getattr(each.unit, "delay", None),
        "places": list(each.places),
    }


def _fields(design: Design, name: str) -> Iterator[dict[str, Any]]:
    built, low = design.engines[name], 0
    meanings = field_meanings(built.job_text)
    for field, width in built.job_fields.items():
        yield {"field": field, "low": low, "width": width, "meaning": meanings.get(field, "")}
        low += width


def _ports(unit: Unit) -> Iterator[dict[str, Any]]:
    meanings = port_meanings(documentation(unit), list(unit.signature.members))
    if unit.clocked:
        yield {"port": "clk", "direction": "in", "width": 1, "meaning": "rising edge"}
        yield {
            "port": "rst",
            "direction": "in",
            "width": 1,
            "meaning": "synchronous reset, active high",
        }
    for name, member in unit.signature.members.items():
        yield {
            "port": name,
            "direction": "in" if member.flow is In else "out",
            "width": Shape.cast(member.shape).width,
            "meaning": meanings.get(name, ""),
        }


def _streams(ports: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The streams among the ports: a word of a lane moves when its valid and ready are high."""
    widths = {port["port"]: port["width"] for port in ports}
    for port in ports:
        stream = port["port"].removesuffix("_valid")
        if f"{stream}_valid" in widths and stream != port["port"]:
            yield {
                "stream": stream,
                "direction": port["direction"],
                "lanes": port["width"],
                "lane_width": widths[f"{stream}_data"] // port["width"],
            }


def port_meanings(text: str, ports: Sequence[str]) -> dict[str, str]:
    """What the tables of a docstring say of ports, by port.

    A row's first cell names one port or several, and its last one says what they mean. `_ready`
    after `x_valid` stands for `x_ready`, `a ... d` for all ports from a to d, and `a_...` for all
    that begin with `a_`.

    Args:
        text: the docstring.
        ports: names of all ports, in order.
    """
    meanings: dict[str, str] = {}
    for row in re.findall(r"^\|(.*)\|$", text, flags=re.MULTILINE):
        cells = [cell.strip() for cell in row.replace("`", "").split("|")]
        before = ""
        for name in re.split(r",\s*", cells[0]):
            if name.startswith("_"):
                name = before.rpartition("_")[0] + name
            first, _, last = name.partition(" ... ")
            named = [first]
            if first in ports and last in ports:
                named = list(ports[ports.index(first) : ports.index(last) + 1])
            elif first.endswith("..."):
                start = first.removesuffix("...")
                named = [port for port in ports if port.startswith(start)] or [first]
            meanings |= dict.fromkeys(named, cells[-1])
            before = named[-1]
    return meanings


def field_meanings(text: str) -> dict[str, str]:
    """What a docstring says of fields, in lines `name, name: meaning; meaning`.

    A line may be continued. As many meanings as names are given out one by one; else the whole text
    goes to each name.
    """
    joined: list[str] = []
    for line in inspect.cleandoc(text).replace("`", "").splitlines():
        if FIELDS.match(line) or not (line and joined):
            joined.append(line)
        else:
            joined[-1] += f" {line.strip()}"
    meanings: dict[str, str] = {}
    for found in filter(None, map(FIELDS.match, joined)):
        names, meaning = found[1].split(", "), found[2].rstrip(".")
        each = meaning.split("; ")
        meanings |= zip(
            names, each if len(each) == len(names) else [meaning] * len(names), strict=True
        )
    return meanings


def parameters(unit: Unit) -> dict[str, int | str]:
    """What the unit was made from: its plain attributes, and the entries of its tables of sizes."""
    found: dict[str, int | str] = {}
    for name, value in vars(unit).items():
        if name.startswith("_") or name == "module_name":
            continue
        table = is_dataclass(value) and not isinstance(value, type)
        found |= _plain(asdict(value) if table else {name: value})
    return found


def _plain(values: Mapping[str, Any], prefix: str = "") -> dict[str, int | str]:
    found: dict[str, int | str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _plain(value, f"{prefix}{name}.")
        elif isinstance(value, int | str):
            found[prefix + name] = value
    return found
