"""The closed forms of SCALE-Sim's timing against a reference that walks every fold."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofm.kernels.errors import InputError
from nofm.kernels.pattern import DENSE, Pattern
from nofm.simulator.scalesim import (
    DATAFLOWS,
    MAX_SIDE,
    folds_and_cycles,
    notes,
    parse_array,
    simulate_topology,
)
from nofm.workloads.scalesim_csv import Topology, TopologyRow, read


def gemm(m: int, k: int, n: int, pattern: Pattern = DENSE, name: str = "layer") -> TopologyRow:
    return TopologyRow(
        name=name,
        line=2,
        ifmap=(m, k),
        filter=(1, k),
        channels=1,
        filters=n,
        stride=1,
        pattern=pattern,
    )


def one(row: TopologyRow) -> Topology:
    return Topology("one", "gemm", (row,))


def kept_positions(k: int, pattern: Pattern) -> list[int]:
    """The kept elements of a run of k, the first N of each group of M."""
    return [index for index in range(k) if index % pattern.m < pattern.n]


def walk(m: int, k: int, n: int, rows: int, columns: int, dataflow: str) -> dict[str, float]:
    """Every fold of a product, unit by unit, one after the other.

    Each unit (r, c) takes part in step t of its fold r + c + t cycles after the operands start to
    stream, and in ws and is one operand is loaded row by row before that. Units without work
    still pass their neighbours' operands on, so a fold lasts as long as a full one.
    """
    along_rows, along_columns, steps, loading = {
        "ws": (k, n, m, rows),
        "os": (m, n, k, 0),
        "is": (k, m, n, rows),
    }[dataflow]
    clock = folds = used = products = 0
    for row in range(0, along_rows, rows):
        for column in range(0, along_columns, columns):
            last = 0
            for r, c in itertools.product(range(rows), range(columns)):
                last = max(last, loading + r + c + steps - 1)
                if row + r < along_rows and column + c < along_columns:
                    used += 1
                    products += steps
            clock += last + 1
            folds += 1
    units = rows * columns
    return {
        "cycles": clock - 1,
        "folds": folds,
        "mapping_efficiency": used / (folds * units),
        "compute_utilization": products / (clock * units),
    }


sizes = st.integers(1, 40)
sides = st.integers(1, 9)
patterns = st.sampled_from([DENSE, Pattern(2, 4), Pattern(1, 4), Pattern(2, 8), Pattern(3, 7)])


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@given(m=sizes, k=sizes, n=sizes, rows=sides, columns=sides, pattern=patterns)
def test_closed_form_equals_the_walk(
    dataflow: str, m: int, k: int, n: int, rows: int, columns: int, pattern: Pattern
) -> None:
    (layer,) = simulate_topology(one(gemm(m, k, n, pattern)), rows, columns, dataflow)
    expected = walk(m, len(kept_positions(k, pattern)), n, rows, columns, dataflow)
    assert layer.cycles == expected["cycles"]
    assert layer.folds == expected["folds"]
    assert layer.mapping_efficiency == pytest.approx(expected["mapping_efficiency"], rel=1e-12)
    assert layer.compute_utilization == pytest.approx(expected["compute_utilization"], rel=1e-12)
    if layer.cycles:
        assert layer.overall_utilization == pytest.approx(
            m * k * n / (layer.cycles * rows * columns), rel=1e-12
        )
    else:
        assert layer.overall_utilization is None


def test_hundreds_of_random_shapes() -> None:
    random = np.random.default_rng(20250101)
    shapes = random.integers(1, 60, size=(400, 3))
    arrays = random.integers(1, 12, size=(400, 2))
    for dataflow in DATAFLOWS:
        folds, fold_cycles = folds_and_cycles(*shapes.T, *arrays.T, dataflow)
        expected = [
            walk(*shape, *array, dataflow)["cycles"]
            for shape, array in zip(shapes.tolist(), arrays.tolist(), strict=True)
        ]
        assert (folds * fold_cycles - 1).tolist() == expected


@pytest.mark.parametrize(
    ("dataflow", "cycles"),
    [
        # 4 x 6 units, M = 36, N = 10, and 18 of K = 36 elements kept.
        ("ws", 5 * 2 * (2 * 4 + 6 + 36 - 2) - 1),
        ("os", 9 * 2 * (4 + 6 + 18 - 2) - 1),
        ("is", 5 * 6 * (2 * 4 + 6 + 10 - 2) - 1),
    ],
)
def test_a_pruned_convolution_by_hand(dataflow: str, cycles: int) -> None:
    row = TopologyRow(
        name="conv",
        line=2,
        ifmap=(8, 8),
        filter=(3, 3),
        channels=4,
        filters=10,
        stride=1,
        pattern=Pattern(2, 4),
    )
    (layer,) = simulate_topology(Topology("t", "conv", (row,)), 4, 6, dataflow)
    assert (layer.m, layer.k, layer.n) == (36, 36, 10)
    assert layer.cycles == cycles


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@given(m=sizes, k=sizes, n=sizes, rows=sides, columns=sides)
def test_laws(dataflow: str, m: int, k: int, n: int, rows: int, columns: int) -> None:
    def cycles(pattern: Pattern) -> int:
        (layer,) = simulate_topology(one(gemm(m, k, n, pattern)), rows, columns, dataflow)
        assert 0 < layer.compute_utilization <= layer.mapping_efficiency <= 1 + 1e-12
        # Never below the roofline: a product takes a unit one cycle.
        products = m * pattern.kept(k) * n
        assert (layer.cycles + 1) * rows * columns >= products
        busy = layer.compute_utilization * (layer.cycles + 1) * rows * columns
        assert busy == pytest.approx(products, rel=1e-9)
        return layer.cycles

    assert cycles(Pattern(1, 8)) <= cycles(Pattern(2, 8)) <= cycles(Pattern(4, 8)) <= cycles(DENSE)


def test_input_and_weight_stationary_mirror_each_other() -> None:
    ws = folds_and_cycles(30, 40, 50, 8, 8, "ws")
    mirrored = folds_and_cycles(50, 40, 30, 8, 8, "is")
    assert [part.item() for part in ws] == [part.item() for part in mirrored]


def test_a_depthwise_row_is_one_layer_a_channel() -> None:
    row = TopologyRow(
        name="DPx",
        line=2,
        ifmap=(6, 6),
        filter=(3, 3),
        channels=3,
        filters=2,
        stride=1,
        depthwise=True,
    )
    layers = simulate_topology(Topology("t", "conv", (row,)), 4, 6, "ws")
    assert [layer.layer for layer in layers] == ["DPxChannel_0", "DPxChannel_1", "DPxChannel_2"]
    assert {(layer.m, layer.k, layer.n, layer.cycles) for layer in layers} == {(16, 9, 2, 83)}


@pytest.mark.parametrize(
    ("text", "array"), [("32x32", (32, 32)), (" 4 X 128 ", (4, 128)), ("1x65536", (1, 65536))]
)
def test_array(text: str, array: tuple[int, int]) -> None:
    assert parse_array(text) == array


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("32", "array must be rows x columns such as 32x32, not '32'"),
        ("32x", "array must be rows x columns such as 32x32, not '32x'"),
        ("-1x4", "array must be rows x columns such as 32x32, not '-1x4'"),
        ("0x4", "array rows must be a whole number from 1 to 65536, not 0"),
        ("4x65537", "array columns must be a whole number from 1 to 65536, not 65537"),
    ],
)
def test_bad_array(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_array(text)
    assert str(error.value) == message


def test_bad_dataflow() -> None:
    with pytest.raises(InputError) as error:
        simulate_topology(one(gemm(1, 1, 1)), 4, 4, "rs")
    assert str(error.value) == (
        "unknown dataflow 'rs': did you mean ws or os or is? (known: ws, os, is)"
    )


def test_bad_side() -> None:
    with pytest.raises(InputError) as error:
        simulate_topology(one(gemm(1, 1, 1)), 4, 0, "os")
    assert str(error.value) == "array columns must be a whole number from 1 to 65536, not 0"


def test_bad_size() -> None:
    with pytest.raises(InputError) as error:
        folds_and_cycles([4, 0], 4, 4, 4, 4, "os")
    assert str(error.value) == "m must be a whole number of at least 1, not 0"


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_cycles_never_wrap_around(dataflow: str) -> None:
    # Every tensor has 2^46 elements at most, and the cycles on one unit would still pass 2^63.
    with pytest.raises(InputError) as error:
        simulate_topology(one(gemm(2**23, 2**23, 2**23)), 1, 1, dataflow)
    assert str(error.value) == "a layer may take 2^62 cycles at most, not about 5.9e+20"
    (layer,) = simulate_topology(one(gemm(2**20, 2**20, 2**20)), 1, 1, dataflow)
    kind = DATAFLOWS[dataflow]
    assert layer.cycles == 2**40 * (kind.crossings + 1 + 2**20 - 2) - 1


def test_the_largest_array_is_taken() -> None:
    (layer,) = simulate_topology(one(gemm(1, 1, 1)), MAX_SIDE, MAX_SIDE, "os")
    assert layer.cycles == 2 * MAX_SIDE - 2


def test_notes_say_what_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "net.csv"
    path.write_text("Layer,M,N,K,Sparsity,\nfc,4,5,6,2:4\n")
    assert notes(read(path), "os") == (
        "cycles is SCALE-Sim's Total Cycles: the index of the last cycle, one less than taken",
        "each fold fills and drains the array alone; no fold overlaps the next",
        "memory never stalls here: neither DRAM nor buffer bandwidth is in these cycles",
        "one forward pass of one sample: no batch, no backward pass, no weight update",
        "os: moving the results out of the array takes no cycles of its own",
        "N:M shortens the reduction and costs nothing else: choosing the activations that meet a "
        "kept weight, fetching M/N times as many, and making the mask are all free",
        "overall utilization counts the pruned products too, so it may pass 100 %",
        "line 2: SCALE-Sim 3.0.0 drops the last field of a line that does not end with a comma, "
        "an N:M ratio without a word; it is kept here",
    )
    conv = tmp_path / "conv.csv"
    conv.write_text("Layer,IFMAP H,,,,,,,\nDP,4,4,2,2,3,1,1,\n")
    assert notes(read(conv), "ws") == (
        "cycles is SCALE-Sim's Total Cycles: the index of the last cycle, one less than taken",
        "each fold fills and drains the array alone; no fold overlaps the next",
        "memory never stalls here: neither DRAM nor buffer bandwidth is in these cycles",
        "one forward pass of one sample: no batch, no backward pass, no weight update",
        "convolutions have no padding, and a stride that leaves a rest rounds the output up",
        "a layer with DP in its name runs one channel at a time",
    )
