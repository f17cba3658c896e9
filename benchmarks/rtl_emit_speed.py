"""How long it takes to write the array as Verilog, by its size.

    python benchmarks/rtl_emit_speed.py

Prints CPU seconds, Yosys included, with the modules, lines and bytes of Verilog that come of them.
The largest array must be written within half a minute of one core. Each column has the paper's
accumulation buffer, whatever the size.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from pathlib import Path

from nofm.dataflow.accelerator import load
from nofm.rtl.emit.folder import emit

SIZES = (4, 8, 16, 32)
MOST_SECONDS = 30.0


def cpu_seconds() -> float:
    """CPU time of this process and of those that it has waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> int:
    """Measure and print; the exit code is 1 where the largest array takes too long."""
    print(f"Load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores; one is used.")
    base = load("sat-32x32")
    took: dict[int, float] = {}
    for size in SIZES:
        output_kib = base.buffers.output_kib * size // base.array.columns
        accelerator = base.with_values(
            **{"array.rows": size, "array.columns": size, "buffers.output_kib": output_kib}
        )
        with tempfile.TemporaryDirectory(prefix="nofm-") as folder:
            start = cpu_seconds()
            document = emit(accelerator, folder, ["stce"])
            took[size] = cpu_seconds() - start
            written = sum(file.stat().st_size for file in Path(folder, "verilog").iterdir())
        lines = sum(module["lines"] for module in document["modules"])
        print(
            f"  {size:>2} x {size:<2}  {took[size]:5.1f} s  {len(document['modules'])} modules  "
            f"{lines:7,} lines  {written:9,} bytes",
            flush=True,
        )
    last = SIZES[-1]
    slow = took[last] > MOST_SECONDS
    print(f"{last} x {last} within {MOST_SECONDS:.0f} s: {'no' if slow else 'yes'}.")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
