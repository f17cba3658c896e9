"""What the offline scheduler considered for one layer, and what each mapping would have cost."""

from __future__ import annotations

from typing import Any

import numpy as np

from nofm.dataflow.accelerator import DATAFLOWS, Accelerator, hardware_record
from nofm.dataflow.jobs import Patterns
from nofm.dataflow.methods import Method
from nofm.dataflow.schedule import moved_bytes
from nofm.kernels.errors import unknown
from nofm.kernels.pattern import Pattern
from nofm.simulator.result import STALLS
from nofm.simulator.step import Options, schedule_jobs, step_jobs, tile_text
from nofm.workloads.trace import Trace


def considered(
    trace: Trace,
    accelerator: Accelerator,
    method: Method,
    pattern: Pattern | Patterns,
    options: Options,
    layer: str,
) -> list[dict[str, Any]]:
    """Every mapping that was compared for a layer's products, the fastest of each first.

    Returns:
        One dict for each mapping: `stage`, `part` (of a job of several products), `m`, `k`, `n`,
        `pattern`, `dataflow`, `interleave`, `tile`, `order` (which tiles run outermost), `cycles`,
        `compute_cycles`, `stall_<cause>_cycles`, `dram_bytes`, and `chosen`.

    Raises:
        InputError: the layer has no product in this step.
    """
    everything = step_jobs(trace, accelerator, method, pattern, options)
    names = list(dict.fromkeys(job.layer for job in everything if job.products))
    if layer not in names:
        raise unknown("layer with a product", layer, names)
    todo = [job for job in everything if job.layer == layer and job.products]
    machine = options.machine(accelerator)
    keys, plan = schedule_jobs(todo, machine, hardware_record(machine), options.schedule)
    assert plan is not None
    mappings, costs = plan.everything()
    rows = []
    for job in todo:
        for part, product in enumerate(job.products):
            place = keys[product, job.stage]
            every = np.flatnonzero(mappings["product"] == place)
            found = []
            for i in every:
                mapping, cost = mappings[i], costs[i]
                found.append(
                    {
                        "stage": job.stage,
                        "part": part,
                        "m": product.m,
                        "k": product.k,
                        "n": product.n,
                        "pattern": str(product.pattern),
                        "dataflow": DATAFLOWS[int(mapping["dataflow"])],
                        "interleave": int(mapping["interleave"]),
                        "tile": tile_text(product, mapping),
                        "order": "rows" if mapping["m_outer"] else "columns",
                        "cycles": int(cost["cycles"]),
                        "compute_cycles": int(cost["issue"]),
                        **{f"stall_{cause}_cycles": int(cost[cause]) for cause in STALLS},
                        "dram_bytes": int(moved_bytes(cost)),
                        "chosen": mapping == plan.mappings[place],
                    }
                )
            rows += sorted(found, key=lambda row: (not row["chosen"], row["cycles"]))
    return [row | {"chosen": bool(row["chosen"])} for row in rows]
