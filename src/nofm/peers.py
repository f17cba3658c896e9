"""A workload timed as another simulator does, beside SAT's timing of the same layers."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nofm.dataflow.accelerator import DATAFLOWS, Accelerator
from nofm.dataflow.methods import METHODS
from nofm.dataflow.products import products
from nofm.kernels.errors import InputError, unknown
from nofm.kernels.pattern import DENSE
from nofm.simulator import scalesim
from nofm.simulator.step import Options, forward_table
from nofm.workloads import scalesim_csv

PEERS: dict[str, str] = {"scalesim": "SCALE-Sim 3.0.0"}
"""Simulators whose timing NofM reproduces."""


def simulate_peer(
    topology_file: str | Path, peer: str, array: str, dataflow: str, accelerator: Accelerator
) -> dict[str, Any]:
    """The JSON document of `nofm simulate --peer`.

    Args:
        topology_file: a SCALE-Sim topology CSV.
        peer: a name of `PEERS`.
        array: the peer's array, "RxC".
        dataflow: ws, os or is.
        accelerator: what the same layers are timed on too, with its array changed to the peer's.

    Returns:
        `layers`: the peer's figures, `cycles` as its report has them, and `sat_cycles`; `sat`:
        SAT's own rows; `total`; `notes`: what the peer's timing leaves out.

    Raises:
        InputError: the file, the array, the peer or the dataflow cannot be used.
    """
    if peer not in PEERS:
        raise unknown("peer", peer, PEERS)
    rows, columns = scalesim.parse_array(array)
    topology = scalesim_csv.read(topology_file)
    figures = scalesim.simulate_topology(topology, rows, columns, dataflow)
    machine = accelerator.with_values(
        **{"name": f"{accelerator.name} at {array}", "array.rows": rows, "array.columns": columns}
    )
    policy = dataflow if dataflow in DATAFLOWS else "offline"
    items = []
    notes = list(scalesim.notes(topology, dataflow))
    for row, layer in zip(topology.rows, scalesim_csv.to_layers(topology), strict=True):
        pattern = row.pattern
        try:
            machine.require_pattern(pattern)
        except InputError as error:
            notes.append(f"{row.name}: timed dense on SAT, for {error}")
            pattern = DENSE
        found = products(layer, "ff", METHODS["dense"], DENSE)
        items.append((layer.name, tuple(replace(item, pattern=pattern) for item in found)))
    table = forward_table(items, machine, Options(schedule=policy))
    kept = ["layer", "pattern", "dataflow", "cycles", "compute_cycles", "stall_cycles"]
    sat = table[[*kept, "utilization", "dram_bytes"]].to_dict("records")
    by_row = [
        row["cycles"] if len(source.layer_names) == 1 else None
        for row, source in zip(sat, topology.rows, strict=True)
        for _ in source.layer_names
    ]
    notes.append(
        "sat_cycles: the forward product on SAT with its stalls, DRAM included, folds overlapping"
    )
    if policy == "offline":
        notes.append("SAT has no input-stationary dataflow: its scheduler chose WS or OS")
    return {
        "schema": "nofm.peer/1",
        "peer": PEERS[peer],
        "workload": topology.name,
        "array": {"rows": rows, "columns": columns},
        "dataflow": dataflow,
        "hardware": machine.name,
        "total": {
            "cycles": sum(figure.cycles for figure in figures),
            "sat_cycles": sum(row["cycles"] for row in sat),
        },
        "layers": [
            asdict(figure) | {"pattern": str(figure.pattern), "sat_cycles": cycles}
            for figure, cycles in zip(figures, by_row, strict=True)
        ],
        "sat": sat,
        "notes": notes,
    }
