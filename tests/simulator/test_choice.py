"""The choice of a mapping that looks at few is that of the search that looks at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import HARDWARE, hardware_record, load
from nofm.dataflow.design_table import DesignTable
from nofm.dataflow.mapping import MAPPING, MOST, candidates
from nofm.dataflow.methods import METHODS
from nofm.dataflow.products import Product, product_records
from nofm.dataflow.schedule import MAX_CYCLES, moved_bytes, search
from nofm.kernels.pattern import Pattern
from nofm.simulator import timing
from nofm.simulator.step import Options, step_jobs
from nofm.simulator.timing import CHOICE, choose, evaluate
from nofm.workloads.resolve import resolve

SAT = load("sat-32x32")
VALUES: dict[str, list[Any]] = {
    "clock_mhz": [100.0, 333.0, 1000.0],
    "array.rows": [1, 3, 8, 32, 100],
    "array.columns": [1, 4, 7, 32, 64],
    "array.interleave": [1, 4, 8, 16],
    "array.adder_cycles": [1, 4, 9],
    "array.group_port_elements": [1, 4, 16],
    "array.weight_registers": [1, 2, 8],
    "array.patterns": [["1:8"]],
    "formats.operand": ["fp16", "int8", "fp32"],
    "buffers.activation_kib": [2, 16, 64, 256, 2048],
    "buffers.weight_kib": [2, 16, 64, 256, 2048],
    "buffers.output_kib": [2, 16, 64, 256, 2048],
    "dram.bandwidth_gbps": [0.1, 1.0, 7.3, 25.6, 400.0],
    "dram.latency_ns": [0.0, 55.0, 3000.0],
    "dram.burst_bytes": [1, 32, 64],
}


def machines(count: int, seed: int) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(seed)
    columns = {}
    for name, values in VALUES.items():
        columns[name] = np.empty(count, object)
        columns[name][:] = [values[i] for i in random.integers(len(values), size=count)]
    return DesignTable(SAT, columns, count).records()


def network_products(name: str, batch: int, method: str) -> np.ndarray[Any, Any]:
    todo = step_jobs(resolve(name, batch), SAT, METHODS[method], Pattern(2, 8), Options())
    return product_records(list(dict.fromkeys(p for job in todo for p in job.products)))


def random_products(count: int, seed: int) -> np.ndarray[Any, Any]:
    """Small ones, where ties and waits are frequent."""
    random = np.random.default_rng(seed)
    patterns = [Pattern(1, 1), Pattern(2, 8), Pattern(1, 4)]

    def size() -> int:
        return int(2 ** random.uniform(0, 9))

    return product_records(
        [
            Product(
                int(random.integers(1, 5)),
                size(),
                int(random.choice([1, 9])),
                size(),
                size(),
                pattern=patterns[random.integers(3)],
            )
            for _ in range(count)
        ]
    )


def compare(hardware: np.ndarray[Any, Any], products: np.ndarray[Any, Any], allowed: Any) -> Any:
    """The chosen of every pair that has one; what is chosen must be what the search finds."""
    want = search(hardware, products, allowed, evaluate)
    got = choose(hardware, products, allowed).reshape(-1)
    assert ((got["cycles"] >= 0) == want.fits).all()
    assert (got["cycles"][~want.fits] == -1).all()
    if not want.fits.any():
        return got
    costs, got = want.costs[want.fits], got[want.fits]
    assert (got["cycles"] == costs["cycles"]).all()
    assert (got["dram_bytes"] == moved_bytes(costs)).all()
    assert (got["buffer_bytes"] == costs["buffer_bytes"]).all()
    return got


@pytest.mark.parametrize(
    ("name", "batch", "method"),
    [("resnet18", 64, "bdwp"), ("mobilenetv2", 16, "sdgp"), ("vit", 8, "srste")],
)
def test_networks(name: str, batch: int, method: str) -> None:
    products = network_products(name, batch, method)
    for has in ((True, True), (True, False), (False, True)):
        allowed = np.tile(np.array(has), (len(products), 1))
        assert len(compare(machines(60, seed=len(name)), products, allowed)) > 1000


@pytest.mark.parametrize("seed", range(4))
def test_small_products(seed: int) -> None:
    products = random_products(150, seed)
    random = np.random.default_rng(seed)
    allowed = random.random((len(products), 2)) < 0.8
    compare(machines(80, seed=100 + seed), products, allowed)


def test_what_cannot_be_counted() -> None:
    huge = product_records([Product(1, 2**20, 1, 2**20, 2**20), Product(1, 4, 1, 4, 4)])
    slow = {"dram.bandwidth_gbps": 1e-5, "buffers.output_kib": 4}
    hardware = np.array([hardware_record(SAT.with_values(**slow))], HARDWARE)
    got = compare(hardware, huge, np.ones((2, 2), np.bool_))
    assert got["cycles"][0] == MAX_CYCLES > got["cycles"][1] > 0


def test_interpreted_and_compiled_are_the_same() -> None:
    hardware, products = machines(6, seed=3), network_products("resnet18", 8, "bdwp")[::4]
    mappings, firsts = candidates(hardware, products)
    found = []
    for how in (timing._choose_all.interpreted, timing._choose_all.compiled):
        chosen = np.zeros(len(firsts) - 1, CHOICE)
        how(hardware, products, mappings, firsts, np.zeros(1, MAPPING), chosen)
        found.append(chosen.tolist())
    assert found[0] == found[1]


def test_room_for_candidates_is_used_again() -> None:
    hardware, products = machines(6, seed=4), network_products("resnet18", 8, "bdwp")[::4]
    allowed = np.ones((len(products), 2), np.bool_)
    room = np.zeros(len(hardware) * len(products) * MOST, MAPPING)
    room.view(np.int64)[:] = -7
    want = choose(hardware, products, allowed)
    assert (choose(hardware, products, allowed, room) == want).all()
    assert (choose(hardware[:2], products, allowed, room) == want[:2]).all()
