"""A tiered function gives the same numbers interpreted and compiled."""

import numpy as np
import pytest

from nofm.dataflow import mapping
from nofm.dataflow.accelerator import HARDWARE, hardware_record, load
from nofm.dataflow.products import PRODUCT
from nofm.kernels.tiered import integers, tiered
from nofm.simulator import timing

PAIR = integers("a", "b")


@tiered(10)
def _multiply(pairs, out):
    for i in range(len(pairs)):
        pairs[i].b = 2 * pairs[i].a
        out[i] = pairs[i].a * pairs[i].b


def _run(how):
    pairs = np.zeros(3, PAIR)
    pairs["a"] = (1, 2, 3)
    out = np.zeros(3, np.int64)
    how(pairs, out)
    return pairs, out


def test_both_ways_fill_the_arrays_alike():
    for how in (_multiply.interpreted, _multiply.compiled):
        pairs, out = _run(how)
        assert pairs["b"].tolist() == [2, 4, 6]
        assert out.tolist() == [2, 8, 18]


def test_compiles_only_when_patience_is_over():
    seen = []

    @tiered(5)
    def function(out):
        seen.append("interpreted")

    function.compiled = lambda out: seen.append("compiled")
    out = np.zeros(1, np.int64)
    for work in (3, 2, 1, 1):
        function(work, out)
    assert seen == ["interpreted", "interpreted", "compiled", "compiled"]


def test_inputs_that_cannot_be_written_are_left_alone():
    pairs = np.zeros(1, PAIR)
    pairs.flags.writeable = False
    seen = np.zeros(1, np.int64)

    @tiered(5)
    def function(records, out):
        out[0] = records[0].a + 1

    function.interpreted(pairs, seen)
    assert seen[0] == 1


def _random_products(draw: np.random.Generator, count: int) -> np.ndarray:
    products = np.zeros(count, PRODUCT)
    for record in products:
        keep_m = int(draw.choice((1, 1, 4, 8, 16)))
        record["count"] = draw.integers(1, 4)
        record["m"] = draw.integers(1, 5000)
        record["taps"] = draw.choice((1, 1, 9))
        record["length"] = draw.integers(1, 700)
        record["n"] = draw.integers(1, 700)
        record["keep_n"] = 1 if keep_m == 1 else draw.integers(1, 3)
        record["keep_m"] = keep_m
        record["index_bits"] = (keep_m - 1).bit_length()
        record["image_axis"] = draw.integers(0, 3)
        record["image_taps"] = record["taps"]
        if draw.integers(2):
            record["image_positions"], record["image_out_width"] = 64, 8
            record["image_stride"], record["image_extent"] = draw.integers(1, 3), 3
            record["image_in_height"] = record["image_in_width"] = 16
        else:
            record["image_out_width"] = record["image_stride"] = record["image_extent"] = 1
            record["image_in_height"] = record["image_in_width"] = 1
        record["right_tiled"], record["out_tiled"] = draw.integers(0, 2, 2)
    return products


@pytest.mark.parametrize("seed", range(3))
def test_search_and_timing_are_the_same_both_ways(seed):
    draw = np.random.default_rng(seed)
    products = _random_products(draw, 25)
    base = load("sat-32x32")
    machines = [
        base.with_values(
            **{"array.rows": int(draw.integers(1, 40)), "array.columns": int(draw.integers(1, 40))}
        )
        for _ in range(2)
    ]
    hardware = np.array([hardware_record(machine) for machine in machines], HARDWARE)
    pairs = len(hardware) * len(products)
    allowed = np.ones((len(products), 2), np.bool_)
    found = []
    for how in (mapping._candidates.interpreted, mapping._candidates.compiled):
        out = np.zeros(pairs * mapping.MOST, mapping.MAPPING)
        firsts = np.zeros(pairs + 1, np.int64)
        how(hardware, products, allowed, out, firsts)
        mappings = out[: firsts[-1]]
        for cost in (timing._evaluate_all.interpreted, timing._evaluate_all.compiled):
            costs = np.zeros(len(mappings), timing.COST)
            cost(hardware, products, mappings, costs)
            found.append((firsts.tolist(), mappings.tolist(), costs.tolist()))
    assert found[0][1], "no candidate at all would prove nothing"
    assert all(other == found[0] for other in found[1:])
