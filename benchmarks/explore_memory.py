"""Memory of a sweep: ten million designs of a tiny workload, and the most that any process held.

python benchmarks/explore_memory.py [DESIGNS]
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq

from nofm.explore import explore_space
from nofm.workloads.layer import Linear
from nofm.workloads.trace import Trace
from nofm.workloads.trace_file import save

DESIGNS = 10_000_000
LIMIT_GB = 2.0


def main() -> None:
    designs = int(sys.argv[1]) if len(sys.argv) > 1 else DESIGNS
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        layer = Linear(name="fc", batch=8, in_features=64, out_features=64)
        save(Trace(name="tiny", batch=8, layers=(layer,)), folder / "tiny.safetensors")
        began = time.perf_counter()
        children = Children()
        found = explore_space(
            space(str(folder / "tiny.safetensors"), designs),
            folder / "out",
            workers=cores,
            progress=lambda done, of, front: print(
                f"\r{done:,} of {of:,}, front {front:,}", end="", file=sys.stderr
            ),
        )
        took = time.perf_counter() - began
        print(file=sys.stderr)
        rows = pq.ParquetFile(folder / "out/results.parquet").metadata.num_rows
        size = sum(path.stat().st_size for path in (folder / "out").rglob("*") if path.is_file())
        here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        assert rows == found.space.count
        print(f"designs: {rows:,}, {cores} workers: {took:.0f} s, {rows / took:,.0f} a second")
        print(f"folder: {size / 1e9:.2f} GB, front: {len(found.front):,} designs")
        print(f"most memory: {here:.2f} GB here, {children.most / 1e9:.2f} GB in a worker")
        if max(here, children.most / 1e9) > LIMIT_GB:
            sys.exit(f"more than {LIMIT_GB} GB")


def space(workload: str, designs: int) -> dict[str, object]:
    """About that many designs, of one training step."""
    side = max(1, round((designs / 200) ** 0.5))
    return {
        "workload": workload,
        "parameters": {
            "array.rows": {"from": 1, "to": 20, "step": 1},
            "array.columns": {"from": 1, "to": 10, "step": 1},
            "dram.latency_ns": {"from": 1, "to": side, "step": 1},
            "dram.bandwidth_gbps": {"from": 1, "to": side, "step": 1},
        },
        "objectives": {"minimise": ["seconds", "energy_joules", "peak_macs_per_cycle"]},
    }


class Children:
    """Watches what the processes that this one started hold (Linux)."""

    def __init__(self) -> None:
        self.most = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        mine = Path(f"/proc/{os.getpid()}/task")
        while True:
            for task in mine.glob("*/children"):
                for child in task.read_text().split():
                    self.most = max(self.most, peak_bytes(child))
            time.sleep(0.5)


def peak_bytes(process: str) -> int:
    """The most memory that a process has held, 0 where it has gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM")]
    return int(lines[0][1]) * 1024 if lines else 0


if __name__ == "__main__":
    main()
