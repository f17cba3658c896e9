"""The array as RTL: every bit of the golden model, every cycle of the simulator."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import Accelerator, load
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.kernels.reference import matmul
from nofm.rtl.hierarchy import modules
from nofm.rtl.stce.cases import STALLS, Matmul, case
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.stce.job import StceJob, job_fields
from nofm.rtl.stce.stce import Stce
from nofm.rtl.stce.streams import result_lanes, results
from nofm.rtl.tools.cocotb_runner import replay
from nofm.simulator import array as stepped
from nofm.verification import (
    HIERARCHICAL,
    SPECIAL,
    Array,
    Gemm,
    matmul_job,
    random_gemms,
    scheduled,
)

PATTERNS = ("dense", "1:4", "2:4", "1:8", "2:8", "4:8", "2:16")
STREAMS = ("activations", "row_weights", "column_weights")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stce")


@pytest.fixture(scope="module")
def array(folder: Path) -> Array:
    found = Array(load("sat-4x4"), folder, "verilator")
    found.emit()
    return found


def play(array: Array, gemms: list[Gemm], **options: Any) -> dict[str, Any]:
    """What the bench says of products that run as jobs one after the other."""
    jobs = [matmul_job(scheduled(gemm, array.accelerator), array.accelerator) for gemm in gemms]
    return run(array, jobs, **options)


def run(array: Array, jobs: list[Matmul], **options: Any) -> dict[str, Any]:
    """What the bench says of jobs that run one after the other."""
    geometry = Geometry.of(array.accelerator)
    played = replay(
        array.sources,
        "nofm_stce",
        [case("jobs", geometry, jobs, **options)],
        folder=array.folder,
        tool=array.tool,
        hierarchical=HIERARCHICAL,
        counters=STALLS,
    )
    (found,) = played.results["cases"]
    return dict(found)


def passes(found: dict[str, Any]) -> bool:
    return bool(found["bit_exact"] and found["counters_equal"] and found["error"] is None)


def test_random_products(array: Array) -> None:
    verdicts = array.verify(list(random_gemms(array.accelerator, 60, seed=1)))
    assert [verdict for verdict in verdicts if not verdict.equal] == []


@pytest.mark.parametrize("dataflow", ["ws", "os"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_in_both_dataflows(array: Array, pattern: str, dataflow: Any) -> None:
    gemm = Gemm(
        m=9, length=37, n=11, pattern=Pattern.parse(pattern), dataflow=dataflow, special=0.2
    )
    (verdict,) = array.verify([gemm])
    assert verdict.equal, verdict.differences


def test_jobs_follow_each_other_without_a_pause(array: Array) -> None:
    gemms = list(random_gemms(array.accelerator, 25, seed=2))
    found = play(array, gemms)
    assert passes(found), found["differences"]
    assert {gemm.dataflow for gemm in gemms} == {"ws", "os"}
    done = [job["done_cycle"] for job in found["jobs"]]
    busy = [job["count_busy"] for job in found["jobs"]]
    assert np.diff(done).tolist() == busy[1:]
    assert all(job[name] == 0 for job in found["jobs"] for name in STALLS)


@pytest.mark.parametrize("idle", ["steady", "random:0.5", "bursts:3:7"])
@pytest.mark.parametrize("backpressure", ["steady", "random:0.3", "bursts:2:9"])
def test_idle_streams_and_backpressure_only_freeze(
    array: Array, idle: str, backpressure: str
) -> None:
    gemms = list(random_gemms(array.accelerator, 6, seed=3))
    found = play(
        array,
        gemms,
        idle=dict.fromkeys(STREAMS, idle),
        backpressure={"results": backpressure},
        seed=7,
    )
    assert passes(found), found["differences"]
    done = [job["done_cycle"] for job in found["jobs"]]
    spent = [job["count_busy"] + sum(job[name] for name in STALLS) for job in found["jobs"]]
    # Whatever was not the job's own is counted by its cause.
    assert np.diff(done).tolist() == spent[1:]
    stalls = {name: sum(job[name] for job in found["jobs"]) for name in STALLS}
    assert (stalls["count_stalled_activations"] > 0) == (idle != "steady")
    assert (stalls["count_stalled_results"] > 0) == (backpressure != "steady")


@pytest.mark.parametrize("stream", STREAMS)
def test_one_stream_that_idles_is_the_cause(array: Array, stream: str) -> None:
    gemms = [
        Gemm(m=8, length=24, n=8, pattern=Pattern(2, 8), dataflow=dataflow)
        for dataflow in ("ws", "os")
    ]
    found = play(array, gemms, idle={stream: "bursts:1:6"})
    assert passes(found), found["differences"]
    seen = {name for job in found["jobs"] for name in STALLS if job[name] > 0}
    cause = "activations" if stream == "activations" else "weights"
    assert seen == {f"count_stalled_{cause}"}


def chain(array: Array, gemm: Gemm, cuts: list[int]) -> list[Matmul]:
    """A product with its reduction cut after some of its groups, each piece a job."""
    whole = scheduled(gemm, array.accelerator)
    activations, weights = whole.operands()
    sums = matmul(activations, weights)
    m, bounds = whole.pattern.m, [0, *cuts, weights.groups]
    jobs = []
    for number, (first, last) in enumerate(itertools.pairwise(bounds)):
        length = min(last * m, whole.length) - first * m
        made = matmul_job(replace(whole, length=length), array.accelerator)
        part = replace(
            weights,
            length=length,
            values=weights.values[:, first:last],
            index=weights.index[:, first:last],
        )
        job = replace(made.job, continues=number > 0, continued=number < len(cuts))
        piece = activations[..., first * m : first * m + length]
        jobs.append(replace(made, job=job, activations=piece, weights=part, sums=sums))
    return jobs


def test_a_reduction_cut_into_jobs(array: Array) -> None:
    """Sums wait in the accumulation buffer, bit for bit, and no piece takes a cycle more."""
    rng = np.random.default_rng(5)
    jobs = []
    for _ in range(12):
        pattern = Pattern.parse(str(rng.choice(["dense", "2:4", "1:8", "2:8"])))
        m, n = (int(size) for size in rng.integers(1, 20, 2))
        length = int(rng.integers(20, 60)) * pattern.m
        gemm = Gemm(m=m, length=length, n=n, pattern=pattern, dataflow="ws", special=0.1)
        groups = scheduled(gemm, array.accelerator).pattern.groups(length)
        cuts = sorted(rng.choice(np.arange(1, groups), int(rng.integers(0, 4)), replace=False))
        jobs += chain(array, gemm, [int(cut) for cut in cuts])
    found = run(array, jobs)
    assert passes(found), found["differences"]
    done = [job["done_cycle"] for job in found["jobs"]]
    assert np.diff(done).tolist() == [job["count_busy"] for job in found["jobs"]][1:]


@pytest.mark.parametrize("cycle", [5, 60, 141, 300])
def test_reset_in_the_middle_of_a_job(array: Array, cycle: int) -> None:
    gemms = [
        Gemm(m=21, length=40, n=9, pattern=Pattern(2, 4), dataflow=dataflow, interleave=8)
        for dataflow in ("ws", "os", "ws")
    ]
    found = play(array, gemms, reset_at=cycle, idle={"activations": "random:0.8"})
    assert passes(found), found["differences"]


def other(**changes: Any) -> Accelerator:
    return load("sat-4x4").with_values(**{f"array.{name}": v for name, v in changes.items()})


HARDWARE = {
    "one": other(rows=1, columns=1, interleave=1, multiplier_cycles=1, adder_cycles=1).with_values(
        **{"array.accumulator_cycles": 1}
    ),
    "wide": other(rows=2, columns=5, group_port_elements=3, accumulator_cycles=1),
    "tall": other(rows=5, columns=2, group_port_elements=16, accumulator_cycles=5),
    "deep": other(rows=2, columns=2, multiplier_cycles=4, adder_cycles=6, interleave=7),
    "short": other(rows=3, columns=3, adder_cycles=3, interleave=2, multiplier_cycles=1),
    "ws only": other(
        rows=2, columns=3, dataflows=["ws"], weight_registers=2, patterns=["1:2", "2:8"]
    ),
    "os only": other(rows=3, columns=2, dataflows=["os"], weight_registers=5, patterns=["3:5"]),
}


@pytest.mark.parametrize("name", HARDWARE)
def test_other_hardware(name: str, folder: Path) -> None:
    found = Array(HARDWARE[name], folder, "icarus")
    verdicts = found.verify(list(random_gemms(HARDWARE[name], 8, seed=len(name))))
    assert [verdict for verdict in verdicts if not verdict.equal] == []


def test_the_stepped_array_agrees_too(array: Array) -> None:
    """What `verify` compares with is what the cycle-stepped array gives."""
    for gemm in random_gemms(array.accelerator, 10, seed=4):
        job = matmul_job(gemm, array.accelerator)
        run = stepped.run(
            array.accelerator,
            gemm.pattern,
            job.job.dataflow,
            job.job.interleave,
            job.activations,
            job.weights,
        )
        assert (run.cycles, run.parts) == (job.cycles, job.parts)


def test_results_are_read_back_in_their_order() -> None:
    geometry = Geometry.of(load("sat-4x4"))
    values = np.arange(2 * 11 * 13, dtype=np.float32).reshape(2, 11, 13)
    for dataflow in ("ws", "os"):
        job = StceJob(
            dataflow=dataflow, pattern=Pattern(2, 4), interleave=3, count=2, m=11, groups=5, n=13
        )
        lanes = result_lanes(geometry, job, values)
        assert np.array_equal(results(geometry, job, lanes), values)


def test_special_operands_are_of_every_kind() -> None:
    assert np.isnan(SPECIAL).any()
    assert np.isinf(SPECIAL).any()
    assert (np.abs(SPECIAL[np.isfinite(SPECIAL)]) < 6e-5).any()
    assert np.signbit(SPECIAL[SPECIAL == 0]).any()


def test_every_kind_of_module_is_emitted_once() -> None:
    texts = modules(Stce.top(other(rows=3, columns=3)))
    assert texts["nofm_stce"].count("nofm_uspe uspe_") == 9
    assert sum(text.count("\nmodule ") for text in texts.values()) == len(texts)


def test_a_job_fills_its_fields() -> None:
    geometry = Geometry.of(load("sat-4x4"))
    job = StceJob(dataflow="os", pattern=Pattern(2, 8), interleave=3, count=1, m=9, groups=7, n=14)
    fields = job.fields(geometry)
    assert set(fields) == set(job_fields(geometry))
    assert (fields["outer_folds"], fields["rows_last"]) == (2, 1)
    assert (fields["column_folds"], fields["columns_last"], fields["sums_last"]) == (1, 2, 0)
    assert job.encode(geometry) < 1 << sum(job_fields(geometry).values())


JOB = StceJob(dataflow="ws", pattern=Pattern(2, 8), interleave=8, count=1, m=9, groups=7, n=14)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"pattern": Pattern(5, 8)},
            "pattern 5:8 needs 5 weight registers and groups of 8, and a USPE has 4 and 16",
        ),
        ({"interleave": 9}, "interleave must be a whole number from 1 to 8, not 9"),
        (
            {"m": 600},
            "a column of the accumulation buffer holds 2048 sums, and the job needs 2400",
        ),
        (
            {"groups": 4, "m": 600, "continued": True},
            "a column of the accumulation buffer holds 2048 sums, and the job needs 2400",
        ),
        (
            {"dataflow": "os", "continues": True},
            "a job that continues or is continued must be WS with a single product, not os with 1",
        ),
        (
            {"m": 1 << 24},
            "sizes of a job must be below 2^24, not count 1, m 16777216, groups 7, n 14",
        ),
    ],
)
def test_jobs_that_the_array_cannot_do(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as error:
        replace(JOB, **changes).fields(Geometry.of(load("sat-4x4")))
    assert str(error.value) == text


def test_a_buffer_that_holds_no_sum() -> None:
    tiny = load("sat-32x32").with_values(**{"array.columns": 256, "buffers.output_kib": 1})
    with pytest.raises(InputError) as error:
        Geometry.of(tiny)
    assert str(error.value) == (
        "buffers.output_kib must hold a sum for every column in each of its two banks, "
        "but 1 KiB do not for 256 columns"
    )
