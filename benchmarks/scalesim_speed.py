"""How much faster NofM times a network than the real SCALE-Sim, on the same layers in one run.

    python benchmarks/scalesim_speed.py [--cycles 200000]

Layers of ResNet-50's dense forward pass at batch 1 are drawn with a fixed seed, until SCALE-Sim
would simulate the given number of cycles for them (all of them take it half an hour).
They are written as one SCALE-Sim topology, with the padding in the input sizes, and timed by
SCALE-Sim, by the closed forms that give SCALE-Sim's own figures, and by SAT's simulator. Times are
CPU seconds of one core without start-up. The closed forms' cycles must equal SCALE-Sim's.
"""

from __future__ import annotations

import os

os.environ["NUMBA_NUM_THREADS"] = "1"

import argparse
import json
import platform
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nofm
from nofm.dataflow.accelerator import Accelerator, load
from nofm.peers import simulate_peer
from nofm.simulator.scalesim import simulate_topology
from nofm.workloads import scalesim_csv
from nofm.workloads.layer import Convolution, Linear
from nofm.workloads.networks import load as network
from nofm.workloads.trace import Trace

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venvs" / "scalesim" / "bin" / "python"
ROWS, COLUMNS, DATAFLOW = 32, 32, "ws"
DESIGNS = 200
SEED = 1
HEADER = "Layer name, IFMAP H, IFMAP W, Filter H, Filter W, Channels, Num Filter, Strides,\n"


def topology_rows() -> Iterator[str]:
    """ResNet-50's products as rows of a SCALE-Sim topology."""
    for layer in network("resnet50", 1).weight_layers:
        if isinstance(layer, Convolution):
            padded = [
                (outputs - 1) * stride + window
                for outputs, stride, window in zip(
                    layer.output_size, layer.stride, layer.kernel, strict=True
                )
            ]
            numbers = [*padded, *layer.kernel, layer.in_channels, layer.out_channels]
            yield ", ".join(map(str, [layer.name, *numbers, layer.stride[0]])) + ",\n"
        elif isinstance(layer, Linear):
            yield f"{layer.name}, 1, 1, 1, 1, {layer.in_features}, {layer.out_features}, 1,\n"


def draw(folder: Path, cycles: int) -> tuple[Path, Path]:
    """A topology of layers that SCALE-Sim takes about `cycles` cycles for, and that of them all."""
    whole = folder / "whole.csv"
    rows = list(topology_rows())
    whole.write_text(HEADER + "".join(rows))
    costs = simulate_topology(scalesim_csv.read(whole), ROWS, COLUMNS, DATAFLOW)
    order = list(range(len(rows)))
    random.Random(SEED).shuffle(order)
    chosen, left = [], cycles
    for index in order:
        if costs[index].cycles <= left:
            chosen.append(index)
            left -= costs[index].cycles
    part = folder / "part.csv"
    part.write_text(HEADER + "".join(rows[index] for index in sorted(chosen)))
    return part, whole


def scalesim(path: Path) -> tuple[list[int], float]:
    """Cycles of each layer by the real package, and its CPU seconds without start-up."""
    job = {
        "topology": str(path),
        "form": "conv",
        "rows": ROWS,
        "columns": COLUMNS,
        "dataflow": DATAFLOW,
        "sparse": False,
    }
    done = subprocess.run(
        [PYTHON, ROOT / "tools" / "scalesim_oracle.py"],
        input=json.dumps([job]),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    (result,) = json.loads(done.stdout)
    return [layer["total_cycles"] for layer in result["layers"]], result["cpu_seconds"]


def cpu_seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """CPU seconds of one call: the least of a few runs, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times[1:])


def designs(base: Accelerator) -> list[Accelerator]:
    """Accelerators with other buffers and memory, for the batch evaluation."""
    pick = random.Random(SEED)
    return [
        base.with_values(
            **{
                "name": f"design {index}",
                "buffers.activation_kib": pick.choice((512, 1024, 2048)),
                "buffers.weight_kib": pick.choice((512, 1024, 2048)),
                "dram.bandwidth_gbps": pick.uniform(10, 100),
            }
        )
        for index in range(DESIGNS)
    ]


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def compare(path: Path, machines: list[Accelerator]) -> float:
    """Time SCALE-Sim and NofM on one topology, print it; SCALE-Sim's cycles a CPU second."""
    topology, trace = scalesim_csv.read(path), scalesim_csv.load(path)
    theirs, seconds = scalesim(path)
    ours = simulate_topology(topology, ROWS, COLUMNS, DATAFLOW)
    assert [layer.cycles for layer in ours] == theirs
    rate = sum(theirs) / seconds
    print(
        f"SCALE-Sim 3.0.0: {sum(theirs):,} cycles in {seconds:.1f} CPU s, {rate:,.0f} a second. "
        "For the same layers NofM is faster by"
    )
    timed: dict[str, float] = {
        "closed forms of SCALE-Sim's figures, equal on every layer": cpu_seconds(
            lambda: simulate_topology(topology, ROWS, COLUMNS, DATAFLOW)
        ),
        "nofm simulate --peer, reading the file, SAT's forward pass too": cpu_seconds(
            lambda: simulate_peer(path, "scalesim", f"{ROWS}x{COLUMNS}", DATAFLOW, machines[0])
        ),
        "SAT, whole training step with schedule search, one at a time": cpu_seconds(
            lambda: nofm.simulate(trace, method="dense", pattern="dense", hardware=machines[0])
        ),
        "SAT, whole training step with schedule search, in a batch": in_a_batch(trace, machines),
    }
    for what, took in timed.items():
        print(f"{seconds / took:>13,.0f} x  {what} ({1e6 * took:,.0f} us)")
    return rate


def in_a_batch(trace: Trace, machines: list[Accelerator]) -> float:
    """CPU seconds of one training step of a batch."""
    took = cpu_seconds(
        lambda: nofm.sweep_hardware(trace, machines, method="dense", pattern="dense")
    )
    return took / len(machines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time NofM against the real SCALE-Sim.")
    parser.add_argument("--cycles", type=int, default=200_000, help="cycles SCALE-Sim simulates")
    cycles = parser.parse_args().cycles
    if not PYTHON.exists():
        raise SystemExit(
            "SCALE-Sim's environment is not there; make it with: tools/scalesim_env.sh"
        )
    print(f"{processor()}, load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores.")
    machines = designs(load("sat-32x32"))
    with tempfile.TemporaryDirectory() as name:
        part, whole = draw(Path(name), cycles)
        layers, everything = scalesim_csv.read(part).rows, scalesim_csv.read(whole)
        print(
            f"{len(layers)} of ResNet-50's {len(everything.rows)} weight layers, dense forward, "
            f"batch 1, {ROWS}x{COLUMNS} {DATAFLOW}: {', '.join(row.name for row in layers)}."
        )
        rate = compare(part, machines)
        figures = simulate_topology(everything, ROWS, COLUMNS, DATAFLOW)
        total = sum(layer.cycles for layer in figures)
        took = in_a_batch(scalesim_csv.load(whole), machines)
    print(
        f"All {len(figures)} layers, {total:,} cycles, would take SCALE-Sim {total / rate:,.0f} "
        f"CPU s at that rate; SAT's whole training step of them, in a batch, takes "
        f"{1e6 * took:,.0f} us: {total / rate / took:,.0f} x (projected)."
    )
    print(f"Load average {os.getloadavg()[0]:.2f} at the end.")


if __name__ == "__main__":
    main()
