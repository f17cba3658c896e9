"""Laws of a simulated training step, for every method and pattern, on a small trace."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from nofm.dataflow.accelerator import DATAFLOWS, hardware_record, load
from nofm.dataflow.jobs import ENGINES, Patterns
from nofm.dataflow.methods import METHODS
from nofm.dataflow.schedule import POLICIES
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import DENSE, Pattern
from nofm.simulator.result import ENERGIES, STAGES, STALLS, TENSORS, StepResult
from nofm.simulator.step import Options, simulate_product, simulate_step
from nofm.simulator.timing import ENGINE_JOB, engine_cycles
from nofm.workloads.layer import Convolution, Layer, Linear, MatMul, VectorWork
from nofm.workloads.trace import Trace

SAT = load("sat-32x32")
SMALL = load("sat-4x4")
PATTERNS = ("2:4", "2:8", "1:8", "1:16")
BATCH = 8


def convolution(name: str, ci: int, co: int, size: int, stride: int = 1, **values: object) -> Layer:
    return Convolution(
        **{
            "name": name,
            "batch": BATCH,
            "in_channels": ci,
            "out_channels": co,
            "size": (size, size),
            "kernel": (3, 3),
            "stride": (stride, stride),
            "padding": ((1, 1), (1, 1)),
            "dilation": (1, 1),
            **values,
        }
    )


def vector(name: str, work: str, elements: int) -> Layer:
    return VectorWork(
        name=name,
        work=work,
        batch=BATCH,
        forward_reads=elements,
        forward_writes=elements,
        backward_reads=2 * elements,
        backward_writes=elements,
    )


TRACE = Trace(
    name="small",
    batch=BATCH,
    layers=(
        convolution("first", 3, 32, 16, input_gradient=False, prunable=False),
        vector("norm", "normalisation", 32 * 16 * 16),
        vector("relu", "elementwise", 32 * 16 * 16),
        convolution("strided", 32, 64, 16, stride=2),
        convolution("depthwise", 64, 64, 8, groups=64),
        convolution("wide", 64, 128, 8),
        convolution("up", 128, 32, 8, stride=2, transposed=True, output_padding=(1, 1)),
        vector("pool", "pooling", 32 * 16 * 16),
        Linear(name="tied.a", weight="tied", batch=BATCH, rows=10, in_features=96, out_features=96),
        MatMul(name="scores", batch=BATCH, count=4, m=10, k=24, n=10),
        Linear(name="tied.b", weight="tied", batch=BATCH, rows=10, in_features=96, out_features=96),
        Linear(name="frozen", batch=BATCH, in_features=96, out_features=64, weight_gradient=False),
        Linear(name="head", batch=BATCH, in_features=64, out_features=100, prunable=False),
    ),
    parameters=1234,
)


@cache
def step(
    method: str = "bdwp", pattern: str = "2:8", hardware: str = "sat-32x32", **options: object
) -> StepResult:
    return simulate_step(
        TRACE, load(hardware), METHODS[method], Pattern.parse(pattern), Options(**options)
    )


def products_of(result: StepResult) -> pd.DataFrame:
    return result.layers[result.layers["macs"] > 0]


EVERY = [(method, pattern) for method in METHODS for pattern in PATTERNS]


@pytest.mark.parametrize(("method", "pattern"), EVERY)
def test_every_row_adds_up(method: str, pattern: str) -> None:
    result = step(method, pattern)
    table = result.layers
    stalls = [f"stall_{cause}_cycles" for cause in STALLS]
    moved = [f"dram_{tensor}_bytes" for tensor in TENSORS]
    spent = [f"energy_{part}_pj" for part in ENERGIES]
    assert (table["stall_cycles"] == table[stalls].sum(axis=1)).all()
    assert (table["cycles"] == table["compute_cycles"] + table["stall_cycles"]).all()
    assert (table["dram_bytes"] == table[moved].sum(axis=1)).all()
    np.testing.assert_allclose(table["energy_pj"], table[spent].sum(axis=1), rtol=1e-12)
    assert (table[[*stalls, *moved, *spent, "compute_cycles"]] >= 0).all(axis=None)
    assert (table["cycles"] > 0).all()
    assert (table["start_cycle"] == table["cycles"].cumsum().shift(fill_value=0)).all()
    assert set(table["stage"]) <= set(STAGES)
    assert not table.isna().any(axis=None)

    products = products_of(result)
    assert products["utilization"].between(0, 1, inclusive="right").all()
    assert (table.drop(products.index)["utilization"] == 0).all()
    peak = result.accelerator.peak_macs_per_cycle
    np.testing.assert_allclose(
        products["utilization"], products["effective_macs"] / (products["cycles"] * peak)
    )
    assert (products["compute_cycles"] * peak >= products["effective_macs"]).all()
    assert (products["effective_macs"] <= products["macs"]).all()
    for _, row in products.iterrows():
        assert (row["pattern"] == "dense") == (row["effective_macs"] == row["macs"])
        assert set(row["dataflow"].split("+")) <= set(DATAFLOWS)
        assert row["considered"] > 0
    assert set(table.drop(products.index)["dataflow"]) <= set(ENGINES[1:])


@pytest.mark.parametrize(("method", "pattern"), EVERY)
def test_totals(method: str, pattern: str) -> None:
    result = step(method, pattern)
    table, total = result.layers, result.total
    for name in ("cycles", "compute_cycles", "macs", "effective_macs", "dram_bytes"):
        assert total[name] == table[name].sum()
        assert type(total[name]) is int
    assert total["cycles"] == table["start_cycle"].iloc[-1] + table["cycles"].iloc[-1]
    assert total["energy_pj"] == pytest.approx(table["energy_pj"].sum())
    assert total["seconds"] == total["cycles"] / 200e6
    dense = result.dense or result
    assert total["dense_cycles"] == dense.layers["cycles"].sum()
    assert total["speedup"] == total["dense_cycles"] / total["cycles"]
    assert total["product_speedup"] == (
        products_of(dense)["cycles"].sum() / products_of(result)["cycles"].sum()
    )
    stages = table.groupby("stage")["cycles"].sum()
    assert stages.sum() == total["cycles"]


@pytest.mark.parametrize(("method", "pattern"), EVERY)
def test_rows_are_compared_with_dense_training(method: str, pattern: str) -> None:
    result = step(method, pattern)
    dense = step("dense", pattern)
    assert dense.dense is None
    known = dense.layers.set_index(["layer", "stage"])["cycles"]
    for _, row in result.layers.iterrows():
        if row["stage"] == "prune":
            assert row["dense_cycles"] == 0
            assert row["speedup"] == 0
            continue
        assert row["dense_cycles"] == known[row["layer"], row["stage"]]
        assert row["speedup"] == row["dense_cycles"] / row["cycles"]
    # The same work, whatever is pruned.
    work = ["layer", "stage", "macs"]
    pd.testing.assert_frame_equal(
        products_of(result)[work].reset_index(drop=True),
        products_of(dense)[work].reset_index(drop=True),
    )


def test_dense_training_is_its_own_measure() -> None:
    result = step("dense", "dense")
    assert result.total["speedup"] == result.total["product_speedup"] == 1
    assert (result.layers["speedup"] == 1).all()
    assert (result.layers["dense_cycles"] == result.layers["cycles"]).all()
    assert (result.layers["pattern"] == "dense").all()
    assert (products_of(result)["effective_macs"] == products_of(result)["macs"]).all()
    assert "prune" not in set(result.layers["stage"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pattern", ["dense", "4:4", "8:8"])
def test_patterns_that_keep_everything_are_dense(method: str, pattern: str) -> None:
    result = step(method, pattern)
    pd.testing.assert_frame_equal(result.layers, step("dense", "dense").layers)
    assert result.total["speedup"] == 1


@pytest.mark.parametrize("method", METHODS)
def test_sparser_is_no_slower_in_products(method: str) -> None:
    cycles = [
        products_of(step(method, pattern))["cycles"].sum()
        for pattern in ("dense", "4:8", "2:8", "1:8")
    ]
    assert cycles == sorted(cycles, reverse=True)
    bound = [step(method, pattern).total["product_speedup"] for pattern in ("2:4", "2:8", "1:8")]
    for speedup, density in zip(bound, (2, 4, 8), strict=True):
        assert speedup <= density * 1.001


@pytest.mark.parametrize("method", METHODS)
def test_what_each_method_makes_sparse(method: str) -> None:
    """By stage, over layers that have something to prune."""
    table = products_of(step(method, "2:8")).set_index(["layer", "stage"])["pattern"]
    operands = {stage: METHODS[method].operand(stage) for stage in ("ff", "bp", "wu")}
    for (layer, stage), pattern in table.items():
        prunable = layer not in ("first", "depthwise", "scores", "head")
        sparse = operands[stage] is not None and prunable
        if layer == "up" and stage == "wu":
            sparse = False
        if layer == "depthwise" and stage == "wu":
            sparse = operands["wu"] is not None  # its gradient has positions to prune along
        assert pattern == ("2:8" if sparse else "dense"), (layer, stage)


def test_which_rows_there_are() -> None:
    table = step().layers
    rows = set(zip(table["layer"], table["stage"], strict=True))
    assert ("first", "bp") not in rows
    assert ("first", "wu") in rows
    assert {("frozen", "ff"), ("frozen", "bp")} <= rows
    assert not {("frozen", "wu"), ("frozen", "update")} & rows
    updates = table[table["stage"] == "update"]["layer"].tolist()
    assert "tied.a" in updates
    assert "tied.b" not in updates
    assert not set(table["layer"]) & {"relu"}
    assert any("1 layer of elementwise work: no cost of its own" in note for note in step().notes)
    assert updates[-1] == "(other parameters)"
    forward = table[table["stage"] == "ff"]["layer"].tolist()
    assert forward == [layer.name for layer in TRACE.layers if layer.name != "relu"]


ROW = ["layer", "stage", "cycles", "dram_bytes", "energy_pj", "dataflow", "tile"]


@pytest.mark.parametrize("method", METHODS)
def test_pregeneration_only_changes_who_prunes(method: str) -> None:
    ahead, later = step(method), step(method, pregeneration=False)
    for result in (ahead, later):
        assert result.optimizations["pregeneration"] == (result is ahead)
    tables = [
        result.layers[~result.layers["stage"].isin(["prune", "update"])][ROW].reset_index(drop=True)
        for result in (ahead, later)
    ]
    pd.testing.assert_frame_equal(*tables)
    weights = "weight" in (METHODS[method].ff, METHODS[method].bp)
    assert (ahead.total["cycles"] < later.total["cycles"]) == weights
    assert (ahead.total["cycles"] == later.total["cycles"]) == (not weights)
    assert (ahead.dense or ahead).total["cycles"] == (later.dense or later).total["cycles"]


@pytest.mark.parametrize("hardware", ["sat-32x32", "sat-4x4"])
@pytest.mark.parametrize("method", ["dense", "bdwp", "sdgp", "fst"])
def test_interleaving_never_slows_down(method: str, hardware: str) -> None:
    on, off = step(method, "2:8", hardware), step(method, "2:8", hardware, interleave=False)
    assert (off.layers["interleave"] == 1).all()
    both = products_of(on)["cycles"], products_of(off)["cycles"]
    assert (both[0].to_numpy() <= both[1].to_numpy()).all()
    others = [
        result.layers[result.layers["macs"] == 0][ROW].reset_index(drop=True)
        for result in (on, off)
    ]
    pd.testing.assert_frame_equal(*others)
    assert off.accelerator.array.interleave == 8  # the machine that was asked for
    # A dense product in WS adds to a sum once a pass: it needs no interleaving.
    stalled = (products_of(off)["stall_interleave_cycles"] > 0).any()
    assert stalled or (method, hardware) == ("dense", "sat-4x4")


@pytest.mark.parametrize("hardware", ["sat-32x32", "sat-4x4"])
@pytest.mark.parametrize("method", ["dense", "bdwp", "sdgp", "fst"])
@pytest.mark.parametrize("policy", [name for name in POLICIES if name != "offline"])
def test_the_offline_schedule_is_never_slower(method: str, hardware: str, policy: str) -> None:
    best, other = step(method, "2:8", hardware), step(method, "2:8", hardware, schedule=policy)
    ours, theirs = products_of(best), products_of(other)
    assert (ours["cycles"].to_numpy() <= theirs["cycles"].to_numpy()).all()
    assert (ours["considered"].to_numpy() >= theirs["considered"].to_numpy()).all()
    for _, row in theirs.iterrows():
        fixed = "os" if row["stage"] == "wu" else "ws"
        assert row["dataflow"] == (policy if policy in DATAFLOWS else fixed)


def test_a_policy_falls_back_on_what_exists() -> None:
    machine = SAT.with_values(**{"array.dataflows": ["os"]})
    result = simulate_step(TRACE, machine, METHODS["bdwp"], Pattern(2, 8), Options(schedule="ws"))
    assert set(products_of(result)["dataflow"]) == {"os"}


def test_a_dense_step_at_hand_is_used() -> None:
    dense = step("dense", "dense")
    result = simulate_step(TRACE, SAT, METHODS["bdwp"], Pattern(2, 8), dense=dense)
    assert result.dense is dense
    pd.testing.assert_frame_equal(result.layers, step().layers)


def test_more_batch_takes_longer_and_uses_the_array_better() -> None:
    large = simulate_step(TRACE.with_batch(64), SAT, METHODS["bdwp"], Pattern(2, 8))
    assert large.batch == 64
    assert large.total["cycles"] > step().total["cycles"]
    assert large.total["cycles"] < 8 * step().total["cycles"]
    assert large.total["utilization"] > step().total["utilization"]
    updates = [result.layers[result.layers["stage"] == "update"] for result in (large, step())]
    assert updates[0]["cycles"].tolist() == updates[1]["cycles"].tolist()


def test_patterns_by_layer() -> None:
    def choose(layer: Layer) -> Pattern:
        return Pattern(1, 8) if layer.name == "wide" else DENSE

    result = simulate_step(TRACE, SAT, METHODS["bdwp"], choose)
    assert result.pattern == "by layer"
    table = products_of(result)
    assert set(table[table["pattern"] == "1:8"]["layer"]) == {"wide"}


@pytest.mark.parametrize("stage", ["ff", "bp", "wu"])
@pytest.mark.parametrize("pattern", ["dense", "2:8", "1:16"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_single_product(stage: str, pattern: str, policy: str) -> None:
    result = simulate_product(
        300, 129, 70, SAT, stage, Pattern.parse(pattern), Options(schedule=policy)
    )
    (row,) = result.layers.to_dict("records")
    assert (row["m"], row["k"], row["n"]) == (300, 129, 70)
    assert (row["stage"], row["pattern"]) == (stage, pattern)
    assert row["macs"] == 300 * 129 * 70
    assert row["effective_macs"] == 300 * 70 * Pattern.parse(pattern).kept(129)
    assert row["cycles"] == row["compute_cycles"] + row["stall_cycles"]
    assert 0 < row["utilization"] <= 1
    assert result.total["speedup"] == row["speedup"] == row["dense_cycles"] / row["cycles"]
    assert (result.dense is None) == (pattern == "dense")
    tensors = {
        "ff": ("activation", "weight"),
        "bp": ("gradient", "weight"),
        "wu": ("activation", "gradient", "weight_gradient"),
    }
    for tensor in TENSORS:
        assert (row[f"dram_{tensor}_bytes"] > 0) == (tensor in tensors[stage])


@pytest.mark.parametrize("stage", ["ff", "bp", "wu"])
def test_a_product_is_that_of_a_linear_layer(stage: str) -> None:
    layer = Linear(name="fc", batch=300, in_features=128, out_features=72)
    trace = Trace(name="one", batch=300, layers=(layer,))
    whole = simulate_step(trace, SAT, METHODS["dense"]).layers.set_index("stage").loc[stage]
    alone = simulate_product(int(whole["m"]), int(whole["k"]), int(whole["n"]), SAT, stage)
    (row,) = alone.layers.to_dict("records")
    for name in ("cycles", "dram_bytes", "energy_pj", "dataflow", "tile", "stall_cycles"):
        assert row[name] == whole[name]


def test_energy_by_hand() -> None:
    """Every event of every engine, at prices that tell them apart."""
    prices = {
        "multiply_accumulate_pj": 1e0,
        "select_pj": 1e3,
        "buffer_pj_per_byte": 0.0,
        "dram_pj_per_byte": 1e-3,
        "update_pj": 1e1,
        "compare_pj": 1e2,
        "static_w": 0.0,
    }
    machine = SAT.with_values(**{f"energy.{name}": price for name, price in prices.items()})
    layer = Linear(name="fc", batch=64, in_features=40, out_features=24)
    trace = Trace(name="one", batch=64, layers=(layer,), parameters=7)
    for pregeneration in (True, False):
        table = simulate_step(
            trace,
            machine,
            METHODS["srste"],
            Pattern(2, 8),
            Options(pregeneration=pregeneration),
        ).layers
        by_stage = table.set_index(["layer", "stage"])
        ff, bp = by_stage.loc["fc", "ff"], by_stage.loc["fc", "bp"]
        assert ff["energy_mac_pj"] == 64 * 10 * 24 * (1 + 1e3)
        assert bp["energy_mac_pj"] == 64 * 40 * 24
        update = by_stage.loc["fc", "update"]
        # One form of 960 weights: each is compared with the two that are kept.
        compared = 960 * 2 * 1e2
        pruned = update if pregeneration else by_stage.loc["fc", "prune"]
        assert update["energy_vector_pj"] == 960 * 1e1 + compared * pregeneration
        assert pruned["energy_vector_pj"] == compared + 960 * 1e1 * pregeneration
        assert by_stage.loc["(other parameters)", "update"]["energy_vector_pj"] == 7 * 1e1
        np.testing.assert_allclose(table["energy_dram_pj"], table["dram_bytes"] * 1e-3)
        assert (table["energy_static_pj"] == 0).all()


def test_static_energy_is_power_times_time() -> None:
    machine = SAT.with_values(**{"energy.static_w": 2.5})
    total = simulate_step(TRACE, machine, METHODS["bdwp"], Pattern(2, 8)).total
    assert total["energy_static_pj"] == pytest.approx(2.5 * total["seconds"] * 1e12)


def beat_cycles(
    taps: int, length: int, columns: int, group: int, width: int, *, chained: bool, feed: int
) -> int:
    """Cycles until the pruner has taken every beat: `width` columns of a row, in the order of
    docs/timing.md, of which `feed` come in a cycle. Where a row's group goes on in the next beat
    of the row, the state of the row must have come through a chain of `width` lanes before."""
    cycle = -1
    parts = -(-min(width, columns) // feed)
    for _ in range(taps):
        for first in range(0, length, group):
            entered: dict[int, int] = {}
            for column in range(0, columns, width):
                for row in range(first, min(first + group, length)):
                    cycle += parts
                    if chained and column % group:
                        cycle = max(cycle, entered[row] + width)
                    entered[row] = cycle
    return cycle + 1


@pytest.mark.parametrize("engine", ["sore", "wuve+sore"])
@pytest.mark.parametrize("both", [0, 1])
def test_the_pruner_takes_every_shape_as_fast_as_its_chain_allows(both: int, engine: str) -> None:
    jobs, shapes = [], []
    for group in (2, 4, 8, 16):
        for length in range(1, 2 * group + 2):
            for columns in range(1, 41):
                jobs.append((ENGINES.index(engine), 1, both, group, 3, length, columns, 0, 0))
                shapes.append((3, length, columns, group))
    records = np.array(jobs, ENGINE_JOB)
    for lanes, feed in zip(
        (2, 3, 4, 6, 14, 16, 24, 34, 40), (1, 2, 4, 1, 5, 16, 7, 12, 50), strict=True
    ):
        machine = SAT.with_values(
            **{"sore.lanes": lanes, "sore.latency_cycles": 7},
            **{"wuve.lanes": feed, "wuve.latency_cycles": 20},
        )
        width, fill = lanes // 2 if both else lanes, 7
        if engine == "sore":
            feed = lanes
        else:
            fill += 20
        found = engine_cycles(hardware_record(machine), records)
        wanted = [beat_cycles(*shape, width, chained=bool(both), feed=feed) for shape in shapes]
        assert found[:, 1].tolist() == wanted
        assert set(found[:, 2].tolist()) == {fill + (width - 1 if both else 0)}


def test_streaming_engines_against_their_definition() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        names = ("vector", "wuve", "sore")
        lanes = {name: int(random.integers(2, 40)) for name in names}
        latencies = {name: int(random.integers(0, 60)) for name in names}
        machine = SAT.with_values(
            **{f"{name}.lanes": lanes[name] for name in names},
            **{f"{name}.latency_cycles": latencies[name] for name in names},
            **{"dram.bandwidth_gbps": float(random.integers(1, 200)) / 4},
        )
        hardware = hardware_record(machine)
        jobs = np.zeros(1, ENGINE_JOB)
        engine = ENGINES[random.integers(1, len(ENGINES))]
        taps, length, columns = (int(x) for x in random.integers(1, 25, 3))
        elements = taps * length * columns
        read, written = (int(x) for x in random.integers(1, 10_000, 2))
        both, group = int(random.integers(2)), int(2 ** random.integers(1, 5))
        number = ENGINES.index(engine)
        jobs[0] = (number, elements, both, group, taps, length, columns, read, written)
        total, work, fill, reads, writes = engine_cycles(hardware, jobs)[0].tolist()

        used = engine.split("+")
        wanted = least = -(-elements // lanes[used[0]])
        skew = 0
        if "sore" in used:
            # WUVE updates no parameters but those of the beat that SORE takes.
            width = lanes["sore"] // 2 if both else lanes["sore"]
            feed = lanes["wuve"] if "wuve" in used else width
            shape = (taps, length, columns, group, width)
            wanted = beat_cycles(*shape, chained=bool(both), feed=feed)
            assert wanted >= least
            skew = width - 1 if both else 0
        assert work == wanted
        assert fill == sum(latencies[name] for name in used) + skew
        pace = int(hardware["dram_cycles_numerator"]) / int(hardware["dram_cycles_denominator"])
        stream = int(np.ceil(np.round((read + written) * pace, 6)))
        latency = int(hardware["dram_latency_cycles"])
        assert total == latency + fill + max(work, stream)
        assert total == work + fill + reads + writes
        assert reads >= latency
        assert writes == min(max(0, stream - work), int(np.ceil(np.round(written * pace, 6))))


def refusal(*arguments: object, **values: object) -> str:
    with pytest.raises(InputError) as caught:
        simulate_step(*arguments, **values)
    return str(caught.value)


@pytest.mark.parametrize(("lacked", "has"), [("3:8", "4:8"), ("1:3", "2:4"), ("3:4", "dense")])
def test_a_layers_pattern_that_is_lacked_is_computed_as_one_that_covers_it(
    lacked: str, has: str
) -> None:
    bdwp = METHODS["bdwp"]
    names = [layer.name for layer in TRACE.weight_layers if layer.prunable]

    def pattern_of(first: str) -> Patterns:
        return lambda layer: Pattern.parse(first if layer.name == names[0] else "2:8")

    ours = simulate_step(TRACE, SAT, bdwp, pattern_of(lacked))
    theirs = simulate_step(TRACE, SAT, bdwp, pattern_of(has))
    assert ours.total == theirs.total
    assert ours.notes == (
        *theirs.notes,
        f"1 layer of {lacked} ({names[0]}): computed as {has}, since accelerator 'sat-32x32' has "
        f"no {lacked}",
    )


def test_what_cannot_be_simulated() -> None:
    bdwp, dense = METHODS["bdwp"], METHODS["dense"]
    assert refusal(TRACE, SAT, bdwp, Pattern(3, 7)) == (
        "accelerator 'sat-32x32' does not support pattern 3:7 (it has: 1:2, 1:4, 2:4, 1:8, 2:8, "
        "4:8, 1:16, 2:16, 4:16)"
    )
    # Dense training needs none.
    assert simulate_step(TRACE, SAT, dense, Pattern(3, 7)).pattern == "dense"
    tiny = SAT.with_values(
        **{f"buffers.{name}_kib": 1 for name in ("activation", "weight", "output")}
    )
    assert refusal(TRACE, tiny, dense) == (
        "layer 'first', ff: the buffers of accelerator 'sat-32x32' cannot hold one tile of 2048 x "
        "27 x 32 (activation 1 KiB, weight 1 KiB, output 1 KiB)"
    )
    registers = SAT.with_values(
        **{"array.patterns": [], "array.weight_registers": 1, "array.dataflows": ["ws"]}
    )
    assert refusal(TRACE, registers, bdwp, Pattern(2, 8)).startswith("accelerator 'sat-32x32' does")
    with pytest.raises(InputError) as caught:
        Options(schedule="best")
    assert str(caught.value) == ("unknown schedule 'best': (known: offline, fixed, ws, os)")
    with pytest.raises(InputError) as caught:
        simulate_product(3, 4, 5, SAT, "update")
    assert str(caught.value) == "unknown stage 'update': (known: ff, bp, wu)"


def test_steps_too_long_to_count() -> None:
    slow = SAT.with_values(**{"dram.bandwidth_gbps": 1e-5})
    huge = Linear(name="fc", batch=2**20, in_features=2**20, out_features=2**20)
    trace = Trace(name="huge", batch=2**20, layers=(huge,))
    assert refusal(trace, slow.with_values(**{"buffers.output_kib": 4}), METHODS["dense"]) == (
        "layer 'fc', ff: 1 x 1048576 x 1048576 x 1048576 must take fewer than 2^62 cycles on "
        "accelerator 'sat-32x32', and may take more"
    )
    many = tuple(replace(huge, name=f"fc{i}", weight=f"w{i}") for i in range(2))
    assert refusal(Trace(name="huge", batch=2**20, layers=many), SAT, METHODS["dense"]) == (
        "huge: a step must have fewer than 2^62 multiply-accumulates, not 6917529027641081856"
    )
    work = VectorWork(name="v", work="copy", batch=2**20, forward_reads=2**26, forward_writes=1)
    moves = Trace(name="moves", batch=2**20, layers=(work,))
    wide = slow.with_values(**{"formats.operand": "fp32"})
    assert refusal(moves, wide, METHODS["dense"]) == (
        "moves: a step must have fewer than 2^62 cycles, not 4611686018427387904"
    )
