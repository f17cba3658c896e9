"""Many accelerators at once give what each gives alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import Accelerator, load
from nofm.dataflow.design_table import DesignTable
from nofm.dataflow.methods import METHODS
from nofm.dataflow.schedule import POLICIES
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import DENSE, Pattern
from nofm.simulator import batch
from nofm.simulator.batch import BatchResult, StepBatch
from nofm.simulator.step import Options, simulate_step
from nofm.workloads.layer import Convolution, Linear, MatMul, VectorWork
from nofm.workloads.trace import Trace

SAT = load("sat-32x32")
CONVOLUTION: dict[str, Any] = {
    "batch": 8,
    "kernel": (3, 3),
    "padding": ((1, 1), (1, 1)),
    "dilation": (1, 1),
}
TRACE = Trace(
    name="small",
    batch=8,
    layers=(
        Convolution(
            name="first",
            in_channels=3,
            out_channels=16,
            size=(16, 16),
            stride=(1, 1),
            input_gradient=False,
            **CONVOLUTION,
        ),
        # Twice the same layer: its products are looked for once.
        *(
            Convolution(
                name=f"conv{i}",
                in_channels=16,
                out_channels=16,
                size=(16, 16),
                stride=(2, 2),
                **CONVOLUTION,
            )
            for i in range(2)
        ),
        VectorWork(name="norm", work="normalisation", batch=8, forward_reads=999, forward_writes=9),
        MatMul(name="scores", batch=8, count=2, m=9, k=16, n=9),
        Linear(name="fc", batch=8, in_features=64, out_features=40),
    ),
    parameters=99,
)


def machines(count: int, seed: int = 0) -> list[Accelerator]:
    """Accelerators that differ in everything that a step's jobs and times depend on."""
    random = np.random.default_rng(seed)

    def draw(*choices: Any) -> Any:
        return choices[random.integers(len(choices))]

    return [
        SAT.with_values(
            **{
                "name": f"machine {i}",
                "clock_mhz": draw(100.0, 200.0, 333.0),
                "array.rows": draw(1, 3, 8, 32),
                "array.columns": draw(1, 4, 7, 32),
                "array.interleave": draw(1, 4, 8),
                "array.adder_cycles": draw(1, 4, 6),
                "array.group_port_elements": draw(1, 4, 8),
                "array.dataflows": draw(["ws"], ["os"], ["ws", "os"]),
                "formats.operand": draw("fp16", "fp16", "int8", "fp32"),
                "formats.master": draw("fp32", "fp16"),
                "vector.fused": draw([], ["normalisation"]),
                "buffers.activation_kib": draw(64, 256, 2048),
                "buffers.weight_kib": draw(64, 256, 2048),
                "buffers.output_kib": draw(64, 256, 2048),
                "dram.bandwidth_gbps": draw(1.0, 7.3, 25.6, 400.0),
                "dram.latency_ns": draw(0.0, 55.0, 300.0),
                "dram.burst_bytes": draw(1, 32, 64),
                "wuve.lanes": draw(1, 32),
                "sore.lanes": draw(2, 32),
            }
        )
        for i in range(count)
    ]


def alone(
    accelerators: list[Accelerator], method: str, pattern: Pattern, options: Options | None = None
) -> tuple[list[int], list[int]]:
    totals = [
        simulate_step(TRACE, one, METHODS[method], pattern, options).total for one in accelerators
    ]
    return [total["cycles"] for total in totals], [total["dram_bytes"] for total in totals]


@pytest.mark.parametrize("method", METHODS)
def test_equals_steps_alone(method: str) -> None:
    several = machines(12, seed=len(method))
    cycles, moved = StepBatch(TRACE, METHODS[method], Pattern(2, 8)).evaluate(several)
    assert cycles.dtype == moved.dtype == np.int64
    assert (cycles.tolist(), moved.tolist()) == alone(several, method, Pattern(2, 8))
    assert len(set(cycles.tolist())) > 10


@pytest.mark.parametrize("schedule", POLICIES)
@pytest.mark.parametrize("interleave", [True, False])
@pytest.mark.parametrize("pregeneration", [True, False])
def test_equals_steps_alone_with_options(
    schedule: str, interleave: bool, pregeneration: bool
) -> None:
    several = machines(4, seed=5)
    options = Options(schedule=schedule, interleave=interleave, pregeneration=pregeneration)
    both = StepBatch(TRACE, METHODS["bdwp"], Pattern(1, 8), options).evaluate(several)
    assert tuple(each.tolist() for each in both) == alone(several, "bdwp", Pattern(1, 8), options)


TABLE: dict[str, list[Any]] = {
    "name": [f"machine {i}" for i in range(9)],
    "clock_mhz": [100.0, 200.0, 333.0],
    "array.rows": [1, 3, 8, 32],
    "array.columns": [1, 4, 7, 32],
    "array.interleave": [1, 4, 8],
    "array.adder_cycles": [1, 4, 6],
    "array.group_port_elements": [1, 4, 8],
    "array.weight_registers": [1, 2, 8, 8, 8],
    "array.patterns": [["2:8"], ["2:8", "1:4"], ["2:8"], ["1:4"]],
    "array.dataflows": [["ws"], ["os"], ["ws", "os"], ["ws", "os"]],
    "formats.operand": ["fp16", "fp16", "int8", "fp32"],
    "formats.accumulator": ["fp32", "fp16"],
    "formats.master": ["fp32", "fp16"],
    "vector.fused": [[], ["normalisation"]],
    "vector.lanes": [1, 16],
    "buffers.activation_kib": [1, 64, 256, 2048],
    "buffers.weight_kib": [1, 64, 256, 2048],
    "buffers.output_kib": [64, 256, 2048],
    "dram.bandwidth_gbps": [1.0, 7.3, 25.6, 400.0, -1.0, 1e-4],
    "dram.latency_ns": [0.0, 55.0, 300.0],
    "dram.burst_bytes": [1, 32, 64],
    "wuve.lanes": [1, 32],
    "sore.lanes": [2, 32],
    **{
        f"energy.{name}": [0.0, 0.3, 7.7, 123.4]
        for name in (
            "multiply_accumulate_pj",
            "select_pj",
            "buffer_pj_per_byte",
            "dram_pj_per_byte",
            "update_pj",
            "compare_pj",
            "static_w",
        )
    },
}
"""Entries of good and bad designs."""


def designs(count: int, seed: int) -> DesignTable:
    random = np.random.default_rng(seed)
    columns = {}
    for name, choices in TABLE.items():
        if random.random() < 0.8:
            columns[name] = np.empty(count, object)
            columns[name][:] = [choices[i] for i in random.integers(len(choices), size=count)]
    return DesignTable(SAT, columns, count)


def alike(result: BatchResult, other: BatchResult) -> bool:
    """Whether two results have the same bits."""
    return list(result.errors) == list(other.errors) and all(
        getattr(result, name).tobytes() == getattr(other, name).tobytes()
        for name in ("cycles", "dram_bytes", "seconds", "energy_pj")
    )


def part(result: BatchResult, indices: Any) -> BatchResult:
    return BatchResult(
        **{name: values[indices] for name, values in vars(result).items()},
    )


def total_or_error(table: DesignTable, i: int, method: str) -> tuple[Any, str | None]:
    """What a step alone gives."""
    try:
        machine = table.accelerator(i)
        return simulate_step(TRACE, machine, METHODS[method], Pattern(2, 8)).total, None
    except InputError as error:
        text = str(error)
    if "cannot hold one tile" in text or "registers in WS" in text:
        # The batch knows of no layer.
        return None, (
            f"the buffers of accelerator {machine.name!r} cannot hold one tile of every "
            "product of 'small'"
        )
    return None, text


@pytest.mark.parametrize("method", ["bdwp", "sdgp", "dense"])
def test_tables_equal_steps_alone(method: str) -> None:
    table = designs(40, seed=len(method))
    result = StepBatch(TRACE, METHODS[method], Pattern(2, 8)).evaluate_table(table)
    wrong = set()
    for i in range(len(table)):
        total, error = total_or_error(table, i, method)
        assert result.errors[i] == error
        if error is None:
            assert result.cycles[i] == total["cycles"]
            assert result.dram_bytes[i] == total["dram_bytes"]
            assert result.seconds[i] == total["seconds"]
            assert result.energy_pj[i] == pytest.approx(total["energy_pj"], rel=1e-12, abs=0)
            continue
        wrong.add(error)
        assert result.cycles[i] == result.dram_bytes[i] == 0
        assert np.isnan(result.seconds[i])
        assert np.isnan(result.energy_pj[i])
    assert len(wrong) >= 2
    assert 5 <= result.errors.astype(bool).sum() <= 35


@pytest.mark.parametrize("chunk", [1, 2000, 1 << 16])
def test_results_have_the_same_bits_however_they_are_found(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = designs(60, seed=11)
    steps = StepBatch(TRACE, METHODS["bdwp"], Pattern(2, 8))
    whole = steps.evaluate_table(table)
    assert 10 < whole.errors.astype(bool).sum() < 50
    monkeypatch.setattr(batch, "CHUNK", chunk)
    assert alike(whole, steps.evaluate_table(table))
    assert alike(whole, steps.evaluate_table(table, threads=2))
    assert alike(whole, steps.evaluate_table(table, threads=7))
    order = np.random.default_rng(1).permutation(60)
    assert alike(part(whole, order), steps.evaluate_table(table.take(order), threads=2))
    for first, last in ((0, 1), (1, 17), (17, 60)):
        cut = steps.evaluate_table(table.part(first, last))
        assert alike(part(whole, slice(first, last)), cut)


def test_designs_that_no_product_tells_apart() -> None:
    lanes = np.array([1, 32, 1, 64])
    columns = {"wuve.lanes": lanes, "array.rows": np.array([8, 8, 16, 16])}
    result = StepBatch(TRACE, METHODS["bdwp"], Pattern(2, 8)).evaluate_table(
        DesignTable(SAT, columns, 4)
    )
    cycles, moved = alone(
        [DesignTable(SAT, columns, 4).accelerator(i) for i in range(4)], "bdwp", Pattern(2, 8)
    )
    assert (result.cycles.tolist(), result.dram_bytes.tolist()) == (cycles, moved)
    assert len(set(cycles)) == 4


def test_empty_tables() -> None:
    steps = StepBatch(TRACE, METHODS["bdwp"], Pattern(2, 8))
    result = steps.evaluate_table(DesignTable(SAT, {}, 0))
    assert [len(values) for values in vars(result).values()] == [0] * 5
    bad = DesignTable(SAT, {"array.rows": np.zeros(3, int)}, 3)
    assert steps.evaluate_table(bad).errors.astype(bool).all()


def test_order_does_not_matter() -> None:
    several = machines(30, seed=9)
    steps = StepBatch(TRACE, METHODS["bdwp"], Pattern(2, 8))
    cycles, moved = steps.evaluate(several)
    order = np.random.default_rng(1).permutation(len(several))
    shuffled = steps.evaluate([several[i] for i in order])
    assert shuffled[0].tolist() == cycles[order].tolist()
    assert shuffled[1].tolist() == moved[order].tolist()
    twice = steps.evaluate([several[3], several[3]])
    assert twice[0].tolist() == [cycles[3]] * 2


@pytest.mark.parametrize("chunk", [1, 2000, 10_000])
def test_chunks_do_not_matter(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    several = machines(25, seed=3)
    steps = StepBatch(TRACE, METHODS["bdwp"], Pattern(2, 8))
    whole = steps.evaluate(several)
    monkeypatch.setattr(batch, "CHUNK", chunk)
    cut = steps.evaluate(several)
    assert [each.tolist() for each in cut] == [each.tolist() for each in whole]


def test_steps_without_products() -> None:
    work = VectorWork(name="copy", work="copy", batch=8, forward_reads=1000, forward_writes=10)
    trace = Trace(name="moves", batch=8, layers=(work,))
    cycles, moved = StepBatch(trace, METHODS["bdwp"], Pattern(2, 8)).evaluate([SAT])
    total = simulate_step(trace, SAT, METHODS["bdwp"], Pattern(2, 8)).total
    assert (cycles[0], moved[0]) == (total["cycles"], total["dram_bytes"])
    assert [len(each) for each in StepBatch(trace, METHODS["dense"], DENSE).evaluate([])] == [0, 0]


def refusal(steps: StepBatch, accelerators: list[Accelerator]) -> str:
    with pytest.raises(InputError) as caught:
        steps.evaluate(accelerators)
    return str(caught.value)


def test_what_cannot_be_simulated() -> None:
    steps = StepBatch(TRACE, METHODS["bdwp"], Pattern(2, 8))
    dense_only = load("dense-32x32")
    assert refusal(steps, [SAT, dense_only]) == (
        "accelerator 'dense-32x32' does not support pattern 2:8 (it has: dense products only)"
    )
    kib = dict.fromkeys(("buffers.activation_kib", "buffers.weight_kib", "buffers.output_kib"), 1)
    tiny = SAT.with_values(name="tiny", **kib)
    assert refusal(steps, [*machines(20), tiny, SAT]) == (
        "the buffers of accelerator 'tiny' cannot hold one tile of every product of 'small'"
    )


def test_steps_too_long_to_count() -> None:
    huge = Linear(name="fc", batch=2**20, in_features=2**20, out_features=2**20)
    trace = Trace(name="huge", batch=2**20, layers=(huge,))
    slow = SAT.with_values(name="slow", **{"dram.bandwidth_gbps": 1e-5, "buffers.output_kib": 4})
    assert refusal(StepBatch(trace, METHODS["dense"], DENSE), [SAT, slow]) == (
        "huge: a step must take fewer than 2^62 cycles and move fewer bytes, but may need more on "
        "accelerator 'slow'"
    )
    work = VectorWork(name="v", work="copy", batch=2**20, forward_reads=2**26, forward_writes=1)
    moves = Trace(name="moves", batch=2**20, layers=(work,))
    wide = slow.with_values(**{"formats.operand": "fp32"})
    assert "may need more on accelerator 'slow'" in refusal(
        StepBatch(moves, METHODS["dense"], DENSE), [wide]
    )
