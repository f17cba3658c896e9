"""Run the real SCALE-Sim on topologies and print what it reports.

It runs under the interpreter of `.venvs/scalesim` (made by `tools/scalesim_env.sh`), never under
the project's own, so it imports nothing of the project. It reads one JSON document from standard
input, a list of runs, and prints one: the list of their results.

    {"topology": "path.csv", "form": "conv" | "gemm", "rows": 8, "columns": 8,
     "dataflow": "ws" | "os" | "is", "sparse": false}

    {"layers": [{"total_cycles": 123, "stall_cycles": 0, "overall_percent": ...,
                 "mapping_percent": ..., "compute_percent": ...}],
     "cpu_seconds": 1.5}

`sparse` makes SCALE-Sim honour the topology's N:M column (its layer-wise mode). The bandwidth mode
is CALC: the memory never stalls the array, unless the output buffer is too small, so the buffers
are made large.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CONFIGURATION = """\
[general]
run_name = run

[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {columns}
IfmapSramSzkB = 4096
FilterSramSzkB = 4096
OfmapSramSzkB = 4096
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = {dataflow}
ReadRequestBuffer = 32
WriteRequestBuffer = 32

[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2

[sparsity]
SparsitySupport = {sparse}
SparseRep = ellpack_block
OptimizedMapping = false
BlockSize = 4
RandomNumberGeneratorSeed = 40

[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""

COLUMNS = {
    "total_cycles": ("Total Cycles", int),
    "stall_cycles": ("Stall Cycles", int),
    "overall_percent": ("Overall Util %", float),
    "mapping_percent": ("Mapping Efficiency %", float),
    "compute_percent": ("Compute Util %", float),
}


def report(path: Path) -> list[dict[str, float]]:
    """The rows of a COMPUTE_REPORT.csv, one for each layer."""
    with path.open(newline="") as file:
        rows = [
            {key.strip(): value.strip() for key, value in row.items() if key}
            for row in csv.DictReader(file)
        ]
    return [{name: read(row[column]) for name, (column, read) in COLUMNS.items()} for row in rows]


def run(job: dict[str, Any]) -> dict[str, Any]:
    """One run of SCALE-Sim; `cpu_seconds` counts the simulation and no start-up."""
    from scalesim.scale_sim import scalesim

    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(name)
        configuration = folder / "run.cfg"
        configuration.write_text(CONFIGURATION.format(**job))
        layout = folder / "layout.csv"
        layout.write_text("Layer name,\n")
        start = time.process_time()
        simulator = scalesim(
            save_disk_space=True,
            verbose=False,
            config=str(configuration),
            topology=job["topology"],
            layout=str(layout),
            input_type_gemm=job["form"] == "gemm",
        )
        simulator.run_scale(top_path=name)
        seconds = time.process_time() - start
        return {"layers": report(folder / "run" / "COMPUTE_REPORT.csv"), "cpu_seconds": seconds}


if __name__ == "__main__":
    json.dump([run(job) for job in json.load(sys.stdin)], sys.stdout)
