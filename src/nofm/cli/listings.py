"""`nofm networks`, `nofm methods`, `nofm hardware`: what comes with NofM."""

from __future__ import annotations

from typing import Any

from nofm.cli.options import Json
from nofm.cli.output import print_json, print_table


def networks(json: Json = False) -> None:
    """List the networks that come with NofM."""
    from nofm.workloads.networks import NETWORKS

    rows = [
        {"network": n.name, "sample": n.sample, "dataset": n.dataset, "source": n.source}
        for n in NETWORKS.values()
    ]
    _print_rows("Networks", rows, "networks", json)


def methods(json: Json = False) -> None:
    """List the N:M training methods."""
    from nofm.dataflow.methods import METHODS

    rows = [
        {"method": m.name, "title": m.title, "sparse": m.axes, "reference": m.reference}
        for m in METHODS.values()
    ]
    _print_rows("N:M training methods", rows, "methods", json)


def hardware(json: Json = False) -> None:
    """List the accelerators, the processors of `compare` and the interconnects of `scale`."""
    from nofm.dataflow.accelerator import load, presets
    from nofm.simulator.processors import description
    from nofm.simulator.scaleout import interconnect

    rows = []
    for name in presets():
        item = load(name)
        rows.append(
            {
                "name": name,
                "array": f"{item.array.rows} x {item.array.columns}",
                "clock_mhz": item.clock_mhz,
                "dram_gbps": item.dram.bandwidth_gbps,
                "patterns": " ".join(map(str, item.array.patterns)) or "dense only",
            }
        )
    processors = [
        {"name": name, "kind": (found := description.load(name)).kind, "source": found.sources[0]}
        for name in description.presets()
    ]
    joined = [
        {
            "name": name,
            "link_gigabits": one.link.gigabits,
            "link_latency_us": one.link.latency_us,
            "group_size": one.group.size if one.group else 1,
            "group_gigabits": one.group.gigabits if one.group else None,
        }
        for name in interconnect.presets()
        for one in [interconnect.load(name)]
    ]
    if json:
        lists = {"hardware": rows, "processors": processors, "interconnects": joined}
        print_json({"schema": "nofm.hardware/1", **lists})
        return
    for title, own in (
        ("Accelerators", rows),
        ("Processors, for nofm compare", processors),
        ("Interconnects, for nofm scale", joined),
    ):
        print_table(title, own, {name: name for name in own[0]})


def _print_rows(title: str, rows: list[dict[str, Any]], key: str, json: bool) -> None:
    if json:
        print_json({"schema": f"nofm.{key}/1", key: rows})
        return
    print_table(title, rows, {name: name for name in rows[0]})
