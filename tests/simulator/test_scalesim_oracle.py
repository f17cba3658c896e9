"""The closed forms against the real SCALE-Sim 3.0.0, layer by layer, in its own environment."""

from __future__ import annotations

import json
import random
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from nofm.kernels.pattern import DENSE
from nofm.simulator.scalesim import DATAFLOWS, PeerLayer, simulate_topology
from nofm.workloads.scalesim_csv import Topology, read

pytestmark = pytest.mark.network_tool

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venvs" / "scalesim" / "bin" / "python"
ARRAYS = [(4, 4), (8, 3), (3, 7), (1, 6), (12, 5)]
RATIOS = ["1:1", "2:4", "1:4", "2:8", "1:8", "3:5", "4:4", "1:2", "5:16"]

CONV_ROWS = """\
Layer name, IFMAP H, IFMAP W, Filter H, Filter W, Channels, Num Filter, Strides, Sparsity,
plain, 8, 8, 3, 3, 4, 10, 1, 2:4,
stride leaves a rest, 9, 8, 2, 3, 3, 5, 2, 1:4,
one output, 3, 3, 3, 3, 5, 7, 3, 2:8,
pointwise, 5, 4, 1, 1, 18, 6, 1, 1:8,
strided pointwise, 7, 7, 1, 1, 6, 9, 2,
one of everything but rows, 40, 1, 1, 1, 1, 1, 1, 1:1,
fully connected, 1, 1, 1, 1, 37, 11, 1, 2:4,
DP, 6, 5, 3, 3, 3, 2, 1, 2:4,
"""
GEMM_ROWS = """\
Layer, M, N, K, Sparsity,
square, 12, 12, 12, 2:4,
ragged, 13, 9, 21, 2:8,
tall, 40, 2, 3, 1:1,
wide, 2, 50, 3,
deep, 3, 2, 50, 1:8,
less than a group, 5, 4, 3, 2:8,
less than N, 5, 4, 2, 3:8,
one row, 1, 17, 9, 1:2,
"""


@dataclass(frozen=True)
class Job:
    """One run of SCALE-Sim."""

    path: Path
    form: str
    array: tuple[int, int]
    dataflow: str
    sparse: bool

    def as_json(self) -> dict[str, Any]:
        return {
            "topology": str(self.path),
            "form": self.form,
            "rows": self.array[0],
            "columns": self.array[1],
            "dataflow": self.dataflow,
            "sparse": self.sparse,
        }

    def ours(self) -> list[PeerLayer]:
        topology = read(self.path)
        return simulate_topology(
            topology if self.sparse else dense(topology), *self.array, self.dataflow
        )


def dense(topology: Topology) -> Topology:
    """Without its N:M ratios, which SCALE-Sim ignores unless it is told to honour them."""
    return replace(topology, rows=tuple(replace(row, pattern=DENSE) for row in topology.rows))


def share_of_fold(layer: PeerLayer, job: Job) -> float:
    """SCALE-Sim divides its "Compute Util %" in ws and is by C - 1 cycles a fold too many."""
    fold_cycles = (layer.cycles + 1) // layer.folds
    again = 0 if job.dataflow == "os" else job.array[1] - 1
    return fold_cycles / (fold_cycles + again)


def scalesim(jobs: list[Job]) -> list[list[dict[str, float]]]:
    """What the real package reports for every layer of every job."""
    if not PYTHON.exists():
        pytest.fail("SCALE-Sim's environment is not there; make it with: tools/scalesim_env.sh")
    done = subprocess.run(
        [PYTHON, ROOT / "tools" / "scalesim_oracle.py"],
        input=json.dumps([job.as_json() for job in jobs]),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [result["layers"] for result in json.loads(done.stdout)]


def random_rows(seed: int) -> str:
    """Ten GEMMs of a few hundred cycles each, with random ratios."""
    generator = random.Random(seed)
    lines = ["Layer, M, N, K, Sparsity,"]
    for index in range(10):
        m, n, k = (generator.randint(1, 24) for _ in range(3))
        lines.append(f"random {index}, {m}, {n}, {k}, {generator.choice(RATIOS)},")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_every_layer_equals_the_real_package(dataflow: str, tmp_path: Path) -> None:
    conv, gemm, anything = (tmp_path / f"{name}.csv" for name in ("conv", "gemm", "random"))
    conv.write_text(CONV_ROWS)
    gemm.write_text(GEMM_ROWS)
    anything.write_text(random_rows(seed=len(dataflow) + ord(dataflow[0])))
    jobs = [
        Job(path, form, array, dataflow, sparse)
        for array in ARRAYS
        for path, form, sparse in [
            (conv, "conv", True),
            (gemm, "gemm", True),
            (anything, "gemm", False),
        ]
    ] + [Job(conv, "conv", (8, 3), dataflow, False), Job(anything, "gemm", (3, 7), dataflow, True)]
    for job, theirs in zip(jobs, scalesim(jobs), strict=True):
        ours = job.ours()
        case = f"{job.path.stem} on {job.array}, {dataflow}, sparse={job.sparse}"
        assert [layer["stall_cycles"] for layer in theirs] == [0] * len(ours), case
        assert {layer.layer + f" {index}": layer.cycles for index, layer in enumerate(ours)} == {
            layer.layer + f" {index}": reported["total_cycles"]
            for index, (layer, reported) in enumerate(zip(ours, theirs, strict=True))
        }, case
        for layer, reported in zip(ours, theirs, strict=True):
            assert layer.overall_utilization is not None
            for name, share in (
                ("mapping_percent", layer.mapping_efficiency),
                ("compute_percent", layer.compute_utilization * share_of_fold(layer, job)),
                ("overall_percent", layer.overall_utilization),
            ):
                assert 100 * share == pytest.approx(reported[name], rel=1e-9), (case, layer, name)


def test_what_the_reader_warns_of_is_true(tmp_path: Path) -> None:
    """SCALE-Sim loses an N:M ratio without a last comma, and a first layer without a header."""
    header = "Layer, M, N, K, Sparsity,\n"
    comma, no_comma, no_header = (tmp_path / f"{name}.csv" for name in "abc")
    comma.write_text(header + "x, 9, 5, 32, 2:8,\n")
    no_comma.write_text(header + "x, 9, 5, 32, 2:8\n")
    no_header.write_text("x, 9, 5, 32, 2:8,\ny, 9, 5, 32, 2:8,\n")
    jobs = [Job(path, "gemm", (4, 4), "ws", True) for path in (comma, no_comma, no_header)]
    with_comma, without_comma, without_header = (
        [layer["total_cycles"] for layer in layers] for layers in scalesim(jobs)
    )
    pruned, full = (
        [layer.cycles for layer in replace(jobs[0], sparse=sparse).ours()]
        for sparse in (True, False)
    )
    assert pruned != full
    assert with_comma == pruned
    assert without_comma == full
    assert without_header == pruned
    assert [len(read(job.path).rows) for job in jobs] == [1, 1, 2]
    assert jobs[1].ours()[0].cycles == pruned[0]
    assert [len(read(job.path).warnings) for job in jobs] == [0, 1, 1]
